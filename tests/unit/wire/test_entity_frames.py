"""Messages to entities: one head for all of a kind, the entity behind it, and what a peer may not say there."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgpack
import pytest

import casty
from casty.errors import DecodeError, ProtocolError
from casty.wire.codec.codec import Codec
from casty.wire.control.deadline import with_time_left
from casty.wire.envelope import (
    Envelope,
    count_values,
    encode_entity,
    encode_head,
    encode_headers,
    encode_wait,
    end_of_head,
)
from casty.wire.frame import HEADER_BYTES, FrameKind, frame


@casty.message("tests.frames.Put")
@dataclass(frozen=True)
class Put:
    item: str


@pytest.fixture
def codec() -> Codec:
    def no_refs(*_: object):
        raise AssertionError("no ref travels here")

    codec = Codec(export_ref=no_refs, import_ref=no_refs)
    codec.register(Put)
    return codec


HEAD = encode_head("/_entity/carts", 0, "tests.frames.Put", has_tail=False, pack=msgpack.packb)
PAYLOAD = msgpack.packb({"item": "pen"})


def body_of(codec: Codec, entity: bytes, wait: bytes = b"") -> bytes:
    write = codec.writer("/_entity/carts", 0, Put("pen"), Put, has_tail=bool(wait))
    return write(Put("pen"), wait + entity)[HEADER_BYTES:]


def test_all_entities_of_a_kind_share_a_head_and_differ_behind_it(codec: Codec):
    bodies = [body_of(codec, encode_entity(epoch, name)) for epoch, name in [(1, "a"), (2**63, "b/ü")]]
    assert len({body[: end_of_head(body)] for body in bodies}) == 1
    assert bodies[0] == HEAD + struct.pack(">QH", 1, 1) + b"a" + PAYLOAD
    assert codec.decode_envelope(bodies[0]) == Envelope("/_entity/5/carts/a", 1, Put("pen"), "tests.frames.Put")
    assert codec.decode_envelope(bodies[1]).path == "/_entity/5/carts/b/ü"
    assert codec.decode_envelope(bodies[1]).uid == 2**63


def test_an_entity_stands_between_the_wait_of_an_ask_and_headers(codec: Codec):
    body = body_of(codec, encode_entity(7, "a"), encode_wait(1.5, 9))
    assert codec.decode_envelope(body).wait == (1.5, 9)
    later = with_time_left(frame(FrameKind.ENVELOPE, body), 0.5)
    assert codec.decode_envelope(later[HEADER_BYTES:]).wait == (0.5, 9)
    packed = msgpack.packb(["/_entity/carts", 0, "tests.frames.Put", 6])
    headed = len(packed).to_bytes(2) + packed + encode_entity(7, "a") + encode_headers({"trace": b"1"}) + PAYLOAD
    found = codec.decode_envelope(headed)
    assert (found.path, found.uid, found.headers) == ("/_entity/5/carts/a", 7, {"trace": b"1"})


def test_the_values_in_a_message_to_an_entity_are_counted_without_what_stands_before_it(codec: Codec):
    plain = encode_head("/x", 0, "tests.frames.Put", has_tail=False, pack=msgpack.packb) + PAYLOAD
    assert count_values(body_of(codec, encode_entity(7, "a" * 200)), 100) == count_values(plain, 100)


def headed(path: str, parts: int) -> bytes:
    packed = msgpack.packb([path, 0, "tests.frames.Put", parts])
    return len(packed).to_bytes(2) + packed


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (HEAD + b"\0" * 9, "expected 10 bytes and an id, got 9"),
        (HEAD + struct.pack(">QH", 1, 0) + PAYLOAD, "expected an id of 1 to 1020 bytes, got 0"),
        (HEAD + struct.pack(">QH", 1, 1_021) + b"a" * 1_021 + PAYLOAD, "expected an id of 1 to 1020 bytes, got 1021"),
        (HEAD + struct.pack(">QH", 1, 99) + PAYLOAD, "got 99 of 10"),
        (HEAD + struct.pack(">QH", 1, 2) + b"\xc3\x28" + PAYLOAD, "expected an id in UTF-8"),
        (HEAD + encode_entity(1, "a" * 256) + PAYLOAD, "a kind and an id of at most 255 characters"),
        (headed("/_entity/" + "k" * 256, 4) + encode_entity(1, "a") + PAYLOAD, "a kind and an id of at most 255"),
        (headed("/_entity/", 4) + encode_entity(1, "a") + PAYLOAD, "a kind and an id of at most 255"),
        (headed("/carts", 4) + encode_entity(1, "a") + PAYLOAD, "behind the head of its kind, and behind no other"),
        (headed("/_ask/", 5) + bytes(16) + encode_entity(1, "a") + PAYLOAD, "and behind no other"),
        (headed("/_entity/5/carts/a", 1) + encode_wait(1, 1) + PAYLOAD, "behind the head of its kind"),
        (headed("/_entity/carts", 8) + encode_entity(1, "a") + PAYLOAD, "4 for an entity"),
        (headed("/_entity/carts", 5) + bytes(15), "expected 16 bytes behind the head"),
    ],
)
def test_what_is_no_entity_is_a_decode_error(codec: Codec, body: bytes, told: str):
    with pytest.raises(DecodeError) as caught:
        codec.decode_envelope(body)
    assert told in str(caught.value)
    assert len(caught.value.path) < 300


def test_every_beginning_of_a_message_to_an_entity_is_a_message_or_a_protocol_error(codec: Codec):
    whole = body_of(codec, encode_entity(7, "cart-1"), encode_wait(1.5, 9))
    for size in range(len(whole)):
        with pytest.raises(ProtocolError):
            codec.decode_envelope(whole[:size])
    assert codec.decode_envelope(whole).message == Put("pen")
