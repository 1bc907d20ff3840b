"""Which types may travel, and what is said about those that may not."""

from __future__ import annotations

import socket
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence, Set
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, Flag
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Never,
    NewType,
    Optional,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import pytest

from casty.errors import UnsupportedTypeError
from casty.refs import ActorRef, ServiceKey
from casty.schema.fields import fields_of
from casty.schema.names import message
from casty.schema.types import Kind, UnresolvedNameError, check, describe, parse, reachable, walk

T = TypeVar("T")
U = TypeVar("U")
OrderId = NewType("OrderId", str)
Ids: TypeAlias = "tuple[OrderId, ...]"


class Color(Enum):
    red = 1
    blue = 2


class Access(Flag):
    read = 1
    write = 2


@dataclass(frozen=True)
class Line:
    price: Decimal
    color: Color


@dataclass(frozen=True)
class Count:
    value: int


@dataclass(frozen=True)
class Order:
    id: OrderId
    lines: list[Line]
    reply_to: ActorRef[Count | None]


@dataclass(frozen=True)
class Box(Generic[T]):
    item: T
    spare: tuple[T, ...] = ()


@dataclass(frozen=True)
class Pair(Generic[T, U]):
    first: T
    second: U


@dataclass(frozen=True)
class Swapped(Pair[U, T], Generic[T, U]):
    third: dict[str, T]


@dataclass(frozen=True)
class CountBox(Box[Count]):
    pass


@dataclass(frozen=True)
class Growing(Generic[T]):
    inner: Growing[list[T]] | None


@dataclass(frozen=True)
class Tree:
    children: list[Tree]
    parent: Tree | None = None


@dataclass(frozen=True)
class HoldsSocket:
    lines: list[dict[str, socket.socket]]


@dataclass(frozen=True)
class HoldsHolder:
    orders: tuple[HoldsSocket, ...]


@dataclass
class Mutable:
    value: int


@dataclass(frozen=True)
class HoldsMutable:
    it: Mutable


@dataclass(frozen=True)
class WithInitVar:
    seed: InitVar[int]
    value: int = 0


@dataclass(frozen=True)
class Noted:
    values: list[Annotated[int, ["at least", 1]]]


class Plain(Count):
    pass


@dataclass(frozen=True)
class Forward:
    later: DefinedNowhere  # type: ignore[name-defined]  # noqa: F821  # the point of the test


@attrs.frozen
class Point:
    x: int
    _y: int = 0


@attrs.define
class MutablePoint:
    x: int


@dataclass(frozen=True)
class KeywordsAndHidden:
    a: int
    _: KW_ONLY
    b: int
    c: int = field(default=0, init=False)


class Pair(NamedTuple):
    first: int


class Keyed(TypedDict):
    first: int


class LikePydantic:
    __pydantic_fields__: ClassVar[dict[str, object]] = {}


class LikeMsgspec:
    __struct_fields__ = ("first",)


@dataclass(frozen=True)
class HoldsList:
    it: list  # type: ignore[type-arg]  # what can never travel


@dataclass(frozen=True)
class HoldsPath:
    file: Path


SUPPORTED: list[Any] = [
    None,
    bool,
    int,
    float,
    str,
    bytes,
    Decimal,
    datetime,
    UUID,
    Color,
    OrderId,
    Ids if not isinstance(Ids, str) else tuple[OrderId, ...],
    Literal["asc", "desc"],
    Literal["asc", 1, None],
    Optional[int],  # noqa: UP045  # the old spelling is another object at run time
    Union[int, str],  # noqa: UP007  # as above
    int | Literal["a", 2],
    list[int],
    set[tuple[int, int]],
    frozenset[str],
    dict[int, list[str]],
    tuple[()],
    tuple[int, str],
    tuple[int, ...],
    Mapping[str, Sequence[int]],
    Set[str] | None,
    Annotated[int, "at least 1"],
    Order,
    Box[int],
    Box[Box[str]],
    CountBox,
    Swapped[int, str],
    Tree,
    Point,
    ActorRef[Never],
    ActorRef[object],
    ActorRef[Order | Count],
    date,
    PurePosixPath,
]


