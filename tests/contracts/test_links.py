"""What the links of a node do, run over sockets on loopback and over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
import trio
from helpers.transport import QuietHandler

from casty.address import NodeAddress, UniqueAddress
from casty.transport.limits.token_bucket import CONTROL_BYTES_BURST, CONTROL_BYTES_PER_SECOND, FRAME_COST_BYTES
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.interface import Connection, Network
from casty.transport.network.memory import MemoryNetwork
from casty.transport.network.tcp import TcpNetwork
from casty.wire.frame import FrameKind, Lane, frame

PATIENCE = 60.0
"""Seconds after which a test hangs; nothing here waits for a time."""

MESSAGES = 4_000
SIZE = 200


@dataclass
class Mailbox(QuietHandler):
    """An InboundHandler that keeps the numbers in the frames, for each actor, and how links ended."""

    numbers: dict[bytes, list[int]] = field(default_factory=dict[bytes, list[int]])
    lost: list[str] = field(default_factory=list[str])
    ups: int = 0
    undelivered_count: int = 0
    changed: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def frame(self, peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes) -> None:
        self.numbers.setdefault(body[:1], []).append(int.from_bytes(body[1:5], "big"))
        self.changed.unpark_all()

    def link_up(self, peer: UniqueAddress, lane: Lane) -> None:
        self.ups += 1

    def link_lost(self, peer: UniqueAddress, lane: Lane, reason: str, graceful: bool) -> None:
        self.lost.append(reason)

    def undelivered(self, to: UniqueAddress, body_frames: Sequence[bytes], reason: str) -> None:
        self.undelivered_count += len(body_frames)

    async def wait_for(self, who: bytes, count: int) -> None:
        while len(self.numbers.get(who, ())) < count:
            await self.changed.park()


@dataclass
class Node:
    """One transport that runs."""

    me: UniqueAddress
    transport: RemoteTransport
    mailbox: Mailbox

    async def say(self, to: UniqueAddress, who: bytes, number: int, lane: Lane = Lane.ordinary) -> None:
        body = who + number.to_bytes(4, "big") + bytes(SIZE)
        kind = FrameKind.CONTROL if lane is Lane.control else FrameKind.ENVELOPE
        await self.transport.send_wait(to, lane, frame(kind, body))


@dataclass
class Pair:
    """Two nodes, and other names that the second one has: whoever dials one comes to that node."""

    a: Node
    b: Node
    aliases: list[NodeAddress]


async def started(nursery: trio.Nursery, network: Network, host: str, incarnation: int) -> Node:
    transport = RemoteTransport(network, rng=Random(incarnation))
    me = UniqueAddress(await transport.bind(host, 0), incarnation)
    node = Node(me, transport, Mailbox())
    await nursery.start(transport.run, me, "shop", node.mailbox)
    return node


async def forward(nursery: trio.Nursery, network: MemoryNetwork, name: str, to: NodeAddress) -> NodeAddress:
    """Give an address another name, as a device in between does."""
    host = network.host(name)
    listener = await host.listen(name, 0)

    async def pump(source: Connection, target: Connection) -> None:
        while data := await source.receive(65_536):
            await target.send(data)
        await target.aclose()

    async def onward(connection: Connection) -> None:
        there = await host.connect(to)
        async with trio.open_nursery() as pumps:
            pumps.start_soon(pump, connection, there)
            pumps.start_soon(pump, there, connection)

    nursery.start_soon(listener.serve, onward)
    return listener.address


@asynccontextmanager
async def pair(kind: str) -> AsyncIterator[Pair]:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            if kind == "tcp":
                a, b = [await started(nursery, TcpNetwork(), "127.0.0.1", run) for run in (1, 2)]
                aliases = [NodeAddress(name, b.me.address.port) for name in ("localhost", "127.1")]
            else:
                memory = MemoryNetwork()
                a = await started(nursery, memory.host("a"), "a", 1)
                b = await started(nursery, memory.host("b"), "b", 2)
                aliases = [await forward(nursery, memory, f"b-{n}", b.me.address) for n in range(2)]
            yield Pair(a, b, aliases)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["memory", "tcp"])
async def test_messages_to_other_names_of_a_node_cost_none_of_those_under_way(kind: str) -> None:
    async with pair(kind) as nodes:
        a, b = nodes.a, nodes.b

        async def tell(sender: Node, to: UniqueAddress, who: bytes) -> None:
            for number in range(MESSAGES):
                await sender.say(to, who, number)

        async def tell_aliases() -> None:
            for number, alias in enumerate(nodes.aliases):
                await b.mailbox.wait_for(b"a", (number + 1) * MESSAGES // 8)
                await a.say(UniqueAddress(alias, 0), b"x", number)
                await b.mailbox.wait_for(b"x", number + 1)

        async with trio.open_nursery() as work:
            work.start_soon(tell, a, b.me, b"a")
            work.start_soon(tell, b, a.me, b"b")
            work.start_soon(tell_aliases)
        await b.mailbox.wait_for(b"a", MESSAGES)
        await a.mailbox.wait_for(b"b", MESSAGES)
        assert b.mailbox.numbers == {b"a": [*range(MESSAGES)], b"x": [*range(len(nodes.aliases))]}
        assert a.mailbox.numbers == {b"b": [*range(MESSAGES)]}
        for node in (a, b):
            assert (node.mailbox.ups, node.mailbox.lost, node.mailbox.undelivered_count) == (1, [], 0)
            assert node.transport.statistics().frames_unknown == 0


@pytest.mark.parametrize("kind", ["memory", "tcp"])
async def test_what_was_written_before_a_connection_was_lost_is_handled_before_what_comes_on_the_next(
    kind: str,
) -> None:
    """The control lane is read at a bounded pace, so the end of the first connection comes long before it is read."""
    burst = CONTROL_BYTES_BURST // (FRAME_COST_BYTES + 5 + SIZE)
    before, after = burst + CONTROL_BYTES_PER_SECOND // 2 // (FRAME_COST_BYTES + 5 + SIZE), 10
    async with pair(kind) as nodes:
        a, b = nodes.a, nodes.b
        a.transport.keep([b.me])
        for number in range(before):
            await b.say(a.me, b"b", number, Lane.control)
        while b.transport.statistics().frames_sent < before:
            await trio.lowlevel.checkpoint()
        [session] = b.transport.link_manager.sessions
        session.end("lost", graceful=False)
        for number in range(before, before + after):
            await b.say(a.me, b"b", number, Lane.control)
        await a.mailbox.wait_for(b"b", before + after)
        assert a.mailbox.numbers == {b"b": [*range(before + after)]}
        assert (a.mailbox.ups, a.mailbox.lost) == (2, ["the connection was closed by the peer"])
