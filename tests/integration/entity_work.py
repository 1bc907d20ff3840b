"""Entities and callers of them, for the tests with real processes, and the judgement of what all processes have done.

An entity notes each number it has handled, with the time at which it began and the number of its activation, and its
start as number 0. A caller notes the end of each call. The notes leave in batches as events ``handled`` and ``called``;
`lives` and `check_accounts` judge those of all processes together.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EntityKey,
)

NUM_SHARDS = 32
ANSWERED, REFUSED, UNKNOWN = "answered", "certainly not handled", "unknown"
"""Ends of calls."""
LONG = 60.0
"""Seconds for what takes long on a busy machine."""
FLUSH_EVERY = 0.05
"""Seconds between two batches: what a killed process has not said yet is lost to the judgement."""


@casty.message("integration.Hit")
@dataclass(frozen=True)
class Hit:
    """Take note of a number, and give it back after so many seconds."""

    number: int
    seconds: float
    reply_to: ActorRef[int]


HITS = EntityKey[Hit]("hits", clients=True)


@dataclass(frozen=True)
class Load:
    """Calls of one node: to so many entities, with so many seconds between them and inside of each handler."""

    keys: int = 0
    pause: float = 0.0
    seconds: float = 0.0
    timeout: float = 30.0
    first: int = 1
    """First number for each entity."""


class EntityWork:
    """The entities of one node, and its calls to those of the cluster."""

    def __init__(self, system: ClusteredActorSystem, emit: Callable[..., None]) -> None:
        self._system = system
        self._emit = emit
        self._rows: list[tuple[str, int, float, int]] = []
        self._ends: list[tuple[str, int, str, float]] = []
        self._activations = 0
        self._is_over = False

    def host(self) -> None:
        """Host entities on this node."""
        self._system.spawn(Behaviors.sharded(self._make, HITS, num_shards=NUM_SHARDS), "hits")

    async def run(self) -> None:
        """Say what was handled and called, until cancelled."""
        while True:
            await trio.sleep(FLUSH_EVERY)
            self.flush()

    def flush(self) -> None:
        """Say what the entities here have handled and how calls have ended, since the last time."""
        rows, self._rows = self._rows, []
        if rows:
            self._emit("handled", rows=rows)
        ends, self._ends = self._ends, []
        if ends:
            self._emit("called", ends=ends)

    def _make(self, entity_id: str) -> Behavior[Hit]:
        self._activations += 1
        activation = self._activations
        self._rows.append((entity_id, 0, time.monotonic(), activation))

        async def handle(ctx: ActorContext[Hit], message: Hit) -> Behavior[Hit]:
            self._rows.append((entity_id, message.number, time.monotonic(), activation))
            if message.seconds:
                await trio.sleep(message.seconds)
            message.reply_to.tell(message.number)
            return Behaviors.same()

        return Behaviors.receive(handle)

    async def shards(self) -> dict[str, object]:
        """Return how many shards are open at each node, as this one knows it."""
        rows = (await self._system.shards(HITS)).rows
        return {"open": Counter(f"{row.node}" for row in rows if row.state == "owned")}

    def stop_calling(self) -> None:
        """Let each caller end with its next answer; say what was handled and called."""
        self._is_over = True
        self.flush()

    async def call(self, load: Load) -> dict[str, object]:
        """Ask so many entities, each with the next number after the last answer, until told to end."""
        calls = Calls()
        self._is_over = False
        async with trio.open_nursery() as nursery:
            for key in range(load.keys):
                nursery.start_soon(self._call, calls, f"{self._system.cluster_config.node_id}-{key}", load)
        return calls.told()

    async def _call(self, calls: Calls, entity_id: str, load: Load) -> None:
        number = load.first
        while not self._is_over:
            await self._hit(calls, entity_id, number, load)
            number += 1
            await trio.sleep(load.pause)

    async def touch(self, ids: int, callers: int, first: int) -> dict[str, object]:
        """Ask so many new entities by so many callers at one time, with numbers from ``first`` on."""
        calls = Calls()
        async with trio.open_nursery() as nursery:
            for caller in range(callers):
                nursery.start_soon(self._hit, calls, f"new-{caller % ids}", first + caller, Load())
        return calls.told()

    async def _hit(self, calls: Calls, entity_id: str, number: int, load: Load) -> None:
        began = time.monotonic()
        calls.asked[entity_id] += 1
        end = ANSWERED
        try:
            got: int = await self._system.ask(
                self._system.entity(HITS, entity_id), lambda to: Hit(number, load.seconds, to), timeout=load.timeout
            )
            assert got == number
        except (AskFailed, AskTimeoutError) as error:
            end = REFUSED if error.certainly_not_handled else UNKNOWN
            calls.failed[f"{end}: {type(error).__name__}: {error}"[:160]] += 1
        now = time.monotonic()
        calls.took.append(now - began)
        self._ends.append((entity_id, number, end, now))


class Calls:
    """Outcome of calls."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.took: list[float] = []

    def told(self) -> dict[str, object]:
        """Return the outcome for the test."""
        took = sorted(self.took)
        return {
            "asked": dict(self.asked),
            "failed": dict(self.failed),
            "longest": max(took, default=0.0),
            "p99": took[len(took) * 99 // 100] if took else 0.0,
        }


def lives(nodes: Iterable[Any]) -> dict[str, list[int]]:
    """Return the numbers handled by each entity, in order of time.

    AssertionError where an activation went on after another one had begun: an entity has one owner at any time.
    ``nodes`` are the processes (`processes.NodeProcess`), each of one run of a node.
    """
    found: dict[str, list[tuple[float, tuple[int, int], int]]] = {}
    for process, node in enumerate(nodes):
        for event in node.seen("handled"):
            for entity, number, at, activation in event["rows"]:
                found.setdefault(entity, []).append((at, (process, activation), number))
    for entity, rows in found.items():
        rows.sort(key=lambda row: row[0])
        turns = [activation for activation, _ in groupby(activation for _, activation, _ in rows)]
        assert len(set(turns)) == len(turns), f"activations of {entity} overlap (process, activation): {turns}"
    return {entity: [number for _, _, number in rows if number] for entity, rows in found.items()}


def ends_of(nodes: Iterable[Any], end: str) -> list[tuple[str, int, float]]:
    """Return entity, number and time of the calls by all nodes with this end."""
    events = (event for node in nodes for event in node.seen("called"))
    return [(entity, number, at) for event in events for entity, number, how, at in event["ends"] if how == end]


def check_accounts(nodes: Sequence[Any], *, until: float = math.inf) -> dict[str, list[int]]:
    """Return `lives`, and assert that the end of each call is true, and that nothing was handled twice.

    Of nodes killed later than ``until`` the last notes are lost, so answers are looked at up to then.
    """
    handled = lives(nodes)
    for entity, number, at in ends_of(nodes, ANSWERED):
        assert at > until or number in handled.get(entity, ()), f"{entity} has answered {number}, and never handled it"
    for entity, number, _ in ends_of(nodes, REFUSED):
        assert number not in handled.get(entity, ()), f"{entity} has handled {number}, which was refused"
    for entity, numbers in handled.items():
        assert len(numbers) == len(set(numbers)), f"{entity} has handled something twice: {numbers}"
    return handled


async def all_open(nodes: Sequence[Any], first: int, *, at_least: int = 0) -> float:
    """Return when each shard was open at one of these nodes, as all of them know, and an entity there has answered.

    ``first`` is the first of 200 numbers that nobody has used; each node has ``at_least`` so many shards.
    """
    hosts = {f"{host}:{port}" for host, port in (node.address for node in nodes)}

    async def knows(node: Any) -> bool:
        found: dict[str, int] = (await node.call("shards"))["open"]
        are_there = set(found) <= hosts and sum(found.values()) == NUM_SHARDS
        return are_there and all(found.get(host, 0) >= at_least for host in hosts)

    with trio.move_on_after(LONG):
        while not all([await knows(node) for node in nodes]):  # noqa: ASYNC110  # asked, not told
            await trio.sleep(FLUSH_EVERY)
        touched = await nodes[-1].call("touch", ids=200, callers=200, first=first)
        assert touched["failed"] == {}
        return time.monotonic()
    raise AssertionError("shards are not open\n" + "\n".join(node.story() for node in nodes))