@dataclass(frozen=True, init=False)
class WithoutConstructor:
    a: int


@attrs.frozen(init=False)
class AttrsWithoutConstructor:
    a: int


@dataclass(frozen=True)
class OtherNames:
    a: int
    b: int = 0

    def __init__(self, *, first: int, b: int = 0) -> None: ...


@dataclass(frozen=True)
class OtherPlaces:
    a: int
    b: int

    def __init__(self, x: int, y: int) -> None: ...


@dataclass(frozen=True)
class OwnConstructor:
    a: int

    def __init__(self, a: int, /, *rest: int) -> None: ...


@dataclass(frozen=True)
class TakesAnything:
    a: int

    def __init__(self, **fields: int) -> None: ...


@dataclass(frozen=True)
class OfTwoKinds(Point):
    z: int


UNSUPPORTED: list[tuple[Any, str]] = [
    (Any, "Any cannot travel between nodes: name the types it can be"),
    (object, "object cannot travel between nodes: name the types it can be"),
    (Never, "Never says only of an ActorRef that its type is unknown"),
    (list, "list cannot travel between nodes: say what it holds, as in list[int]"),
    (Iterable[int], "write tuple[...] or list[...]"),
    (MutableMapping[str, int], "write dict[...]"),
    (Mapping, "say what it holds, as in Mapping[str, int]"),
    (Mapping[str, int] | dict[str, int], "Mapping[str, int] and dict[str, int] cannot be told apart in one union"),
    (complex, "write a tuple of two floats"),
    (bytearray, "write bytes"),
    (Access, "an enum.Flag has no single name"),
    (ActorRef, "say what it takes, as in ActorRef[Reply]"),
    (Path, "write str or PurePosixPath, and convert it at the sender"),
    (Path, "; or teach it to the system of every node: wire_types=[casty.WireType(Path, ...)]"),
    (OSError, "write str, such as repr(error)"),
    (Callable[[int], int], "a function stays in its process"),
    (type[int], "a class stays in its process"),
    (Pair, "write a frozen dataclass with the same fields"),
    (Keyed, "write a frozen dataclass with the same fields"),
    (LikePydantic, "or str, and model.model_dump_json()"),
    (LikeMsgspec, "or bytes, and msgspec.msgpack.encode(it)"),
    (HoldsPath, "HoldsPath.file: pathlib"),
    (Box, "Box.item: ~T cannot travel between nodes: give the generic class its argument"),
    (list[int] | list[str], "list[int] and list[str] cannot be told apart in one union"),
    (Box[int] | Box[str], "cannot be told apart in one union"),
    (Mutable, "Mutable can be changed after it was sent: declare it with @dataclass(frozen=True); or teach it"),
    (HoldsMutable, "Mutable cannot travel between nodes: Mutable can be changed"),
    (MutablePoint, "declare it with @attrs.frozen"),
    (OfTwoKinds, "OfTwoKinds is a dataclass and an attrs class by its bases: make them all of one kind"),
    (Plain, "Plain is a plain subclass: decorate it"),
    (
        WithoutConstructor,
        "WithoutConstructor cannot be made of its fields: the constructor takes (), and they are a: let",
    ),
    (AttrsWithoutConstructor, "AttrsWithoutConstructor cannot be made of its fields: the constructor takes ()"),
    (OtherPlaces, "OtherPlaces cannot be made of its fields: the constructor takes (x, y), and they are a, b"),
    (OtherNames, "OtherNames cannot be made of its fields: the constructor takes (first, b), and they are a, b"),
    (WithInitVar, "WithInitVar.seed: an InitVar is gone"),
    (HoldsHolder, "HoldsHolder.orders[].lines[][value]: _socket.socket cannot travel"),
    (ActorRef[HoldsSocket], "ActorRef<reply>.lines[][value]: "),
    (Growing[int], "does a generic type contain ever larger ones?"),
    (int | MutableMapping[str, int], "write dict[...]"),
]


