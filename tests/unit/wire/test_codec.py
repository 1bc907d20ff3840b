"""What the codec writes, what it reads back, and how it refuses."""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, Generic, Literal, Never, TypeVar
from uuid import UUID

import attrs
import msgpack
import pytest

from casty.address import ActorAddress, NodeAddress
from casty.config import TransportLimits
from casty.errors import DecodeError, EncodeError, ProtocolError, UnknownTypeError, UnsupportedTypeError
from casty.protocol.state.cluster_state import project_state
from casty.protocol.state.registry import Registry
from casty.protocol.state.vector_clock import VectorClock
from casty.refs import ActorRef
from casty.schema.names import message
from casty.testing.samples import gossip_of, member
from casty.wire.codec.codec import Codec
from casty.wire.codec.hook import TypeMismatch
from casty.wire.codec.scalars import ref_hooks
from casty.wire.envelope import (
    Envelope,
    Notice,
    control_head,
    count_values,
    decode_head,
    encode_head,
    encode_headers,
    encode_slot,
)
from casty.wire.frame import HEADER_BYTES, FrameDecoder, FrameKind
from casty.wire.limits import is_deeper_than

T = TypeVar("T")


class Color(Enum):
    red = "r"
    blue = "b"


class Level(IntEnum):
    low = 1


@message("codec.Add")
@dataclass(frozen=True)
class Add:
    item: str
    quantity: int


@message("codec.Priced")
@dataclass(frozen=True)
class Priced(Add):
    price: float


@message("codec.Order")
@dataclass(frozen=True)
class Order:
    lines: tuple[Add, ...]
    note: str | None = None
    color: Color = Color.red


@message("codec.Get")
@dataclass(frozen=True)
class Get:
    key: str
    reply_to: ActorRef[dict[str, int] | Add | float | None]


@message("codec.Tree")
@dataclass(frozen=True)
class Tree:
    children: list[Tree]


@message("codec.Settings", tolerant=True)
@dataclass(frozen=True)
class Settings:
    name: str
    size: int = 3
    _: KW_ONLY
    labels: frozenset[str] = frozenset()


@message("codec.Positive")
@dataclass(frozen=True)
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ZeroDivisionError("must be positive")


@message("codec.Mixed")
@dataclass(frozen=True)
class Mixed:
    value: int | str | bytes | Add | Order | list[int] | Decimal | ActorRef[Add] | None


@message("codec.Grid")
@dataclass(frozen=True)
class Grid:
    cells: frozenset[tuple[int, int]]
    marks: dict[tuple[int, int], str] = field(default_factory=lambda: dict[tuple[int, int], str]())


@message("codec.Awkward")
@dataclass(frozen=True)
class Awkward:
    cl: int
    attrs: str
    converter: bool
    self_: float
    _: KW_ONLY
    typevar_map: None = None


@message("codec.Point")
@attrs.frozen
class Point:
    x: int
    _hidden: int = 0


@message("codec.Box")
@dataclass(frozen=True)
class Box(Generic[T]):
    item: T


@dataclass(frozen=True)
class Undeclared:
    address: NodeAddress


@message("codec.Moment")
@dataclass(frozen=True)
class Moment:
    at: datetime
    ref: ActorRef[Never] | None = None


@message("codec.Unresolved")
@dataclass(frozen=True)
class Unresolved:
    later: DefinedNowhere  # type: ignore[name-defined]  # noqa: F821  # the point of the test


@message("codec.Unused")
@dataclass(frozen=True)
class Unused:
    pass


@message("codec.Named")
class Named(Enum):
    one = 1


@message("codec.Renamed")
class Renamed(Enum):
    red, green = 1, 2

    @property
    def name(self) -> str:  # type: ignore[override]  # what is tested
        return {"red": "green", "green": "red"}[self._name_]


@message("codec.Abstract")
@dataclass(frozen=True)
class Abstract:
    prices: Mapping[str, Sequence[int]]
    by_number: Mapping[int, str]
    labels: Set[str]
    other: Sequence[int] | str | list[str] | None = None


def body(data: bytes) -> bytes:
    ((_, found),) = FrameDecoder(2**21).feed(data)
    return found


def head(*fields: object) -> bytes:
    packed = msgpack.packb(list(fields))
    return len(packed).to_bytes(2, "big") + packed


def through(codec: Codec, value: object, as_type: object = None) -> object:
    return codec.decode_envelope(body(codec.frame_envelope("/user/x", 5, value, as_type))).message


def raw_of(codec: Codec, value: object, as_type: object = None) -> Any:
    found = body(codec.frame_envelope("/x", 0, value, as_type))
    end, _, _, name, _ = decode_head(found)
    return [name, msgpack.unpackb(found[end:])]


def decode_raw(codec: Codec, name: str, payload: object) -> object:
    return codec.decode_envelope(head("/user/x", 5, name) + msgpack.packb(payload)).message


def test_a_message_is_written_as_a_map_under_its_wire_name(codec: Codec) -> None:
    data = codec.frame_envelope("/user/shop", 5, Add("pen", 2))
    ((kind, found),) = FrameDecoder(4096).feed(data)
    assert kind is FrameKind.ENVELOPE
    assert found == head("/user/shop", 5, "codec.Add") + msgpack.packb({"item": "pen", "quantity": 2})
    assert codec.decode_envelope(found) == Envelope("/user/shop", 5, Add("pen", 2), "codec.Add")


def test_an_envelope_of_an_ask_says_how_long_the_sender_waits(codec: Codec) -> None:
    found = body(codec.frame_envelope("/user/shop", 5, Add("pen", 2), wait=(1.5, 7)))
    payload = msgpack.packb({"item": "pen", "quantity": 2})
    assert found == head("/user/shop", 5, "codec.Add", 1) + struct.pack(">dQ", 1.5, 7) + payload
    assert codec.decode_envelope(found) == Envelope("/user/shop", 5, Add("pen", 2), "codec.Add", (1.5, 7))


def test_an_ask_without_a_time_out_waits_for_ever(codec: Codec) -> None:
    found = body(codec.frame_envelope("/user/shop", 5, Add("pen", 2), wait=(math.inf, 7)))
    assert codec.decode_envelope(found).wait == (math.inf, 7)


@pytest.mark.parametrize("wait", [(-1.0, 7), (math.nan, 7), (1.5, 0)])
def test_an_envelope_with_a_wait_that_makes_no_sense_is_a_decode_error(codec: Codec, wait: tuple[float, int]) -> None:
    payload = msgpack.packb({"item": "pen", "quantity": 2})
    with pytest.raises(DecodeError, match="makes no sense") as caught:
        codec.decode_envelope(head("/user/shop", 5, "codec.Add", 1) + struct.pack(">dQ", *wait) + payload)
    assert (caught.value.path, caught.value.uid, caught.value.name) == ("/user/shop", 5, "codec.Add")


