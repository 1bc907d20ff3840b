"""Frames are cut the same however the network slices them, and nothing is held on a stranger's word."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from casty.errors import FrameError
from casty.wire.frame import FrameDecoder, FrameKind, frame

THREE = frame(FrameKind.CONTROL, b"one") + frame(FrameKind.GOODBYE, b"") + frame(FrameKind.ENVELOPE, b"x" * 300)
FRAMES = [(FrameKind.CONTROL, b"one"), (FrameKind.GOODBYE, b""), (FrameKind.ENVELOPE, b"x" * 300)]


def test_a_frame_is_length_kind_and_body() -> None:
    assert frame(FrameKind.HELLO, b"abc") == b"\x00\x00\x00\x04\x01abc"


def test_many_frames_come_out_of_one_read() -> None:
    assert FrameDecoder(4096).feed(THREE) == FRAMES


def test_frames_come_out_byte_by_byte() -> None:
    decoder = FrameDecoder(4096)
    assert [f for byte in THREE for f in decoder.feed(bytes([byte]))] == FRAMES


@pytest.mark.parametrize("cut", range(len(THREE)))
def test_a_cut_anywhere_changes_nothing(cut: int) -> None:
    decoder = FrameDecoder(4096)
    assert decoder.feed(THREE[:cut]) + decoder.feed(THREE[cut:]) == FRAMES


def test_a_length_of_zero_breaks_the_link() -> None:
    with pytest.raises(FrameError, match="length 0 is not within 1 and 10"):
        FrameDecoder(10).feed(b"\0\0\0\0")


def test_a_length_over_the_limit_is_refused_before_its_body_came() -> None:
    decoder = FrameDecoder(10)
    decoder.feed(b"\0\0\0")
    with pytest.raises(FrameError, match="length 11 is not within 1 and 10"):
        decoder.feed(b"\x0b")
    assert decoder.buffered_bytes == 0


def test_an_unknown_kind_is_refused_before_its_body_came() -> None:
    with pytest.raises(FrameError, match="unknown frame kind 99"):
        FrameDecoder(100).feed(b"\0\0\0\x09\x63")


def test_after_the_first_fault_every_call_fails() -> None:
    decoder = FrameDecoder(10)
    with pytest.raises(FrameError):
        decoder.feed(b"\0\0\0\0")
    with pytest.raises(FrameError, match="length 0"):
        decoder.feed(frame(FrameKind.GOODBYE, b""))
    assert repr(decoder) == "<FrameDecoder limit=10 broken>"


def test_a_hello_is_taken_alone_before_the_limit_is_raised() -> None:
    decoder = FrameDecoder(16)
    data = frame(FrameKind.HELLO_ACK, b"ok") + frame(FrameKind.CONTROL, b"y" * 100)
    assert decoder.feed(data, frames_max=1) == [(FrameKind.HELLO_ACK, b"ok")]
    decoder.limit_bytes = 200
    assert decoder.feed(b"") == [(FrameKind.CONTROL, b"y" * 100)]


def test_the_limit_counts_kind_and_body() -> None:
    assert FrameDecoder(4).feed(frame(FrameKind.CONTROL, b"abc")) == [(FrameKind.CONTROL, b"abc")]
    with pytest.raises(FrameError):
        FrameDecoder(3).feed(frame(FrameKind.CONTROL, b"abc"))


def test_an_unfinished_frame_is_all_that_is_held() -> None:
    decoder = FrameDecoder(1000)
    decoder.feed(THREE + struct.pack(">IB", 500, 4) + b"half")
    assert decoder.buffered_bytes == 9
    assert repr(decoder) == "<FrameDecoder limit=1000 buffered=9>"


def test_what_is_missing_of_a_frame_is_known_once_its_length_is() -> None:
    decoder = FrameDecoder(1000)
    data = THREE + frame(FrameKind.CONTROL, b"x" * 499)
    missing: list[int] = []
    ends = [0, len(THREE), len(THREE) + 3, len(THREE) + 4, len(data) - 1, len(data)]
    for start, end in pairwise(ends):
        decoder.feed(data[start:end])
        missing.append(decoder.missing_bytes)
    assert missing == [0, 0, 500, 1, 0]