@pytest.mark.parametrize("type_form", SUPPORTED, ids=describe)
def test_a_documented_type_passes_the_check(type_form: Any) -> None:
    check(type_form)


@pytest.mark.parametrize(("type_form", "told"), UNSUPPORTED, ids=lambda value: describe(value)[:40])
def test_the_refusal_of_a_type_names_the_place_and_the_remedy(type_form: Any, told: str) -> None:
    with pytest.raises(UnsupportedTypeError) as caught:
        check(type_form)
    assert told in str(caught.value).replace("socket.socket", "_socket.socket").replace("__socket", "_socket")


@pytest.mark.parametrize(
    "type_form", [complex, HoldsPath, list[Mutable], Access, Pair, LikePydantic, ActorRef[HoldsSocket]]
)
def test_a_class_that_a_system_may_be_taught_is_left_to_the_system(type_form: Any) -> None:
    check(type_form, known=None)
    with pytest.raises(UnsupportedTypeError, match=r"or teach it to the system of every node: wire_types="):
        check(type_form)


@pytest.mark.parametrize("type_form", [Any, list, Callable[[int], int], type[int], Iterable[int], Keyed, Box, ActorRef])
def test_what_can_never_travel_is_refused_whatever_a_system_is_taught(type_form: Any) -> None:
    with pytest.raises(UnsupportedTypeError) as caught:
        check(dict[str, type_form], known=None)
    assert "teach" not in str(caught.value)


def test_metadata_that_cannot_be_hashed_is_seen_through() -> None:
    check(Noted)
    assert fields_of(Noted, "").fields[0].type_form == list[int]


def test_reachable_goes_through_fields_containers_and_promised_replies() -> None:
    assert reachable(Order | str) == (Order, Line, Color, Count)


def test_a_recursive_type_is_walked_once() -> None:
    assert reachable(Tree) == (Tree,)
    assert len(list(walk(Tree))) == 4


def test_an_annotation_that_names_nothing_says_where_it_must_be_defined() -> None:
    with pytest.raises(
        UnresolvedNameError, match=r"Forward.*DefinedNowhere.*top level.*`if TYPE_CHECKING:` is not there"
    ):
        check(Forward)


def test_type_variables_are_replaced_along_the_bases() -> None:
    fields = {f.name: f.type_form for f in fields_of(Swapped[int, str], "").fields}
    assert fields == {"first": str, "second": int, "third": dict[str, int]}
    assert fields_of(CountBox, "").fields[0].type_form is Count


def test_an_attrs_field_with_a_leading_underscore_keeps_its_alias() -> None:
    assert [(f.name, f.init_name, f.has_default) for f in fields_of(Point, "").fields] == [
        ("x", "x", False),
        ("_y", "y", True),
    ]


def test_fields_that_are_not_arguments_do_not_travel() -> None:
    assert [(f.name, f.keyword_only) for f in fields_of(KeywordsAndHidden, "").fields] == [("a", False), ("b", True)]


def test_unions_are_flat_and_a_literal_beside_its_own_type_is_absorbed() -> None:
    assert parse(int | None | Literal[3] | Literal["x"]).arguments == (int, type(None), Literal["x"])
    assert parse(Optional[Union[int, str]]).arguments == (int, str, type(None))  # noqa: UP007, UP045  # old spelling


def test_none_as_a_literal_is_none() -> None:
    assert parse(Literal["x", None] | None).arguments == (type(None), Literal["x"])


def test_describe_writes_types_as_a_programmer_does() -> None:
    assert describe(dict[str, int | None]) == "dict[str, int | None]"


