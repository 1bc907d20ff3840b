"""Counters of this library, event-sourced: one node in this process, and its journal.

    counters_casty.py sqlite|postgres PLACE SECONDS [COUNTERS]
    counters_casty.py sqlite|postgres PLACE write|start

With COUNTERS 1 it is one hot entity. `write` stores 20 events of each of 10,000 entities, and `start` is the time from
nothing to the last answer of all of them: the system, its cluster of one node, shards, claims, histories.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import assert_never

import trio
from asking import ASKERS, COUNTERS, Askers, argument

import casty
from casty import (
    ActorRef,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    Effect,
    EntityKey,
    MemoryNetwork,
    SqliteJournal,
    nothing,
    persist,
)
from casty.journal import Journal
from casty.persistence.postgres import PostgresJournal

ENTITIES = 10_000
EVENTS = 20
ASK_TIMEOUT = 60.0


@casty.event("bench.Counted")
@dataclass(frozen=True, slots=True)
class Counted:
    """The counter was raised."""

    by: int


@casty.message("bench.Increment")
@dataclass(frozen=True, slots=True)
class Increment:
    """Raise the counter; the answer is its new value."""

    events: int
    reply_to: ActorRef[int]


@casty.message("bench.Read")
@dataclass(frozen=True, slots=True)
class Read:
    """Ask for the value."""

    reply_to: ActorRef[int]


@dataclass(frozen=True, slots=True)
class Counter:
    """State of a counter."""

    value: int = 0


KEY = EntityKey[Increment | Read]("bench.counters")


def apply(counter: Counter, event: Counted) -> Counter:
    """Return the counter after an event."""
    return replace(counter, value=counter.value + event.by)


def decide(counter: Counter, command: Increment | Read) -> Effect[Counted]:
    """Decide a command."""
    match command:
        case Increment(1, reply_to):
            return persist(Counted(1)).reply(reply_to, counter.value + 1)
        case Increment(events, reply_to):
            return persist(*[Counted(1)] * events).reply(reply_to, counter.value + events)
        case Read(reply_to):
            return nothing().reply(reply_to, counter.value)
        case _ as never:
            assert_never(never)


def counter(entity_id: str) -> Behavior[Increment | Read]:
    """Return the behaviour of a counter."""
    return Behaviors.event_sourced(empty=Counter(), decide=decide, apply=apply)


def system_on(journal: Journal) -> ClusteredActorSystem:
    """Return a node that is a cluster of its own."""
    network = MemoryNetwork().host("one")
    return ClusteredActorSystem(name="bench", host="one", port=2551, node_id="one", network=network, journal=journal)


async def measure(journal: Journal, seconds: float, counters: int) -> None:
    """Print the figures of one run."""
    async with system_on(journal) as system:
        system.spawn(Behaviors.sharded(counter, KEY, num_shards=64), "counters")
        refs = [system.entity(KEY, f"counter-{number}") for number in range(counters)]

        async def increment(number: int) -> int:
            value: int = await system.ask(refs[number], lambda reply_to: Increment(1, reply_to), timeout=ASK_TIMEOUT)
            return value

        await of_all(counters, increment)
        askers = Askers(increment, seconds, counters)
        askers.begin()
        async with trio.open_nursery() as nursery:
            for _ in range(ASKERS):
                nursery.start_soon(askers.work)
        print(askers.figures(), flush=True)


async def of_all(count: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Make a call for each number, some at one time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    async with trio.open_nursery() as nursery:
        for _ in range(4 * ASKERS):
            nursery.start_soon(work)


async def histories(journal: Journal, *, are_written: bool) -> None:
    """Store the histories of all entities, or recover all of them; print the seconds."""
    begin = time.perf_counter()
    async with system_on(journal) as system:
        system.spawn(Behaviors.sharded(counter, KEY, num_shards=64), "counters")

        async def call(number: int) -> None:
            ref = system.entity(KEY, f"counter-{number}")
            value: int = await (
                system.ask(ref, Read, timeout=ASK_TIMEOUT)
                if are_written
                else system.ask(ref, lambda reply_to: Increment(EVENTS, reply_to), timeout=ASK_TIMEOUT)
            )
            if value != EVENTS:
                raise RuntimeError(f"counter-{number} is {value}, and {EVENTS} was stored")

        await of_all(ENTITIES, call)
        print(json.dumps({"seconds": time.perf_counter() - begin}), flush=True)


async def main() -> None:
    """Be the program."""
    kind, place, what = argument(1), argument(2), argument(3)
    journal: Journal = SqliteJournal(place) if kind == "sqlite" else PostgresJournal(place)
    if what in ("write", "start"):
        await histories(journal, are_written=what == "start")
    else:
        await measure(journal, float(what), int(argument(4, str(COUNTERS))))


trio.run(main)
