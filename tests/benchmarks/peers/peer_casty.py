"""The workloads on this library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import trio
import workload
from actors import ITEM, Ask, Drained, Item, Local, Message, Sink
from trio.lowlevel import checkpoint
from workload import ASK_TIMEOUT, TEXT, Figures, batches, measured

import casty
from casty import ActorRef, Behaviors, ClusteredActorSystem
from casty.config import ClusterSettings, TransportLimits
from casty.wire.codec.codec import Codec
from casty.wire.envelope import end_of_head
from casty.wire.frame import HEADER_BYTES

LIMITS = TransportLimits(outbound_messages_max=1_000_000, outbound_bytes_max=1024 * 1024 * 1024)
SETTINGS = replace(ClusterSettings(), limits=LIMITS)


for name, cls in {"bench.Item": Item, "bench.Ask": Ask, "bench.Drained": Drained}.items():
    casty.message(name)(cls)


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


def node(name: str, seeds: list[tuple[str, int]]) -> ClusteredActorSystem:
    return ClusteredActorSystem(
        name="bench", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds, settings=SETTINGS
    )


async def serve() -> None:
    async with node("server", []) as system:
        system.spawn(Behaviors.receive(Sink().receive), "server")
        workload.announce(port=system.self_node.port)
        await trio.to_thread.run_sync(workload.until_abandoned)


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


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    async def gather(workers: list[Callable[[], Awaitable[None]]]) -> None:
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker)

    return await workload.asks_in_flight(remote.ask, count, gather)


PEER = workload.Peer(
    run=trio.run,
    local=Local(trio.Event, checkpoint).table(codec=codec),
    remote=workload.remote(tell=remote_tell, many=remote_ask_many, R1send=remote_send),
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    workload.main(PEER)