MODERN = textwrap.dedent(
    """
    from dataclasses import dataclass
    from casty.refs import ActorRef

    type Json = dict[str, Json] | list[Json] | str | int | float | bool | None
    type Many[T] = tuple[T, ...]
    type Loop = Loop

    @dataclass(frozen=True)
    class Crate[T]:
        item: T
        more: Many[T]

    @dataclass(frozen=True)
    class Document:
        body: Json
        crate: Crate[int]
        reply_to: ActorRef[Json]
    """
)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_the_type_statement_and_bracketed_generics_are_understood() -> None:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(MODERN, "modern", "exec", dont_inherit=True), namespace)
    assert reachable(namespace["Document"]) == (namespace["Document"], namespace["Crate"])
    fields = fields_of(namespace["Crate"][int], "").fields
    assert [parse(f.type_form).kind for f in fields] == [Kind.scalar, Kind.sequence]
    with pytest.raises(UnsupportedTypeError, match="never ends in a type"):
        check(namespace["Loop"])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_bracketed_generics_are_understood_where_annotations_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("modern_text")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("from __future__ import annotations\n" + MODERN, module.__name__, "exec"), vars(module))
    crate, document = module.Crate, module.Document
    assert reachable(document) == (document, crate)
    assert [field.type_form for field in fields_of(crate[int], "").fields] == [int, module.Many[int]]


def test_a_service_key_holds_its_name_and_its_message_type() -> None:
    key = ServiceKey[Order | Count]("orders")
    assert (key.name, key.message_type) == ("orders", Order | Count)
    assert repr(key) == f"ServiceKey[{describe(Order | Count)}]('orders')"


def test_service_keys_are_equal_by_name() -> None:
    assert ServiceKey[Order]("orders") == ServiceKey[Count]("orders") != ServiceKey[Order]("other")
    assert len({ServiceKey[Order]("orders"), ServiceKey[Count]("orders")}) == 1


def test_a_service_key_without_a_message_type_says_how_to_write_it() -> None:
    with pytest.raises(TypeError, match=r"ServiceKey\[Message\]\('orders'\)"):
        ServiceKey("orders")


def test_a_service_key_of_messages_that_cannot_travel_is_refused() -> None:
    with pytest.raises(UnsupportedTypeError, match="HoldsList.it: list cannot travel"):
        ServiceKey[HoldsList]("sockets")


@pytest.mark.parametrize("name", ["", "k" * 256])
def test_a_service_key_needs_a_name_of_a_bounded_length(name: str) -> None:
    with pytest.raises(ValueError, match="needs a name of 1 to 255 characters"):
        ServiceKey[Order](name)


def test_a_service_key_of_a_class_without_a_name_on_other_nodes_is_refused() -> None:
    @dataclass(frozen=True)
    class Draft:
        text: str

    Draft.__module__ = "__main__"
    for form in (Draft, Draft | Order, list[Draft], ActorRef[Draft]):
        with pytest.raises(UnsupportedTypeError, match=r"Draft is defined in __main__.*@casty.message.*to a module"):
            ServiceKey[form]("drafts")  # type: ignore[valid-type]  # at run time only
    ServiceKey[message("test.schema.Draft")(Draft)]("drafts")  # type: ignore[misc]  # at run time only


def test_a_service_key_does_not_change() -> None:
    key = ServiceKey[Order]("orders")
    with pytest.raises(AttributeError, match="does not change"):
        key.name = "other"
    with pytest.raises(AttributeError, match="does not change"):
        del key.name


def test_an_annotation_with_a_type_variable_can_be_filled_in() -> None:
    alias: Any = ServiceKey[T]  # type: ignore[valid-type]  # at run time only
    assert alias[int].__args__ == (int,)


@pytest.mark.parametrize("type_form", [OwnConstructor, TakesAnything, KeywordsAndHidden])
def test_a_constructor_that_takes_the_fields_by_name_or_by_place_will_do(type_form: Any) -> None:
    check(type_form)


def test_a_class_that_cannot_be_made_of_its_fields_is_refused_where_it_is_declared() -> None:
    with pytest.raises(UnsupportedTypeError, match="WithoutConstructor cannot be made of its fields"):
        message("test.WithoutConstructor")(WithoutConstructor)
