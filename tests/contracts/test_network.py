"""What every network of casty does, run against sockets on loopback and against memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.certificates import TestCa
from helpers.tasks import in_background

from casty.address import NodeAddress
from casty.config import TlsConfig
from casty.errors import BindError, ConfigError
from casty.transport.network.interface import (
    ConnectFailed,
    Connection,
    ConnectionLost,
    Listener,
    Network,
    TlsRefused,
)
from casty.transport.network.memory import MemoryNetwork
from casty.transport.network.tcp import TcpNetwork
from casty.transport.network.tls import TlsConnection, TlsNetwork

PATIENCE = 60.0
"""Seconds after which a test hangs; nothing here waits for a time."""


FLOOD = 16_000_000
"""Bytes that no pair of socket buffers holds."""


@dataclass
class Sides:
    """The two ends of one network."""

    server: Network
    client: Network
    host: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsConfig]:
    ca, folder = TestCa.make(), tmp_path_factory.mktemp("tls")
    return {name: ca.node(folder, name) for name in ("server", "client")}


@pytest.fixture(params=["memory", "tcp", "tls over memory", "tls over tcp"])
def sides(request: pytest.FixtureRequest, certificates: dict[str, TlsConfig]) -> Sides:
    if request.param.endswith("tcp"):
        network = TcpNetwork()
        plain = Sides(network, network, "127.0.0.1")
    else:
        memory = MemoryNetwork()
        plain = Sides(memory.host("server"), memory.host("client"), "server")
    if not request.param.startswith("tls"):
        return plain

    def covered(name: str, network: Network) -> TlsNetwork:
        return TlsNetwork(certificates[name], system_name="shop", node_id=name, network=network)

    return Sides(covered("server", plain.server), covered("client", plain.client), plain.host)


@asynccontextmanager
async def serving(sides: Sides, handler: Callable[[Connection], Awaitable[None]]) -> AsyncIterator[Listener]:
    with trio.fail_after(PATIENCE):
        listener = await sides.server.listen(sides.host, 0)
        async with in_background(listener.serve, handler):
            yield listener
        await listener.aclose()


@asynccontextmanager
async def connected(sides: Sides) -> AsyncIterator[tuple[Connection, Connection]]:
    """Yield the dialled end and the accepted end of one connection."""
    accepted_send, accepted = trio.open_memory_channel[Connection](1)

    async def keep(connection: Connection) -> None:
        if isinstance(connection, TlsConnection):
            await connection.shake_hands()  # which is for the first read otherwise, and nothing dials before
        accepted_send.send_nowait(connection)
        await trio.sleep_forever()

    async with serving(sides, keep) as listener:
        near = await sides.client.connect(listener.address)
        far = await accepted.receive()
        yield near, far
        await near.aclose()
        await far.aclose()


async def read_all(connection: Connection, chunk: int = 65_536) -> bytes:
    parts: list[bytes] = []
    while data := await connection.receive(chunk):
        parts.append(data)
    return b"".join(parts)


async def read_into(connection: Connection, size: int) -> bytes:
    place, count = memoryview(bytearray(size)), 0
    while count < size:
        more = await connection.receive_into(place[count:])
        assert 0 < more <= size - count, f"ended after {count} of {size} bytes"
        count += more
    return bytes(place)


async def read_exactly(connection: Connection, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = await connection.receive(size - len(data))
        assert more, f"ended after {len(data)} of {size} bytes"
        data += more
    return bytes(data)


async def test_bytes_arrive_in_order_and_then_the_end(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        for number in range(1000):
            await near.send(number.to_bytes(2, "big"))
        await near.aclose()
        assert await read_all(far) == b"".join(number.to_bytes(2, "big") for number in range(1000))
        assert await far.receive(1) == b""


async def test_what_is_written_at_once_and_what_waits_arrive_as_one_stream(sides: Sides) -> None:
    blob = bytes(range(256)) * 8_000
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:

        async def write() -> None:
            for start in range(0, len(blob), 4_000):
                part = memoryview(blob)[start : start + 4_000]
                taken = near.send_nowait(part)
                assert 0 <= taken <= len(part)
                if taken < len(part):
                    await near.send(part[taken:])

        nursery.start_soon(write)
        assert await read_exactly(far, len(blob)) == blob


async def test_what_lies_in_several_places_arrives_as_one_stream(sides: Sides) -> None:
    pieces = [b"head", memoryview(bytes(range(256)) * 1_000), b"", b"between", bytes(100_000), b"tail"]
    blob = b"".join(pieces)
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:

        async def write() -> None:
            for _ in range(20):
                taken = near.send_nowait(pieces[0], *pieces[1:])
                assert 0 <= taken <= len(blob)
                if taken < len(blob):
                    await near.send(memoryview(blob)[taken:])

        nursery.start_soon(write)
        assert await read_exactly(far, 20 * len(blob)) == 20 * blob


async def test_a_full_stream_takes_nothing_more_at_once(sides: Sides) -> None:
    async with connected(sides) as (near, _):
        # The kernel moves bytes to the reader's side meanwhile, so room may come back between two calls.
        taken = [near.send_nowait(b"x" * FLOOD) for _ in range(100)]
        assert 0 in taken and sum(taken) < FLOOD


async def test_both_directions_are_independent(sides: Sides) -> None:
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send, b"ping" * 50_000)
        nursery.start_soon(far.send, b"pong" * 50_000)
        assert await read_exactly(far, 200_000) == b"ping" * 50_000
        assert await read_exactly(near, 200_000) == b"pong" * 50_000


async def test_a_write_larger_than_any_buffer_arrives_whole(sides: Sides) -> None:
    blob = bytes(range(256)) * 80_000
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send, blob)
        assert await read_exactly(far, len(blob)) == blob


async def test_a_sender_waits_while_nobody_reads(sides: Sides) -> None:
    finished = False

    async def write(connection: Connection) -> None:
        nonlocal finished
        await connection.send(b"x" * FLOOD)
        finished = True

    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(write, near)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not finished
        await read_exactly(far, FLOOD)
    assert finished


async def test_a_bound_on_silence_leaves_a_stream_alone_whose_other_end_does_not_read(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        near.bound_silence(0.05)
        await near.send(b"unread")
        with trio.move_on_after(0.3) as scope:
            await near.receive(1)
        assert scope.cancelled_caught
        assert await read_exactly(far, 6) == b"unread"


async def test_a_bound_on_the_silence_of_a_closed_stream_changes_nothing(sides: Sides) -> None:
    async with connected(sides) as (near, _):
        await near.aclose()
        near.bound_silence(1.0)


async def test_bytes_are_read_into_their_place_and_none_behind_it(sides: Sides) -> None:
    blob = bytes(range(256)) * 20_000
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send, blob)
        assert await read_into(far, 1_000) == blob[:1_000]
        assert await read_into(far, 2_000_000) == blob[1_000:2_001_000]
        assert await far.receive(1) == blob[2_001_000:2_001_001]
        assert await read_into(far, len(blob) - 2_001_001) == blob[2_001_001:]


async def test_what_is_read_at_once_and_what_waits_is_one_stream(sides: Sides) -> None:
    blob = bytes(range(256)) * 8_000
    place, count = memoryview(bytearray(len(blob))), 0
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        assert far.receive_into_nowait(place) == 0
        nursery.start_soon(near.send, blob)
        while count < len(blob):
            more = far.receive_into_nowait(place[count:]) or await far.receive_into(place[count:])
            assert 0 < more <= len(blob) - count
            count += more
        assert place == blob
        await near.aclose()
        assert far.receive_into_nowait(place) == 0
        assert await far.receive_into(place) == 0
        await far.aclose()
        with pytest.raises(ConnectionLost):
            far.receive_into_nowait(place)


async def test_a_place_is_filled_by_bytes_that_come_one_at_a_time(sides: Sides) -> None:
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:

        async def trickle() -> None:
            for number in range(200):
                await near.send(bytes([number]))
                await trio.lowlevel.checkpoint()

        nursery.start_soon(trickle)
        assert await read_into(far, 200) == bytes(range(200))


async def test_a_place_that_is_never_filled_shows_what_has_come_and_then_the_end(sides: Sides) -> None:
    place = memoryview(bytearray(1_000_000))
    async with connected(sides) as (near, far):
        await near.send(b"some")
        assert await far.receive_into(place) == 4
        assert place[:4] == b"some"
        await near.send(b"more")
        await near.aclose()
        assert await far.receive_into(place) == 4
        assert await far.receive_into(place) == 0


async def test_reading_into_a_place_is_lost_when_its_own_end_closes(sides: Sides) -> None:
    lost: list[ConnectionLost] = []

    async def read(connection: Connection) -> None:
        try:
            await connection.receive_into(memoryview(bytearray(100_000)))
        except ConnectionLost as error:
            lost.append(error)

    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(read, far)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await far.aclose()
        await near.aclose()
        with pytest.raises(ConnectionLost):
            await far.receive_into(memoryview(bytearray(10)))
    assert len(lost) == 1 and str(lost[0])


async def test_after_a_cancelled_read_into_a_place_the_first_byte_wakes_the_reader(sides: Sides) -> None:
    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        with trio.move_on_after(0.01) as scope:
            await far.receive_into(memoryview(bytearray(1_000_000)))
        assert scope.cancelled_caught
        nursery.start_soon(near.send, b"x")
        assert await far.receive(10) == b"x"


async def test_receive_returns_at_most_what_was_asked(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        await near.send(b"abcdef")
        first = await far.receive(2)
        assert first == b"ab"[: len(first)] and 1 <= len(first) <= 2
        assert await read_exactly(far, 6 - len(first)) == b"abcdef"[len(first) :]


async def test_what_was_sent_before_a_close_is_read_before_the_end(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        await near.send(b"last words")
        await near.aclose()
        assert await read_exactly(far, 10) == b"last words"
        assert await far.receive(10) == b""


async def test_a_pending_receive_ends_when_the_other_end_closes(sides: Sides) -> None:
    got: list[bytes] = []

    async def read(connection: Connection) -> None:
        got.append(await connection.receive(10))

    async with connected(sides) as (near, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, far)
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()
        assert got == [b""]


async def test_a_pending_receive_is_lost_when_its_own_end_closes(sides: Sides) -> None:
    outcome: list[str] = []

    async def read(connection: Connection) -> None:
        with pytest.raises(ConnectionLost):
            await connection.receive(10)
        outcome.append("lost")

    async with connected(sides) as (near, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, near)
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()
        assert outcome == ["lost"]


async def test_a_closed_connection_neither_sends_nor_receives(sides: Sides) -> None:
    async with connected(sides) as (near, _):
        await near.aclose()
        await near.aclose()
        with pytest.raises(ConnectionLost):
            await near.send(b"x")
        with pytest.raises(ConnectionLost):
            near.send_nowait(b"x")
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await near.receive(1)


async def test_a_connection_closed_after_it_was_read_dry_receives_nothing(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        await far.send(b"abc")
        assert await read_exactly(near, 3) == b"abc"
        await far.send(b"d")
        assert await near.receive(100) == b"d"
        await near.aclose()
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await near.receive(100)


async def test_writing_to_an_end_that_has_closed_fails_soon(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        await far.aclose()
        with pytest.raises(ConnectionLost):
            for _ in range(1000):
                await near.send(b"x" * 65_536)


async def test_a_blocked_writer_fails_when_the_other_end_closes(sides: Sides) -> None:
    async def close(connection: Connection) -> None:
        await trio.testing.wait_all_tasks_blocked(0.02)
        await connection.aclose()

    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(close, far)
        with pytest.raises(ConnectionLost):
            await near.send(b"x" * FLOOD)


async def test_a_dial_to_a_free_port_is_refused(sides: Sides) -> None:
    listener = await sides.server.listen(sides.host, 0)
    await listener.aclose()
    with trio.fail_after(PATIENCE), pytest.raises(ConnectFailed, match=str(listener.address.port)) as caught:
        await sides.client.connect(listener.address)
    assert caught.value.refused
    assert caught.value.address == listener.address


async def test_port_zero_gives_a_real_port_and_the_name_stays(sides: Sides) -> None:
    listener = await sides.server.listen(sides.host, 0)
    assert listener.address.host == sides.host
    assert listener.address.port > 0
    await listener.aclose()


async def test_a_taken_port_is_a_bind_error_that_says_what_to_do(sides: Sides) -> None:
    listener = await sides.server.listen(sides.host, 0)
    with pytest.raises(BindError, match=f"{sides.host}:{listener.address.port}.*in use.*another"):
        await sides.server.listen(sides.host, listener.address.port)
    await listener.aclose()


async def test_a_port_is_free_again_after_close(sides: Sides) -> None:
    first = await sides.server.listen(sides.host, 0)
    await first.aclose()
    second = await sides.server.listen(sides.host, first.address.port)
    assert second.address == first.address
    await second.aclose()


async def test_a_host_that_is_not_ours_cannot_be_bound(sides: Sides) -> None:
    with pytest.raises((BindError, ConfigError), match="192.0.2.1"):
        await sides.server.listen("192.0.2.1", 0)


async def test_a_nonsense_endpoint_is_a_config_error(sides: Sides) -> None:
    with pytest.raises(ConfigError, match="port"):
        await sides.server.listen(sides.host, 70_000)
    with pytest.raises(ConfigError, match="host"):
        await sides.server.listen("", 0)


async def test_closing_the_listener_ends_serve_and_keeps_connections(sides: Sides) -> None:
    async def echo(connection: Connection) -> None:
        while data := await connection.receive(100):
            await connection.send(data)

    with trio.fail_after(PATIENCE):
        listener = await sides.server.listen(sides.host, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve, echo)
            near = await sides.client.connect(listener.address)
            await near.send(b"one")
            assert await read_exactly(near, 3) == b"one"
            await listener.aclose()
            await near.send(b"two")
            assert await read_exactly(near, 3) == b"two"
            await near.aclose()


async def test_a_connection_made_before_serve_is_served(sides: Sides) -> None:
    async def greet(connection: Connection) -> None:
        await connection.send(b"hello")

    with trio.fail_after(PATIENCE):
        listener = await sides.server.listen(sides.host, 0)
        async with trio.open_nursery() as nursery:

            async def dial() -> None:
                near = await sides.client.connect(listener.address)  # with TLS it returns once it is served
                assert await read_all(near) == b"hello"
                await near.aclose()
                nursery.cancel_scope.cancel()

            nursery.start_soon(dial)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(listener.serve, greet)
        await listener.aclose()


async def test_a_failing_handler_closes_only_its_own_connection(sides: Sides, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def fragile(connection: Connection) -> None:
        while data := await connection.receive(100):
            if data == b"die":
                raise ValueError("a bug in the handler")
            await connection.send(data)

    async with serving(sides, fragile) as listener:
        steady = await sides.client.connect(listener.address)
        doomed = await sides.client.connect(listener.address)
        await doomed.send(b"die")
        with suppress(TlsRefused):  # whoever hangs up before the first word may not have believed the other end
            assert await doomed.receive(10) == b""
        later = await sides.client.connect(listener.address)
        for connection in (steady, later):
            await connection.send(b"alive")
            assert await read_exactly(connection, 5) == b"alive"
        for connection in (steady, doomed, later):
            await connection.aclose()


async def test_many_connections_live_side_by_side(sides: Sides) -> None:
    replies: dict[int, bytes] = {}

    async def echo(connection: Connection) -> None:
        await connection.send(await read_exactly(connection, 4))

    async def ask(address: NodeAddress, number: int) -> None:
        connection = await sides.client.connect(address)
        await connection.send(number.to_bytes(4, "big"))
        replies[number] = await read_all(connection)
        await connection.aclose()

    async with serving(sides, echo) as listener, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(ask, listener.address, number)
    assert replies == {number: number.to_bytes(4, "big") for number in range(100)}


async def test_a_cancelled_receive_loses_nothing(sides: Sides) -> None:
    count = 2_000
    got = b""

    async def write(connection: Connection) -> None:
        for number in range(count):
            await connection.send(number.to_bytes(2, "big"))
            await trio.lowlevel.checkpoint()

    async with connected(sides) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(write, near)
        while len(got) < 2 * count:
            with trio.CancelScope() as scope:
                async with in_background(_cancel_soon, scope):
                    got += await far.receive(7)
    assert got == b"".join(number.to_bytes(2, "big") for number in range(count))


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_who_is_cancelled_before_a_write_writes_nothing(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.send(b"cancelled")
        assert scope.cancelled_caught
        await near.aclose()
        assert await read_all(far) == b""


async def test_a_cancelled_close_has_closed(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.aclose()
        assert await far.receive(10) == b""


async def test_the_remote_is_a_host_without_a_port(sides: Sides) -> None:
    async with connected(sides) as (near, far):
        assert near.remote == sides.host
        assert far.remote in ("client", "127.0.0.1")
        assert far.remote in repr(far)


async def test_cancelling_serve_cancels_the_handlers(sides: Sides) -> None:
    ended: list[str] = []

    async def wait(connection: Connection) -> None:
        try:
            await connection.receive(1)
        finally:
            ended.append("handler")

    async with serving(sides, wait) as listener:
        near = await sides.client.connect(listener.address)
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert ended == ["handler"]
    with pytest.raises(ConnectionLost):
        while await near.receive(1):
            pass
        raise ConnectionLost("ended")
    await near.aclose()