@pytest.mark.parametrize("path", ["/user/shop", "/_ask/"])
def test_a_tail_that_is_cut_off_is_a_decode_error(codec: Codec, path: str) -> None:
    with pytest.raises(DecodeError, match="expected 16 bytes behind the head, got 15"):
        codec.decode_envelope(head(path, 0, "codec.Add", 1) + bytes(15))


@pytest.mark.parametrize("wait", [None, (1.5, 7)])
def test_headers_travel_behind_the_tail(codec: Codec, wait: tuple[float, int] | None) -> None:
    headers = {"trace": b"\1\2", "epoch": b"9"}
    found = body(codec.frame_envelope("/user/shop", 5, Add("pen", 2), wait=wait, headers=headers))
    packed, payload = msgpack.packb(headers), msgpack.packb({"item": "pen", "quantity": 2})
    tail = b"" if wait is None else struct.pack(">dQ", *wait)
    start = head("/user/shop", 5, "codec.Add", 2 if wait is None else 3) + tail
    assert found == start + len(packed).to_bytes(2) + packed + payload
    assert codec.decode_envelope(found) == Envelope("/user/shop", 5, Add("pen", 2), "codec.Add", wait, headers)
    assert count_values(found, 100) == count_values(head("/user/shop", 5, "codec.Add") + payload, 100) == (5, [2])


def test_headers_of_a_reply_travel_behind_its_slot(codec: Codec) -> None:
    write = codec.writer("/_ask/", 0, Add("pen", 2), None, has_tail=True, has_headers=True)
    found = body(write(Add("pen", 2), encode_slot(17, 8) + encode_headers({"trace": b"7"})))
    assert codec.decode_envelope(found) == Envelope("/_ask/17", 8, Add("pen", 2), "codec.Add", None, {"trace": b"7"})


def test_headers_have_a_bound(codec: Codec) -> None:
    largest = {"trace": bytes(256 - len(msgpack.packb({"trace": b""})))}
    found = body(codec.frame_envelope("/x", 0, Add("pen", 2), headers=largest))
    assert codec.decode_envelope(found).headers == largest
    with pytest.raises(EncodeError, match="headers must be 1 to 256 bytes as they are written, got 257"):
        codec.frame_envelope("/x", 0, Add("pen", 2), headers={"trace": bytes(248)})


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (b"", "expected headers of 1 to 256 bytes, got 0"),
        (b"\0\0\x80", "expected headers of 1 to 256 bytes, got 0"),
        (b"\0\5\x81", "expected headers of 1 to 256 bytes, got 5"),
        (b"\1\1" + bytes(300), "expected headers of 1 to 256 bytes, got 257"),
        (b"\0\1\x80", "expected headers as a map that holds some"),
        (b"\0\1\x90", "expected headers as a map that holds some"),
        (b"\0\1\xc1", "headers: not valid msgpack"),
        (b"\0\4\x81\xa1a\7", "expected headers as bytes by their names"),
        (b"\0\5\x81\xc4\1a\7", "expected headers as bytes by their names"),
    ],
)
def test_headers_that_are_none_are_a_decode_error_for_the_actor(codec: Codec, behind: bytes, told: str) -> None:
    with pytest.raises(DecodeError, match=told) as caught:
        codec.decode_envelope(head("/user/shop", 5, "codec.Add", 2) + behind)
    assert (caught.value.path, caught.value.uid, caught.value.name) == ("/user/shop", 5, "codec.Add")


def test_a_reply_names_its_ask_by_number(codec: Codec) -> None:
    write = codec.writer("/_ask/", 0, Add("pen", 2), None, has_tail=True)
    found = body(write(Add("pen", 2), encode_slot(17, 2**64 - 1)))
    assert codec.decode_envelope(found) == Envelope("/_ask/17", 2**64 - 1, Add("pen", 2), "codec.Add")


def test_what_was_made_for_one_class_writes_all_its_messages_as_one_by_one(codec: Codec) -> None:
    write = codec.writer("/user/shop", 5, Add("pen", 2), None)
    for order in (Add("pen", 2), Add("", 0), Add("x" * 70_000, 2**63)):
        assert write(order) == codec.frame_envelope("/user/shop", 5, order)
    with pytest.raises(EncodeError, match=r"codec\.Add\.quantity: expected int, got str"):
        write(Add("pen", "2"))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(EncodeError, match=r"expected codec\.Add, got Order"):
        write(Order(()))


@message("codec.Weighed")
@dataclass(frozen=True)
class Weighed:
    name: str
    weight: int


@message("codec.Asked")
@dataclass(frozen=True)
class Asked:
    name: str

    def __getattribute__(self, attribute: str) -> Any:
        if attribute == "name":
            raise LookupError("nobody has asked yet")
        return super().__getattribute__(attribute)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_message_whose_fields_raise_when_they_are_read_is_no_message(codec: Codec, is_large: bool) -> None:
    """Whoever sends later, such as for others, cannot know what a class of the user raises."""
    weighed = Weighed("pen", 2)
    object.__delattr__(weighed, "weight")
    write = codec.writer("/user/shop", 5, weighed, None)
    if is_large:
        write(Weighed("x" * 70_000, 2))
    with pytest.raises(EncodeError, match=r"^codec\.Weighed: .*no attribute 'weight'$"):
        write(weighed)
    with pytest.raises(EncodeError, match=r"^codec\.Asked: LookupError$") as raised:
        codec.frame_envelope("/user/shop", 5, Asked("pen"))
    assert str(raised.value.__cause__) == "nobody has asked yet"


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"", "expected a head of at most 16384 bytes, got 0 of 0"),
        (b"\0", "got 0 of 1"),
        (b"\0\0\xc0", "got 0 of 3"),
        (b"\xff\xff" + bytes(65_535), "got 65535"),
        (head("/x", 0, "codec.Add")[:-1], "got 15 of 16"),
        (head(), "a head of path, uid and name"),
        (head("/x", 0), "a head of path, uid and name"),
        (head("/x", 0, "codec.Add", True), "1 for a tail, 2 for headers and 4 for an entity"),
        (head("/x", 0, "codec.Add", 0), "1 for a tail, 2 for headers and 4 for an entity"),
        (head("/x", 0, "codec.Add", 8), "1 for a tail, 2 for headers and 4 for an entity"),
        (head("/x", 0, "codec.Add", True, None), "a head of path, uid and name"),
        (b"\0\1\x80", "a head of path, uid and name"),
        (b"\0\1\xc1", "not valid msgpack"),
        (head("/x", 0, "codec.Add")[:1] + b"\x10" + head("/x", 0, "codec.Add")[2:] + b"\0", "not valid msgpack"),
        (head(b"/x", 0, "codec.Add"), "a path, a uid and the name of a message type, got bytes, int, str"),
        (head("/x", True, "codec.Add"), "got str, bool, str"),
        (head("/x", -1, "codec.Add"), "a path, a uid and the name"),
        (head("/x", 0, None), "got str, int, NoneType"),
    ],
)
def test_an_ill_formed_head_is_a_decode_error_for_nobody(codec: Codec, start: bytes, told: str) -> None:
    with pytest.raises(DecodeError, match=told) as caught:
        codec.decode_envelope(start)
    assert not caught.value.path


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgpack.packb({"item": "pen", "quantity": 2}) + b"\0"])
def test_a_payload_that_is_not_one_value_tells_for_whom_it_was(codec: Codec, payload: bytes) -> None:
    with pytest.raises(DecodeError, match="not valid msgpack") as caught:
        codec.decode_envelope(head("/user/shop", 5, "codec.Add") + payload)
    assert (caught.value.path, caught.value.uid, caught.value.name) == ("/user/shop", 5, "codec.Add")


