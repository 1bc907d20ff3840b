"""Carts: entities for tests under the autojump clock, with their messages, and calls to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, assert_never

import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EntityKey,
)


@casty.message("tests.entities.Add")
@dataclass(frozen=True)
class Add:
    count: int
    reply_to: ActorRef[int]


@casty.message("tests.entities.Note")
@dataclass(frozen=True)
class Note:
    number: int


@casty.message("tests.entities.Notes")
@dataclass(frozen=True)
class Notes:
    reply_to: ActorRef[list[int]]


@casty.message("tests.entities.Own")
@dataclass(frozen=True)
class Own:
    reply_to: ActorRef[Whole]


@casty.message("tests.entities.Whole")
@dataclass(frozen=True)
class Whole:
    ref: ActorRef[Add]
    node: str


@casty.message("tests.entities.Stop")
@dataclass(frozen=True)
class Stop:
    pass


@casty.message("tests.entities.Fail")
@dataclass(frozen=True)
class Fail:
    reply_to: ActorRef[int]


Command = Add | Note | Notes | Own | Stop | Fail
CARTS = EntityKey[Command]("carts")


class Carts:
    """The carts of one node, and how many of each are alive."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.starts: Counter[str] = Counter()
        self.alive: set[str] = set()

    def make(self, entity_id: str) -> Behavior[Command]:
        self.starts[entity_id] += 1
        total, notes = 0, list[int]()

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            nonlocal total
            match message:
                case Add(count, reply_to):
                    total += count
                    reply_to.tell(total)
                case Note(number):
                    notes.append(number)
                case Notes(reply_to):
                    reply_to.tell(list(notes))
                case Own(reply_to):
                    reply_to.tell(Whole(ctx.self, self.node))
                case Stop():
                    return Behaviors.stopped()
                case Fail():
                    raise LookupError("as asked for")
                case _ as never:
                    assert_never(never)
            return Behaviors.same()

        return Behaviors.receive(handle)


def host(system: ClusteredActorSystem, **options: Any) -> Carts:
    carts = Carts(system.cluster_config.node_id)
    system.spawn(Behaviors.sharded(carts.make, CARTS, **{"num_shards": 16} | options), "carts")
    return carts


async def add(system: ActorSystem, entity_id: str, count: int = 1, timeout: float = 5.0) -> int:
    total: int = await system.ask(system.entity(CARTS, entity_id), lambda to: Add(count, to), timeout=timeout)
    return total


async def homes(system: ActorSystem, count: int) -> dict[str, str]:
    """Return the nodes of so many entities."""
    found: dict[str, str] = {}
    for number in range(count):
        found[f"cart-{number}"] = await home(system, f"cart-{number}")
    return found


async def home(system: ActorSystem, entity_id: str) -> str:
    """Return the node of an entity; a request that was certainly not handled is made again."""
    while True:
        try:
            whole: Whole = await system.ask(system.entity(CARTS, entity_id), Own, timeout=30.0)
        except AskFailed as failed:
            assert failed.certainly_not_handled, failed
        else:
            return whole.node


class Ledger:
    """Numbers handled by each entity, wherever it lives, and callers that count on in them."""

    def __init__(self) -> None:
        self.handled: dict[str, list[int]] = {}
        self.asked: Counter[str] = Counter()
        """Numbers given to each entity."""
        self.failed: list[AskFailed | AskTimeoutError] = []
        self.is_over = False

    def host(self, system: ClusteredActorSystem, **options: Any) -> None:
        """Host entities on a node that write into this ledger."""
        system.spawn(Behaviors.sharded(self.make, CARTS, **{"num_shards": 16} | options), "carts")

    def make(self, entity_id: str) -> Behavior[Command]:
        numbers = self.handled.setdefault(entity_id, [])

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            match message:
                case Add(number, reply_to):
                    numbers.append(number)
                    reply_to.tell(number)
                case Note(number):
                    numbers.append(number)
                case _:
                    return Behaviors.unhandled()
            return Behaviors.same()

        return Behaviors.receive(handle)

    async def call(self, system: ActorSystem, entity_id: str, pause: float = 0.05) -> None:
        """Tell and ask one entity by turns, each time with the next number, until it is over."""
        while not self.is_over:
            self.asked[entity_id] += 1
            if self.asked[entity_id] % 2:
                system.entity(CARTS, entity_id).tell(Note(self.asked[entity_id]))
                continue
            try:
                await add(system, entity_id, self.asked[entity_id], timeout=30.0)
            except (AskFailed, AskTimeoutError) as error:
                self.failed.append(error)
            await trio.sleep(pause)

    def check(self) -> None:
        """Assert that nothing failed, was lost, was handled twice, or out of order."""
        assert not self.failed
        assert self.handled == {one: list(range(1, count + 1)) for one, count in self.asked.items()}
        assert sum(self.asked.values()) > 1_000
