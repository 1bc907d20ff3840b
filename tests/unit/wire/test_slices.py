"""Messages in slices: put together whole or dropped with a reason, within bounds, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty.address import NodeAddress, UniqueAddress
from casty.config import FRAME_BYTES_LEAST, TransportLimits
from casty.errors import ConfigError, FrameError
from casty.protocol.state.paging import PAGE_BYTES_MAX
from casty.wire.chunking.chunks import (
    ASSEMBLY_SHARES,
    KEPT_SECONDS,
    SLICE_BYTES_MAX,
    Assembler,
    ChunkOutcome,
    arrived_frame,
    cut,
    decode_arrived,
    decode_large,
    large_frame,
    number_of,
)
from casty.wire.frame import HEADER_BYTES, FrameDecoder, FrameKind

LIMIT = 4 * SLICE_BYTES_MAX


def peer(number: int) -> UniqueAddress:
    return UniqueAddress(NodeAddress(f"h{number}", 1), number + 1)


def bodies(blob: bytes) -> list[bytes]:
    frames = FrameDecoder(SLICE_BYTES_MAX + 64).feed(blob)
    assert {kind for kind, _ in frames} == {FrameKind.SLICE}
    return [body for _, body in frames]


def put(
    assembler: Assembler, who: UniqueAddress, number: int, size: int, now: float = 0.0
) -> tuple[int, ChunkOutcome] | None:
    answers = [assembler.take(who, body, now) for body in bodies(cut(number, memoryview(bytes(size))))]
    assert answers[:-1] == [None] * (len(answers) - 1)
    return answers[-1]


@given(size=st.integers(1, LIMIT), number=st.integers(0, 2**64 - 1))
def test_what_was_cut_is_put_together(size: int, number: int) -> None:
    assembler = Assembler(LIMIT)
    blob = cut(number, memoryview(bytes(range(256)) * (size // 256 + 1))[:size])
    assert number_of(blob) == number
    last = [assembler.take(peer(0), body, 0.0) for body in bodies(blob)][-1]
    assert last == (number, ChunkOutcome.complete)
    whole = assembler.claim(peer(0), number)
    assert whole is not None and whole == (bytes(range(256)) * (size // 256 + 1))[:size]
    assert assembler.claim(peer(0), number) is None
    assert assembler.held_bytes == 0


def test_a_message_over_the_limit_is_dropped_and_the_next_one_is_taken() -> None:
    assembler = Assembler(LIMIT)
    assert put(assembler, peer(0), 1, LIMIT + 1) == (1, ChunkOutcome.too_large)
    assert assembler.held_bytes == 0
    assert put(assembler, peer(0), 2, LIMIT) == (2, ChunkOutcome.complete)


def test_all_peers_together_have_a_bounded_room() -> None:
    assembler = Assembler(LIMIT)
    fates = [put(assembler, peer(at), at, LIMIT) for at in range(ASSEMBLY_SHARES + 2)]
    expected = [ChunkOutcome.complete] * ASSEMBLY_SHARES + [ChunkOutcome.no_room] * 2
    assert fates == list(enumerate(expected))
    assert assembler.held_bytes == ASSEMBLY_SHARES * LIMIT
    assert assembler.claim(peer(0), 0) is not None
    assert put(assembler, peer(9), 9, LIMIT) == (9, ChunkOutcome.complete)


def test_a_message_that_comes_once_more_takes_the_room_that_it_has_already() -> None:
    assembler = Assembler(LIMIT)
    for _ in range(2):
        fates = [put(assembler, peer(0), number, LIMIT) for number in range(1, ASSEMBLY_SHARES + 1)]
        assert fates == [(number, ChunkOutcome.complete) for number in range(1, ASSEMBLY_SHARES + 1)]
        assert assembler.held_bytes == ASSEMBLY_SHARES * LIMIT
    assert put(assembler, peer(0), 9, LIMIT) == (9, ChunkOutcome.no_room)


def test_what_was_begun_goes_with_the_link_and_what_is_whole_stays_for_a_while() -> None:
    assembler = Assembler(LIMIT)
    put(assembler, peer(0), 1, 100)
    assembler.take(peer(0), bodies(cut(2, memoryview(bytes(2 * SLICE_BYTES_MAX))))[0], 1.0)
    assembler.link_lost(peer(0), 1.0)
    assert assembler.held_bytes == 100
    assembler.drop_old(KEPT_SECONDS)
    assert assembler.held_bytes == 100
    assembler.drop_old(KEPT_SECONDS + 0.1)
    assert (assembler.held_bytes, assembler.claim(peer(0), 1)) == (0, None)


def test_nothing_stays_of_peers_that_have_gone() -> None:
    assembler = Assembler(LIMIT)
    for number in range(3):
        put(assembler, peer(number), 1, 10 + number)
        assembler.take(peer(number), bodies(cut(2, memoryview(bytes(2 * SLICE_BYTES_MAX))))[0], 0.0)
    for number in (0, 2):
        assembler.link_lost(peer(number), 1.0)
    assembler.forget(peer(1))
    assert (len(assembler.by_peer), assembler.held_bytes) == (2, 22)
    assembler.drop_old(KEPT_SECONDS + 0.1)
    assert (len(assembler.by_peer), assembler.held_bytes) == (0, 0)
    assembler.forget(peer(0))


def test_a_message_that_is_broken_off_gives_way_to_the_next() -> None:
    assembler = Assembler(LIMIT)
    assembler.take(peer(0), bodies(cut(1, memoryview(bytes(2 * SLICE_BYTES_MAX))))[0], 0.0)
    assert put(assembler, peer(0), 2, 10) == (2, ChunkOutcome.complete)
    assert assembler.held_bytes == 10


@given(slices=st.lists(st.binary(max_size=40), max_size=30))
def test_any_bytes_are_taken_or_refused_with_one_error_within_the_bound(slices: list[bytes]) -> None:
    assembler = Assembler(20)
    for body in slices:
        try:
            assembler.take(peer(0), body, 0.0)
        except FrameError:
            assert len(body) < 10
        assert 0 <= assembler.held_bytes <= 20 * ASSEMBLY_SHARES


@given(body=st.binary(max_size=12))
def test_answers_are_read_or_refused_with_one_error(body: bytes) -> None:
    for decode in (decode_arrived, decode_large):
        try:
            decode(body)
        except FrameError:
            continue
        assert len(body) in (8, 9)


def test_frames_are_never_too_small_for_a_slice_or_a_page_of_the_membership() -> None:
    assert FRAME_BYTES_LEAST == PAGE_BYTES_MAX
    *_, last = FrameDecoder(FRAME_BYTES_LEAST).feed(cut(1, memoryview(bytes(2 * SLICE_BYTES_MAX))))
    assert last[0] is FrameKind.SLICE
    assert TransportLimits(frame_bytes_max=FRAME_BYTES_LEAST).frame_bytes_max == FRAME_BYTES_LEAST
    with pytest.raises(ConfigError, match=r"frame_bytes_max must be at least 262144, got 262143: pages .* have to fit"):
        TransportLimits(frame_bytes_max=FRAME_BYTES_LEAST - 1)


def test_the_answers_come_back() -> None:
    assert decode_arrived(arrived_frame(7, ChunkOutcome.no_room)[HEADER_BYTES:]) == (7, ChunkOutcome.no_room)
    assert decode_large(large_frame(2**64 - 1)[HEADER_BYTES:]) == 2**64 - 1
