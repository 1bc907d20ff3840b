"""A session gives way to other tasks, however much there is to write or to read."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.tasks import in_background
from helpers.transport import QuietConnection

from casty.address import NodeAddress, UniqueAddress
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.links.link import Link
from casty.transport.links.link_table import LinkTable
from casty.transport.links.owner import SessionOwner
from casty.transport.links.send_queue import ByteQuota
from casty.transport.links.session import FRAMES_BEFORE_YIELD, Session
from casty.transport.links.writing import LARGE_WRITE_BYTES_MAX, WRITE_BYTES_MAX
from casty.transport.manager.untrusted_peers import UntrustedPeers
from casty.transport.network.interface import Connection
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from tests.unit.transport.conftest import DEFAULT_LIMITS

PEER = UniqueAddress(NodeAddress("b", 2551), 2)
NO_STRANGERS = UntrustedPeers(DEFAULT_LIMITS, LinkTable(), (), ())


class Turns:
    """How many times another task has run."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await trio.lowlevel.checkpoint()


class Bottomless(QuietConnection):
    """A connection that takes whatever is written and has endless bytes to read."""

    def __init__(self, turns: Turns, data: bytes = b"") -> None:
        self.turns = turns
        self.data = data
        self.reads: list[int] = []
        self.writes: list[tuple[int, int]] = []
        """For each write, how often another task had run, and the size."""

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        self.writes.append((self.turns.count, len(data)))
        return len(data)

    async def send(self, data: bytes | memoryview) -> None:
        raise AssertionError("everything was taken at once")

    async def receive(self, max_bytes: int) -> bytes:
        self.reads.append(max_bytes)
        if not self.data:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        taken, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return taken


class Later(Bottomless):
    """Such a connection, whose bytes come when they are let."""

    def __init__(self, turns: Turns, data: bytes) -> None:
        super().__init__(turns, data)
        self.come = trio.Event()

    async def receive(self, max_bytes: int) -> bytes:
        await self.come.wait()
        return await super().receive(max_bytes)


def session(
    connection: Connection, taken: list[int], turns: Turns, *, limit: int = 4096, answers: bool = False, asks: int = 0
) -> Session:
    def take(peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes | memoryview) -> None:
        taken.append(turns.count)

    def take_next(peer: UniqueAddress, frames: object, start: int) -> int:
        taken.append(turns.count)
        if answers:
            link.send_queue.put_nowait(b"answer")
        return start + 1

    complaints = RateLimitedLog(None, trio.current_time)  # type: ignore[arg-type]  # nothing is complained of
    owner = SessionOwner(take, take_next, lambda *_: None, NO_STRANGERS, lambda: asks, complaints, lambda _: None)
    link = Link(PEER, Lane.ordinary, DEFAULT_LIMITS, (), ByteQuota())
    link.session = Session(link, connection, FrameDecoder(limit), limits=DEFAULT_LIMITS, owner=owner)
    return link.session


async def test_a_writer_whose_bytes_are_all_taken_gives_way_after_each_write(autojump_clock) -> None:
    turns = Turns()
    connection = Bottomless(turns)
    writing = session(connection, [], turns)
    frames = [bytes(WRITE_BYTES_MAX // 2)] * 6 + [bytes(LARGE_WRITE_BYTES_MAX + 100), bytes(100)]
    writing.link.send_queue.extend(frames)
    async with in_background(turns.run), in_background(writing.run):
        while sum(size for _, size in connection.writes) < sum(map(len, frames)):
            await trio.lowlevel.checkpoint()
    assert [size for _, size in connection.writes] == [WRITE_BYTES_MAX] * 3 + [LARGE_WRITE_BYTES_MAX, 100, 100]
    ran = [count for count, _ in connection.writes]
    assert all(before < after for before, after in zip(ran, ran[2:], strict=False)), "two turns may meet, three cannot"


async def test_a_reader_gives_way_between_many_small_frames(autojump_clock) -> None:
    turns, taken = Turns(), list[int]()
    count = 5 * FRAMES_BEFORE_YIELD
    connection = Bottomless(turns, frame(FrameKind.ENVELOPE, b"") * count)
    async with in_background(turns.run), in_background(session(connection, taken, turns).run):
        while len(taken) < count:
            await trio.lowlevel.checkpoint()
    assert max(taken.count(turn) for turn in set(taken)) <= 2 * FRAMES_BEFORE_YIELD


async def test_the_rest_of_a_large_frame_is_read_at_once(autojump_clock) -> None:
    turns, taken = Turns(), list[int]()
    connection = Bottomless(turns, frame(FrameKind.ENVELOPE, bytes(1_000_000)))
    async with in_background(session(connection, taken, turns, limit=2**21).run):
        await trio.testing.wait_all_tasks_blocked()
    assert len(taken) == 1
    assert connection.reads == [65_536, 1_000_005 - 65_536, 65_536]


@pytest.mark.parametrize(("asks", "size"), [(0, 6), (8, 4), (12, 6)])
async def test_answers_are_written_once_there_are_as_many_as_the_peer_has_asked_for(
    asks: int, size: int, autojump_clock
) -> None:
    turns = Turns()
    connection = Later(turns, frame(FrameKind.ENVELOPE, b"") * 6)
    answering = session(connection, [], turns, answers=True, asks=asks)
    async with in_background(answering.run):
        await trio.testing.wait_all_tasks_blocked()
        connection.come.set()
        while not connection.writes:
            assert len(answering.link.send_queue) < size, "the writer has had no turn, and must not have to"
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
    sizes = [written // len(b"answer") for _, written in connection.writes]
    assert sizes == ([size] if size == 6 else [size, 6 - size])
