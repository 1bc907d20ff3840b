"""Messages of every type that can travel are the same bytes in every release of a protocol version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import attrs
import pytest
from helpers.refs import AddressRef

from casty.address import ActorAddress, NodeAddress
from casty.errors import DecodeError
from casty.refs import ActorRef
from casty.schema.names import message
from casty.wire.codec.codec import Codec

KNOWN = Path(__file__).with_name("message_corpus.txt")
T = TypeVar("T")
Name = NewType("Name", str)


@message("corpus.Suit")
class Suit(Enum):
    hearts = 1
    spades = "s"
    coeur = 1


@message("corpus.Signal")
class Signal(Enum):
    go = "go"
    halt = "halt"


@message("corpus.Empty")
@dataclass(frozen=True)
class Empty:
    pass


@message("corpus.Point")
@dataclass(frozen=True)
class Point:
    x: int
    y: float


@message("corpus.Attrs")
@attrs.frozen
class Attrs:
    _hidden: int
    text: str = attrs.field(kw_only=True, default="t")
    made: list[int] = attrs.field(init=False, factory=list)


@message("corpus.Box")
@dataclass(frozen=True)
class Box(Generic[T]):
    item: T


@message("corpus.IntBox")
@dataclass(frozen=True)
class IntBox(Box[int]):
    label: str


@message("corpus.Tree")
@dataclass(frozen=True)
class Tree:
    value: int
    left: Tree | None = None
    others: tuple[Tree, ...] = ()
    named: dict[str, Tree] = field(default_factory=dict)


@message("corpus.Grown", tolerant=True)
@dataclass(frozen=True)
class Grown:
    name: str
    city: str = ""
    tags: list[str] = field(default_factory=list)
    count: int = field(default=0, kw_only=True)


@message("corpus.Ask")
@dataclass(frozen=True)
class Ask:
    reply_to: ActorRef[Point | None]
    key: Annotated[str, "a note"]


@message("corpus.Everything")
@dataclass(frozen=True)
class Everything:
    none: None
    flag: bool
    number: int
    ratio: float
    text: str
    data: bytes
    price: Decimal
    moment: datetime
    key: UUID
    suit: Suit
    choice: Literal["a", "b"]
    mixed: Literal[1, "one", None]
    items: list[int]
    points: tuple[Point, ...]
    pair: tuple[int, str]
    nothing: tuple[()]
    by_name: dict[str, Point]
    by_bytes: dict[bytes, bool]
    by_pair: dict[tuple[int, str], list[float]]
    one_of: Point | Box[str] | int | None
    maybe: Point | None
    several: list[str] | dict[str, int] | Decimal | bytes
    set_of_one: set[int]
    frozen_of_one: frozenset[str]
    sequence: Sequence[int]
    mapping: Mapping[str, int]
    abstract_set: AbstractSet[str]
    name: Name


PLUS_ONE = timezone(timedelta(hours=1))
KEY = UUID(int=2**127 + 5)
MOMENT = datetime(2026, 12, 1, 5, 30, 0, 7, tzinfo=PLUS_ONE)
REF = AddressRef(ActorAddress("shop", "/user/x", "node.example", 2_551, 7, 2**63 + 1))
LEAF = Tree(1)
TREE = Tree(0, Tree(-1, None, (LEAF, LEAF)), (), {"a": Tree(2, named={"b": LEAF})})
EVERYTHING = Everything(
    None, True, -(2**63), 0.1, "h\u00e9 \U0001f600", b"\0\xff", Decimal("1.50"), MOMENT, KEY, Suit.coeur, "b", None,
    [0, 127, 128, 2**64 - 1], (Point(1, 2.5), Point(-1, 1)), (7, "seven"), (), {"p": Point(0, -0.0)}, {b"k": False},
    {(1, "a"): [1.5, 2]}, Box("b"), None, {"k": 300}, {5}, frozenset({"f"}), (1, 2), MappingProxyType({"m": 1}),
    frozenset({"s"}), Name("n"),
)  # fmt: skip

SAMPLES: tuple[tuple[object, object], ...] = (
    (None, None),
    (bool, True),
    (int, -33),
    (int, 2**64 - 1),
    (float, 3),
    (float, float("-inf")),
    (str, "x" * 40),
    (bytes, bytes(300)),
    (Decimal, Decimal("-1E+5")),
    (Decimal, Decimal("NaN")),
    (datetime, datetime.min.replace(tzinfo=UTC)),
    (datetime, datetime.max.replace(tzinfo=timezone(-timedelta(seconds=59)))),
    (UUID, KEY),
    (Suit, Suit.spades),
    (Signal, Signal.halt),
    (Literal["no", "yes"], "yes"),
    (Literal[1, "one", None], "one"),
    (Literal[Suit.hearts], Suit.hearts),
    (Empty, Empty()),
    (Point, Point(1, 2)),
    (Attrs, Attrs(3, text="hello")),
    (Box[int], Box(5)),
    (Box[Box[str | None]], Box(Box(None))),
    (IntBox, IntBox(1, "one")),
    (Tree, TREE),
    (Grown, Grown("Ada", tags=["x"], count=2)),
    (Ask, Ask(REF, "k")),
    (Everything, EVERYTHING),
    (ActorRef[Point], REF),
    (Name, "n"),
    (Annotated[list[Name], 1], ["a", "b"]),
    (list[Point], [Point(1, 2), Point(3, 4.5)]),
    (list[list[int]], [[], [1], [1, 2]]),
    (list[Point | None], [None, Point(0, 0)]),
    (list[int | str], [1, "2"]),
    (list[float], [1, 2.5]),
    (list[Point | Empty | None], [Empty(), None, Point(1, 1)]),
    (list[Decimal | UUID | datetime], [Decimal(1), KEY, MOMENT]),
    (list[Suit | Signal | ActorRef[int]], [Suit.hearts, Signal.go, REF]),
    (list[Literal["a"] | int], ["a", 1]),
    (list[set[int] | frozenset[int] | tuple[int, ...]], [{1}, frozenset({2}), (3,)]),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[int, str, Point], (1, "a", Point(0, 1))),
    (tuple[()], ()),
    (set[str], {"only"}),
    (frozenset[tuple[int, int]], frozenset({(1, 2)})),
    (dict[str, int | None], {"a": 1, "b": None}),
    (dict[bytes, list[str]], {b"a": ["x"]}),
    (dict[int, str], {1: "a", -1: "b"}),
    (dict[Suit, Point], {Suit.hearts: Point(1, 1)}),
    (dict[Point, dict[str, Empty]], {Point(1, 1): {"e": Empty()}}),
    (Sequence[Point], [Point(1, 1)]),
    (Mapping[int, str], {1: "a"}),
    (AbstractSet[int], {4}),
    (Empty | None, None),
    (Point | Empty, Empty()),
    (NodeAddress, NodeAddress("h", 9)),
    (date, date(2026, 12, 1)),
    (time, time(5, 30, 0, 7, tzinfo=PLUS_ONE)),
    (time, time(23, 59)),
    (timedelta, timedelta(microseconds=-1)),
    (PurePosixPath, PurePosixPath("/a/b")),
    (IPv4Address, IPv4Address("10.0.0.1")),
    (IPv6Address, IPv6Address("fe80::1%eth0")),
    (list[date | datetime | time], [date(1, 1, 1), MOMENT, time(0)]),
    (list[timedelta | PurePosixPath | IPv4Address | IPv6Address], [timedelta(1), PurePosixPath("x")]),
)


def written(codec: Codec) -> list[str]:
    frames = (codec.frame_envelope("/x", 1, value, form) for form, value in SAMPLES)
    return [f"{number:02} {frame.hex()}" for number, frame in enumerate(frames)]


def test_messages_are_written_as_they_always_were(codec: Codec) -> None:
    """Whoever changes how a type travels raises the protocol version; a new type is added at the end."""
    assert written(codec) == KNOWN.read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_bytes_of_every_release_are_read_as_what_was_written(codec: Codec, number: int) -> None:
    form, value = SAMPLES[number]
    frame = bytes.fromhex(KNOWN.read_text(encoding="ascii").splitlines()[number][3:])
    codec.register(form)
    found: Any = codec.decode_envelope(frame[5:]).message
    alike: Any = type(found)(value) if type(found) in (tuple, frozenset) else value  # as an abstract container comes
    assert found == alike or found != found  # a Decimal that is no number equals none
    assert codec.frame_envelope("/x", 1, found, form) == frame


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_bytes_that_are_cut_short_are_refused(codec: Codec, number: int) -> None:
    form, value = SAMPLES[number]
    body = codec.frame_envelope("/x", 1, value, form)[5:]
    for size in range(max(0, len(body) - 200), len(body)):
        with pytest.raises(DecodeError):
            codec.decode_envelope(body[:size])
