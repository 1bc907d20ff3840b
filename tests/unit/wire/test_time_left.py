"""What a request that has waited tells of the time that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.wire.chunking.chunks import SLICE_BYTES_MAX, Assembler, cut
from casty.wire.codec.codec import Codec
from casty.wire.control.deadline import with_time_left
from casty.wire.envelope import encode_wait
from casty.wire.frame import HEADER_BYTES, FrameDecoder


@dataclass(frozen=True)
class Question:
    text: str


def request(size: int, path: str = "/desk") -> tuple[Codec, bytes]:
    codec = Codec(export_ref=lambda ref, form: None, import_ref=lambda place, form: None)
    write = codec.writer(path, 7, Question("x" * size), Question, has_tail=True)
    return codec, write(Question("x" * size), encode_wait(5.0, 99))


@pytest.mark.parametrize("left", [0.0, 1.5, math.inf])
@pytest.mark.parametrize("path", ["/desk", "/" + "d" * 300])
def test_only_the_time_is_told_anew(left: float, path: str) -> None:
    codec, whole = request(10, path)
    before, after = (codec.decode_envelope(told[HEADER_BYTES:]) for told in (whole, with_time_left(whole, left)))
    assert (before.wait, after.wait) == ((5.0, 99), (left, 99))
    assert before._replace(wait=None) == after._replace(wait=None)


def test_who_has_no_time_left_waits_for_none() -> None:
    codec, whole = request(10)
    assert codec.decode_envelope(with_time_left(whole, -3.0)[HEADER_BYTES:]).wait == (0.0, 99)


def test_the_slices_of_a_large_request_tell_it_too() -> None:
    codec, whole = request(3 * SLICE_BYTES_MAX)
    slices = with_time_left(cut(12, memoryview(whole)[HEADER_BYTES:]), 2.0)
    peer, assembler = UniqueAddress(NodeAddress("a", 1), 1), Assembler(1_000_000)
    for _, body in FrameDecoder(1_000_000).feed(slices):
        assembler.take(peer, bytes(body), now=0.0)
    body = assembler.claim(peer, 12)
    assert body is not None
    assert codec.decode_envelope(body).wait == (2.0, 99)
    assert codec.decode_envelope(body).message == Question("x" * 3 * SLICE_BYTES_MAX)
