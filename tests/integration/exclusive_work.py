"""Work that only one node may do, as a user writes it with the serving lease: the oldest member counts.

Each stroke of work is an event ``worked`` with the time at which it was decided; a lapse of the lease
while this node was at work is an event ``suspended``. `turns` judges the events of all nodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import trio

from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem, Member, SubscribeTopology, TopologySnapshot
from casty.address import NodeAddress

HANG = 20.0
"""Seconds after which nobody will work any more."""
STROKE = 0.02
"""Seconds between two strokes of work."""


class ExclusiveWork:
    """The work of one node: it is this node's turn when all older members are removed and their work is free."""

    def __init__(self, system: ClusteredActorSystem, emit: Callable[..., None]) -> None:
        self._system = system
        self._emit = emit
        self._lease = system.cluster.serving_lease()
        self._snapshot = TopologySnapshot(frozenset(), None, {}, 0)
        self._older: dict[tuple[NodeAddress, int], Member] = {}

    async def run(self) -> None:
        """Work whenever it is this node's turn, until cancelled."""
        seen = self._system.spawn(self._watching(), "exclusive-work")
        self._system.cluster.ref.of(SubscribeTopology).tell(SubscribeTopology(seen))
        was_working = False
        while True:
            now = time.monotonic()  # before the look: whoever is stopped in between has decided nothing yet
            may_work = self._is_oldest() and self._lease.is_serving
            if may_work:
                self._emit("worked", at=now)
            elif was_working:
                self._emit("suspended")
            was_working = may_work
            await trio.sleep(STROKE)

    def _watching(self) -> Behavior[TopologySnapshot]:
        async def take(ctx: ActorContext[TopologySnapshot], message: TopologySnapshot) -> Behavior[TopologySnapshot]:
            self._snapshot = message
            return Behaviors.same()

        return Behaviors.receive(take)

    def _is_oldest(self) -> bool:
        own = next((member for member in self._snapshot.members if member.address == self._system.self_node), None)
        if own is None or not own.up_number:
            return False
        for member in self._snapshot.members:
            if member.up_number and member.is_older_than(own):
                self._older[member.address, member.incarnation] = member
        return all(self._lease.may_take_over(member) for member in self._older.values())


async def next_owner(nodes: Sequence[Any]) -> tuple[str, float]:
    """Return which of these nodes works first, and since when; several that joined at one time may be the oldest."""

    def found() -> list[tuple[float, str]]:
        return sorted((node.seen("worked")[0]["at"], node.node_id) for node in nodes if node.seen("worked"))

    with trio.move_on_after(HANG):
        while not found():  # noqa: ASYNC110  # each node has an event of its own
            await trio.sleep(STROKE)
        at, name = found()[0]
        return name, at
    raise AssertionError("nobody works\n" + "\n".join(node.story() for node in nodes))


def turns(nodes: Iterable[Any]) -> list[tuple[str, float, float]]:
    """Return who worked, from when to when, in order; AssertionError when a turn was not over as the next began.

    ``nodes`` are the processes (`processes.NodeProcess`), each of one run of a node.
    """
    named = enumerate(nodes)
    strokes = sorted((event["at"], number, node.node_id) for number, node in named for event in node.seen("worked"))
    found: list[tuple[int, str, float, float]] = []
    for (number, name), group in groupby(strokes, key=lambda stroke: stroke[1:]):
        times = [at for at, *_ in group]
        found.append((number, name, times[0], times[-1]))
    numbers = [number for number, *_ in found]
    assert len(set(numbers)) == len(numbers), f"exclusive work was done in turns that overlap: {found}"
    return [(name, first, last) for _, name, first, last in found]
