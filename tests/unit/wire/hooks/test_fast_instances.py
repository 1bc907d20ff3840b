"""Records made without their constructor are those that it would make, and any constructor that does more is called."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import attrs
import pytest

from casty.wire.codec import records
from casty.wire.codec.codec import Codec
from casty.wire.codec.fast_instances import only_stores
from casty.wire.envelope import end_of_head

T = TypeVar("T")


@dataclass(frozen=True)
class Plain:
    number: int
    text: str = "x"
    items: list[int] = field(default_factory=list[int])
    flag: bool = field(default=False, kw_only=True)

    @cached_property
    def doubled(self) -> int:
        return 2 * self.number


@dataclass(frozen=True)
class Tree:
    value: int
    left: Tree | None = None
    right: Tree | None = None


@dataclass(frozen=True)
class Box(Generic[T]):
    inside: T


@dataclass(frozen=True)
class Derived(Plain):
    more: int = 1


@dataclass(frozen=True, slots=True)
class Slotted:
    number: int


@dataclass(frozen=True)
class Checked:
    number: int

    def __post_init__(self) -> None:
        if self.number > 100:
            raise ValueError("too large")


class OfBase(Checked):
    """No dataclass of its own."""


@dataclass(frozen=True, init=False)
class OwnConstructor:
    number: int

    def __init__(self, number: int) -> None:
        object.__setattr__(self, "number", number)


@dataclass(frozen=True)
class OwnNew:
    number: int

    def __new__(cls, number: int) -> OwnNew:
        return super().__new__(cls)


@dataclass(frozen=True)
class Untold:
    number: int
    seen: list[int] = field(default_factory=list[int], init=False)


class Counting(type):
    made = 0

    def __call__(cls, *args: Any, **named: Any) -> Any:
        Counting.made += 1
        return super().__call__(*args, **named)


@dataclass(frozen=True)
class Counted(metaclass=Counting):
    number: int


@dataclass(frozen=True)
class Wrapped:
    number: int


def wrap(constructor: Callable[..., None]) -> Callable[..., None]:
    def checked(self: Wrapped, number: int) -> None:
        constructor(self, abs(number))

    return checked


Wrapped.__init__ = wrap(Wrapped.__init__)  # type: ignore[method-assign]  # as libraries do that check arguments


class WithProperty:
    @property
    def number(self) -> int:
        return self.__dict__["kept"]  # type: ignore[no-any-return]  # whatever was kept

    @number.setter
    def number(self, value: int) -> None:
        self.__dict__["kept"] = value


@dataclass(frozen=True)
class Stored(WithProperty):
    number: int


@attrs.frozen(slots=False)
class OfAttrs:
    number: int


VALUES = [
    Plain(1, "y", [2, 3], flag=True),
    Plain(1),
    Tree(1, Tree(2, None, Tree(3)), Tree(4)),
    Derived(1, "z", [], 5, flag=True),
]
CALLED = [
    Slotted(1), Checked(1), OwnConstructor(1), OwnNew(1), Untold(1), Counted(1), Wrapped(1), Stored(1), OfAttrs(1)
]  # fmt: skip


def through(codec: Codec, value: object) -> Any:
    return codec.decode_envelope(codec.frame_envelope("/a", 0, value)[5:]).message


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize("value", [*VALUES, *CALLED], ids=lambda value: type(value).__name__)
def test_a_record_comes_back_the_same_by_either_way(
    value: Any, is_fast: bool, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_fast:
        monkeypatch.setattr(records, "only_stores", lambda cls: False)
    decoded = through(codec, value)
    assert decoded == value
    assert type(decoded) is type(value)
    assert repr(decoded) == repr(value)
    assert getattr(decoded, "__dict__", None) == getattr(value, "__dict__", None)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_record_made_without_its_constructor_is_like_any_other(value: Any, codec: Codec) -> None:
    decoded = through(codec, value)
    assert list(vars(decoded)) == list(vars(value))
    assert copy.deepcopy(decoded) == replace(decoded) == pickle.loads(pickle.dumps(decoded)) == value
    with pytest.raises(FrozenInstanceError):
        decoded.number = 2


def test_a_cached_property_is_computed_once(codec: Codec) -> None:
    decoded = through(codec, Plain(4))
    assert (decoded.doubled, decoded.doubled) == (8, 8)


@pytest.mark.parametrize("cls", [Plain, Tree, Box, Derived])
def test_the_constructor_of_a_plain_record_is_left_out(cls: type) -> None:
    assert only_stores(cls)


@pytest.mark.parametrize("cls", [type(value) for value in CALLED] + [OfBase, int])
def test_any_other_constructor_is_called(cls: type) -> None:
    assert not only_stores(cls)


def test_a_constructor_that_does_more_has_done_it(codec: Codec) -> None:
    before = Counting.made
    through(codec, Counted(1))
    assert Counting.made == before + 2  # here, and where it was decoded
    frame = codec.frame_envelope("/a", 0, Wrapped(3))[5:]
    assert codec.decode_envelope(frame[:-1] + b"\xff").message == Wrapped(1)  # -1 is sent, and made positive
    assert end_of_head(frame) < len(frame)
