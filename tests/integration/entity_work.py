"""Entities and callers of them, for the tests with real processes, and the judgement of what all processes have done.

An entity notes each number it has handled, with the time at which it began, and its start as number 0. The notes leave
in batches as events ``handled``; `lives` judges those of all processes together.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
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
FLUSH_EVERY = 0.05
"""Seconds between two batches: what a killed process has not said yet is lost to the judgement."""


@casty.message("integration.Hit")
@dataclass(frozen=True)
class Hit:
    """Take note of a number, and give it back after so many seconds."""

    number: int
    seconds: float
    reply_to: ActorRef[int]


HITS = EntityKey[Hit]("hits")


class EntityWork:
    """The entities of one node, and its calls to those of the cluster."""

    def __init__(self, system: ClusteredActorSystem, emit: Callable[..., None]) -> None:
        self._system = system
        self._emit = emit
        self._rows: list[tuple[str, int, float]] = []
        self._is_over = False

    def host(self) -> None:
        """Host entities on this node."""
        self._system.spawn(Behaviors.sharded(self._make, HITS, num_shards=NUM_SHARDS), "hits")

    async def run(self) -> None:
        """Say what the entities have handled, until cancelled."""
        while True:
            await trio.sleep(FLUSH_EVERY)
            self.flush()

    def flush(self) -> None:
        """Say what the entities have handled since the last time."""
        rows, self._rows = self._rows, []
        if rows:
            self._emit("handled", rows=rows)

    def _make(self, entity_id: str) -> Behavior[Hit]:
        self._rows.append((entity_id, 0, time.monotonic()))

        async def handle(ctx: ActorContext[Hit], message: Hit) -> Behavior[Hit]:
            self._rows.append((entity_id, message.number, time.monotonic()))
            if message.seconds:
                await trio.sleep(message.seconds)
            message.reply_to.tell(message.number)
            return Behaviors.same()

        return Behaviors.receive(handle)

    def stop_calling(self) -> None:
        """Let each caller end with its next answer; say what the entities here have handled."""
        self._is_over = True
        self.flush()

    async def call(self, keys: int, pause: float, seconds: float) -> dict[str, object]:
        """Ask so many entities, each with the next number after the last answer, until told to end."""
        calls = Calls()
        self._is_over = False
        async with trio.open_nursery() as nursery:
            for key in range(keys):
                nursery.start_soon(self._call, calls, f"{self._system.cluster_config.node_id}-{key}", pause, seconds)
        return calls.told()

    async def _call(self, calls: Calls, entity_id: str, pause: float, seconds: float) -> None:
        number = 0
        while not self._is_over:
            number += 1
            await self._hit(calls, entity_id, number, seconds)
            await trio.sleep(pause)

    async def touch(self, ids: int, callers: int) -> dict[str, object]:
        """Ask so many new entities by so many callers at one time."""
        calls = Calls()
        async with trio.open_nursery() as nursery:
            for caller in range(callers):
                nursery.start_soon(self._hit, calls, f"new-{caller % ids}", caller + 1, 0.0)
        return calls.told()

    async def _hit(self, calls: Calls, entity_id: str, number: int, seconds: float) -> None:
        began = time.monotonic()
        calls.asked[entity_id] += 1
        try:
            got: int = await self._system.ask(
                self._system.entity(HITS, entity_id), lambda to: Hit(number, seconds, to), timeout=30.0
            )
            assert got == number
            calls.acknowledged.append((entity_id, number))
        except (AskFailed, AskTimeoutError) as error:
            certain = " (certainly not handled)" if error.certainly_not_handled else ""
            calls.failed[f"{type(error).__name__}{certain}: {error}"[:160]] += 1
        calls.longest = max(calls.longest, time.monotonic() - began)


class Calls:
    """Outcome of calls."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.acknowledged: list[tuple[str, int]] = []
        self.failed: Counter[str] = Counter()
        self.longest = 0.0

    def told(self) -> dict[str, object]:
        """Return the outcome for the test."""
        return {
            "asked": dict(self.asked),
            "acknowledged": self.acknowledged,
            "failed": dict(self.failed),
            "longest": self.longest,
        }


def lives(nodes: Iterable[Any]) -> dict[str, list[int]]:
    """Return the numbers handled by each entity, in order of time.

    AssertionError where one process began to handle something for an entity after another one had begun to: an entity
    never has two owners. ``nodes`` are the processes (`processes.NodeProcess`), each of one run of a node.
    """
    found: dict[str, list[tuple[float, int, int]]] = {}
    for process, node in enumerate(nodes):
        for event in node.seen("handled"):
            for entity, number, at in event["rows"]:
                found.setdefault(entity, []).append((at, process, number))
    for entity, rows in found.items():
        rows.sort(key=lambda row: row[0])
        owners = [process for process, _ in groupby(process for _, process, _ in rows)]
        assert len(set(owners)) == len(owners) or _may_return(rows), f"{entity} has had owners by turns: {owners}"
    return {entity: [number for _, _, number in rows if number] for entity, rows in found.items()}


def _may_return(rows: list[tuple[float, int, int]]) -> bool:
    """Whether each return to an earlier owner began with a new start of the entity there."""
    turns = [list(turn) for _, turn in groupby(rows, key=lambda row: row[1])]
    return all(turn[0][2] == 0 for turn in turns)