def test_a_path_that_cannot_be_in_a_head_is_an_encode_error(codec: Codec) -> None:
    with pytest.raises(EncodeError, match="make the path shorter"):
        codec.frame_envelope("/" + "\N{GRINNING FACE}" * 4_095, 0, Add("pen", 2))
    with pytest.raises(EncodeError, match="cannot be written"):
        codec.frame_envelope("/\ud800", 0, Add("pen", 2))


def test_a_control_message_has_no_address(codec: Codec) -> None:
    ((kind, found),) = FrameDecoder(4096).feed(codec.frame_control(Add("pen", 2)))
    assert kind is FrameKind.CONTROL
    assert msgpack.unpackb(found) == ["codec.Add", {"item": "pen", "quantity": 2}]
    assert codec.decode_control(found) == Add("pen", 2)


def test_a_notice_comes_back_whole(codec: Codec) -> None:
    notice = Notice("no_actor", "/user/x", 7, "codec.Add", 2**64 - 1)
    ((kind, found),) = FrameDecoder(4096).feed(codec.frame_notice(notice))
    assert kind is FrameKind.NOTICE
    assert codec.decode_notice(found) == notice


@pytest.mark.parametrize(
    "fields",
    [
        ["lost", "/x", 0, "n", 0],
        ["no_actor", 1, 0, "n", 0],
        ["no_actor", "/x", -1, "n", 0],
        ["no_actor", "/x", 0, None, 0],
        ["no_actor", "/x", 0, "n", None],
        ["no_actor", "/x", 0, "n"],
        ["no_actor", "/" * 4_097, 0, "n", 0],
        ["no_actor", "/x", 0, "n" * 1_025, 0],
        [[], "/x", 0, "", 0],
    ],
)
def test_an_ill_typed_notice_is_refused(codec: Codec, fields: list[object]) -> None:
    with pytest.raises(DecodeError):
        codec.decode_notice(msgpack.packb(fields))


def test_a_path_and_a_name_are_as_long_in_a_message_as_in_a_notice_of_it(codec: Codec) -> None:
    path, name = "/" * 4_096, "n" * 1_024
    assert codec.decode_notice(msgpack.packb(["no_actor", path, 0, name, 0])).path == path
    assert decode_head(head(path, 0, name))[1:4] == (path, 0, name)
    for fields in ((path + "/", 0, name), (path, 0, name + "n")):
        with pytest.raises(DecodeError, match="at most 4096 and 1024 characters"):
            decode_head(head(*fields))
    with pytest.raises(EncodeError, match="has 4097 characters, at most 4096"):
        codec.frame_envelope(path + "/", 0, Add("pen", 1))


def test_a_declared_class_is_decoded_without_being_registered(make_codec: Callable[[], Codec]) -> None:
    data = make_codec().frame_control(Order((Add("pen", 1),), color=Color.blue))
    assert make_codec().decode_control(body(data)) == Order((Add("pen", 1),), color=Color.blue)


def test_an_undeclared_class_is_known_only_where_it_is_registered(make_codec: Callable[[], Codec]) -> None:
    value = Undeclared(NodeAddress("h", 1))
    data = make_codec().frame_control(value)
    receiver = make_codec()
    with pytest.raises(UnknownTypeError, match="Undeclared"):
        receiver.decode_control(body(data))
    receiver.register(Undeclared)
    assert receiver.decode_control(body(data)) == value


def test_an_unknown_name_tells_for_whom_the_message_was(codec: Codec) -> None:
    with pytest.raises(UnknownTypeError) as caught:
        decode_raw(codec, "os.system", "rm")
    assert (caught.value.path, caught.value.uid, caught.value.name) == ("/user/x", 5, "os.system")


def test_a_codec_can_name_a_class_itself(codec: Codec) -> None:
    codec.register(Undeclared, name="lib.Undeclared")
    codec.register(Undeclared, name="lib.Undeclared")
    assert raw_of(codec, Undeclared(NodeAddress("h", 1)))[0] == "lib.Undeclared"
    assert codec.name_of(Undeclared) == "lib.Undeclared"
    with pytest.raises(ValueError, match="registered already"):
        codec.register(Undeclared, name="lib.Other")
    with pytest.raises(TypeError, match="only a class"):
        codec.register(Undeclared | int, name="lib.Both")


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"item": "pen", "quantity": "2"}, r"^codec\.Add\.quantity: expected int, got str$"),
        ({"item": "pen", "quantity": True}, r"^codec\.Add\.quantity: expected int, got bool$"),
        ({"item": b"pen", "quantity": 2}, r"^codec\.Add\.item: expected str, got bytes$"),
        ({"item": None, "quantity": 2}, r"^codec\.Add\.item: expected str, got NoneType$"),
        ({"item": "pen"}, r"lacks the field 'quantity'"),
        (
            {"item": "pen", "quantity": 2, "color": 1},
            r"codec.Add has the unknown field 'color': declare the class tolerant=True before a release",
        ),
        (
            {"item": "pen", "quantity": 2, "a\n": 1, "b" * 60: 2, "c": 3},
            r"has the unknown field 'a\\\\n', 'b{37}\.\.\.' and 1 more: declare",
        ),
        ({"item": "pen", "colour": 2}, r"lacks the field 'quantity'"),
        ([], r"^codec\.Add: expected codec\.Add, got list$"),
        (None, r"got NoneType$"),
    ],
)
def test_an_ill_typed_field_is_named_with_its_type(codec: Codec, payload: object, told: str) -> None:
    with pytest.raises(DecodeError, match=told) as caught:
        decode_raw(codec, "codec.Add", payload)
    assert caught.value.name == "codec.Add"


def test_a_fault_deep_inside_is_found(codec: Codec) -> None:
    payload = {"lines": [{"item": "a", "quantity": 1}, {"item": "b", "quantity": 1.0}], "note": None, "color": "red"}
    with pytest.raises(DecodeError, match=r"^codec\.Order\.lines\[1\]\.quantity: expected int, got float$"):
        decode_raw(codec, "codec.Order", payload)
    with pytest.raises(EncodeError, match=r"^codec\.Order\.lines\[1\]\.quantity: expected int, got Level$"):
        through(codec, Order((Add("a", 1), Add("b", Level.low))))


def test_a_strict_class_refuses_missing_fields_even_if_they_have_defaults(codec: Codec) -> None:
    with pytest.raises(DecodeError, match="lacks the field 'note'"):
        decode_raw(codec, "codec.Order", {"lines": [], "color": "red"})


