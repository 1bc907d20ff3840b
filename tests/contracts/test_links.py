"""What the links of a node do, run over sockets on loopback, over memory, and over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import trio
from helpers.certificates import TestCa
from helpers.transport import QuietHandler

from casty.address import NodeAddress, UniqueAddress
from casty.transport.limits.token_bucket import CONTROL_BYTES_BURST, CONTROL_BYTES_PER_SECOND, FRAME_COST_BYTES
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.interface import Connection, Network
from casty.transport.network.memory import MemoryNetwork
from casty.transport.network.tcp import TcpNetwork
from casty.transport.network.tls import TlsNetwork
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


KINDS = pytest.mark.parametrize("kind", ["memory", "tcp", "tls"])


async def started(nursery: trio.Nursery, network: Network, host: str, incarnation: int, *, node_id: str = "") -> Node:
    transport = RemoteTransport(network, rng=Random(incarnation))
    me = UniqueAddress(await transport.bind(host, 0), incarnation)
    node = Node(me, transport, Mailbox())
    await nursery.start(transport.run, me, "shop", node.mailbox, node_id)
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
    with trio.fail_after(PATIENCE), ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            if kind == "tls":
                ca, folder = TestCa.make(), Path(stack.enter_context(TemporaryDirectory()))
                networks = [TlsNetwork(ca.node(folder, name), system_name="shop", node_id=name) for name in "ab"]
                a, b = [
                    await started(nursery, network, "127.0.0.1", run, node_id=name)
                    for run, (name, network) in enumerate(zip("ab", networks, strict=True), 1)
                ]
                aliases = [NodeAddress(name, b.me.address.port) for name in ("localhost", "127.1")]
            elif kind == "tcp":
                a, b = [await started(nursery, TcpNetwork(), "127.0.0.1", run) for run in (1, 2)]
                aliases = [NodeAddress(name, b.me.address.port) for name in ("localhost", "127.1")]
            else:
                memory = MemoryNetwork()
                a = await started(nursery, memory.host("a"), "a", 1)
                b = await started(nursery, memory.host("b"), "b", 2)
                aliases = [await forward(nursery, memory, f"b-{n}", b.me.address) for n in range(2)]
            yield Pair(a, b, aliases)
            nursery.cancel_scope.cancel()


@KINDS
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


@KINDS
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


@KINDS
@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
async def test_links_handed_over_again_and_again_cost_none_of_those_under_way(kind: str, lane: Lane) -> None:
    """Both ends begin one after the other, and at once, while both of them tell as fast as the lane lets them."""
    handovers = 4
    async with pair(kind) as nodes:
        a, b = nodes.a, nodes.b
        a.transport.keep([b.me])
        b.transport.keep([a.me])
        is_done = trio.Event()
        told = {b"a": 0, b"b": 0}

        async def tell(sender: Node, to: Node, who: bytes) -> None:
            while not is_done.is_set():
                await sender.say(to.me, who, told[who], lane)
                told[who] += 1
                if told[who] - len(to.mailbox.numbers.get(who, ())) > MESSAGES // 8 or lane is Lane.control:
                    await to.mailbox.wait_for(who, told[who])

        async with trio.open_nursery() as work:
            work.start_soon(tell, a, b, b"a")
            work.start_soon(tell, b, a, b"b")
            await b.mailbox.wait_for(b"a", 1)
            await a.mailbox.wait_for(b"b", 1)
            for number in range(handovers):
                [before] = a.transport.link_manager.sessions
                for node in [(a,), (b,), (a, b)][number % 3]:
                    node.transport.renew_links(0.0)
                await before.over.wait()
                while len(a.transport.link_manager.sessions) + len(b.transport.link_manager.sessions) > 2:
                    await trio.lowlevel.checkpoint()
            is_done.set()
        await b.mailbox.wait_for(b"a", told[b"a"])
        await a.mailbox.wait_for(b"b", told[b"b"])
        assert b.mailbox.numbers == {b"a": [*range(told[b"a"])]}
        assert a.mailbox.numbers == {b"b": [*range(told[b"b"])]}
        for node in (a, b):
            assert (node.mailbox.ups, node.mailbox.lost, node.mailbox.undelivered_count) == (1, [], 0)
            assert node.transport.statistics().frames_unknown == 0
