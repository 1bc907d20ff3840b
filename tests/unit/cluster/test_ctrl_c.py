"""Ctrl-C while the network is busy: it ends the program's block, never a part of the node."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import outcome
import pytest
import trio
import trio.testing
from helpers import carts
from helpers.entities import Add, Carts, Command, Note
from helpers.journals import BegunWrite, CallingJournal

from casty import (
    AskFailed,
    AskTimeoutError,
    Behaviors,
    Claim,
    ClusterClient,
    ClusteredActorSystem,
    EntityKey,
    MemoryNetwork,
    NodeAddress,
    Record,
    Stored,
    SystemConfig,
)
from casty.transport.manager.link_handle import LinkHandle
from casty.transport.network.interface import Connection, ConnectionHandler, Listener, Network, PeerIdentity


class Tripwire:
    """Sends SIGINT to the own process at one of the calls that cross it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def cross(self) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


class TrippedNetwork:
    """A network that crosses a tripwire wherever one of the transport's tasks calls it."""

    def __init__(self, inner: Network, wire: Tripwire) -> None:
        self.inner = inner
        self.wire = wire

    async def listen(self, host: str, port: int) -> Listener:
        return TrippedListener(await self.inner.listen(host, port), self.wire)

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> Connection:
        self.wire.cross()
        return TrippedConnection(await self.inner.connect(address, named_by=named_by), self.wire)


class TrippedListener:
    def __init__(self, inner: Listener, wire: Tripwire) -> None:
        self.inner = inner
        self.wire = wire
        self.aclose = inner.aclose

    @property
    def address(self) -> NodeAddress:
        return self.inner.address

    async def serve(self, handler: ConnectionHandler) -> None:
        async def tripped(connection: Connection) -> None:
            self.wire.cross()
            await handler(TrippedConnection(connection, self.wire))

        await self.inner.serve(tripped)


class TrippedConnection:
    def __init__(self, inner: Connection, wire: Tripwire) -> None:
        self.inner = inner
        self.wire = wire
        self.aclose = inner.aclose

    @property
    def remote(self) -> str:
        return self.inner.remote

    @property
    def peer_identity(self) -> PeerIdentity | None:
        return self.inner.peer_identity

    def processor_time(self) -> float:
        return self.inner.processor_time()

    def bound_silence(self, seconds: float) -> None:
        self.inner.bound_silence(seconds)

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        return self.inner.send_nowait(data, *more)

    async def send(self, data: bytes | memoryview) -> None:
        self.wire.cross()
        await self.inner.send(data)

    async def receive(self, max_bytes: int) -> bytes:
        self.wire.cross()
        return await self.inner.receive(max_bytes)

    def receive_into_nowait(self, place: memoryview) -> int:
        return self.inner.receive_into_nowait(place)

    async def receive_into(self, place: memoryview) -> int:
        self.wire.cross()
        return await self.inner.receive_into(place)


def node(network: Network, name: str, **options: object) -> ClusteredActorSystem:
    make: Callable[..., ClusteredActorSystem] = ClusteredActorSystem
    return make(name="shop", host=name, port=2551, node_id=name, network=network, **options)


@pytest.mark.parametrize("at", range(1, 31))
def test_ctrl_c_at_any_call_of_the_network_leaves_the_block_alone(at: int) -> None:
    async def main() -> None:
        memory = MemoryNetwork()
        tripped = TrippedNetwork(memory.host("b"), Tripwire(at))
        async with node(memory.host("a"), "a"), node(tripped, "b", seed_nodes=[("a", 2551)]) as system:
            await system.wait_for(2)
            await trio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


CARTS = EntityKey[Command]("carts", clients=True)
STORED = EntityKey[carts.CartCommand]("stored-carts")


@pytest.mark.parametrize("at", range(1, 26))
@pytest.mark.parametrize("is_client", [False, True])
def test_ctrl_c_at_any_call_between_a_client_and_its_node_leaves_the_block_alone(at: int, is_client: bool) -> None:
    async def main() -> None:
        memory, wire = MemoryNetwork(), Tripwire(10**9)
        here, outside = memory.host("a"), memory.host("outside")
        there = outside if not is_client else TrippedNetwork(outside, wire)
        async with node(here if is_client else TrippedNetwork(here, wire), "a") as system:
            system.spawn(Behaviors.sharded(Carts("a").make, CARTS, num_shards=4), "carts")
            await trio.sleep(1)
            wire.left = at
            async with ClusterClient(contact_points=[("a", 2551)], system_name="shop", network=there) as client:
                for number in range(1_000):
                    cart = client.entity(CARTS, f"cart-{number % 3}")
                    cart.tell(Note(number))
                    await client.ask(cart, lambda to: Add(1, to))
                    await trio.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@dataclass
class TrippedJournal(CallingJournal):
    """A journal that crosses a tripwire wherever a task of entities calls it, and where it calls back."""

    wire: Tripwire = field(default_factory=lambda: Tripwire(10**9))

    async def claim(self, scopes: Sequence[str], holder: str = "") -> Sequence[Claim]:
        self.wire.cross()
        return await super().claim(scopes, holder)

    async def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        self.wire.cross()
        async for stored in super().read(persistence_id, after):
            yield stored

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await super().append(claim, persistence_id, after, records)
        if self.is_full:
            self.wire.cross()

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[outcome.Outcome[None]], None],
    ) -> BegunWrite | None:
        begun = super().begin_append(claim, persistence_id, after, records, done)
        self.wire.cross()
        return begun


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("is_full", [False, True])
def test_ctrl_c_at_any_call_of_the_journal_leaves_the_block_alone_and_no_asker_is_lied_to(
    at: int, is_full: bool
) -> None:
    journal, told = TrippedJournal(is_full=is_full), list[object]()

    async def ask(system: ClusteredActorSystem, name: str) -> None:
        with trio.CancelScope(shield=True):
            try:
                cart: Any = system.entity(STORED, name)
                told.append(await system.ask(cart, lambda to: carts.Add("tea", 1, to), timeout=3.0))
            except AskFailed as failed:
                told.append(failed.failure)

    async def main() -> None:
        network = MemoryNetwork().host("a")
        async with node(network, "a", config=SystemConfig(journal=journal)) as system:
            system.spawn(Behaviors.sharded(carts.cart, STORED, num_shards=1), "carts")
            journal.wire.left = at
            for number in range(1_000):
                trio.lowlevel.spawn_system_task(ask, system, f"cart-{number % 2}")
                await trio.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    stored = sum(map(len, journal.events.values()))
    assert stored <= len(told) - told.count("journal_unavailable")


async def test_ctrl_c_comes_before_or_after_a_tell_to_another_node_and_never_in_it(autojump_clock, monkeypatch) -> None:
    memory, protected = MemoryNetwork(), []
    put = LinkHandle.put

    def watched(route: LinkHandle, frame: bytes) -> bool:
        protected.append(trio.lowlevel.currently_ki_protected())
        return put(route, frame)

    monkeypatch.setattr(LinkHandle, "put", watched)
    async with node(memory.host("a"), "a"), node(memory.host("b"), "b", seed_nodes=[("a", 2551)]) as system:
        await system.wait_for(2)
        nobody = system.remote("/nobody", "a").of(int)
        protected.clear()
        assert not trio.lowlevel.currently_ki_protected()
        nobody.tell(1)
        with pytest.raises(AskTimeoutError):
            await system.ask(nobody, lambda _: 2, timeout=0.1)
        assert len(protected) >= 2
        assert all(protected)