def test_a_tolerant_class_skips_unknown_fields_and_fills_in_defaults(codec: Codec) -> None:
    assert decode_raw(codec, "codec.Settings", {"name": "n", "later": [1]}) == Settings("n")
    assert through(codec, Settings("n", 4, labels=frozenset({"a"}))) == Settings("n", 4, labels=frozenset({"a"}))
    with pytest.raises(DecodeError, match="lacks the field 'name'"):
        decode_raw(codec, "codec.Settings", {"size": 3})
    with pytest.raises(DecodeError, match=r"codec\.Settings\.size: expected int, got str"):
        decode_raw(codec, "codec.Settings", {"name": "n", "size": "3"})


def test_what_a_class_raises_in_its_own_checks_is_a_decode_error(codec: Codec) -> None:
    with pytest.raises(DecodeError, match=r"^codec\.Positive: codec\.Positive refuses the values: ZeroDivisionError$"):
        decode_raw(codec, "codec.Positive", {"value": 0})


@message("codec.Tag")
@dataclass(frozen=True)
class Tag:
    """A label that only known ones have a hash for."""

    name: str

    def __hash__(self) -> int:
        return {"known": 1}[self.name]


@message("codec.Labels")
@dataclass(frozen=True)
class Labels:
    tags: frozenset[Tag] = frozenset()
    numbers: frozenset[Decimal] = frozenset()
    prices: Mapping[Decimal, int] = field(default_factory=dict[Decimal, int])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tags": [{"name": "other"}]}, r"codec\.Labels\.tags: a value has no hash: KeyError"),
        ({"numbers": ["1", "sNaN"]}, r"codec\.Labels\.numbers: a value has no hash: TypeError"),
        ({"numbers": ["sNaN"] * 40}, r"codec\.Labels\.numbers: a value has no hash: TypeError"),
        ({"prices": [["sNaN", 1]]}, r"codec\.Labels\.prices: a key has no hash: TypeError"),
    ],
)
def test_what_has_no_hash_is_refused_in_its_field(codec: Codec, fields: dict[str, object], text: str) -> None:
    codec.register(Labels)
    with pytest.raises(DecodeError, match=f"^{text}$"):
        decode_raw(codec, "codec.Labels", {"tags": [], "numbers": [], "prices": [], **fields})


@message("codec.Known")
@dataclass(frozen=True)
class Known:
    name: str

    def __post_init__(self) -> None:
        {"known": 1}[self.name]


@pytest.mark.parametrize("name", ["x" * 100_000, "two\nlines", "known"])
def test_the_text_of_a_peer_is_not_in_the_error_of_a_check(codec: Codec, name: str) -> None:
    codec.register(Known)
    if name == "known":
        assert decode_raw(codec, "codec.Known", {"name": name}) == Known(name)
        return
    with pytest.raises(DecodeError, match=r"^codec\.Known: codec\.Known refuses the values: KeyError$"):
        decode_raw(codec, "codec.Known", {"name": name})


def test_an_int_for_a_float_is_sent_as_a_float_and_never_read_as_one(codec: Codec) -> None:
    assert raw_of(codec, Priced("pen", 1, 2)) == ["codec.Priced", {"item": "pen", "quantity": 1, "price": 2.0}]
    with pytest.raises(DecodeError, match=r"price: expected float, got int"):
        decode_raw(codec, "codec.Priced", {"item": "pen", "quantity": 1, "price": 2})
    with pytest.raises(EncodeError, match="too large for a float"):
        through(codec, Priced("pen", 1, 10**400))


@dataclass(frozen=True)
class Unnamed(Add):
    pass


@message("codec.SpecialBox")
@dataclass(frozen=True)
class SpecialBox(Box[int]):
    pass


@message("codec.Tagged")
@dataclass(frozen=True)
class Tagged(Add, Generic[T]):
    tag: T


@pytest.mark.parametrize("as_type", [Add, Add | Get, Order | Add | None])
def test_a_declared_subclass_travels_as_a_whole_message_under_its_own_name(make_codec: Any, as_type: object) -> None:
    sender, receiver = make_codec(), make_codec()
    frame = body(sender.frame_envelope("/x", 0, Priced("pen", 1, 2.0), as_type))
    envelope = receiver.decode_envelope(frame)
    assert (envelope.message, envelope.name) == (Priced("pen", 1, 2.0), "codec.Priced")


@pytest.mark.parametrize(
    ("value", "as_type", "told"),
    [
        (Unnamed("pen", 1), Add, r"Add, got Unnamed, a subclass that other nodes .*: name it with @casty\.message"),
        (Add("pen", 1), Priced, "Priced, got Add$"),
        (Tagged("pen", 1, "blue"), Add, "Add, got Tagged$"),
        (SpecialBox(1), Box[int], r"Box\[int\], got SpecialBox$"),
        (True, int, "^expected int, got bool$"),
        (Level.low, int | None, "got Level$"),
    ],
)
def test_what_is_of_no_declared_subclass_is_refused(codec: Codec, value: object, as_type: object, told: str) -> None:
    with pytest.raises(EncodeError, match=told):
        codec.frame_envelope("/x", 0, value, as_type)


def test_a_subclass_in_a_field_is_not_silently_cut_to_its_base(codec: Codec) -> None:
    with pytest.raises(EncodeError, match=r"lines\[0\]: expected codec\.Add, got Priced"):
        through(codec, Order((Priced("pen", 1, 2.0),)))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Add("pen", 2**64), r"codec\.Add\.quantity: an integer beyond 64 bits"),
        (Add("pen", -(2**63) - 1), "beyond 64 bits"),
        (Add("\ud800", 1), r"codec\.Add\.item: text with a lone surrogate"),
        (Moment(datetime(2026, 1, 1)), r"codec\.Moment\.at: a naive datetime"),
        (Moment(datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=1)))), "whole seconds"),
        ([1, 2], "a bare list needs a typed reference"),
    ],
)
def test_what_cannot_be_written_fails_at_the_sender(codec: Codec, value: object, told: str) -> None:
    with pytest.raises(EncodeError, match=told):
        codec.frame_envelope("/x", 0, value)
    assert through(codec, Add("pen", 2**64 - 1)) == Add("pen", 2**64 - 1)


