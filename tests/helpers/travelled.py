"""Entities for tests of journals: a ledger whose state says by itself how many events are in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import trio

from casty import (
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    Effect,
    EntityKey,
    Every,
    SystemConfig,
    message,
    nothing,
    persist,
)
from casty.journal import Journal, SnapshotStore
from helpers.carts import Add, Cart, CartCommand, CheckOut
from helpers.carts import apply as apply_cart
from helpers.carts import decide as decide_cart
from helpers.ledgers import CODEC, Ledger, Written, apply

Numbers = tuple[int, ...]


@message("travelled.Note")
@dataclass(frozen=True)
class Note:
    """Write numbers, and reply the ledger; without any, reply it only."""

    numbers: Numbers
    reply_to: ActorRef[Numbers]


def decide(ledger: Ledger, command: Note) -> Effect[Written]:
    after = (*ledger.numbers, *command.numbers)
    effect: Effect[Written] = persist(*map(Written, command.numbers)) if command.numbers else nothing()
    return effect.reply(command.reply_to, after)


def ledger(name: str, snapshots: Every | None = None) -> Behavior[Note]:
    return Behaviors.event_sourced(name, empty=Ledger(), decide=decide, apply=apply, snapshots=snapshots)


def ledger_entity(_: str) -> Behavior[Note]:
    return Behaviors.event_sourced(empty=Ledger(), decide=decide, apply=apply, snapshots=None)


def cart(name: str) -> Behavior[CartCommand]:
    return Behaviors.event_sourced(name, empty=Cart(), decide=decide_cart, apply=apply_cart, snapshots=None)


def the_first_cart() -> Behavior[CartCommand]:
    return cart("cart-1")


def hosted_ledgers() -> Behavior[object]:
    return Behaviors.sharded(ledger_entity, EntityKey[Note]("ledgers"), num_shards=4)  # type: ignore[return-value]  # of any message


async def awaited(name: str) -> None: ...


def two(first: str, second: str) -> None: ...


def nobody() -> int:
    return 5


LEDGER = ledger("ledger-1")


@dataclass
class Life:
    """States that a live entity was seen with, by the number of its last event."""

    seen: dict[int, Numbers] = field(default_factory=dict[int, Numbers])

    async def live(self, journal: Journal, behavior: Behavior[Note], writes: Iterable[Numbers]) -> None:
        """Run an entity in a system of its own; each write is a command, and the next one waits for its answer."""
        async with ActorSystem(config=SystemConfig(journal=journal)) as system:
            ref = system.spawn(behavior, "ledger")
            for numbers in [(), *writes]:
                with trio.fail_after(10):
                    after: Numbers = await system.ask(ref, partial(Note, numbers))
                self.seen[len(after)] = after


async def fill_carts(journal: Journal, count: int = 2) -> None:
    """Store carts: tea, milk, tea again, and the check-out."""
    async with ActorSystem(config=SystemConfig(journal=journal)) as system:
        for number in range(1, count + 1):
            ref = system.spawn(cart(f"cart-{number}"), f"cart-{number}")
            for sku, items in (("tea", 2), ("milk", 1), ("tea", number)):
                await system.ask(ref, partial(Add, sku, items))
            await system.ask(ref, CheckOut)


async def store_ledger(journal: Journal, name: str = "ledger-1", *, events: int, snapshots: Iterable[int] = ()) -> None:
    """Store a ledger of the numbers 1, 2, 3..., and forget the events in the first snapshot."""
    assert isinstance(journal, SnapshotStore)
    async with journal.open():
        [claim] = await journal.claim([name])
        await journal.append(claim, name, 0, [CODEC.encode(Written(number)) for number in range(1, events + 1)])
        for seq in snapshots:
            await journal.save(claim, name, seq, CODEC.encode(Ledger(tuple(range(1, seq + 1)))))
        for seq in list(snapshots)[:1]:
            await journal.forget(claim, name, seq)
