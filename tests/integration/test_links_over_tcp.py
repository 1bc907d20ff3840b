"""Links over real sockets while their connections are killed."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Sequence

import pytest
import trio
from helpers.transport import QuietHandler

from casty.address import UniqueAddress
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.tcp import TcpNetwork
from casty.wire.frame import FrameKind, Lane, frame

FRAMES = 20_000
KILLS = 25
PATIENCE = 60.0


class Ledger(QuietHandler):
    """An InboundHandler that keeps numbers."""

    changed = trio.lowlevel.ParkingLot()
    """Unparked by each link that comes up, of any node."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.given_back: list[int] = []
        self.lost: list[str] = []
        self.was_lost = trio.Event()
        self.ups = 0

    def frame(self, peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes) -> None:
        self.received.append(int.from_bytes(body[:4], "big"))

    def link_up(self, peer: UniqueAddress, lane: Lane) -> None:
        self.ups += 1
        self.changed.unpark_all()

    def link_lost(self, peer: UniqueAddress, lane: Lane, reason: str, graceful: bool) -> None:
        self.lost.append(reason)
        self.was_lost.set()

    def undelivered(self, to: UniqueAddress, body_frames: Sequence[bytes], reason: str) -> None:
        self.given_back += [int.from_bytes(data[5:9], "big") for data in body_frames]


class Node:
    def __init__(self, transport: RemoteTransport, me: UniqueAddress) -> None:
        self.transport = transport
        self.me = me
        self.ledger = Ledger()

    @classmethod
    async def start(cls, nursery: trio.Nursery, incarnation: int) -> Node:
        transport = RemoteTransport(TcpNetwork(), rng=random.Random(incarnation))
        address = await transport.bind("127.0.0.1", 0)
        node = cls(transport, UniqueAddress(address, incarnation))
        await nursery.start(transport.run, node.me, "stress", node.ledger)
        return node

    async def send_all(self, to: Node, count: int, size: int = 60) -> None:
        for number in range(count):
            data = frame(FrameKind.ENVELOPE, number.to_bytes(4, "big") + b"x" * size)
            if number % 10 == 0 or not self.transport.send(to.me, Lane.ordinary, data):
                await self.transport.send_wait(to.me, Lane.ordinary, data)
                await trio.lowlevel.checkpoint()  # paced, so that the kills meet frames at every stage of their way


async def kill_links(nodes: Sequence[Node], times: int) -> None:
    rng = random.Random(5)
    for _ in range(times):
        await trio.sleep(0.02)
        sessions = [session for node in nodes for session in node.transport.link_manager.sessions]
        if sessions:
            victim = rng.choice(sessions)
            if rng.random() < 0.5:
                connection = victim._connection
                with_reset = rng.random() < 0.5  # then what the peer has not read yet is lost
                if with_reset and connection._socket.fileno() >= 0:  # and not closed by the session already
                    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await connection.aclose()  # as a broken socket: the session finds out by itself
            else:
                victim.end("killed by the test", graceful=False)


async def test_frames_stay_in_order_and_accounted_while_links_are_killed() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            a, b = await Node.start(nursery, 1), await Node.start(nursery, 2)
            async with trio.open_nursery() as work:
                work.start_soon(a.send_all, b, FRAMES)
                work.start_soon(b.send_all, a, FRAMES)
                work.start_soon(kill_links, (a, b), KILLS)
            await a.transport.goodbye(5.0)
            await b.transport.goodbye(5.0)
            for sender, receiver in ((a, b), (b, a)):
                got = receiver.ledger.received
                assert got == sorted(set(got)), "in order and never twice"
                assert not set(got) & set(sender.ledger.given_back)
                now = sender.transport.statistics()
                assert now.frames_sent + now.frames_broken + now.frames_undelivered == FRAMES
                assert len(got) <= now.frames_sent + now.frames_broken
                assert 0 <= FRAMES - len(got) - now.frames_undelivered <= now.frames_unknown
                assert len(got) > FRAMES // 20  # a kill loses what is in the sockets: how much, the system decides
                assert receiver.ledger.ups >= 2
                assert len(receiver.ledger.lost) == receiver.ledger.ups
            nursery.cancel_scope.cancel()


async def test_nothing_is_missing_when_nothing_is_killed() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            a, b = await Node.start(nursery, 1), await Node.start(nursery, 2)
            async with trio.open_nursery() as work:
                work.start_soon(a.send_all, b, FRAMES)
                work.start_soon(b.send_all, a, FRAMES)
            await a.transport.goodbye(5.0)
            await b.transport.goodbye(5.0)
            assert b.ledger.received == list(range(FRAMES))
            assert sorted([*a.ledger.received, *b.ledger.given_back]) == list(range(FRAMES))
            nursery.cancel_scope.cancel()


async def test_goodbye_delivers_large_frames_that_are_still_queued() -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            a, b = await Node.start(nursery, 1), await Node.start(nursery, 2)
            await a.send_all(b, 20, size=900_000)
            await a.transport.goodbye(20.0)
            await b.ledger.was_lost.wait()
            assert b.ledger.received == list(range(20))
            assert b.ledger.lost == ["the peer said goodbye"]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("round_number", range(3))
async def test_simultaneous_dials_over_sockets_become_one_link(round_number: int) -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            a, b = await Node.start(nursery, 1), await Node.start(nursery, 2)
            for node, peer in ((a, b), (b, a)):
                node.transport.dial(peer.me.address, Lane.control)
                node.transport.dial(peer.me.address, Lane.ordinary)
            while min(a.ledger.ups, b.ledger.ups) < 2:
                await Ledger.changed.park()
            await trio.sleep(0.3)  # for a third, which must not come
            assert len(a.transport.statistics().links) == len(b.transport.statistics().links) == 2
            assert a.ledger.ups == b.ledger.ups == 2
            assert a.ledger.lost == b.ledger.lost == []
            nursery.cancel_scope.cancel()
