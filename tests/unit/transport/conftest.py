"""Nodes that talk over a memory network, and a handler that remembers what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.interface import Connection, Network
from casty.transport.network.memory import MemoryNetwork
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, Refused, encode_hello

PORT = 2551
NONCE = 7
"""Of all hellos of strangers: nobody compares them."""
SYSTEM = "shop"
DEFAULT_LIMITS = TransportLimits()


Vouch = Callable[[trio.Nursery, Network, UniqueAddress], Awaitable[UniqueAddress]]


async def _no_news() -> bytes:
    return frame(FrameKind.CONTROL, b"no news")


class Recorder:
    """An InboundHandler that keeps everything in order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.bodies: list[bytes] = []
        self.on_frame: Callable[[UniqueAddress, bytes], None] | None = None
        self.make_report: Callable[[], Awaitable[bytes]] = _no_news
        self._changed = trio.lowlevel.ParkingLot()

    def envelopes(self, peer: UniqueAddress, frames: Sequence[tuple[FrameKind, bytes]], start: int) -> int:
        kind, body = frames[start]
        self.frame(peer, Lane.ordinary, kind, body)
        return start + 1

    def frame(self, peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes) -> None:
        self.bodies.append(body)
        self._add("frame", peer, lane, kind, body)
        if self.on_frame is not None:
            self.on_frame(peer, body)

    def asking(self) -> int:
        return 0

    def link_up(self, peer: UniqueAddress, lane: Lane) -> None:
        self._add("link_up", peer, lane)

    def link_lost(self, peer: UniqueAddress, lane: Lane, reason: str, graceful: bool) -> None:
        self._add("link_lost", peer, lane, reason, graceful)

    def dial_failed(self, address: NodeAddress, lane: Lane, refused: bool, reason: str) -> None:
        self._add("dial_failed", address, lane, refused, reason)

    def mistrusted(self, address: NodeAddress, reason: str) -> None:
        self._add("mistrusted", address, reason)

    def dial_refused(self, address: NodeAddress, refusal: Refused) -> None:
        self._add("dial_refused", address, refusal)

    def peer_refused(self, host: str, hello: Hello | None, refusal: Refused) -> None:
        self._add("peer_refused", host, hello, refusal)

    def self_dialled(self, address: NodeAddress) -> None:
        self._add("self_dialled", address)

    def incarnation_seen(self, node: UniqueAddress) -> None:
        self._add("incarnation_seen", node)

    def undelivered(self, to: UniqueAddress, body_frames: Sequence[bytes], reason: str) -> None:
        self._add("undelivered", to, list(body_frames), reason)

    async def report(self) -> bytes:
        self._add("report")
        return await self.make_report()

    def _add(self, *event: object) -> None:
        self.events.append(event)
        self._changed.unpark_all()

    def all(self, name: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.events if event[0] == name]

    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    async def wait(self, name: str, count: int = 1) -> tuple[Any, ...]:
        """Return the ``count``-th event of that name, waiting for it."""
        with trio.fail_after(300):
            while len(self.all(name)) < count:
                await self._changed.park()
        return self.all(name)[count - 1]


@dataclass
class Node:
    """One node of a test."""

    me: UniqueAddress
    transport: RemoteTransport
    node_id: str = ""
    told: Recorder = field(default_factory=Recorder)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self, system: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.transport.run(self.me, system, self.told, self.node_id, task_status=task_status)

    def say(self, to: Node, *bodies: bytes, lane: Lane = Lane.ordinary) -> list[bool]:
        return [self.transport.send(to.me, lane, packed(body, lane)) for body in bodies]


class World:
    """A memory network and the nodes on it."""

    def __init__(self, nursery: trio.Nursery, vouch: Vouch | None = None) -> None:
        self.network = MemoryNetwork()
        self._nursery = nursery
        self._vouch = vouch

    async def node(
        self,
        name: str,
        incarnation: int = 1,
        *,
        system: str = SYSTEM,
        limits: TransportLimits = DEFAULT_LIMITS,
        network: Network | None = None,
        port: int = PORT,
        node_id: str = "",
    ) -> Node:
        transport = RemoteTransport(network or self.network.host(name), limits=limits, rng=Random(incarnation))
        address = await transport.bind(name, port)
        node = Node(UniqueAddress(address, incarnation), transport, node_id)
        await self._nursery.start(node.run, system)
        return node

    async def stranger(self, victim: Node, run: UniqueAddress, lane: Lane, *, host: str | None = None) -> Connection:
        """Return a connection, from that host, that has said hello as a run which confirms it when it is asked."""
        assert self._vouch is not None, "the fixture gives this; `worlds` does not"
        if self.network.listener_at(run.address) is None:
            await self._vouch(self._nursery, self.network.host(run.address.host), run)
        connection = await self.network.host(host or run.address.host).connect(victim.me.address)
        await connection.send(encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, SYSTEM, run, lane, NONCE)))
        return connection

    def crash(self, node: Node) -> None:
        self.network.crash(node.me.address.host)
        node.scope.cancel()


def packed(body: bytes, lane: Lane = Lane.ordinary) -> bytes:
    return frame(FrameKind.CONTROL if lane is Lane.control else FrameKind.ENVELOPE, body)


@asynccontextmanager
async def worlds() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World(nursery)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def world(nursery: trio.Nursery, vouch: Vouch) -> World:
    return World(nursery, vouch)