def test_a_class_that_cannot_travel_is_a_type_error_at_the_sender(codec: Codec) -> None:
    with pytest.raises(UnsupportedTypeError, match="object cannot travel"):
        codec.frame_envelope("/x", 0, object())
    with pytest.raises(UnsupportedTypeError, match="Box"):
        codec.frame_envelope("/x", 0, Box(1))


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "s", b"b", Decimal("1.10"), UUID(int=5)])
def test_a_bare_builtin_value_has_a_name_of_its_own(codec: Codec, value: object) -> None:
    back = through(codec, value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("as_type", "value", "name"),
    [
        (dict[str, int], {"a": 1}, "dict[str,int]"),
        (dict[int, str], {1: "a"}, "dict[int,str]"),
        (tuple[Add, ...], (Add("a", 1),), "tuple[codec.Add,...]"),
        (NodeAddress | None, None, "none"),
        (NodeAddress | None, NodeAddress("h", 1), "casty.NodeAddress"),
        (list[Add | None], [None, Add("a", 1)], "list[codec.Add|none]"),
        (Literal["yes", "no"], "no", 'literal["no","yes"]'),
        (Literal[Color.red], Color.red, "literal[tests.unit.wire.test_codec:Color.red]"),
        (Color, Color.blue, "tests.unit.wire.test_codec:Color"),
        (float, 1, "float"),
        (int | str, "s", "str"),
        (Box[int], Box(3), "codec.Box[int]"),
        (Box[str] | Add, Box("s"), "codec.Box[str]"),
        (Never, 3, "int"),
    ],
)
def test_a_reply_of_any_type_is_named_by_the_type_of_its_ref(
    make_codec: Callable[[], Codec], as_type: Any, value: object, name: str
) -> None:
    sender, receiver = make_codec(), make_codec()
    receiver.register(Box[str])
    receiver.register(as_type if as_type is not Never else int)
    data = sender.frame_envelope("/r", 1, value, as_type)
    assert decode_head(body(data))[3] == name
    assert receiver.decode_envelope(body(data)).message == value


def test_sending_a_ref_makes_its_replies_known_at_both_ends(
    make_codec: Callable[[], Codec], make_ref: Callable[..., Any]
) -> None:
    asker, answerer = make_codec(), make_codec()
    asked: Any = answerer.decode_envelope(
        body(asker.frame_envelope("/s", 1, Get("k", make_ref(ActorAddress("shop", "/reply", "h", 1, 2, 3)))))
    ).message
    as_type = asked.reply_to.message_type
    for reply in ({"a": 1}, Add("a", 1), 2.5, None):
        data = answerer.frame_envelope("/reply", 3, reply, as_type)
        assert asker.decode_envelope(body(data)).message == reply
    assert type(asker.decode_envelope(body(answerer.frame_envelope("/reply", 3, 2, as_type))).message) is float


def test_an_abstract_container_takes_what_python_calls_one_and_comes_back_as_the_builtin(codec: Codec) -> None:
    given = Abstract(MappingProxyType({"a": [1, 2]}), MappingProxyType({3: "c"}), {"x"}, (4,))
    assert through(codec, given) == Abstract({"a": (1, 2)}, {3: "c"}, frozenset({"x"}), (4,))
    assert through(codec, Abstract({"a": (1,)}, {}, frozenset())) == Abstract({"a": (1,)}, {}, frozenset())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Abstract({"a": "text"}, {}, {"x"}), r"Abstract.prices[value]: expected Sequence[int], got str"),
        (Abstract({"a": [1, "2"]}, {}, {"x"}), r"Abstract.prices[value][1]: expected int, got str"),
        (Abstract([("a", (1,))], {}, {"x"}), r"Abstract.prices: expected Mapping[str, Sequence[int]], got list"),  # type: ignore[arg-type]  # wrong on purpose
        (Abstract({}, {}, {1: "x"}), r"Abstract.labels: expected Set[str], got dict"),  # type: ignore[arg-type]  # as above
    ],
)
def test_what_is_no_such_container_is_named_at_the_sender(codec: Codec, value: Abstract, told: str) -> None:
    with pytest.raises(EncodeError, match=re.escape(told)):
        codec.frame_envelope("/x", 0, value)


def test_an_ill_typed_abstract_container_is_named_at_the_receiver(codec: Codec) -> None:
    payload = {"prices": {"a": [1, "2"]}, "by_number": [], "labels": [], "other": None}
    with pytest.raises(DecodeError, match=r"Abstract\.prices\[value\]\[1\]: expected int, got str"):
        decode_raw(codec, "codec.Abstract", payload)


@pytest.mark.parametrize("first", [dict[str, int], Mapping[str, int]])
def test_a_reply_of_an_abstract_type_shares_its_name_with_the_builtin(codec: Codec, first: Any) -> None:
    codec.register(first)
    for as_type, value in (
        (dict[str, int], {"a": 1}),
        (Mapping[str, int], {"a": 1}),
        (Mapping[str, int], MappingProxyType({"a": 1})),
    ):
        data = codec.frame_envelope("/r", 1, value, as_type)
        assert decode_head(body(data))[3] == "dict[str,int]"
        assert codec.decode_envelope(body(data)).message == {"a": 1}


def test_in_a_union_a_class_of_its_own_comes_before_an_abstract_one(codec: Codec) -> None:
    variants = Sequence[int] | list[str]
    for value, back in (([], []), ((1,), (1,)), (["a"], ["a"])):
        assert through(codec, value, variants) == back
        assert through(codec, Abstract({}, {}, frozenset(), value)) == Abstract({}, {}, frozenset(), back)  # type: ignore[arg-type]  # list of either


def test_a_list_goes_as_the_abstract_variant_of_a_union_that_has_no_other(codec: Codec) -> None:
    assert through(codec, [1, 2], Sequence[int] | str) == (1, 2)
    assert through(codec, {"a"}, Set[str] | int) == frozenset({"a"})


def test_the_state_of_the_cluster_travels(codec: Codec) -> None:
    state = project_state(gossip_of(member("a", up_number=1)), Registry(), frozenset())
    assert through(codec, state) == state
    assert through(codec, state.version, VectorClock[int]) == state.version
    assert decode_head(body(codec.frame_envelope("/x", 0, state)))[3] == "casty.ClusterState"


def test_a_reply_outside_of_the_refs_type_is_refused(codec: Codec) -> None:
    with pytest.raises(EncodeError, match=r"expected int \| None, got str"):
        codec.frame_envelope("/r", 1, "s", int | None)


def test_a_ref_travels_as_its_address(codec: Codec, make_ref: Callable[..., Any]) -> None:
    ref = make_ref(ActorAddress("shop", "/user/cart", "10.0.0.1", 2551, 7, 3))
    value = Get("k", ref)
    assert raw_of(codec, value)[1]["reply_to"] == ["shop", "/user/cart", "10.0.0.1", 2551, 7, 3]
    assert through(codec, value) == value


@pytest.mark.parametrize(
    "raw",
    [
        None,
        ["shop", "/x", "h", 1, 0],
        ["shop", "x", "h", 1, 0, 0],
        ["shop", "/x", "h", 0, 0, 0],
        ["shop", "/x", "h", None, 0, 0],
        ["shop", "/x", None, 1, 0, 0],
        ["shop", "/x", "h", 1, -1, 0],
        ["shop", "/x", "h", 1, 0, True],
        [1, "/x", "h", 1, 0, 0],
    ],
)
def test_an_ill_formed_address_is_refused(codec: Codec, raw: object) -> None:
    with pytest.raises(DecodeError, match=r"codec\.Get\.reply_to: "):
        decode_raw(codec, "codec.Get", {"key": "k", "reply_to": raw})


