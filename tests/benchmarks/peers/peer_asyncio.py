"""The workloads on casty 0.16.2, the asyncio library of the same name: the baseline of all ratios."""

from __future__ import annotations

import asyncio
import logging
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import workload
from workload import ASK_TIMEOUT, FORWARDERS, IN_FLIGHT, LARGE_TEXT, TEXT, Figures, batches, measured, resident_bytes

from casty import ActorRef, ActorSystem, Behaviors, ClusteredActorSystem


@dataclass(frozen=True)
class Item:
    number: int
    text: str


@dataclass(frozen=True)
class Ask:
    number: int
    text: str
    reply_to: ActorRef[int]


@dataclass(frozen=True)
class Drained:
    number: int
    reply_to: ActorRef[int]


ITEM = Item(1, TEXT)


@dataclass
class Countdown:
    left: int
    done: asyncio.Event

    async def receive(self, ctx: Any, item: Item) -> Any:
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.same()


async def answer(ctx: Any, ask: Ask) -> Any:
    ask.reply_to.tell(ask.number)
    return Behaviors.same()


async def tell(count: int, *, pause: bool = True) -> Figures:
    async with ActorSystem("bench") as system:
        done = asyncio.Event()
        ref = system.spawn(Behaviors.receive(Countdown(count, done).receive), "counter")
        await sleep(0)
        with measured() as timed:
            for size in batches(count):
                for _ in range(size):
                    ref.tell(ITEM)
                if pause:
                    await sleep(0)
            await done.wait()
    return timed.figures(count)


async def burst(count: int) -> Figures:
    return await tell(count, pause=False)


async def ask(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        ref = system.spawn(Behaviors.receive(answer), "answerer")

        async def one() -> None:
            await system.ask(ref, lambda reply_to: Ask(1, TEXT, reply_to), timeout=ASK_TIMEOUT)

        return await workload.asks_in_sequence(one, count)


@dataclass
class Hopper:
    left: int
    done: asyncio.Event
    other: ActorRef[Item] | None = None

    async def receive(self, ctx: Any, item: Item) -> Any:
        self.left -= 1
        if self.left < 0:
            self.done.set()
        elif self.other is not None:
            self.other.tell(item)
        return Behaviors.same()


async def ping_pong(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        done = asyncio.Event()
        one, two = Hopper(count // 2, done), Hopper(count // 2, done)
        first = system.spawn(Behaviors.receive(one.receive), "one")
        one.other, two.other = system.spawn(Behaviors.receive(two.receive), "two"), first
        await sleep(0)
        with measured() as timed:
            first.tell(ITEM)
            await done.wait()
    return timed.figures(count)


@dataclass
class Idler:
    left: int
    done: asyncio.Event

    async def start(self, ctx: Any) -> Any:
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.receive(self.receive)

    async def receive(self, ctx: Any, item: Item) -> Any:
        return Behaviors.same()


async def spawn(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        idler = Idler(count, asyncio.Event())
        before = resident_bytes()
        with measured() as timed:
            for number in range(count):
                system.spawn(Behaviors.setup(idler.start), f"idler-{number}")
                if not number % workload.YIELD_EVERY:
                    await sleep(0)
            await idler.done.wait()
        held = resident_bytes() - before
    return timed.figures(count, bytes_per_actor=held / count)


@dataclass
class Forwarder:
    target: ActorRef[Item]

    async def receive(self, ctx: Any, item: Item) -> Any:
        self.target.tell(item)
        return Behaviors.same()


async def fan_in(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        done = asyncio.Event()
        target = system.spawn(Behaviors.receive(Countdown(count, done).receive), "target")
        forwarders = [
            system.spawn(Behaviors.receive(Forwarder(target).receive), f"forwarder-{number}")
            for number in range(FORWARDERS)
        ]
        await sleep(0)
        with measured() as timed:
            for size in batches(count):
                for ref in forwarders[:size]:
                    ref.tell(ITEM)
                await sleep(0)
            await done.wait()
    return timed.figures(count)


def node(name: str, seeds: tuple[tuple[str, int], ...]) -> ClusteredActorSystem:
    return ClusteredActorSystem(name="bench", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds)


@dataclass
class Sink:
    count: int = 0
    waiting: Drained | None = None

    async def receive(self, ctx: Any, message: Any) -> Any:
        match message:
            case Item():
                self.count += 1
            case Ask():
                message.reply_to.tell(message.number)
            case Drained():
                self.waiting = message
        if self.waiting is not None and self.count >= self.waiting.number:
            self.waiting.reply_to.tell(self.count)
            self.count, self.waiting = 0, None
        return Behaviors.same()


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


async def remote_ask(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_sequence(remote.ask, count)


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    await remote.ask()
    turns = iter(range(count))

    async def worker() -> None:
        for _ in turns:
            await remote.ask()

    with measured() as timed:
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return timed.figures(count)


async def remote_ask_large(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_sequence(lambda: remote.ask(LARGE_TEXT), count, warm_up=1)


PEER = workload.Peer(
    run=lambda main: asyncio.run(main()),
    local={
        "L1": tell,
        "L1burst": burst,
        "L2": ask,
        "L3": ping_pong,
        "L4-10k": spawn,
        "L4-100k": spawn,
        "L5": fan_in,
    },
    remote={"R1": remote_tell, "R2": remote_ask, "R3": remote_ask_many, "R4": remote_ask_large},
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    logging.disable(logging.ERROR)
    workload.main(PEER)
