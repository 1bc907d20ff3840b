"""A reader looks for bytes for a moment before it sleeps, as long as that pays."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
import trio
import trio.testing
from anyio.abc import SocketStream
from hypothesis import given
from hypothesis import strategies as st

from casty.config import ClusterSettings
from casty.errors import ConfigError
from casty.transport.network.busy_poll import LOOKING_MAX, PAUSE_MAX, TURNS, Looking, Polling, more_turns, usable_cores
from casty.transport.network.interface import ConnectionLost
from casty.transport.network.tcp import TcpConnection, TcpNetwork


class Sleeps(trio.abc.Instrument):
    """Counts the turns of the loop, and those of them that begin with a sleep."""

    def __init__(self) -> None:
        self.turns = self.sleeps = 0

    def before_io_wait(self, timeout: float) -> None:
        self.turns += 1
        self.sleeps += timeout > 0


@asynccontextmanager
async def connected(
    *, busy_poll: bool, is_eager: bool = True, looking: Looking | None = None
) -> AsyncIterator[tuple[TcpConnection, socket.socket, Sleeps]]:
    """Yield a connection that has just read all there was, the other end, and what the loop does from now on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream: SocketStream = await anyio.connect_tcp("127.0.0.1", server.getsockname()[1])
        far, _ = server.accept()
    looking = looking or Looking() if busy_poll else None
    connection, counting = TcpConnection(stream, "127.0.0.1", looking=looking), Sleeps()
    connection.is_eager = is_eager
    with far:
        far.send(b"before")
        assert await connection.receive(100) == b"before"
        trio.lowlevel.add_instrument(counting)
        yield connection, far, counting
    await connection.aclose()


async def after_turns(count: int, far: socket.socket, data: bytes) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()
    far.send(data)


async def once_asleep(far: socket.socket, data: bytes) -> None:
    """Send when the reader waits for the system."""
    await trio.testing.wait_all_tasks_blocked()
    far.send(data)


async def test_bytes_that_come_soon_find_a_reader_that_is_awake(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=True) as (connection, far, counting):
        for number in range(3):
            nursery.start_soon(after_turns, TURNS // 2, far, b"%d" % number)
            assert await connection.receive(100) == b"%d" % number
        assert counting.sleeps == 0


async def test_a_reader_that_looked_in_vain_sleeps_and_does_not_look_the_next_time(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=True) as (connection, far, counting):
        nursery.start_soon(once_asleep, far, b"late")
        assert await connection.receive(100) == b"late"
        assert counting.turns > TURNS
        turns = counting.turns
        nursery.start_soon(once_asleep, far, b"later")
        assert await connection.receive(100) == b"later"
        assert counting.turns < turns + TURNS


async def test_a_reader_looks_longer_for_the_answer_to_much(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=True) as (connection, far, counting):
        more = more_turns(connection.send_nowait(bytes(200_000)))
        assert more >= 4
        nursery.start_soon(after_turns, TURNS + more - 2, far, b"answer")
        assert await connection.receive(100) == b"answer"
        assert counting.sleeps == 0
        nursery.start_soon(after_turns, TURNS + 2, far, b"more")
        assert await connection.receive(100) == b"more"
        assert counting.sleeps == 1, "what was sent before the last bytes came counts no more"


async def test_without_busy_poll_a_reader_sleeps_at_once(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=False) as (connection, far, counting):
        nursery.start_soon(once_asleep, far, b"late")
        assert await connection.receive(100) == b"late"
        assert counting.turns < TURNS


async def test_who_reads_what_a_stranger_sends_sleeps_at_once(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=True, is_eager=False) as (connection, far, counting):
        for data in (b"late", b"later"):
            nursery.start_soon(once_asleep, far, data)
            assert await connection.receive(100) == data
        assert counting.turns < TURNS


async def test_only_a_few_readers_look_at_a_time(nursery: trio.Nursery) -> None:
    looking = Looking()
    async with connected(busy_poll=True, looking=looking) as (connection, far, counting):
        looking.count = LOOKING_MAX
        nursery.start_soon(once_asleep, far, b"late")
        assert await connection.receive(100) == b"late"
        assert (counting.turns < TURNS, looking.count) == (True, LOOKING_MAX)
        looking.count -= 1
        nursery.start_soon(after_turns, TURNS // 2, far, b"soon")
        sleeps = counting.sleeps
        assert await connection.receive(100) == b"soon"
        assert (counting.sleeps, looking.count) == (sleeps, LOOKING_MAX - 1), "it looked, and makes room again"


async def test_the_end_of_the_stream_is_seen_while_a_reader_looks(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=True) as (connection, far, _):
        far.shutdown(socket.SHUT_WR)
        assert await connection.receive(100) == b""


async def test_a_connection_that_is_closed_while_its_reader_looks_is_lost(nursery: trio.Nursery) -> None:
    async with connected(busy_poll=True) as (connection, _, _):
        nursery.start_soon(connection.aclose)
        with pytest.raises(ConnectionLost):
            await connection.receive(100)


async def test_a_reader_that_looks_can_be_cancelled() -> None:
    looking = Looking()
    async with connected(busy_poll=True, looking=looking) as (connection, far, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await connection.receive(100)
        assert (scope.cancelled_caught, looking.count) == (True, 0)
        far.send(b"kept")
        assert await connection.receive(100) == b"kept"


def waits_without_a_look(polling: Polling) -> int:
    """Wait until it looks again, and return how often it did not."""
    count = 0
    while not polling.turns():
        count += 1
    return count


@given(st.integers(1, 15))
def test_each_look_in_vain_doubles_the_pause_up_to_a_bound(misses: int) -> None:
    polling = Polling(Looking())
    for missed in range(misses):
        assert waits_without_a_look(polling) == min(2**missed - 1, PAUSE_MAX)
        polling.missed()
    assert waits_without_a_look(polling) == min(2**misses - 1, PAUSE_MAX)
    polling.hit()
    assert waits_without_a_look(polling) == 0, "it looks on after the first bytes that were seen"


def test_at_last_hardly_anybody_looks_where_nothing_comes() -> None:
    polling, looked = Polling(Looking()), 0
    for _ in range(100_000):
        if polling.turns():
            looked += 1
            polling.missed()
    assert looked < 10 + 100_000 / PAUSE_MAX


def test_one_hit_among_many_misses_does_not_bring_looking_back() -> None:
    polling, looked = Polling(Looking()), 0
    for number in range(100_000):
        if polling.turns():
            looked += 1
            polling.hit() if number % 4_096 == 0 else polling.missed()
    assert looked < 1_000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no such call")
def test_nobody_looks_on_a_single_core() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert usable_cores() == 1
        assert TcpNetwork()._looking is None
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_busy_poll_is_true_or_false(value: object) -> None:
    with pytest.raises(ConfigError, match="busy_poll must be a bool, such as False"):
        ClusterSettings(busy_poll=value)  # type: ignore[arg-type]  # what it must refuse
