"""Laws of the codec: what goes in comes out, and any bytes either parse or are a ProtocolError."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, Literal
from uuid import UUID

import msgpack
import pytest
from helpers.messages import Suit
from helpers.refs import AddressRef
from hypothesis import given
from hypothesis import strategies as st

from casty.address import ActorAddress, NodeAddress, UniqueAddress, is_name
from casty.errors import DecodeError, FrameError, ProtocolError
from casty.schema.names import message
from casty.wire.codec.codec import Codec
from casty.wire.envelope import (
    control_head,
    encode_entity,
    encode_head,
    encode_headers,
    encode_slot,
    encode_wait,
)
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from casty.wire.handshake import (
    PROOF_BYTES,
    PROTOCOL_MAX,
    Hello,
    HelloAck,
    Refused,
    decode_hello,
    decode_hello_ack,
    decode_refused,
    encode_hello,
    encode_hello_ack,
    encode_refused,
)
from casty.wire.limits import is_deeper_than, scan


@dataclass(frozen=True)
class Leaf:
    value: int


@message("law.Branch")
@dataclass(frozen=True)
class Branch:
    left: Branch | Leaf
    right: Branch | Leaf | None


@message("law.Sample")
@dataclass(frozen=True)
class Sample:
    flag: bool
    number: int
    ratio: float
    text: str
    data: bytes
    leaf: Leaf
    items: list[int]
    pairs: dict[str, int]
    choice: Literal["a", "b"]
    suit: Suit
    key: UUID


INTS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
TEXTS = st.text(max_size=20)


def new_codec() -> Codec:
    return Codec(
        export_ref=lambda ref, form: ref.address.place,
        import_ref=lambda place, form: AddressRef(ActorAddress(*place), form),
    )


def through(value: object, as_type: object) -> object:
    sender, receiver = new_codec(), new_codec()
    receiver.register(as_type)
    ((kind, body),) = FrameDecoder(2**21).feed(sender.frame_envelope("/x", 1, value, as_type))
    assert kind is FrameKind.ENVELOPE
    return receiver.decode_envelope(body).message


BRANCHES = st.recursive(
    st.builds(Leaf, INTS), lambda inner: st.builds(Branch, inner, inner | st.none()), max_leaves=8
).filter(lambda value: isinstance(value, Branch))


@given(BRANCHES)
def test_recursive_messages_come_back(value: Branch) -> None:
    assert through(value, Branch) == value


def test_not_a_number_comes_back() -> None:
    back: Any = through(math.nan, float)
    assert math.isnan(back)


SAMPLES = st.builds(
    Sample,
    st.booleans(),
    INTS,
    FLOATS,
    TEXTS,
    st.binary(max_size=9),
    st.builds(Leaf, INTS),
    st.lists(INTS, min_size=1, max_size=3),
    st.dictionaries(TEXTS, INTS, min_size=1, max_size=3),
    st.sampled_from(["a", "b"]),
    st.sampled_from(Suit),
    st.uuids(),
)
KINDS: list[Any] = [None, True, 7, 1.5, "seven", b"seven", [1.5, "s"], {"z": None}, 2**64 - 1]
FITTING: dict[str, tuple[type, ...]] = {
    "flag": (bool,),
    "number": (int,),
    "ratio": (float,),
    "text": (str,),
    "data": (bytes,),
}


@given(SAMPLES, st.sampled_from([f.name for f in fields(Sample)]), st.sampled_from(KINDS))
def test_a_field_of_another_kind_is_refused_by_type_and_field(sample: Sample, name: str, other: Any) -> None:
    codec = new_codec()
    parts = msgpack.unpackb(codec.frame_control(sample)[5:])
    parts[1][name] = other
    if type(other) in FITTING.get(name, ()):
        codec.decode_control(msgpack.packb(parts))
        return
    with pytest.raises(DecodeError) as caught:
        codec.decode_control(msgpack.packb(parts))
    assert str(caught.value).startswith(f"law.Sample.{name}")


@given(SAMPLES, st.sampled_from([f.name for f in fields(Sample)]))
def test_a_field_that_is_left_out_or_added_is_refused(sample: Sample, name: str) -> None:
    codec = new_codec()
    parts = msgpack.unpackb(codec.frame_control(sample)[5:])
    value = parts[1].pop(name)
    for payload in (parts[1], parts[1] | {name + "x": value}, parts[1] | {name: value, "extra": 1}):
        with pytest.raises(DecodeError, match=r"law\.Sample"):
            codec.decode_control(msgpack.packb(["law.Sample", payload]))


def shared_codec() -> Codec:
    codec = new_codec()
    for type_form in (Sample, Branch, dict[str, int], frozenset[tuple[int, int]], Leaf | None):
        codec.register(type_form)
    return codec


CODEC = shared_codec()
PLAIN = st.recursive(
    st.none() | st.booleans() | INTS | st.floats() | TEXTS | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.binary(max_size=4), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["law.Sample", "law.Branch", "dict[str,int]", "frozenset[tuple[int,int]]", "none", "datetime", "x"]
)
HEADERS = st.dictionaries(TEXTS, st.binary(max_size=9), min_size=1, max_size=3)
TAILS = st.builds(encode_wait, st.floats(), st.integers(0, 2**64 - 1))
ENTITIES = st.builds(encode_entity, st.integers(0, 2**64 - 1), st.text(min_size=1, max_size=9).filter(str.isprintable))
HEADS = st.builds(
    lambda path, uid, name, has_tail, has_headers: encode_head(
        path, uid, name, has_tail=has_tail, has_headers=has_headers, pack=msgpack.packb
    ),
    TEXTS | st.just("/_ask/") | st.just("/_entity/carts"),
    st.integers(-1, 9),
    NAMES,
    st.booleans(),
    st.booleans(),
)
BODIES = (
    st.binary(max_size=60)
    | PLAIN.map(msgpack.packb)
    | st.tuples(NAMES, PLAIN).map(msgpack.packb)
    | st.builds(
        lambda *parts: b"".join(parts),
        HEADS,
        st.sampled_from([b"", bytes(16)]) | TAILS,
        st.sampled_from([b"", bytes(8) + b"\0\2\xc3"]) | ENTITIES,
        st.sampled_from([b"", b"\0\1\x80"]) | HEADERS.map(encode_headers),
        PLAIN.map(msgpack.packb),
    )
)
DECODERS: list[Callable[[bytes], object]] = [
    CODEC.decode_control,
    control_head,
    CODEC.decode_envelope,
    CODEC.decode_notice,
    decode_hello,
    decode_hello_ack,
    decode_refused,
]


def parses(decode: Callable[[bytes], object], body: bytes) -> bool:
    try:
        decode(body)
    except ProtocolError:
        return False
    return True


@given(BODIES)
def test_any_body_parses_or_is_a_protocol_error(body: bytes) -> None:
    for decode in DECODERS:
        parses(decode, body)


@given(st.data())
def test_a_damaged_message_parses_or_is_a_protocol_error(data: st.DataObject) -> None:
    wait = data.draw(st.none() | st.tuples(st.floats(0), st.integers(1, 2**64 - 1)))
    body = bytearray(CODEC.frame_envelope("/user/x", 3, data.draw(SAMPLES | BRANCHES), wait=wait)[5:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    parses(CODEC.decode_envelope, bytes(body))
    parses(CODEC.decode_envelope, bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(SAMPLES | BRANCHES, st.text(max_size=30), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_envelopes_asks_and_replies_say_for_whom_they_are(value: Any, path: str, uid: int, number: int) -> None:
    told = CODEC.decode_envelope(CODEC.frame_envelope("/" + path, uid, value)[5:])
    assert told == ("/" + path, uid, value, told.name, None, None)
    wait = (1.5, number or 1)
    assert CODEC.decode_envelope(CODEC.frame_envelope("/" + path, uid, value, wait=wait)[5:]) == told._replace(
        wait=wait
    )
    write = CODEC.writer("/_ask/", 0, value, None, has_tail=True)
    reply = CODEC.decode_envelope(write(value, encode_slot(number, uid))[5:])
    assert reply == (f"/_ask/{number}", uid, value, told.name, None, None)


def frames_or_fault(chunks: list[bytes], limit: int) -> tuple[list[tuple[FrameKind, bytes]], str]:
    decoder, found = FrameDecoder(limit), list[tuple[FrameKind, bytes]]()
    try:
        for chunk in chunks:
            while frames := decoder.feed(chunk, frames_max=1):
                found += frames
                chunk = b""
    except FrameError as error:
        return found, str(error)
    return found, ""


STREAMS = st.lists(
    st.builds(frame, st.sampled_from(FrameKind), st.binary(max_size=30)) | st.binary(max_size=9), max_size=6
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 200), max_size=5))
def test_whole_cut_or_byte_by_byte_the_stream_holds_the_same_frames(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    whole = frames_or_fault([stream], 25)
    assert frames_or_fault(pieces, 25) == whole
    assert frames_or_fault([bytes([byte]) for byte in stream], 25) == whole
    if not whole[1]:  # frames ahead of a fault are lost with the link, but not if they are taken one by one
        decoder = FrameDecoder(25)
        assert [found for piece in pieces for found in decoder.feed(piece)] == whole[0]


HOSTS = st.text(st.characters(max_codepoint=127), min_size=1, max_size=20).filter(is_name)
NODES = st.builds(
    UniqueAddress,
    st.builds(NodeAddress, HOSTS, st.integers(1, 65_535)),
    st.integers(1, 2**64 - 1),
)


PROOFS = st.binary(min_size=PROOF_BYTES, max_size=PROOF_BYTES) | st.just(b"")


@given(NODES, st.text(min_size=1, max_size=20), st.sampled_from(Lane), st.integers(1, 9), st.booleans(), PROOFS)
def test_hellos_come_back(node: UniqueAddress, text: str, lane: Lane, version: int, final: bool, proof: bytes) -> None:
    features, name = ((text, proof),) if proof else (), text if is_name(text) else ""
    to = node.address if final else None
    hello = Hello(1, 1 + version, text, node, lane, version, to, proof, name, "x", features)
    ack = HelloAck(PROTOCOL_MAX, node, version, proof, name, "x", features)
    assert decode_hello(encode_hello(hello)[5:]) == hello
    assert decode_hello_ack(encode_hello_ack(ack)[5:]) == ack
    assert decode_refused(encode_refused(Refused(text, final))[5:]) == Refused(text, final)


def count(raw: Any) -> int:
    inner = [*raw.keys(), *raw.values()] if isinstance(raw, dict) else raw if isinstance(raw, list) else []
    return 1 + sum(count(item) for item in inner)


def depth(raw: Any) -> int:
    if not isinstance(raw, (list, dict)):
        return 0
    items = raw.values() if isinstance(raw, dict) else raw
    return 1 + reduce(max, (depth(item) for item in items), 0)


@given(PLAIN)
def test_the_scan_counts_values_and_depth_exactly(raw: Any) -> None:
    body = msgpack.packb(raw)
    values, levels = count(msgpack.unpackb(body)), depth(raw)
    scan(body, elements_max=values, nesting_max=levels)
    with pytest.raises(DecodeError, match="values"):
        scan(body, elements_max=values - 1, nesting_max=levels)
    if levels:
        with pytest.raises(DecodeError, match="nested"):
            scan(body, elements_max=values, nesting_max=levels - 1)
    assert not is_deeper_than(raw, levels)
    assert levels == 0 or is_deeper_than(raw, levels - 1)


@given(st.binary(max_size=80))
def test_the_scan_ends_on_any_bytes(body: bytes) -> None:
    try:
        scan(body, elements_max=50, nesting_max=5)
    except DecodeError:
        pass
