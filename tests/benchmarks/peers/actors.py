"""Workloads on actors of this library and of the asyncio library of the same name, which name them alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import workload
from workload import ASK_TIMEOUT, FORWARDERS, TEXT, Figures, batches, measured, resident_bytes

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors


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


Message: TypeAlias = Item | Ask | Drained
ITEM = Item(1, TEXT)


@dataclass
class Countdown:
    """An actor that sets an event at the end of its messages."""

    left: int
    done: Any

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.same()


async def answer(ctx: ActorContext[Ask], ask: Ask) -> Behavior[Ask]:
    ask.reply_to.tell(ask.number)
    return Behaviors.same()


@dataclass
class Hopper:
    left: int
    done: Any
    other: ActorRef[Item] | None = None

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        self.left -= 1
        if self.left < 0:
            self.done.set()
        elif self.other is not None:
            self.other.tell(item)
        return Behaviors.same()


@dataclass
class Idler:
    left: int
    done: Any

    async def start(self, ctx: ActorContext[Item]) -> Behavior[Item]:
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.receive(self.receive)

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        return Behaviors.same()


@dataclass
class Forwarder:
    target: ActorRef[Item]

    async def receive(self, ctx: ActorContext[Item], item: Item) -> Behavior[Item]:
        self.target.tell(item)
        return Behaviors.same()


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


@dataclass
class Tally:
    """An entity: counts items, answers asks, and tells the count of items to who wants to know."""

    count: int = 0

    async def receive(self, ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
        match message:
            case Item():
                self.count += 1
            case Ask():
                message.reply_to.tell(message.number)
            case Drained():
                message.reply_to.tell(self.count)
                self.count = 0
        return Behaviors.same()


def tally(entity_id: str) -> Behavior[Message]:
    return Behaviors.receive(Tally().receive)


@dataclass(frozen=True)
class Local:
    """The workloads within one process, on one event loop: its events, and how a task lets others run."""

    event: Callable[[], Any]
    rest: Callable[[], Awaitable[None]]

    async def tell(self, count: int, *, pause: bool = True) -> Figures:
        async with ActorSystem("bench") as system:
            done = self.event()
            ref = system.spawn(Behaviors.receive(Countdown(count, done).receive), "counter")
            await self.rest()
            with measured() as timed:
                for size in batches(count):
                    for _ in range(size):
                        ref.tell(ITEM)
                    if pause:
                        await self.rest()
                await done.wait()
        return timed.figures(count)

    async def ask(self, count: int) -> Figures:
        async with ActorSystem("bench") as system:
            ref = system.spawn(Behaviors.receive(answer), "answerer")

            async def one() -> None:
                number: int = await system.ask(ref, lambda reply_to: Ask(1, TEXT, reply_to), timeout=ASK_TIMEOUT)
                assert number == 1

            return await workload.asks_in_sequence(one, count)

    async def ping_pong(self, count: int) -> Figures:
        async with ActorSystem("bench") as system:
            done = self.event()
            one, two = Hopper(count // 2, done), Hopper(count // 2, done)
            first = system.spawn(Behaviors.receive(one.receive), "one")
            one.other, two.other = system.spawn(Behaviors.receive(two.receive), "two"), first
            await self.rest()
            with measured() as timed:
                first.tell(ITEM)
                await done.wait()
        return timed.figures(count)

    async def spawn(self, count: int) -> Figures:
        async with ActorSystem("bench") as system:
            idler = Idler(count, self.event())
            before = resident_bytes()
            with measured() as timed:
                for number in range(count):
                    system.spawn(Behaviors.setup(idler.start), f"idler-{number}")
                    if not number % workload.YIELD_EVERY:
                        await self.rest()
                await idler.done.wait()
            held = resident_bytes() - before
        return timed.figures(count, bytes_per_actor=held / count)

    async def fan_in(self, count: int) -> Figures:
        async with ActorSystem("bench") as system:
            done = self.event()
            target = system.spawn(Behaviors.receive(Countdown(count, done).receive), "target")
            forwarders = [
                system.spawn(Behaviors.receive(Forwarder(target).receive), f"forwarder-{number}")
                for number in range(FORWARDERS)
            ]
            await self.rest()
            with measured() as timed:
                for size in batches(count):
                    for ref in forwarders[:size]:
                        ref.tell(ITEM)
                    await self.rest()
                await done.wait()
        return timed.figures(count)

    def table(self, **more: workload.Workload) -> Mapping[str, workload.Workload]:
        """Return them by their names, with more of one peer."""
        named = {"ask": self.ask, "ping_pong": self.ping_pong, "spawn": self.spawn, "fan_in": self.fan_in}
        return workload.local(tell=self.tell, **named, **more)