def test_every_variant_of_a_union_comes_back_as_what_it_was(codec: Codec, make_ref: Callable[..., Any]) -> None:
    ref = make_ref(ActorAddress("shop", "/x", "h", 1, 0, 0))
    for value in (1, "s", b"s", Add("a", 1), Order(()), [1, 2], Decimal("1"), ref, None):
        assert through(codec, Mixed(value)) == Mixed(value)
    assert raw_of(codec, Mixed([1]))[1] == {"value": ["list", [1]]}
    assert raw_of(codec, Mixed(Add("a", 1)))[1] == {"value": ["codec.Add", {"item": "a", "quantity": 1}]}
    assert raw_of(codec, Mixed("s"))[1] == {"value": "s"}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (1.5, "expected int | str"),
        (["codec.Tree", {"children": []}], "no variant"),
        (["list", [1], 2], "no variant"),
        ([[], 1], "no variant"),
        (["list", [1, "2"]], r"codec\.Mixed\.value\[1\]: expected int, got str"),
        (["codec.Add", {"item": "a", "quantity": None}], r"codec\.Mixed\.value\.quantity: expected int"),
        (["decimal", "1_0"], "no Decimal, or not in its one form"),
        (["decimal", "ten"], "no Decimal, or not in its one form"),
    ],
)
def test_an_ill_typed_variant_is_refused(codec: Codec, raw: object, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        decode_raw(codec, "codec.Mixed", {"value": raw})


def test_a_value_outside_of_a_union_is_refused_at_the_sender(codec: Codec) -> None:
    value: Any = 1.5
    with pytest.raises(EncodeError, match=r"codec\.Mixed\.value: expected .*, got float"):
        through(codec, Mixed(value))


def test_field_names_that_the_generator_uses_itself_do_no_harm(codec: Codec) -> None:
    value = Awkward(1, "a", True, 2.0)
    assert through(codec, value) == value


def test_attrs_classes_travel_by_field_name(codec: Codec) -> None:
    assert raw_of(codec, Point(1, 2)) == ["codec.Point", {"x": 1, "_hidden": 2}]
    assert through(codec, Point(1, 2)) == Point(1, 2)


def test_moments_keep_every_microsecond_and_their_offset(codec: Codec) -> None:
    for at in (
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(seconds=-17))),
    ):
        back: Any = through(codec, Moment(at))
        assert back.at == at
        assert back.at.utcoffset() == at.utcoffset()
    for raw in ([0, 86400], [2**63, 0], [0.0, 0], 0, [0, -86400]):
        with pytest.raises(DecodeError, match=r"codec\.Moment\.at"):
            decode_raw(codec, "codec.Moment", {"at": raw, "ref": None})


def test_an_honest_grid_with_negative_numbers_is_no_attack(codec: Codec) -> None:
    cells = frozenset((x, y) for x in range(-40, 40) for y in range(-40, 40))
    assert through(codec, Grid(cells)) == Grid(cells)


def test_keys_chosen_to_collide_are_refused(codec: Codec) -> None:
    # hash(n) is n modulo 2**61 - 1, so these are few hashes for many different numbers.
    modulus = 2**61 - 1
    same = [[base + k * modulus, base + j * modulus] for base in (3,) for k in range(7) for j in range(7)]
    with pytest.raises(DecodeError, match="too many values with one hash"):
        decode_raw(codec, "codec.Grid", {"cells": same, "marks": []})
    with pytest.raises(DecodeError, match="too many keys with one hash"):
        decode_raw(codec, "codec.Grid", {"cells": [], "marks": [[key, ""] for key in same]})


def test_of_a_key_that_a_map_has_twice_the_last_value_counts(codec: Codec) -> None:
    pairs = [("item", "a"), ("quantity", 1), ("item", "b")]
    packed = msgpack.packb("codec.Add") + msgpack.Packer().pack_map_header(3)
    packed += b"".join(msgpack.packb(key) + msgpack.packb(value) for key, value in pairs)
    assert codec.decode_control(b"\x92" + packed) == Add("b", 1)


def test_a_repeated_value_in_a_set_or_key_in_a_dict_is_refused(codec: Codec) -> None:
    with pytest.raises(DecodeError, match="repeated in a set"):
        decode_raw(codec, "codec.Grid", {"cells": [[1, 1], [1, 1]], "marks": []})
    with pytest.raises(DecodeError, match="a key is repeated"):
        decode_raw(codec, "codec.Grid", {"cells": [], "marks": [[[1, 1], ""], [[1, 1], ""]]})
    with pytest.raises(DecodeError, match="expected pairs"):
        decode_raw(codec, "codec.Grid", {"cells": [], "marks": [[[1, 1]]]})


def nested(depth: int) -> Tree:
    tree = Tree([])
    for _ in range(depth):
        tree = Tree([tree])
    return tree


def test_nesting_is_bounded_at_both_ends(codec: Codec) -> None:
    assert through(codec, nested(15)) == nested(15)
    with pytest.raises(EncodeError, match="nested deeper than 32"):
        through(codec, nested(16))
    raw: Any = {"children": []}
    for _ in range(200):
        raw = {"children": [raw]}
    with pytest.raises(DecodeError, match="nested deeper than 32"):
        decode_raw(codec, "codec.Tree", raw)


def test_a_value_that_contains_itself_is_an_encode_error(codec: Codec) -> None:
    children: list[Tree] = []
    children.append(Tree(children))
    with pytest.raises(EncodeError, match=r"codec\.Tree"):
        through(codec, Tree(children))


def test_a_message_with_too_many_values_is_refused_at_both_ends(codec: Codec) -> None:
    with pytest.raises(
        EncodeError, match=r"more than 65536 values \(elements_max\): send it in parts, or raise that limit"
    ):
        through(codec, [0] * 70_000, list[int])
    with pytest.raises(DecodeError, match="more than 65536 values"):
        codec.decode_control(msgpack.packb(["codec.Add", [{}] * 70_000]))


def test_a_frame_over_the_limit_is_refused_at_the_sender(codec: Codec) -> None:
    large = Add("x" * 16_000_000, 1)
    assert codec.decode_envelope(codec.frame_envelope("/sink", 0, large)[5:]).message == large
    with pytest.raises(EncodeError, match=r"codec\.Add: .* of 16777216 \(message_bytes_max\): send it in parts, or"):
        through(codec, Add("x" * 16_800_000, 1))
    with pytest.raises(EncodeError, match=r"codec\.Add: .* of 1052672 \(frame_bytes_max\): send it in parts$"):
        codec.frame_control(Add("x" * 1_060_000, 1))


def test_a_frame_is_the_same_whatever_the_size_of_the_one_before(make_codec: Callable[..., Codec]) -> None:
    codec = make_codec()
    for size in [10, 70_000, 70_001, 10, 3_000_000, 3_000_001, 70_000, 70_001, 3_000_000, 10, 11]:
        message, tail = Add("x" * size, 1), (2.5, 7)
        assert codec.frame_envelope("/sink", 1, message) == make_codec().frame_envelope("/sink", 1, message)
        assert codec.frame_envelope("/sink", 1, message, None, tail) == make_codec().frame_envelope(
            "/sink", 1, message, None, tail
        )
        if size < 1_000_000:
            assert codec.frame_control(message) == make_codec().frame_control(message)


