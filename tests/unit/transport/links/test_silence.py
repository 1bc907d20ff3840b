"""How long what was written may go without arriving, before a connection is given up."""

from __future__ import annotations

import math
import socket

import pytest
import trio
from helpers.tasks import in_background
from helpers.transport import QuietConnection, quiet_owner

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.links.link import Link
from casty.transport.links.send_queue import ByteQuota
from casty.transport.links.session import Session
from casty.transport.network.interface import Connection
from casty.transport.network.tcp import USER_TIMEOUT, TcpConnection, TcpNetwork
from casty.wire.frame import FrameDecoder, Lane

PATIENCE = 60.0


class Deaf(QuietConnection):
    """A connection on which nothing happens."""

    def __init__(self) -> None:
        self.bounds: list[float] = []

    def bound_silence(self, seconds: float) -> None:
        self.bounds.append(seconds)


@pytest.mark.parametrize(
    ("lane", "write_timeout", "bound"),
    [
        (Lane.control, 10.0, 5.0),
        (Lane.control, 2.0, 2.0),
        (Lane.ordinary, 10.0, 10.0),
        (Lane.large, 10.0, 10.0),
        (Lane.ordinary, 2.0, 2.0),
    ],
)
async def test_silence_is_bounded_by_the_write_timeout_and_on_the_control_lane_sooner(
    lane: Lane, write_timeout: float, bound: float
) -> None:
    limits = TransportLimits(write_timeout=write_timeout)
    link = Link(UniqueAddress(NodeAddress("b", 1), 1), lane, limits, (), ByteQuota())
    connection = Deaf()
    Session(link, connection, FrameDecoder(1000), limits=limits, owner=quiet_owner(limits))
    assert connection.bounds == [bound]


@pytest.mark.skipif(USER_TIMEOUT is None, reason="this system has no such option")
@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(5.0, 5_000), (1e-9, 1), (1e12, 2**31 - 1), (math.inf, 2**31 - 1)]
)
async def test_the_system_is_told_on_both_ends(seconds: float, milliseconds: int) -> None:
    assert USER_TIMEOUT is not None
    network = TcpNetwork()
    found, accepted = list[int](), trio.Event()

    def look(connection: Connection) -> None:
        assert isinstance(connection, TcpConnection)
        connection.bound_silence(seconds)
        found.append(connection._socket.getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT))

    async def take(connection: Connection) -> None:
        look(connection)
        accepted.set()

    with trio.fail_after(PATIENCE):
        listener = await network.listen("127.0.0.1", 0)
        async with in_background(listener.serve, take):
            dialled = await network.connect(listener.address)
            look(dialled)
            await accepted.wait()
        await dialled.aclose()
        await listener.aclose()
    assert found == [milliseconds, milliseconds]
