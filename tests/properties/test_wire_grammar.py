"""Laws of the codec over its whole grammar of types: a type form is drawn, and values of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from ipaddress import IPv4Address, IPv6Address
from itertools import count
from operator import or_
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import attrs
import msgpack
from helpers.messages import Suit
from helpers.refs import AddressRef
from hypothesis import given
from hypothesis import strategies as st

from casty.address import ActorAddress
from casty.errors import ProtocolError
from casty.refs import ActorRef
from casty.schema.names import message
from casty.schema.types import Kind, check, parse
from casty.wire.codec.codec import Codec
from casty.wire.envelope import end_of_head
from casty.wire_types import WireType

T = TypeVar("T")
Name = NewType("Name", str)
SERIALS = count()


FRACTION: WireType[Fraction, tuple[int, int]] = WireType(
    Fraction,
    "grammar.Fraction",
    tuple[int, int],
    unstructure=lambda value: (value.numerator, value.denominator),
    structure=lambda sent, cls: cls(*sent),
)


@message("grammar.Crate")
@dataclass(frozen=True)
class Crate(Generic[T]):
    item: T
    count: int


@message("grammar.Node")
@dataclass(frozen=True)
class Node:
    value: int | None
    children: tuple[Node, ...] = ()
    other: Leaf | Node | None = None


@message("grammar.Leaf")
@attrs.frozen
class Leaf:
    text: str


INTS = st.integers(-(2**63), 2**64 - 1)
TEXTS = st.text(max_size=9)
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
ADDRESSES = st.builds(
    ActorAddress,
    st.text(max_size=5),
    st.text(max_size=5).map(lambda text: "/" + text),
    st.text(max_size=9),
    st.integers(1, 65_535),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
LEAVES = st.builds(Leaf, TEXTS)
NODES = st.recursive(
    st.builds(Node, INTS | st.none()),
    lambda inner: st.builds(Node, INTS | st.none(), st.lists(inner, max_size=3).map(tuple), inner | LEAVES | st.none()),
    max_leaves=6,
)


@dataclass(frozen=True)
class Case:
    """A type form, how to draw values of it, and whether those can be in a set."""

    form: Any
    values: st.SearchStrategy[Any]
    is_hashable: bool = True


SINGLE = [
    Case(int, INTS),
    Case(bool, st.booleans()),
    Case(float, st.floats(allow_nan=False)),
    Case(str, TEXTS),
    Case(bytes, st.binary(max_size=20)),
    Case(None, st.none()),
    Case(Decimal, st.decimals(allow_nan=False)),
    Case(datetime, st.datetimes(timezones=OFFSETS | st.just(UTC))),
    Case(UUID, st.uuids()),
    Case(date, st.dates()),
    Case(time, st.times(timezones=OFFSETS | st.none())),
    Case(timedelta, st.timedeltas()),
    Case(PurePosixPath, TEXTS.map(PurePosixPath)),
    Case(IPv4Address, st.ip_addresses(v=4)),
    Case(IPv6Address, st.ip_addresses(v=6)),
    Case(Fraction, st.builds(Fraction, st.integers(-(2**60), 2**60), st.integers(1, 2**60))),
    Case(Suit, st.sampled_from(Suit)),
    Case(Literal["x", 1, None], st.sampled_from(["x", 1, None])),
    Case(Literal[Suit.hearts], st.just(Suit.hearts)),
    Case(Name, TEXTS),
    Case(Annotated[int, "a note"], INTS),
    Case(Leaf, LEAVES),
    Case(Node, NODES),
    Case(ActorRef[Leaf], st.builds(AddressRef, ADDRESSES)),
]


def record(fields: list[Case], *, is_tolerant: bool) -> Case:
    """Return a new class with these fields, the last of which has a default where the class is tolerant."""
    number = next(SERIALS)
    named = [(f"f{index}", case.form) for index, case in enumerate(fields)]
    extra = [("more", int, field(default=0, kw_only=True))] if is_tolerant else []
    made = make_dataclass(f"Made{number}", [*named, *extra], frozen=True)
    cls = message(f"grammar.Made{number}", tolerant=is_tolerant)(made)
    return Case(cls, st.builds(cls, *(case.values for case in fields)), all(case.is_hashable for case in fields))


def union(variants: list[Case]) -> Case:
    """Return the union of those whose values can be told apart."""
    found: dict[object, Case] = {}
    for case in variants:
        form = parse(case.form)
        if form.kind is not Kind.union:  # the values of a union in it are told apart already
            found.setdefault(parse(case.form).origin, case)
    kept = [*found.values()] or [SINGLE[0]]
    form: Any = reduce(or_, [NoneType if case.form is None else case.form for case in kept])
    return Case(form, st.one_of([case.values for case in kept]), all(case.is_hashable for case in kept))


NoneType = type(None)


def compose(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    """Draw a composed type form out of drawn ones."""
    hashable = cases.filter(lambda case: case.is_hashable)
    few = st.lists(cases, min_size=1, max_size=3)

    def one(make: Callable[[Case], Case], drawn: st.SearchStrategy[Case] = cases) -> st.SearchStrategy[Case]:
        return drawn.map(make)

    def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(values, max_size=3)

    def pairs(key: Case, item: Case) -> st.SearchStrategy[Any]:
        return st.dictionaries(key.values, item.values, max_size=3)

    return st.one_of(
        one(lambda a: Case(list[a.form], some(a.values), False)),
        one(lambda a: Case(tuple[a.form, ...], some(a.values).map(tuple), a.is_hashable)),
        one(lambda a: Case(Sequence[a.form], some(a.values).map(tuple), a.is_hashable)),
        one(lambda a: Case(Crate[a.form], st.builds(Crate, a.values, INTS), a.is_hashable)),
        one(lambda a: Case(dict[str, a.form], st.dictionaries(TEXTS, a.values, max_size=3), False)),
        one(lambda a: Case(dict[bytes, a.form], st.dictionaries(st.binary(max_size=4), a.values, max_size=3), False)),
        one(lambda a: Case(set[a.form], st.sets(a.values, max_size=3), False), hashable),
        one(lambda a: Case(frozenset[a.form], st.frozensets(a.values, max_size=3)), hashable),
        one(lambda a: Case(AbstractSet[a.form], st.frozensets(a.values, max_size=3)), hashable),
        st.builds(lambda a, b: Case(dict[a.form, b.form], pairs(a, b), False), hashable, cases),
        st.builds(lambda a, b: Case(Mapping[a.form, b.form], pairs(a, b), False), hashable, cases),
        few.map(
            lambda some: Case(
                tuple.__class_getitem__(tuple(case.form for case in some)),
                st.tuples(*(case.values for case in some)),
                all(case.is_hashable for case in some),
            )
        ),
        few.map(union),
        st.builds(record, few, is_tolerant=st.booleans()),
    )


CASES = st.recursive(st.sampled_from(SINGLE), compose, max_leaves=6)


def new_codec() -> Codec:
    return Codec(
        export_ref=lambda ref, form: ref.address.place,
        import_ref=lambda place, form: AddressRef(ActorAddress(*place), form),
        wire_types=[FRACTION],
    )


def payload_at(frame: bytes) -> tuple[bytes, bytes]:
    """Return the head and the payload in the body of an envelope."""
    end = end_of_head(memoryview(frame)[5:])
    return frame[5 : 5 + end], frame[5 + end :]


@given(st.data())
def test_values_of_any_type_come_back_equal_and_of_the_same_kind(data: st.DataObject) -> None:
    case = data.draw(CASES)
    value = data.draw(case.values)
    sender, receiver = new_codec(), new_codec()
    check(case.form, known={Fraction})
    receiver.register(case.form)
    back = receiver.decode_envelope(sender.frame_envelope("/x", 1, value, case.form)[5:]).message
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, Hashable) and case.is_hashable:
        assert hash(back) == hash(value)


@given(st.data())
def test_a_damaged_value_of_any_type_is_refused_or_another_value_of_the_type(data: st.DataObject) -> None:
    case = data.draw(CASES)
    codec = new_codec()
    codec.register(case.form)
    head, packed = payload_at(codec.frame_envelope("/x", 1, data.draw(case.values), case.form))
    payload = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(payload)) | st.integers(0, len(payload)))
    try:
        found = codec.decode_envelope(head + bytes(payload[:cut])).message
    except ProtocolError:
        return
    again = payload_at(codec.frame_envelope("/x", 1, found, case.form))
    assert type(codec.decode_envelope(b"".join(again)).message) is type(found)


PLAIN = st.recursive(
    st.none() | st.booleans() | INTS | st.floats() | TEXTS | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.binary(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_msgpack_for_any_type_is_refused_or_a_value_of_the_type(data: st.DataObject) -> None:
    case = data.draw(CASES)
    codec = new_codec()
    codec.register(case.form)
    head, _ = payload_at(codec.frame_envelope("/x", 1, data.draw(case.values), case.form))
    try:
        found = codec.decode_envelope(head + msgpack.packb(data.draw(PLAIN))).message
    except ProtocolError:
        return
    again = payload_at(codec.frame_envelope("/x", 1, found, case.form))
    assert type(codec.decode_envelope(b"".join(again)).message) is type(found)
