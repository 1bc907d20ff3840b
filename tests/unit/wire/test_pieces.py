"""A large message is the same on the wire in pieces as in one, under the same limits, without copies of its texts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty.config import TransportLimits
from casty.errors import EncodeError
from casty.schema.names import message
from casty.wire.chunking.buffers import LARGE_VALUE_MIN, Buffer, ScatterEncoder, rest_of
from casty.wire.codec.codec import Codec

MIB = 1024 * 1024


@message("pieces.Letter")
@dataclass(frozen=True)
class Letter:
    number: int
    text: str
    data: bytes = b""
    numbers: list[int] = field(default_factory=list[int])


@dataclass
class Taker:
    """Takes a frame, or does not."""

    takes: bool = True
    frames: list[bytes] = field(default_factory=list[bytes])
    kept: list[Buffer] = field(default_factory=list[Buffer])

    def write_now(self, pieces: list[Buffer]) -> bool:
        self.frames.append(b"".join(pieces))
        self.kept = pieces
        return self.takes


sizes = st.sampled_from([0, 1, LARGE_VALUE_MIN - 1, LARGE_VALUE_MIN, LARGE_VALUE_MIN + 1, 200_000])
texts = st.builds(lambda size, unit: unit * size, sizes, st.sampled_from(["x", "\x7f", "é", "€", "\U0001f600"]))
blobs = st.builds(bytes, sizes)


@given(raw=st.dictionaries(st.sampled_from("abcdef"), texts | blobs | st.integers(0, 100), max_size=6) | texts | blobs)
def test_the_pieces_of_a_message_are_its_msgpack(raw: object) -> None:
    cutter = ScatterEncoder()
    for _ in range(2):
        with cutter.cut(raw) as pieces:
            assert b"".join(pieces.parts) == msgpack.packb(raw)
            assert pieces.size == len(msgpack.packb(raw))


@given(pieces=st.lists(st.binary(max_size=5), max_size=5), start=st.integers(0, 25))
def test_the_rest_of_pieces_is_what_comes_behind_a_place(pieces: list[Buffer], start: int) -> None:
    assert rest_of(pieces, start) == b"".join(pieces)[start:]


@pytest.mark.parametrize(
    "large",
    [
        Letter(1, "x" * MIB),
        Letter(1, "é" * 100_000, b"\0" * 100_000, [1, 2]),
        Letter(1, "", b"", [70_000] * 60_000),
    ],
    ids=["text", "text and bytes", "many values"],
)
def test_an_outlet_is_given_the_frame_that_is_returned_without_one(
    codec: Codec, make_codec: Callable[..., Codec], large: Letter
) -> None:
    expected = make_codec().frame_envelope("/sink", 7, large)
    write = codec.writer("/sink", 7, large, None)
    taking, refusing = Taker(), Taker(takes=False)
    assert write(large, b"", taking) == expected, "before it is known that messages of the type are large"
    assert write(large, b"", taking) == b""
    assert write(large, b"", refusing) == expected
    assert taking.frames == refusing.frames == [expected]
    assert codec.decode_envelope(expected[5:]).message == large
    for _ in range(2):
        assert write(Letter(2, "small"), b"", taking) == make_codec().frame_envelope("/sink", 7, Letter(2, "small"))


def test_what_an_outlet_keeps_shows_nothing_later(codec: Codec) -> None:
    for large in (Letter(1, "x" * MIB), Letter(1, "", b"", [70_000] * 60_000)):
        write, taker = codec.writer("/sink", 0, large, None), Taker()
        write(large)
        write(large, b"", taker)
        kept = [piece for piece in taker.kept if isinstance(piece, memoryview)]
        assert kept
        for piece in kept:
            with pytest.raises(ValueError, match="released"):
                bytes(piece)


def test_a_large_text_is_not_copied_to_be_written(codec: Codec) -> None:
    class Counter:
        size = 0

        def write_now(self, pieces: list[Buffer]) -> bool:
            self.size += sum(map(len, pieces))
            return True

    large, counter = Letter(1, "x" * MIB, b"y" * 500_000), Counter()
    write = codec.writer("/sink", 0, large, None)
    codec.frame_envelope("/sink", 0, Letter(1, "x" * MIB))  # the type is known to be large now
    tracemalloc.start()
    try:
        for _ in range(3):
            assert write(large, b"", counter) == b""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counter.size > 3 * MIB
    assert peak < MIB // 10


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_text_that_nobody_else_refers_to_stays_as_long_as_its_pieces(is_whole: bool) -> None:
    def make(text: str) -> object:
        return text if is_whole else {"amount": text, "note": "x"}

    expected, cutter = msgpack.packb(make("7" * 200_000)), ScatterEncoder()
    for _ in range(3):
        with cutter.cut(make("7" * 200_000)) as pieces:
            _others = ["x" * 200_000 for _ in range(8)]  # where the text was, if it were freed
            assert b"".join(pieces.parts) == expected


def test_a_large_decimal_is_written_whole(codec: Codec) -> None:
    @message("pieces.Amounts")
    @dataclass(frozen=True)
    class Amounts:
        first: Decimal
        second: Decimal

    amounts, taker = Amounts(Decimal("7" * 200_000), Decimal("8" * 300_000)), Taker()
    write = codec.writer("/sink", 0, amounts, None)
    expected = write(amounts)
    assert [write(amounts), write(amounts)] == [expected, expected]
    assert write(amounts, b"", taker) == b""
    assert taker.frames == [expected]
    assert codec.decode_envelope(expected[5:]).message == amounts


def test_the_limits_of_a_message_hold_beside_its_large_text(make_codec: Callable[..., Codec]) -> None:
    text: str = "x" * 70_000
    codec, taker = make_codec(limits=TransportLimits(elements_max=66_000, message_bytes_max=3 * MIB)), Taker()
    write = codec.writer("/sink", 0, Letter(1, text), None)
    write(Letter(1, text))
    fits, over = 66_000 - 9, 66_000 - 8  # the map, four keys, three values and the list
    assert write(Letter(1, text, b"", [0] * fits), b"", taker) == b""
    assert codec.decode_envelope(taker.frames[0][5:]).message == Letter(1, text, b"", [0] * fits)
    refused: list[tuple[Any, str]] = [
        (Letter(1, text, b"", [0] * over), "more than 66000 values"),
        (Letter(1, text * 50), "over the limit of 3145728"),
        (Letter(1, "\ud800" * 70_000), r"pieces\.Letter"),
        (Letter(1, text, b"y" * 70_000, [2**70]), r"pieces\.Letter"),
    ]
    for letter, match in refused:
        with pytest.raises(EncodeError, match=match):
            write(letter, b"", taker)
    assert len(taker.frames) == 1


def test_a_message_nested_too_deep_is_refused_beside_its_large_text(make_codec: Callable[..., Codec]) -> None:
    @message("pieces.Nest")
    @dataclass(frozen=True)
    class Nest:
        text: str
        inner: Nest | None = None

    def nest(depth: int) -> Nest:
        return Nest("x" * 70_000, nest(depth - 1) if depth > 1 else None)

    codec = make_codec(limits=TransportLimits(nesting_max=3))
    write = codec.writer("/sink", 0, nest(1), None)
    write(nest(1))
    assert write(nest(3), b"", Taker()) == b""
    with pytest.raises(EncodeError, match="nested deeper than 3"):
        write(nest(4), b"", Taker())
