"""The workloads on casty 0.16.2, the asyncio library of the same name: the baseline of all ratios."""

from __future__ import annotations

import asyncio
import logging
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import workload
from actors import ITEM, Ask, Drained, Local, Sink, tally
from workload import ASK_TIMEOUT, TEXT, Figures, batches, measured

from casty import ActorRef, Behaviors, ClusteredActorSystem, ShardEnvelope


def node(name: str, seeds: tuple[tuple[str, int], ...]) -> ClusteredActorSystem:
    return ClusteredActorSystem(name="bench", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds)


async def serve() -> None:
    async with node("server", ()) as system:
        system.spawn(Behaviors.receive(Sink().receive), "server")
        system.spawn(Behaviors.sharded(tally, num_shards=256), "entities")
        workload.announce(port=system.self_node.port)
        await asyncio.to_thread(workload.until_abandoned)


@dataclass(frozen=True)
class Remote:
    system: ClusteredActorSystem
    server: ActorRef[Any]
    proxy: ActorRef[Any]

    async def ask(self, text: str = TEXT) -> None:
        await self.system.ask(self.server, lambda reply_to: Ask(1, text, reply_to), timeout=ASK_TIMEOUT)


@asynccontextmanager
async def connect(hello: dict[str, Any]) -> AsyncIterator[Remote]:
    async with node("client", (("127.0.0.1", hello["port"]),)) as system:
        await system.wait_for(2)
        server = system.lookup("/server", node="server")
        assert server is not None
        yield Remote(system, server, system.spawn(Behaviors.sharded(tally, num_shards=256), "entities"))


async def remote_tell(remote: Remote, count: int) -> Figures:
    await remote.ask()
    with measured() as timed:
        for size in batches(count):
            for _ in range(size):
                remote.server.tell(ITEM)
            await sleep(0)
        await remote.system.ask(remote.server, lambda reply_to: Drained(count, reply_to), timeout=ASK_TIMEOUT)
    return timed.figures(count)


async def gather(workers: list[Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*(worker() for worker in workers))


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_flight(remote.ask, count, gather)


@dataclass(frozen=True)
class Entities:
    """Entities on both nodes: a message for one goes to the proxy of its own node, with the id."""

    remote: Remote

    def ref(self, entity_id: str) -> str:
        return entity_id

    async def ask(self, ref: str) -> None:
        await self.remote.system.ask(
            self.remote.proxy, lambda reply_to: ShardEnvelope(ref, Ask(1, TEXT, reply_to)), timeout=ASK_TIMEOUT
        )

    def tell(self, ref: str) -> None:
        self.remote.proxy.tell(ShardEnvelope(ref, ITEM))

    async def count(self, ref: str) -> int:
        number: int = await self.remote.system.ask(
            self.remote.proxy, lambda reply_to: ShardEnvelope(ref, Drained(0, reply_to)), timeout=ASK_TIMEOUT
        )
        return number


PEER = workload.Peer(
    run=lambda main: asyncio.run(main()),
    local=Local(asyncio.Event, partial(sleep, 0)).table(),
    remote=workload.remote(
        tell=remote_tell, many=remote_ask_many, **workload.sharded(Entities, gather, partial(sleep, 0))
    ),
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    logging.disable(logging.ERROR)
    workload.main(PEER)
