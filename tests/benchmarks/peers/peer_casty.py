"""The workloads on this library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgpack
import trio
import workload
from trio.lowlevel import checkpoint
from workload import ASK_TIMEOUT, FORWARDERS, IN_FLIGHT, LARGE_TEXT, TEXT, Figures, batches, measured, resident_bytes

import casty
from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors, ClusteredActorSystem
from casty.config import ClusterSettings, TransportLimits
from casty.wire.codec.codec import Codec
from casty.wire.envelope import end_of_head
from casty.wire.frame import HEADER_BYTES

LIMITS = TransportLimits(outbound_messages_max=1_000_000, outbound_bytes_max=1024 * 1024 * 1024)
SETTINGS = replace(ClusterSettings(), limits=LIMITS)


@casty.message("bench.Item")
@dataclass(frozen=True)
class Item:
    number: int
    text: str


@casty.message("bench.Ask")
@dataclass(frozen=True)
class Ask:
    number: int
    text: str
    reply_to: ActorRef[int]


@casty.message("bench.Drained")
@dataclass(frozen=True)
class Drained:
    number: int
    reply_to: ActorRef[int]


Message: TypeAlias = Item | Ask | Drained
ITEM = Item(1, TEXT)


@dataclass
class Countdown:
    """An actor that sets an event at the end of its messages."""

    left: int
    done: trio.Event

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.same()


async def answer(ctx: ActorContext[Ask], ask: Ask) -> Behavior[Ask]:
    ask.reply_to.tell(ask.number)
    return Behaviors.same()


async def tell(count: int, *, pause: bool = True) -> Figures:
    async with ActorSystem("bench") as system:
        done = trio.Event()
        ref = system.spawn(Behaviors.receive(Countdown(count, done).receive), "counter")
        with measured() as timed:
            for size in batches(count):
                for _ in range(size):
                    ref.tell(ITEM)
                if pause:
                    await checkpoint()
            await done.wait()
    return timed.figures(count)


async def burst(count: int) -> Figures:
    return await tell(count, pause=False)


async def ask(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        ref = system.spawn(Behaviors.receive(answer), "answerer")

        async def one() -> None:
            number: int = await system.ask(ref, lambda reply_to: Ask(1, TEXT, reply_to), timeout=ASK_TIMEOUT)
            assert number == 1

        return await workload.asks_in_sequence(one, count)


@dataclass
class Hopper:
    left: int
    done: trio.Event
    other: ActorRef[Item] | None = None

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        self.left -= 1
        if self.left < 0:
            self.done.set()
        elif self.other is not None:
            self.other.tell(item)
        return Behaviors.same()


async def ping_pong(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        done = trio.Event()
        one, two = Hopper(count // 2, done), Hopper(count // 2, done)
        first = system.spawn(Behaviors.receive(one.receive), "one")
        one.other, two.other = system.spawn(Behaviors.receive(two.receive), "two"), first
        with measured() as timed:
            first.tell(ITEM)
            await done.wait()
    return timed.figures(count)


@dataclass
class Idler:
    left: int
    done: trio.Event

    async def start(self, ctx: ActorContext[Item]) -> Behavior[Item]:
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.receive(self.receive)

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        return Behaviors.same()


async def spawn(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        idler = Idler(count, trio.Event())
        before = resident_bytes()
        with measured() as timed:
            for number in range(count):
                system.spawn(Behaviors.setup(idler.start), f"idler-{number}")
                if not number % workload.YIELD_EVERY:
                    await checkpoint()
            await idler.done.wait()
        held = resident_bytes() - before
    return timed.figures(count, bytes_per_actor=held / count)


@dataclass
class Forwarder:
    target: ActorRef[Item]

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        self.target.tell(item)
        return Behaviors.same()


async def fan_in(count: int) -> Figures:
    async with ActorSystem("bench") as system:
        done = trio.Event()
        target = system.spawn(Behaviors.receive(Countdown(count, done).receive), "target")
        forwarders = [
            system.spawn(Behaviors.receive(Forwarder(target).receive), f"forwarder-{number}")
            for number in range(FORWARDERS)
        ]
        await checkpoint()
        with measured() as timed:
            for size in batches(count):
                for ref in forwarders[:size]:
                    ref.tell(ITEM)
                await checkpoint()
            await done.wait()
    return timed.figures(count)


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


@dataclass
class Sink:
    """The actor of the server: counts items, answers asks, and says when enough items have come."""

    count: int = 0
    waiting: Drained | None = None

    async def receive(self, ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
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


async def remote_ask(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_sequence(remote.ask, count)


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    await remote.ask()
    turns = iter(range(count))

    async def worker() -> None:
        for _ in turns:
            await remote.ask()

    with measured() as timed:
        async with trio.open_nursery() as nursery:
            for _ in range(IN_FLIGHT):
                nursery.start_soon(worker)
    return timed.figures(count)


async def remote_ask_large(remote: Remote, count: int) -> Figures:
    return await workload.asks_in_sequence(lambda: remote.ask(LARGE_TEXT), count, warm_up=1)


PEER = workload.Peer(
    run=trio.run,
    local={
        "L1": tell,
        "L1burst": burst,
        "L2": ask,
        "L3": ping_pong,
        "L4-10k": spawn,
        "L4-100k": spawn,
        "L5": fan_in,
        "codec": codec,
    },
    remote={
        "R1": remote_tell,
        "R1send": remote_send,
        "R2": remote_ask,
        "R3": remote_ask_many,
        "R4": remote_ask_large,
    },
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    workload.main(PEER)
