"""What is written when: in one piece what is queued, and early the first of many frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from helpers.tasks import in_background
from helpers.transport import QuietConnection
from hypothesis import given
from hypothesis import strategies as st

from casty.transport.links import writing as writing_module
from casty.transport.links.send_queue import SendQueue
from casty.transport.links.traffic import Traffic
from casty.transport.links.writing import EARLY_BYTES, EARLY_FRAMES_MAX, EARLY_FRAMES_MIN, FrameWriter
from casty.transport.network.interface import ConnectionLost
from casty.wire.chunking.buffers import Buffer


@dataclass
class Socket(QuietConnection):
    """Takes ``room`` bytes without waiting, and all when waited for."""

    room: int = 10**9
    is_broken: bool = False
    breaks_after: int | None = None
    """How many writes."""
    written: list[bytes] = field(default_factory=list)

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        if self.is_broken or self.breaks_after == len(self.written):
            raise ConnectionLost("broken")
        taken = b"".join((data, *more))[: self.room]
        self.room -= len(taken)
        if taken:
            self.written.append(taken)
        return len(taken)

    async def send(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.written.append(bytes(data))


@dataclass
class Writing:
    socket: Socket = field(default_factory=Socket)
    send_queue: SendQueue = field(default_factory=lambda: SendQueue(messages_max=4_096, bytes_max=10**9))
    traffic: Traffic = field(default_factory=Traffic)
    failures: list[str] = field(default_factory=list)
    turns: int = 0
    asks: int = 0

    def __post_init__(self) -> None:
        self.writer = FrameWriter(self.socket, self.send_queue, self.traffic, timeout=1, asking=lambda: self.asks)

    async def run(self) -> None:
        try:
            while True:
                if not await self.writer.write_queued():
                    await self.writer.wait()
                    self.turns += 1
        except ConnectionLost as error:
            self.failures.append(str(error))

    def put(self, count: int, start: int = 0, *, heard: int = 1) -> bytes:
        """Queue frames without giving way, after some bytes have come, and return them in one piece."""
        self.traffic.bytes_received += heard
        frames = [b"<%d>" % number for number in range(start, start + count)]
        assert all(self.send_queue.put_nowait(frame) for frame in frames)
        return b"".join(frames)


@pytest.fixture
async def writing(nursery: trio.Nursery) -> Writing:
    """Return one whose writer waits for frames."""
    one = Writing()
    nursery.start_soon(one.run)
    await trio.testing.wait_all_tasks_blocked()
    return one


PIECES: list[Buffer] = [b"head", b"x" * (3 * EARLY_BYTES), b"between", memoryview(b"y" * 100_000), b"tail"]
WHOLE = b"".join(PIECES)
EARLY = WHOLE[: len(PIECES[0]) + EARLY_BYTES]


async def test_few_frames_wait_for_the_writers_turn_and_go_in_one_piece(writing: Writing) -> None:
    frames = writing.put(EARLY_FRAMES_MAX - 1)
    assert writing.socket.written == []
    await trio.testing.wait_all_tasks_blocked()
    assert writing.socket.written == [frames]


async def test_the_first_of_many_frames_are_written_before_the_writers_turn_once(writing: Writing) -> None:
    first = writing.put(EARLY_FRAMES_MAX)
    assert writing.socket.written == [first]
    rest = writing.put(5 * EARLY_FRAMES_MAX, EARLY_FRAMES_MAX)
    assert writing.socket.written == [first]
    await trio.testing.wait_all_tasks_blocked()
    assert writing.socket.written == [first, rest]
    assert (writing.traffic.frames_sent, writing.traffic.bytes_sent) == (6 * EARLY_FRAMES_MAX, len(first + rest))
    assert writing.turns == 1
    third = writing.put(EARLY_FRAMES_MAX)
    assert writing.socket.written == [first, rest, third], "and again in the next turn"


@pytest.mark.parametrize(
    ("asks", "read", "early"),
    [
        (64, 64, 32),
        (1_000, 64, 32),
        (16, 16, 8),
        (16, 5, 5),
        (16, 1, EARLY_FRAMES_MIN),
        (8, 8, 4),
        (7, 20, 20),
        (0, 20, 20),
        (0, 100, 32),
    ],
)
async def test_half_of_the_asks_in_flight_are_written_early_or_as_much_as_the_peer_has_sent(
    asks: int, read: int, early: int, nursery: trio.Nursery
) -> None:
    writing = Writing(asks=asks)
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    writing.writer.keep_pace(read)
    first = writing.put(early - 1)
    assert writing.socket.written == []
    first += writing.put(1, early - 1)
    assert writing.socket.written == [first]


async def test_asks_whose_replies_have_just_come_still_count(nursery: trio.Nursery) -> None:
    writing = Writing(asks=16)
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    writing.asks = 0
    for early in (8, 7, 7, 6):
        writing.writer.keep_pace(16)
        writing.put(early - 1)
        written = len(writing.socket.written)
        writing.put(1)
        assert len(writing.socket.written) == written + 1
        await trio.testing.wait_all_tasks_blocked()


async def test_nothing_is_written_early_to_a_peer_that_only_listens(writing: Writing) -> None:
    first = writing.put(EARLY_FRAMES_MAX)
    await trio.testing.wait_all_tasks_blocked()
    second = writing.put(2 * EARLY_FRAMES_MAX, EARLY_FRAMES_MAX, heard=0)
    assert writing.socket.written == [first]
    await trio.testing.wait_all_tasks_blocked()
    assert writing.socket.written == [first, second]


async def test_nothing_is_written_early_for_what_only_tells_what_has_come(writing: Writing) -> None:
    writing.writer.pass_over(7)
    writing.put(EARLY_FRAMES_MAX, heard=7)
    assert writing.socket.written == []
    await trio.testing.wait_all_tasks_blocked()
    writing.put(EARLY_FRAMES_MAX, heard=1)
    assert len(writing.socket.written) == 2, "but for a reply"


async def test_nothing_is_written_early_before_the_writer_waits(nursery: trio.Nursery) -> None:
    writing = Writing()
    frames = writing.put(2 * EARLY_FRAMES_MAX)
    nursery.start_soon(writing.run)
    assert writing.socket.written == []
    await trio.testing.wait_all_tasks_blocked()
    assert writing.socket.written == [frames]


async def test_what_the_socket_does_not_take_early_goes_before_all_that_comes_later(nursery: trio.Nursery) -> None:
    writing = Writing(Socket(room=7))
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    frames = writing.put(EARLY_FRAMES_MAX)
    assert not writing.writer.is_idle
    frames += writing.put(2 * EARLY_FRAMES_MAX, EARLY_FRAMES_MAX)
    assert b"".join(writing.socket.written) == frames[:7]
    await trio.testing.wait_all_tasks_blocked()
    assert b"".join(writing.socket.written) == frames
    assert writing.writer.is_idle
    assert writing.traffic.frames_sent == 3 * EARLY_FRAMES_MAX


async def test_a_sender_meets_no_error_of_the_connection_and_the_writer_does(nursery: trio.Nursery) -> None:
    writing = Writing(Socket(is_broken=True))
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    writing.put(EARLY_FRAMES_MAX)
    await trio.testing.wait_all_tasks_blocked()
    assert writing.failures == ["broken"]
    writing.writer.give_up()
    assert (writing.traffic.frames_sent, writing.traffic.frames_broken) == (0, EARLY_FRAMES_MAX)


@pytest.mark.parametrize("is_woken_by_frame", [True, False])
async def test_who_has_given_up_writes_nothing_early(is_woken_by_frame: bool, nursery: trio.Nursery) -> None:
    writing = Writing()
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    if is_woken_by_frame:
        writing.put(1)
    else:
        writing.send_queue.wake()
    writing.writer.give_up()
    writing.put(2 * EARLY_FRAMES_MAX, 1)
    assert writing.socket.written == []


@given(
    st.lists(st.tuples(st.integers(1, 3 * EARLY_FRAMES_MAX), st.integers(0, 400)), max_size=8),
    st.booleans(),
)
def test_every_frame_is_written_once_and_in_order(turns: list[tuple[int, int]], ends_broken: bool) -> None:
    async def main() -> None:
        writing, expected, count = Writing(), b"", 0
        async with in_background(writing.run):
            for frames, room in turns:
                await trio.testing.wait_all_tasks_blocked()
                writing.socket.room = room
                expected += writing.put(frames, count)
                count += frames
            await trio.testing.wait_all_tasks_blocked()
            assert b"".join(writing.socket.written) == expected
            assert (writing.traffic.frames_sent, writing.traffic.bytes_sent) == (count, len(expected))
            if ends_broken:
                writing.socket.is_broken = True
                writing.put(2 * EARLY_FRAMES_MAX, count)
                await trio.testing.wait_all_tasks_blocked()
                writing.writer.give_up()
                assert writing.traffic.frames_broken == EARLY_FRAMES_MAX

    trio.run(main)


async def test_a_frame_in_pieces_is_written_at_once_and_its_beginning_first(writing: Writing) -> None:
    for _ in range(2):
        assert writing.writer.write_pieces(PIECES)
    assert writing.socket.written == [EARLY, WHOLE[len(EARLY) :]] * 2
    assert (writing.traffic.frames_sent, writing.traffic.bytes_sent) == (2, 2 * len(WHOLE))
    await trio.testing.wait_all_tasks_blocked()
    assert writing.turns == 0, "the writer was not needed"


@pytest.mark.parametrize("room", [1, 4, len(EARLY) - 1, len(EARLY), len(EARLY) + 1, len(WHOLE) - 4, len(WHOLE) - 1])
async def test_the_rest_of_a_frame_in_pieces_goes_before_all_that_comes_later(room: int, nursery: trio.Nursery) -> None:
    writing = Writing(Socket(room=room))
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    assert writing.writer.write_pieces(PIECES)
    assert not writing.writer.is_idle
    assert not writing.writer.write_pieces(PIECES), "it would come between"
    frames = writing.put(2 * EARLY_FRAMES_MAX)
    assert b"".join(writing.socket.written) == WHOLE[:room]
    await trio.testing.wait_all_tasks_blocked()
    assert b"".join(writing.socket.written) == WHOLE + frames
    assert (writing.traffic.frames_sent, writing.traffic.bytes_sent) == (1 + 2 * EARLY_FRAMES_MAX, len(WHOLE + frames))


async def test_a_frame_in_pieces_does_not_overtake_what_is_queued(nursery: trio.Nursery) -> None:
    writing = Writing()
    assert not writing.writer.write_pieces(PIECES), "nobody waits for frames yet"
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    frames = writing.put(1)
    assert not writing.writer.write_pieces(PIECES)
    await trio.testing.wait_all_tasks_blocked()
    assert writing.socket.written == [frames]
    writing.send_queue.wake()
    assert not writing.writer.write_pieces(PIECES), "the writer has something else to do"
    writing.writer.give_up()
    await trio.testing.wait_all_tasks_blocked()
    assert not writing.writer.write_pieces(PIECES), "the session is over"
    assert writing.socket.written == [frames]


@pytest.mark.parametrize("socket", [Socket(room=0), Socket(is_broken=True)], ids=["full", "broken"])
async def test_a_frame_of_which_nothing_was_written_is_left_to_the_queue(socket: Socket, nursery: trio.Nursery) -> None:
    writing = Writing(socket)
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    assert not writing.writer.write_pieces(PIECES)
    assert writing.writer.is_idle
    assert socket.written == writing.failures == []


async def test_nothing_follows_a_frame_for_whose_rest_there_was_no_memory(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pieces: list[Buffer], start: int) -> bytes:
        raise MemoryError

    monkeypatch.setattr(writing_module, "rest_of", refuse)
    writing = Writing(Socket(room=20))
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(MemoryError):
        writing.writer.write_pieces(PIECES)
    writing.put(2 * EARLY_FRAMES_MAX)
    await trio.testing.wait_all_tasks_blocked()
    assert sum(map(len, writing.socket.written)) == 20
    assert writing.failures == ["there was no memory for the rest of a frame"]


async def test_a_frame_that_breaks_off_is_never_written_again(nursery: trio.Nursery) -> None:
    writing = Writing(Socket(breaks_after=1))
    nursery.start_soon(writing.run)
    await trio.testing.wait_all_tasks_blocked()
    assert writing.writer.write_pieces(PIECES)
    await trio.testing.wait_all_tasks_blocked()
    assert writing.socket.written == [EARLY]
    assert writing.failures == ["broken"]
    writing.writer.give_up()
    assert (writing.traffic.frames_sent, writing.traffic.frames_broken) == (0, 1)
