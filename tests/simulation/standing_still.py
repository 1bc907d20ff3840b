"""Simulated nodes that stand still as a stopped process does: no task of theirs runs until they are woken.

Owns the reach into Trio for it: tasks of such a node are put aside when they are made ready to run. `simulate` alone
only keeps a paused node's letters, while its tasks go on. A write that has left may be let to its end first, as the
server ends it whose client stands still.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Final
from unittest.mock import patch
from weakref import WeakKeyDictionary

import trio

from casty.testing import SimulatedJournal
from casty.testing.simulation import Simulation
from casty.testing.simulation.nodes.paths import SeededNetwork

RUNNER: Final[Any] = importlib.import_module("trio._core._run").Runner


class StandingStill:
    """Nodes standing still, and their tasks that would run."""

    def __init__(self) -> None:
        self._roots: WeakKeyDictionary[trio.lowlevel.Task, str] = WeakKeyDictionary()
        self._aside: dict[str, list[trio.lowlevel.Task]] = {}
        self._writing: set[trio.lowlevel.Task] = set()
        """Tasks in a change of a journal, let to its end."""

    def add(self, node: str) -> None:
        """Take the present task, and all begun in it, as those of a node."""
        self._roots[trio.lowlevel.current_task()] = node

    def stop(self, node: str) -> None:
        """Let no task of a node run."""
        self._aside.setdefault(node, [])

    def wake(self, *nodes: str) -> None:
        """Let the tasks of some nodes run again."""
        for node in nodes:
            for task in self._aside.pop(node, ()):
                runner: Any = getattr(task, "_runner")  # noqa: B009  # where Trio puts those ready to run
                runner.runq.append(task)

    def wake_all(self) -> None:
        """Let all tasks run again."""
        self.wake(*list(self._aside))

    def put_aside(self, task: trio.lowlevel.Task) -> bool:
        """Put a task aside that is ready to run, if its node stands still; return whether it does."""
        if not self._aside or task in self._writing:
            return False
        above: trio.lowlevel.Task | None = task
        while above is not None and above not in self._roots:
            above = above.parent_nursery.parent_task if above.parent_nursery is not None else None
        waiting = self._aside.get(self._roots[above]) if above is not None else None
        if waiting is not None:
            waiting.append(task)
        return waiting is not None

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[None]:
        """Let the present task go on within a block."""
        task = trio.lowlevel.current_task()
        self._writing.add(task)
        try:
            yield
        finally:
            self._writing.discard(task)


@contextmanager
def standing_still(*, ends_writes: bool) -> Generator[None]:
    """Let `Pause` stop the tasks of a node within a block; ``ends_writes``: writes under way end meanwhile."""
    still = StandingStill()
    run_node, reschedule = getattr(Simulation, "_run_node"), RUNNER.reschedule  # noqa: B009  # no public way there
    freeze, thaw, crash, end_faults = (
        getattr(SeededNetwork, name) for name in ("freeze", "thaw", "crash", "end_faults")
    )
    change = getattr(SimulatedJournal, "_change")  # noqa: B009  # each write of a journal

    async def run_as_node(self: Simulation, on_node: Any, node: Any) -> None:
        still.add(node.name)
        await run_node(self, on_node, node)

    def reschedule_or_not(self: Any, task: trio.lowlevel.Task, *more: Any) -> None:
        reschedule(self, task, *more)
        if still.put_aside(task):
            self.runq.pop()

    async def change_to_the_end(self: SimulatedJournal, *arguments: Any) -> Any:
        async with still.writing():
            return await change(self, *arguments)

    def stop(self: SeededNetwork, host: str) -> None:
        freeze(self, host)
        still.stop(host)

    def waking(before: Any) -> Any:
        def wake(self: SeededNetwork, host: str) -> None:
            before(self, host)
            still.wake(host)

        return wake

    def end(self: SeededNetwork) -> None:
        end_faults(self)
        still.wake_all()

    with ExitStack() as patches:
        patches.enter_context(patch.object(Simulation, "_run_node", run_as_node))
        patches.enter_context(patch.object(RUNNER, "reschedule", reschedule_or_not))
        patches.enter_context(patch.object(SeededNetwork, "freeze", stop))
        patches.enter_context(patch.object(SeededNetwork, "thaw", waking(thaw)))
        patches.enter_context(patch.object(SeededNetwork, "crash", waking(crash)))
        patches.enter_context(patch.object(SeededNetwork, "end_faults", end))
        if ends_writes:
            patches.enter_context(patch.object(SimulatedJournal, "_change", change_to_the_end))
        yield
