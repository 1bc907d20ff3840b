"""The workloads on casty 0.16.2, the asyncio library of the same name: the baseline of all ratios."""

from __future__ import annotations

import asyncio
import logging
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import workload
from actors import ITEM, Ask, Drained, Local, Sink
from workload import ASK_TIMEOUT, TEXT, Figures, batches, measured

from casty import ActorRef, Behaviors, ClusteredActorSystem


def node(name: str, seeds: tuple[tuple[str, int], ...]) -> ClusteredActorSystem:
    return ClusteredActorSystem(name="bench", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds)


async def serve() -> None:
    async with node("server", ()) as system:
        system.spawn(Behaviors.receive(Sink().receive), "server")
        workload.announce(port=system.self_node.port)
        await asyncio.to_thread(workload.until_abandoned)


@dataclass(frozen=True)
class Remote:
    system: ClusteredActorSystem
    server: ActorRef[Any]

    async def ask(self, text: str = TEXT) -> None:
        await self.system.ask(self.server, lambda reply_to: Ask(1, text, reply_to), timeout=ASK_TIMEOUT)


@asynccontextmanager
async def connect(hello: dict[str, Any]) -> AsyncIterator[Remote]:
    async with node("client", (("127.0.0.1", hello["port"]),)) as system:
        await system.wait_for(2)
        server = system.lookup("/server", node="server")
        assert server is not None
        yield Remote(system, server)


async def remote_tell(remote: Remote, count: int) -> Figures:
    await remote.ask()
    with measured() as timed:
        for size in batches(count):
            for _ in range(size):
                remote.server.tell(ITEM)
            await sleep(0)
        await remote.system.ask(remote.server, lambda reply_to: Drained(count, reply_to), timeout=ASK_TIMEOUT)
    return timed.figures(count)


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_flight(
        remote.ask, count, lambda workers: asyncio.gather(*(worker() for worker in workers))
    )


PEER = workload.Peer(
    run=lambda main: asyncio.run(main()),
    local=Local(asyncio.Event, partial(sleep, 0)).table(),
    remote=workload.remote(tell=remote_tell, many=remote_ask_many),
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    logging.disable(logging.ERROR)
    workload.main(PEER)