def test_a_large_message_that_is_refused_leaves_nothing_for_the_next(make_codec: Callable[..., Codec]) -> None:
    codec, large = make_codec(limits=TransportLimits(message_bytes_max=100_000)), Add("x" * 70_000, 1)
    ill_typed: Any = "many"
    expected = codec.frame_envelope("/sink", 0, large)
    for refused, match in [
        (Add("x" * 100_000, 1), "over the limit of 100000"),
        (Add("x" * 70_000, 2**70), r"codec\.Add"),
        (Add("x" * 70_000, ill_typed), r"codec\.Add\.quantity: expected int, got str"),
        (Add("\ud800" * 70_000, 1), r"codec\.Add"),
    ]:
        with pytest.raises(EncodeError, match=match):
            codec.frame_envelope("/sink", 0, refused)
        assert codec.frame_envelope("/sink", 0, large) == expected
        assert codec.frame_envelope("/sink", 0, large) == expected


def test_small_limits_hold_for_small_messages_too(make_codec: Callable[..., Codec]) -> None:
    codec = make_codec(limits=TransportLimits(elements_max=10, nesting_max=2, message_bytes_max=30))
    with pytest.raises(EncodeError, match="over the limit of 30"):
        through(codec, Add("x" * 40, 1))
    with pytest.raises(DecodeError, match="more than 10 values"):
        codec.decode_control(msgpack.packb(["n", [1] * 10]))


def nested_list(levels: int) -> Any:
    return list[nested_list(levels - 1)] if levels else int


def test_a_type_deeper_than_the_limit_is_refused_before_a_message_is_large(make_codec: Callable[..., Codec]) -> None:
    codec = make_codec(limits=TransportLimits(nesting_max=6))
    codec.register(nested_list(6))
    with pytest.raises(UnsupportedTypeError, match=r"has 7 containers inside one another, over the limit of 6"):
        codec.register(nested_list(7))
    with pytest.raises(UnsupportedTypeError, match="has 7 containers"):
        codec.register(dict[str, nested_list(6)])
    value: list[Any] = []
    for _ in range(5):
        value = [value]
    assert codec.decode_envelope(codec.frame_envelope("/x", 1, value, nested_list(6))[HEADER_BYTES:]).message == value


@dataclass(frozen=True)
class DeepReply:
    values: nested_list(6)  # type: ignore[valid-type]  # made by a function


@dataclass(frozen=True)
class AskDeep:
    reply_to: ActorRef[DeepReply]


@dataclass(frozen=True)
class AsksDeep:
    asks: tuple[AskDeep, ...]


@pytest.mark.parametrize("first", [DeepReply, AskDeep, AskDeep | int, AsksDeep])
def test_what_is_refused_for_its_depth_is_refused_again_and_nothing_else_is(
    make_codec: Callable[..., Codec], first: type
) -> None:
    codec = make_codec(limits=TransportLimits(nesting_max=6))
    for again in (first, first, AskDeep, AsksDeep):
        with pytest.raises(UnsupportedTypeError, match=r"DeepReply has 7 containers inside one another"):
            codec.register(again)
        codec.register(list[int])


@pytest.mark.parametrize("levels", [1_000, 65_000])
def test_a_small_body_of_arrays_in_one_another_is_refused(codec: Codec, levels: int) -> None:
    packed = head("/user/x", 5, "codec.Add") + b"\x91" * levels + b"\xc0"
    assert len(packed) < TransportLimits().elements_max
    with pytest.raises(DecodeError, match=r"^codec\.Add: expected codec\.Add, got list$|^not valid msgpack"):
        codec.decode_envelope(packed)


def test_a_declared_class_that_cannot_be_resolved_is_a_decode_error(codec: Codec) -> None:
    with pytest.raises(DecodeError, match=r"codec\.Unresolved cannot be used on this node: .*DefinedNowhere"):
        decode_raw(codec, "codec.Unresolved", {})


def test_a_declared_name_is_unknown_where_the_class_was_given_another(codec: Codec) -> None:
    codec.register(Unused, name="lib.Unused")
    with pytest.raises(UnknownTypeError):
        decode_raw(codec, "codec.Unused", {})
    assert decode_raw(codec, "lib.Unused", {}) == Unused()


def test_two_classes_of_one_name_are_refused_and_a_reloaded_one_replaces_itself(codec: Codec) -> None:
    def define(qualified: str) -> Any:
        cls: Any = dataclass(frozen=True)(type("Later", (), {"__annotations__": {"x": int}}))
        cls.__module__, cls.__qualname__ = "shop", qualified
        return cls

    first, second = define("Later"), define("Later")
    assert decode_raw(codec, raw_of(codec, first(1))[0], {"x": 1}) == first(1)
    assert decode_raw(codec, raw_of(codec, second(1))[0], {"x": 1}) == second(1)
    with pytest.raises(ValueError, match="registered already"):
        codec.register(define("Other"), name="lib.Same")
        codec.register(define("Later"), name="lib.Same")


def test_an_enum_can_be_declared_and_sent_alone(codec: Codec) -> None:
    assert raw_of(codec, Named.one) == ["codec.Named", "one"]
    assert decode_raw(codec, "codec.Named", "one") is Named.one
    with pytest.raises(DecodeError, match=r"codec\.Named: no member of codec\.Named has this name"):
        decode_raw(codec, "codec.Named", "two")


def test_members_of_an_enum_travel_by_their_own_names_whatever_the_class_calls_them(codec: Codec) -> None:
    assert raw_of(codec, Renamed.red) == ["codec.Renamed", "red"]
    assert decode_raw(codec, "codec.Renamed", "red") is Renamed.red


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65_535])
def test_the_name_of_a_control_message_is_read_as_msgpack_writes_it(size: int) -> None:
    packed = msgpack.packb(["n" * size, 1])
    end, name = control_head(packed)
    assert (name, packed[end:]) == ("n" * size, b"\x01")
    for short in range(len(packed) if size < 40 else 4):
        with pytest.raises(DecodeError):
            control_head(packed[:short])


NO_HEADS = (["n" * 65_536, 1], [1, 2], [None, 2], [b"n", 2], ["n"], ["n", 1, 2], {"n": 1}, "n", 7)


@pytest.mark.parametrize("value", NO_HEADS)
def test_what_is_no_head_of_a_control_message_is_refused(value: object) -> None:
    with pytest.raises(DecodeError, match="expected"):
        control_head(msgpack.packb(value))


def test_a_name_of_endless_length_is_no_part_of_the_error(codec: Codec) -> None:
    with pytest.raises(UnknownTypeError) as unknown:
        codec.decode_control(msgpack.packb(["n" * 16_000, None]))
    with pytest.raises(DecodeError) as refused:
        decode_raw(codec, "n" * 16_000, None)
    assert refused.value.name == ""
    for caught in (unknown, refused):
        assert len(str(caught.value)) < 250


