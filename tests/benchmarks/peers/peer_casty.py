"""The workloads on this library."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgpack
import trio
import workload
from actors import ITEM, Ask, Drained, Item, Local, Message, Sink, tally
from trio.lowlevel import checkpoint
from workload import ASK_TIMEOUT, TEXT, Figures, batches, measured

import casty
from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    Effect,
    EntityKey,
    Journal,
    MemoryJournal,
    TlsConfig,
    nothing,
    persist,
)
from casty.config import ClusterSettings, TransportLimits
from casty.wire.codec.codec import Codec
from casty.wire.envelope import end_of_head
from casty.wire.frame import HEADER_BYTES

LIMITS = TransportLimits(outbound_messages_max=1_000_000, outbound_bytes_max=1024 * 1024 * 1024)
SETTINGS = replace(ClusterSettings(), limits=LIMITS)


for name, cls in {"bench.Item": Item, "bench.Ask": Ask, "bench.Drained": Drained}.items():
    casty.message(name)(cls)


ENTITIES = EntityKey[Message]("entities")
"""Hosted by every node with a role or none: by the server and the client."""
FAR = EntityKey[Message]("far")
"""Hosted by the server alone."""
PURE = EntityKey[Message]("pure")
"""Event-sourced, hosted by both nodes of a cluster with a journal in memory in each."""
COMPUTING = EntityKey[Message]("computing")
"""Hosted by servers alone, on few shards, so that they are soon shared."""
COMPUTING_SHARDS = 8
WITH_JOURNAL = "journal"
"""In place of another server: a cluster of its own, of nodes with journals."""
BALANCED_WITHIN = 60.0


@casty.event("bench.Tallied")
@dataclass(frozen=True)
class Tallied:
    count: int


@casty.event("bench.Total")
@dataclass(frozen=True)
class Total:
    count: int = 0


EMPTY = Total()


class OwnJournal(MemoryJournal):
    """Journal of one node: no entity moves here, so the nodes need not share it."""

    async def identify(self) -> str:
        await checkpoint()
        return "bench"


def decide(total: Total, message: Message) -> Effect[Tallied]:
    match message:
        case Item(number):
            return persist(Tallied(number))
        case Ask(0, _, reply_to):
            return nothing().reply(reply_to, 1)
        case Ask(number, _, reply_to):
            return persist(Tallied(number)).reply(reply_to, total.count + number)
        case Drained(_, reply_to):
            return nothing().reply(reply_to, total.count)


def apply(total: Total, tallied: Tallied) -> Total:
    return Total(total.count + tallied.count)


def pure(entity_id: str) -> Behavior[Message]:
    """Return an entity that answers an ask at once, or with its count once that is stored."""
    return Behaviors.event_sourced(empty=EMPTY, decide=decide, apply=apply)


def computing(entity_id: str) -> Behavior[Message]:
    """Return an entity that answers an ask with the number of its process, after some work."""

    async def receive(ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
        end = time.perf_counter() + workload.COMPUTE_SECONDS
        while time.perf_counter() < end:
            pass
        if isinstance(message, Ask):
            message.reply_to.tell(os.getpid())
        return Behaviors.same()

    return Behaviors.receive(receive)


async def codec(count: int) -> Figures:
    """Do what two nodes do for each message after the first of a class to an actor."""
    codec = Codec(export_ref=lambda ref, form: ref.address.place, import_ref=lambda place, form: None)  # type: ignore[arg-type,return-value]  # no refs travel here
    codec.register(Item)
    write, entry = codec.writer("/server", 0, ITEM, None), codec.entry_of("bench.Item")
    assert entry is not None
    read = entry.decode
    start = HEADER_BYTES + end_of_head(write(ITEM)[HEADER_BYTES:])
    with measured() as timed:
        for _ in range(count):
            read(msgpack.unpackb(write(ITEM)[start:]))
    return timed.figures(count)


def node(name: str, seeds: list[tuple[str, int]], journal: Journal | None = None) -> ClusteredActorSystem:
    return ClusteredActorSystem(
        name="bench",
        host="127.0.0.1",
        port=0,
        node_id=name,
        seed_nodes=seeds,
        settings=SETTINGS,
        journal=journal,
        tls=None if workload.TLS is None else TlsConfig.folder(f"{workload.TLS}/{name}"),
    )


async def serve() -> None:
    seed = os.environ.get(workload.SEED)
    if seed == WITH_JOURNAL:
        async with node("server", [], OwnJournal()) as system, trio.open_nursery() as nursery:
            workload.announce(port=system.self_node.port)
            nursery.start_soon(host_beside_the_client, system, pure, PURE)
            await trio.to_thread.run_sync(workload.until_abandoned)
            nursery.cancel_scope.cancel()
        return
    async with node("server" if seed is None else "more", [] if seed is None else [("127.0.0.1", int(seed))]) as system:
        system.spawn(Behaviors.receive(Sink().receive), "server")
        system.spawn(Behaviors.sharded(computing, COMPUTING, num_shards=COMPUTING_SHARDS), "computing")
        if seed is None:
            system.spawn(Behaviors.sharded(tally, FAR), "far")
        workload.announce(port=system.self_node.port)
        async with trio.open_nursery() as nursery:
            if seed is None:
                nursery.start_soon(host_beside_the_client, system)
            await trio.to_thread.run_sync(workload.until_abandoned)
            nursery.cancel_scope.cancel()


async def host_beside_the_client(
    system: ClusteredActorSystem,
    factory: Callable[[str], Behavior[Message]] = tally,
    key: EntityKey[Message] = ENTITIES,
) -> None:
    """Host entities from when there are two nodes: no shard moves later, and with it what an entity has counted."""
    await system.wait_for(2)
    system.spawn(Behaviors.sharded(factory, key), key.name)


@dataclass(frozen=True)
class Remote:
    system: ClusteredActorSystem
    server: ActorRef[Message]

    async def ask(self, text: str = TEXT) -> None:
        number: int = await self.system.ask(self.server, lambda reply_to: Ask(1, text, reply_to), timeout=ASK_TIMEOUT)
        assert number == 1


@asynccontextmanager
async def connect(hello: dict[str, Any]) -> AsyncIterator[Remote]:
    async with node("client", [("127.0.0.1", hello["port"])]) as system:
        await system.wait_for(2)
        system.spawn(Behaviors.sharded(tally, ENTITIES), "entities")
        server: Any = system.remote("/server", "server")
        yield Remote(system, server.of(Message))


async def remote_tell(remote: Remote, count: int) -> Figures:
    await remote.ask()
    tell = remote.server.tell
    with measured() as timed:
        for size in batches(count):
            for _ in range(size):
                tell(ITEM)
            await checkpoint()
        received: int = await remote.system.ask(
            remote.server, lambda reply_to: Drained(count, reply_to), timeout=ASK_TIMEOUT
        )
    assert received == count
    return timed.figures(count)


async def remote_send(remote: Remote, count: int) -> Figures:
    """R1 with ``send``, which waits for room."""
    await remote.ask()
    send = remote.server.send
    with measured() as timed:
        for _ in range(count):
            await send(ITEM)
        received: int = await remote.system.ask(
            remote.server, lambda reply_to: Drained(count, reply_to), timeout=ASK_TIMEOUT
        )
    assert received == count
    return timed.figures(count)


async def gather(workers: list[Callable[[], Awaitable[None]]]) -> None:
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(worker)


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_flight(remote.ask, count, gather)


@dataclass(frozen=True)
class Entities:
    """Entities of one kind."""

    remote: Remote
    key: EntityKey[Message] = ENTITIES
    number: int = 1

    def ref(self, entity_id: str) -> ActorRef[Message]:
        return self.remote.system.entity(self.key, entity_id)

    async def ask(self, ref: ActorRef[Message]) -> None:
        asked = self.number
        number: int = await self.remote.system.ask(
            ref, lambda reply_to: Ask(asked, TEXT, reply_to), timeout=ASK_TIMEOUT
        )
        assert number

    def tell(self, ref: ActorRef[Message]) -> None:
        ref.tell(ITEM)

    async def count(self, ref: ActorRef[Message]) -> int:
        number: int = await self.remote.system.ask(ref, lambda reply_to: Drained(0, reply_to), timeout=ASK_TIMEOUT)
        return number


async def far_ask(remote: Remote, count: int) -> Figures:
    """S1 with entities at the server alone."""
    return await workload.asks_of_entities(Entities(remote, FAR), count, gather)


async def far_tell(remote: Remote, count: int) -> Figures:
    """S1tell with entities at the server alone."""
    return await workload.tells_to_entities(Entities(remote, FAR), count, gather, checkpoint)


async def pure_ask(remote: Remote, count: int, *, number: int = 0) -> Figures:
    """S1 with pure entities: reads, or commands with an event to be stored for each."""
    server = await trio.to_thread.run_sync(workload.Server, WITH_JOURNAL)
    try:
        async with node("client", [("127.0.0.1", server.hello["port"])], OwnJournal()) as system:
            await host_beside_the_client(system, pure, PURE)
            found = Entities(replace(remote, system=system), PURE, number)
            return await workload.asks_of_entities(found, count, gather)
    finally:
        await trio.to_thread.run_sync(server.end)


async def compute(remote: Remote, count: int) -> Figures:
    """Ask entities that compute, in one process beside this one."""
    return await workload.asks_of_entities(Entities(remote, COMPUTING), count, gather)


async def compute_in_two(remote: Remote, count: int) -> Figures:
    """Ask entities that compute, once one more process has half of them."""
    assert workload.Server.current is not None
    more = await trio.to_thread.run_sync(workload.Server, workload.Server.current.hello["port"])
    try:
        await shared(remote)
        return await compute(remote, count)
    finally:
        await trio.to_thread.run_sync(more.end)


async def shared(remote: Remote) -> None:
    """Return when two processes have about as many of the entities that compute."""
    refs = [remote.system.entity(COMPUTING, f"entity-{number}") for number in range(workload.ENTITIES)]
    with trio.fail_after(BALANCED_WITHIN):
        while True:
            processes = Counter[int](await workload.of_each(refs, partial(process_of, remote), gather))
            if len(processes) == 2 and min(processes.values()) >= len(refs) // 3:
                return
            await trio.sleep(0.2)


async def process_of(remote: Remote, ref: ActorRef[Message]) -> int:
    """Ask an entity that computes for the number of its process."""
    number: int = await remote.system.ask(ref, lambda reply_to: Ask(1, "", reply_to), timeout=ASK_TIMEOUT)
    return number


async def idle_entities(count: int) -> Figures:
    """Start entities that do nothing, on the one node of a cluster."""
    async with node("alone", []) as system:
        system.spawn(Behaviors.sharded(tally, ENTITIES), "entities")
        await system.ask(system.entity(ENTITIES, "first"), lambda reply_to: Ask(1, TEXT, reply_to), timeout=ASK_TIMEOUT)
        before = workload.resident_bytes()
        with measured() as timed:
            for number in range(count):
                system.entity(ENTITIES, f"idle-{number}").tell(ITEM)
                if not number % workload.YIELD_EVERY:
                    await checkpoint()
            await system.ask(
                system.entity(ENTITIES, f"idle-{count - 1}"),
                lambda reply_to: Ask(1, TEXT, reply_to),
                timeout=ASK_TIMEOUT,
            )
        held = workload.resident_bytes() - before
    return timed.figures(count, bytes_per_actor=held / count)


PEER = workload.Peer(
    run=trio.run,
    local=Local(trio.Event, checkpoint).table(codec=codec, S4=idle_entities),
    remote=workload.remote(
        tell=remote_tell,
        many=remote_ask_many,
        R1send=remote_send,
        S1far=far_ask,
        S1fartell=far_tell,
        S1pure=pure_ask,
        S1pureadd=partial(pure_ask, number=1),
        S3=compute,
        S3two=compute_in_two,
        **workload.sharded(Entities, gather, checkpoint),
    ),
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    workload.main(PEER)
