"""What is known, without making it, of the values that classes make beside those of a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import attrs
import pytest

import casty
from casty.wire.codec.codec import Codec


@casty.message("tests.defaults.Inner")
@dataclass(frozen=True)
class Inner:
    number: int
    rows: list[int] = field(default_factory=list)


@casty.message("tests.defaults.Tree", tolerant=True)
@dataclass(frozen=True)
class Tree:
    left: Tree | None = field(default_factory=lambda: None)
    rows: list[int] = field(default_factory=list)


@casty.message("tests.defaults.Outer", tolerant=True)
@dataclass(frozen=True)
class Outer:
    needed: Inner
    shared: Inner = Inner(1)
    inner: Inner = field(default_factory=lambda: Inner(1))
    either: Inner | int = field(default_factory=lambda: Inner(1))
    pair: tuple[Inner, int] = field(default_factory=lambda: (Inner(1), 2))
    inners: list[Inner] = field(default_factory=list)


@casty.message("tests.defaults.Hidden")
@dataclass(frozen=True)
class Hidden:
    number: int
    index: dict[str, int] = field(default_factory=dict, init=False, compare=False)
    length: int = field(default=0, init=False)


@casty.message("tests.defaults.Attrs", tolerant=True)
@attrs.frozen
class Attrs:
    shared: int = 0
    inner: Inner = attrs.field(factory=lambda: Inner(1))
    index: dict[str, int] = attrs.field(factory=dict, init=False)


@casty.message("tests.defaults.Around")
@dataclass(frozen=True)
class Around:
    outer: Outer
    hidden: list[Hidden]


@pytest.mark.parametrize(
    ("cls", "count"),
    [
        (Inner, 0),  # not tolerant: whoever leaves a field out is refused
        (Hidden, 1),
        (Attrs, 1 + 3 + 1),
        (Outer, 1 + 3 + 3 + 5 + 1),
        (Around, 13),
        (Tree, 1 + (1 + 1) + 1),  # a tree in a tree that was made is followed no further
    ],
)
def test_a_record_makes_by_itself_what_it_may_lack_with_the_fields_of_records_in_that(
    make_codec: Callable[[], Codec], cls: type, count: int
) -> None:
    codec = make_codec()
    codec.register(cls)
    entry = codec.entry_of(f"tests.defaults.{cls.__name__}")
    assert entry is not None
    assert entry.defaults_max == count
