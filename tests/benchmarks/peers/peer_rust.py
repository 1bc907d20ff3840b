"""The workloads on casty 0.30.2, whose runtime is compiled Rust under asyncio.

Its actors are entities with a key; one key here is one actor. It serializes every message, also
within a process.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import workload
from workload import ASK_TIMEOUT, FORWARDERS, TEXT, Figures, batches, measured, resident_bytes

from casty import ActorSystem, Askable, Cluster, Context, Ref, actor

TIMES = {
    "ask_timeout": timedelta(seconds=ASK_TIMEOUT),
    "idle_after": timedelta(minutes=30),
    "leave_timeout": timedelta(seconds=1),
}


@dataclass(frozen=True)
class Item:
    number: int
    text: str


@dataclass(frozen=True)
class Ask(Askable[int]):
    number: int
    text: str


@dataclass(frozen=True)
class Drained(Askable[int]):
    number: int


ITEM = Item(1, TEXT)


@dataclass
class Counter:
    """Shared with the bodies, which take no arguments of their own."""

    left: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self, count: int) -> None:
        self.left, self.done = count, asyncio.Event()

    def down(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


COUNTER = Counter()


@actor(initial=0)
async def counter(ctx: Context[int, Item]) -> None:
    async for _ in ctx.inbox:
        COUNTER.down()


@actor(initial=0)
async def answerer(ctx: Context[int, Ask]) -> None:
    async for message in ctx.inbox:
        message.reply_to.tell(message.number)


@actor(initial=0)
async def hopper(ctx: Context[int, Item]) -> None:
    other = ctx.system.ref(hopper, "two" if ctx.key == "one" else "one")
    async for message in ctx.inbox:
        if COUNTER.left:
            COUNTER.down()
            other.tell(message)


@actor(initial=0)
async def idler(ctx: Context[int, Item]) -> None:
    COUNTER.down()
    async for _ in ctx.inbox:
        pass


@actor(initial=0)
async def forwarder(ctx: Context[int, Item]) -> None:
    target = ctx.system.ref(counter, "target")
    async for message in ctx.inbox:
        target.tell(message)


@actor(initial=0, pinned=True)
async def sink(ctx: Context[int, Item | Ask | Drained]) -> None:
    count, waiting = 0, None
    async for message in ctx.inbox:
        match message:
            case Item():
                count += 1
            case Ask():
                message.reply_to.tell(message.number)
            case Drained():
                waiting = message
        if waiting is not None and count >= waiting.number:
            waiting.reply_to.tell(count)
            count, waiting = 0, None


@actor(initial=0)
async def tally(ctx: Context[int, Item | Ask | Drained]) -> None:
    count = 0
    async for message in ctx.inbox:
        match message:
            case Item():
                count += 1
            case Ask():
                message.reply_to.tell(message.number)
            case Drained():
                message.reply_to.tell(count)
                count = 0


async def tell(count: int, *, pause: bool = True) -> Figures:
    async with ActorSystem(**TIMES) as system:
        ref = system.ref(counter, "counter")
        COUNTER.reset(1)
        ref.tell(ITEM)
        await COUNTER.done.wait()
        COUNTER.reset(count)
        with measured() as timed:
            for size in batches(count):
                for _ in range(size):
                    ref.tell(ITEM)
                if pause:
                    await sleep(0)
            await COUNTER.done.wait()
    return timed.figures(count)


async def ask(count: int) -> Figures:
    async with ActorSystem(**TIMES) as system:
        ref = system.ref(answerer, "answerer")
        return await workload.asks_in_sequence(lambda: ref.ask(Ask(1, TEXT)), count)


async def ping_pong(count: int) -> Figures:
    async with ActorSystem(**TIMES) as system:
        refs = [system.ref(hopper, key) for key in ("one", "two")]
        await sleep(0)
        COUNTER.reset(count)
        with measured() as timed:
            refs[0].tell(ITEM)
            await COUNTER.done.wait()
    return timed.figures(count)


async def spawn(count: int) -> Figures:
    async with ActorSystem(**TIMES) as system:
        COUNTER.reset(count)
        before, refs = resident_bytes(), list[Ref[Item]]()
        with measured() as timed:
            for number in range(count):
                refs.append(system.ref(idler, f"idler-{number}"))
                if not number % workload.YIELD_EVERY:
                    await sleep(0)
            await COUNTER.done.wait()
        held = resident_bytes() - before
    return timed.figures(count, bytes_per_actor=held / count)


async def fan_in(count: int) -> Figures:
    async with ActorSystem(**TIMES) as system:
        system.ref(counter, "target")
        forwarders = [system.ref(forwarder, f"forwarder-{number}") for number in range(FORWARDERS)]
        COUNTER.reset(FORWARDERS)
        for ref in forwarders:
            ref.tell(ITEM)
        await COUNTER.done.wait()
        COUNTER.reset(count)
        with measured() as timed:
            for size in batches(count):
                for ref in forwarders[:size]:
                    ref.tell(ITEM)
                await sleep(0)
            await COUNTER.done.wait()
    return timed.figures(count)


async def serve() -> None:
    async with ActorSystem(cluster=Cluster(bind="127.0.0.1:0"), **TIMES) as system:
        workload.announce(address=system.node.address)
        await asyncio.to_thread(workload.until_abandoned)


@dataclass(frozen=True)
class Remote:
    server: Any
    system: ActorSystem

    async def ask(self, text: str = TEXT) -> None:
        await self.server.ask(Ask(1, text))


@asynccontextmanager
async def connect(hello: dict[str, Any]) -> AsyncIterator[Remote]:
    cluster = Cluster(bind="127.0.0.1:0", seeds=(hello["address"],))
    async with ActorSystem(cluster=cluster, **TIMES) as system:
        yield Remote(system.ref(sink, "server", at=hello["address"]), system)


async def remote_tell(remote: Remote, count: int) -> Figures:
    await remote.ask()
    with measured() as timed:
        for size in batches(count):
            for _ in range(size):
                remote.server.tell(ITEM)
            await sleep(0)
        await remote.server.ask(Drained(count))
    return timed.figures(count)


async def gather(workers: list[Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*(worker() for worker in workers))


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_flight(remote.ask, count, gather)


@dataclass(frozen=True)
class Entities:
    """Entities on both nodes: every actor of this peer is one."""

    remote: Remote

    def ref(self, entity_id: str) -> Any:
        return self.remote.system.ref(tally, entity_id)

    async def ask(self, ref: Any) -> None:
        await ref.ask(Ask(1, TEXT))

    def tell(self, ref: Any) -> None:
        ref.tell(ITEM)

    async def count(self, ref: Any) -> int:
        number: int = await ref.ask(Drained(0))
        return number


PEER = workload.Peer(
    run=lambda main: asyncio.run(main()),
    local=workload.local(tell=tell, ask=ask, ping_pong=ping_pong, spawn=spawn, fan_in=fan_in),
    remote=workload.remote(
        tell=remote_tell, many=remote_ask_many, **workload.sharded(Entities, gather, partial(sleep, 0))
    ),
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    logging.disable(logging.ERROR)
    workload.main(PEER)
