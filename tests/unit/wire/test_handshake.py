"""The hello is checked field by field, and a refusal says what both sides have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.errors import ProtocolError
from casty.wire.frame import FrameDecoder, FrameKind, Lane
from casty.wire.handshake import (
    MAGIC,
    PROOF_BYTES,
    SECRET_BYTES,
    Hello,
    HelloAck,
    Refused,
    decode_hello,
    decode_hello_ack,
    decode_refused,
    encode_hello,
    encode_hello_ack,
    encode_refused,
    is_proof,
    negotiate,
    proof_of,
)

DIALLER = UniqueAddress(NodeAddress("10.0.0.1", 2551), 2**64 - 1)
OWN = UniqueAddress(NodeAddress("::1", 2552), 9)
HELLO = Hello(1, 3, "shop", DIALLER, Lane.ordinary, 2**64 - 1, node_id="shop-1")
PROOF = b"p" * PROOF_BYTES
FIELDS: list[object] = [MAGIC, 1, 3, "shop", "10.0.0.1", 2551, 7, 1, 5, "10.0.0.2", 2551, PROOF, "shop-1", "member", {}]


def body_of(data: bytes, kind: FrameKind) -> bytes:
    ((found, body),) = FrameDecoder(4096).feed(data)
    assert found is kind
    return body


def test_a_hello_comes_back_whole() -> None:
    features = (("compress", b""), ("shards", b"2"))
    for hello in (HELLO, replace(HELLO, to=OWN.address, proof=PROOF), replace(HELLO, role="client", features=features)):
        assert decode_hello(body_of(encode_hello(hello), FrameKind.HELLO)) == hello


def test_an_acknowledgement_comes_back_whole() -> None:
    features = (("shards", b"2"),)
    for ack in (HelloAck(2, OWN, 7), HelloAck(2, OWN, 0, b"s" * SECRET_BYTES, "shop-2", "member", features)):
        assert decode_hello_ack(body_of(encode_hello_ack(ack), FrameKind.HELLO_ACK)) == ack


def test_a_proof_is_good_for_one_hello_and_one_acceptor() -> None:
    secret, other = b"s" * SECRET_BYTES, b"o" * SECRET_BYTES
    shown = replace(HELLO, proof=proof_of(HELLO, OWN, secret))
    assert is_proof(shown, OWN, secret)
    assert len(shown.proof) == PROOF_BYTES
    assert not is_proof(shown, OWN, other)
    assert not is_proof(shown, replace(OWN, incarnation=8), secret)
    changes: list[dict[str, Any]] = [
        {"lane": Lane.control},
        {"nonce": 1},
        {"node": replace(DIALLER, incarnation=1)},
        {"node": OWN},
        {"proof": bytes(PROOF_BYTES)},
        {"proof": b""},
    ]
    for change in changes:
        assert not is_proof(replace(shown, **change), OWN, secret), change


def test_without_a_secret_nothing_is_proven() -> None:
    assert not is_proof(HELLO, OWN, b"")
    assert not is_proof(replace(HELLO, proof=proof_of(HELLO, OWN, b"")), OWN, b"")


def test_a_refusal_comes_back_and_its_reason_is_cut() -> None:
    refused = Refused("r" * 5000, final=True)
    assert decode_refused(body_of(encode_refused(refused), FrameKind.REFUSED)) == Refused("r" * 1024, final=True)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (0, b"HTTP", "is the peer a casty node"),
        (1, True, "expected int, got bool"),
        (1, 0, "not within 1"),
        (1, 4, "versions 4 to 3 are no range"),
        (3, b"shop", "expected str, got bytes"),
        (3, "", "text of 0 characters"),
        (3, "s" * 257, "text of 257 characters"),
        (4, None, "expected str, got NoneType"),
        (4, "10.0.0.1\nFAKE LINE", "has a space or a control character"),
        (4, "\u202e1.0.0.01", "has a space or a control character"),
        (4, "b\u00fccher.example", r"say the host in A-labels .*, not as 'b\\xfccher.example'"),
        (5, 0, "0 is not within 1 and 65535"),
        (5, 65536, "not within"),
        (6, 0, "not within"),
        (6, -1, "not within"),
        (7, 9, "unknown lane 9"),
        (7, "1", "expected int, got str"),
        (8, -1, "not within"),
        (8, None, "expected int, got NoneType"),
        (9, None, "expected str, got NoneType"),
        (10, None, "expected int, got NoneType"),
        (10, 0, "0 is not within 1 and 65535"),
        (11, None, "expected bytes, got NoneType"),
        (11, "p" * PROOF_BYTES, "expected bytes, got str"),
        (11, b"p", "1 bytes where there are 16 or none"),
        (12, b"shop-1", "expected str, got bytes"),
        (12, "s" * 129, "text of 129 characters"),
        (12, "shop-1\nFAKE", "has a space or a control character"),
        (13, "", "text of 0 characters"),
        (13, "mem ber", "has a space or a control character"),
        (13, "m" * 33, "text of 33 characters"),
        (14, [], "expected a map of features, got list"),
        (14, {"shards": 2}, "expected features as bytes by their names"),
        (14, {b"shards": b""}, "expected features as bytes by their names"),
        (14, {"shards": bytes(1_024)}, "at most 16 features of 1024 bytes together"),
        (14, {str(number): b"" for number in range(17)}, "at most 16 features"),
    ],
)
def test_an_ill_typed_field_is_a_protocol_error(place: int, value: object, told: str) -> None:
    fields: list[object] = list(FIELDS)
    fields[place] = value
    with pytest.raises(ProtocolError, match=told):
        decode_hello(msgpack.packb(fields))


@pytest.mark.parametrize("body", [b"", b"\xc1", msgpack.packb({}), msgpack.packb([]), b"GET / HTTP/1.1\r\n\r\n"])
def test_a_stranger_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="hello: "):
        decode_hello(body)


def test_too_few_and_too_many_fields_are_refused() -> None:
    for fields in (FIELDS[:-1], [*FIELDS[:2], 2, *FIELDS[3:], 1]):
        with pytest.raises(ProtocolError, match="expected 14 fields"):
            decode_hello(msgpack.packb(fields))


def test_a_refusal_must_say_whether_it_is_final() -> None:
    with pytest.raises(ProtocolError, match="expected bool, got int"):
        decode_refused(msgpack.packb([MAGIC, "no", 1]))


def test_the_highest_common_version_is_spoken() -> None:
    assert negotiate(HELLO, own=OWN, system="shop", node_id="shop-2") == HelloAck(2, OWN, node_id="shop-2")
    assert negotiate(HELLO, own=OWN, system="shop", own_max=4) == HelloAck(3, OWN)


def test_another_system_is_refused_for_good_with_both_names() -> None:
    answer: Any = negotiate(replace(HELLO, system="till\n"), own=OWN, system="shop")
    assert answer == Refused("system name 'till\\n' does not match 'shop' of [::1]:2552", final=True)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (1, 1, "protocol versions 1 to 1 do not meet 2 to 2 of this node"),
        (3, 9, "protocol versions 3 to 9 do not meet 2 to 2 of this node"),
    ],
)
def test_versions_that_do_not_meet_are_refused_with_both_ranges(low: int, high: int, told: str) -> None:
    """Whatever such a node says behind its versions: the hello of version 1 had three fields fewer."""
    for rest in (FIELDS[3:12], FIELDS[3:], [{"all": "new"}], []):
        assert decode_hello(msgpack.packb([MAGIC, low, high, *rest])) == Refused(told, final=True)


def test_fields_that_a_later_version_adds_to_the_lowest_one_are_skipped() -> None:
    known, later = decode_hello(msgpack.packb([MAGIC, 2, 2, *FIELDS[3:]])), [*FIELDS[3:], "new", {"more": 1}]
    assert isinstance(known, Hello)
    assert decode_hello(msgpack.packb([MAGIC, 2, 3, *later])) == replace(known, protocol_max=3)
    with pytest.raises(ProtocolError, match="expected 14 fields, got 16"):
        decode_hello(msgpack.packb([MAGIC, 2, 2, *later]))


def test_an_acknowledgement_of_a_version_that_was_not_offered_is_a_protocol_error() -> None:
    for fields in ([1, "10.0.0.1", 2551, 7, 5, b""], [3, "anything"]):
        with pytest.raises(ProtocolError, match=f"chose protocol version {fields[0]}, which was not offered"):
            decode_hello_ack(msgpack.packb([MAGIC, *fields]))


def test_only_members_make_links_and_everybody_may_ask_for_a_report() -> None:
    client = replace(HELLO, role="client")
    refused = negotiate(client, own=OWN, system="shop")
    assert refused == Refused("role 'client' has no place at [::1]:2552: only 'member' has in this version", final=True)
    assert negotiate(replace(client, lane=Lane.status), own=OWN, system="shop") == HelloAck(2, OWN)
