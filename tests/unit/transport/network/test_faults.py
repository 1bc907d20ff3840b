"""The faults that a memory network can be given."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from casty.address import NodeAddress
from casty.errors import BindError, ConfigError
from casty.transport.network.interface import ConnectFailed, Connection, ConnectionLost
from casty.transport.network.memory import BACKLOG_MAX, BUFFER_BYTES_MAX, MemoryNetwork


class Pair:
    """A connection from host a to host b, and its network."""

    def __init__(self, network: MemoryNetwork, near: Connection, far: Connection, address: NodeAddress) -> None:
        self.network = network
        self.near = near
        self.far = far
        self.address = address


@pytest.fixture
async def pair(nursery: trio.Nursery) -> AsyncIterator[Pair]:
    network = MemoryNetwork()
    arrived, accepted = trio.open_memory_channel[Connection](1000)

    async def keep(connection: Connection) -> None:
        arrived.send_nowait(connection)
        await trio.sleep_forever()

    listener = await network.host("b").listen("b", 0)
    nursery.start_soon(listener.serve, keep)
    near = await network.host("a").connect(listener.address)
    yield Pair(network, near, await accepted.receive(), listener.address)


async def arrives_at(connection: Connection) -> float:
    await connection.receive(1)
    return trio.current_time()


async def test_a_cut_holds_bytes_and_healing_delivers_them_in_order(autojump_clock, pair: Pair) -> None:
    pair.network.cut("a", "b")
    await pair.near.send(b"one ")
    await pair.far.send(b"answer")
    await pair.near.send(b"two")
    with trio.move_on_after(1000) as scope:
        await pair.far.receive(100)
    assert scope.cancelled_caught
    pair.network.heal("b", "a")
    assert await pair.far.receive(4) == b"one "
    assert await pair.far.receive(100) == b"two"
    assert await pair.near.receive(100) == b"answer"


async def test_a_one_way_cut_holds_one_direction(autojump_clock, pair: Pair) -> None:
    pair.network.cut("a", "b", one_way=True)
    await pair.far.send(b"passes")
    assert await pair.near.receive(100) == b"passes"
    await pair.near.send(b"held")
    with trio.move_on_after(1000) as scope:
        await pair.far.receive(100)
    assert scope.cancelled_caught
    with trio.move_on_after(1000) as scope:
        await pair.network.host("b").connect(NodeAddress("a", 1))
    assert scope.cancelled_caught, "a dial needs both directions"


async def test_a_dial_through_a_cut_waits_for_the_heal(autojump_clock, pair: Pair, nursery: trio.Nursery) -> None:
    async def heal() -> None:
        await trio.sleep(50)
        pair.network.heal("a", "b")

    pair.network.cut("a", "b")
    nursery.start_soon(heal)
    with pytest.raises(ConnectFailed):
        await pair.network.host("a").connect(NodeAddress("b", 9))
    assert trio.current_time() == 50


async def test_a_writer_into_a_cut_stops_at_the_buffer(autojump_clock, pair: Pair) -> None:
    pair.network.cut("a", "b")
    await pair.near.send(b"x" * BUFFER_BYTES_MAX)
    with trio.move_on_after(1000) as scope:
        await pair.near.send(b"y")
    assert scope.cancelled_caught


async def test_the_end_and_the_reset_of_a_connection_are_held_too(autojump_clock, pair: Pair) -> None:
    pair.network.cut("a", "b")
    await pair.near.aclose()
    with trio.move_on_after(10) as scope:
        await pair.far.receive(1)
    assert scope.cancelled_caught
    await pair.far.send(b"nobody reads this")
    pair.network.heal_all()
    assert await pair.far.receive(1) == b""
    with pytest.raises(ConnectionLost):
        await pair.far.send(b"x")


async def test_a_crash_resets_connections_and_refuses_dials(autojump_clock, pair: Pair) -> None:
    dead = pair.network.host("b")
    await pair.far.send(b"lost with the host")
    pair.network.crash("b")
    for use in (pair.near.receive(1), pair.near.send(b"x"), pair.far.receive(1), pair.far.send(b"x")):
        with pytest.raises(ConnectionLost):
            await use
    with pytest.raises(ConnectFailed) as caught:
        await pair.network.host("a").connect(pair.address)
    assert caught.value.refused
    with pytest.raises(BindError, match="crashed"):
        await dead.listen("b", 0)
    with pytest.raises(ConnectFailed, match="crashed"):
        await dead.connect(NodeAddress("a", 1))
    await pair.near.aclose()
    assert pair.network.connection_count == 0


async def test_a_crashed_host_starts_again_under_its_name(autojump_clock, pair: Pair) -> None:
    pair.network.crash("b")
    pair.network.crash("nobody")
    listener = await pair.network.host("b").listen("b", pair.address.port)
    await pair.network.host("a").connect(listener.address)


async def test_a_crash_behind_a_cut_is_silence_until_the_heal(autojump_clock, pair: Pair) -> None:
    pair.network.cut("a", "b")
    pair.network.crash("b")
    with trio.move_on_after(10) as scope:
        await pair.near.receive(1)
    assert scope.cancelled_caught
    pair.network.heal("a", "b")
    with pytest.raises(ConnectionLost, match="reset"):
        await pair.near.receive(1)


async def test_a_frozen_host_accepts_in_its_kernel_and_stays_silent(autojump_clock, pair: Pair) -> None:
    pair.network.freeze("b")
    another = await pair.network.host("a").connect(pair.address)
    await another.send(b"anybody?")
    await pair.far.send(b"held")
    with trio.move_on_after(10) as scope:
        await pair.near.receive(1)
    assert scope.cancelled_caught
    with trio.move_on_after(10) as scope:
        await pair.network.host("b").connect(NodeAddress("a", 1))
    assert scope.cancelled_caught
    pair.network.thaw("b")
    assert await pair.near.receive(10) == b"held"


async def test_a_delay_shifts_bytes_and_keeps_their_order(autojump_clock, pair: Pair) -> None:
    pair.network.delay("a", "b", 3.0, one_way=True)
    await pair.near.send(b"1")
    pair.network.delay("a", "b", 0.0)
    await pair.near.send(b"2")
    assert await arrives_at(pair.far) == pytest.approx(3.0)
    assert await arrives_at(pair.far) == pytest.approx(3.0), "not before what was sent earlier"
    await pair.far.send(b"3")
    assert await arrives_at(pair.near) == pytest.approx(3.0)


async def test_a_delayed_dial_takes_a_round_trip(autojump_clock, pair: Pair) -> None:
    pair.network.delay("a", "b", 2.0)
    await pair.network.host("a").connect(pair.address)
    assert trio.current_time() == pytest.approx(4.0)


async def test_equal_delays_do_not_end_at_one_instant(autojump_clock, pair: Pair) -> None:
    pair.network.delay("a", "b", 1.0)
    ends = [pair.network.arrival("a", "b", 0.0) for _ in range(100)]
    assert len(set(ends)) == 100
    assert max(ends) < 1.001


async def test_a_reset_breaks_both_ends(autojump_clock, pair: Pair) -> None:
    pair.network.reset("b", "a")
    for end in (pair.near, pair.far):
        with pytest.raises(ConnectionLost, match="reset"):
            await end.receive(1)
        with pytest.raises(ConnectionLost, match="reset"):
            await end.send(b"x")


async def test_a_reset_wakes_who_waits(autojump_clock, pair: Pair) -> None:
    async def read() -> None:
        with pytest.raises(ConnectionLost):
            await pair.near.receive(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        pair.network.reset("a", "b")


async def test_other_paths_are_untouched(autojump_clock, pair: Pair) -> None:
    pair.network.cut("a", "c")
    pair.network.freeze("c")
    pair.network.reset("a", "c")
    await pair.near.send(b"x")
    assert await pair.far.receive(1) == b"x"


async def test_a_full_backlog_refuses_to_hold_more() -> None:
    network = MemoryNetwork()
    listener = await network.host("b").listen("b", 0)
    for _ in range(BACKLOG_MAX):
        await network.host("a").connect(listener.address)
    with pytest.raises(ConnectFailed, match="wait to be accepted"):
        await network.host("a").connect(listener.address)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_nonsense_delay_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="delay"):
        MemoryNetwork().delay("a", "b", seconds)