MODERN = """
type Json = dict[str, Json] | list[Json] | str | int | float | bool | None
type Chain = tuple[int, Chain] | None
type Tree[T] = dict[str, Tree[T]] | T
type Pair[A, B] = tuple[A, Pair[B, A]] | None
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_recursive_aliases_travel_and_are_bounded(make_codec: Callable[[], Codec]) -> None:
    space: dict[str, Any] = {"__name__": "modern"}
    exec(compile(MODERN, "modern", "exec", dont_inherit=True), space)
    sender, receiver = make_codec(), make_codec()
    cases: list[tuple[Any, Any]] = [
        (space["Json"], {"a": [1, None, {"b": 2.5}], "c": "x"}),
        (space["Chain"], (1, (2, None))),
        (space["Tree"][int], {"a": {"b": 3}}),
        (space["Tree"][space["Chain"]], {"a": {"b": (1, None)}}),
        (space["Pair"][int, str], (1, ("x", (2, None)))),
    ]
    for alias, value in cases:
        receiver.register(alias)
        data = sender.frame_envelope("/x", 0, value, alias)
        assert receiver.decode_envelope(body(data)).message == value
    deep: Any = None
    for number in range(40):
        deep = (number, deep)
    with pytest.raises(EncodeError, match="nested deeper"):
        sender.frame_envelope("/x", 0, deep, space["Chain"])
    with pytest.raises(EncodeError, match=r"\[value\]\[1\]: expected .*, got complex"):
        sender.frame_envelope("/x", 0, {"a": [1, 1j]}, space["Json"])


@message("codec.Knot")
@dataclass(frozen=True)
class Knot:
    """Contains itself in several ways, each with other containers between one and the next."""

    bare: Knot | None = None
    union: Knot | Tree | None = None
    listed: tuple[Knot, ...] = ()
    keyed: dict[int, dict[str, Knot]] = field(default_factory=dict)
    rows: list[list[int]] = field(default_factory=list)


@pytest.mark.parametrize("way", ["bare", "union", "listed", "keyed"])
@pytest.mark.parametrize("rows", [[], [[1]]])
def test_a_type_that_contains_itself_is_refused_just_where_its_containers_are_too_deep(
    codec: Codec, way: str, rows: list[list[int]]
) -> None:
    value, raw = Knot(rows=rows), {"bare": None, "union": None, "listed": [], "keyed": [], "rows": rows}
    around: dict[str, Any] = {
        "bare": lambda x: x,
        "union": lambda x: x if isinstance(x, Knot) else ["codec.Knot", x],
        "listed": lambda x: (x,) if isinstance(x, Knot) else [x],
        "keyed": lambda x: {1: {"a": x}} if isinstance(x, Knot) else [[1, {"a": x}]],
    }
    empty = dict(raw, rows=[])
    head = encode_head("/x", 1, "codec.Knot", has_tail=False, has_headers=False, pack=msgpack.packb)
    refused = 0
    for _ in range(36):
        value, raw = Knot(**{way: around[way](value)}), empty | {way: around[way](raw)}
        body = head + msgpack.packb(raw)
        if is_deeper_than(raw, 32):
            refused += 1
            with pytest.raises(EncodeError, match="nested deeper than 32"):
                codec.frame_envelope("/x", 1, value)
            with pytest.raises(DecodeError, match="nested deeper than 32"):
                codec.decode_envelope(body)
        else:
            assert codec.frame_envelope("/x", 1, value)[5:] == body
            assert codec.decode_envelope(body).message == value
    assert 0 < refused < 36


def test_a_type_that_contains_itself_is_known_after_another_one_was_refused(codec: Codec) -> None:
    loose = dataclass(frozen=True)(type("Loose", (), {"__module__": "__main__", "__annotations__": {"x": int}}))
    with pytest.raises(UnsupportedTypeError, match=r"@casty\.message"):
        codec.register(tuple[Knot | None, loose])
    assert codec.frame_envelope("/x", 1, Knot(), Knot | None)


@pytest.mark.parametrize("count", [0, 4_000, 20_000])
def test_a_fault_is_found_wherever_it_is(codec: Codec, count: int) -> None:
    for form, wrapped in ((list[int], 0), (list[int | str], 0), (list[tuple[int, str]], [0, "a"])):
        codec.register(form)
        (name,) = codec.names_of(form)
        with pytest.raises(DecodeError, match=rf"^{re.escape(name)}\[{count}\]: expected .*, got float$"):
            decode_raw(codec, name, [wrapped] * count + [1.5])


@pytest.mark.parametrize("value", [2**64, "\ud800"], ids=["number", "text"])
def test_what_msgpack_refuses_is_found_wherever_it_is(codec: Codec, value: object) -> None:
    with pytest.raises(EncodeError, match=r"\.a\[1\]\[0\]: (an integer beyond|text with a lone)"):
        codec.frame_envelope("/x", 0, {"a": [[], [value]]}, dict[str, list[list[int | str]]])
    with pytest.raises(EncodeError, match=r"\.a\[1\]: (an integer beyond|text with a lone)"):
        codec.frame_envelope("/x", 0, {"a": [type(value)(), value]}, dict[str, list[type(value)]])  # type: ignore[misc]  # a type made at run time


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xc1",
        b"\x92",
        b"\x92\xa1n\xc0\x00",
        b"\x92\xa1n\x81\x90\x01",
        b"\x92\xa2\xff\xff\xc0",
        b"\x91" * 2000 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xc7\x0c\xff" + b"\xff" * 12,
    ],
)
def test_junk_is_a_protocol_error_and_nothing_else(codec: Codec, junk: bytes) -> None:
    for decode in (codec.decode_control, codec.decode_envelope, codec.decode_notice):
        with pytest.raises(ProtocolError):
            decode(junk)


def test_registering_fails_whole_and_can_be_repeated(codec: Codec) -> None:
    loose = dataclass(frozen=True)(type("Loose", (), {"__module__": "__main__", "__annotations__": {"x": int}}))
    for _ in range(2):
        with pytest.raises(UnsupportedTypeError, match=r"@casty\.message"):
            codec.register(loose)
        with pytest.raises(UnsupportedTypeError, match=r"@casty\.message"):
            codec.register(tuple[loose, ...])
    assert "Codec types=" in repr(codec)


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (("shop", "/a", "h" * 256, 2551, 1, 1), "node"),
        (("s" * 257, "/a", "h", 2551, 1, 1), "address"),
        (("shop", "/" + "a" * 4_096, "h", 2551, 1, 1), "address"),
        (("shop", "/a", "h", 2551, 2**64, 1), "run"),
        (("shop", "/a", "h", 2551, 1, -1), "run"),
    ],
)
def test_the_parts_of_a_ref_have_bounds(place: tuple[object, ...], what: str) -> None:
    with pytest.raises(TypeMismatch, match=f"ill-formed {what} of an actor"):
        ref_hooks("ActorRef", int, lambda ref, form: place, lambda place, form: place).decode(list(place))
