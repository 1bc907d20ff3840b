"""An actor without a task of its own, until it needs one: its turns with a shared task.

Owns the turn of an actor. It does not know the order of turns: `SharedTasks` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty.runtime.actor.cell import Cell
from casty.runtime.actor.fast_shared_tasks import SharedTasks
from casty.runtime.actor.termination import finish


@dataclass(slots=True, eq=False, repr=False)
class SharingCell(Cell):
    """The state of an actor sharing tasks with its siblings."""

    async def be_served(self, task: trio.lowlevel.Task | None, scope: trio.CancelScope, started: float) -> bool:
        """Take a turn with a task, at work since ``started``; False once it is its own, and a life in it over."""
        self.task, self.kill_scope, life = task, scope, self.life
        self.mailbox.parked = False
        if self.stop_requested and not self.control:
            return False
        if life.handler is None and not await self._begin(None):
            return False
        if life.main is None:
            await self._receive(started)
            if self.mailbox.parked:
                self.task = self.kill_scope = None
                return True
        if life.main is not None and not self.stop_requested:
            if self.tasks is not None:
                self.tasks.keep(self)
            await self._read(life.main)
        return False

    async def go_on(self) -> None:
        """Go on in a task kept, behind the life in it; the last step of the task."""
        try:
            await self._live_on(self._ended_life())
        finally:
            await finish(self)

    async def end(self) -> None:
        """End for good; the last step of a task."""
        await finish(self)

    def rests_with(self, tasks: SharedTasks) -> bool:
        """Whether it has no task but these, and none of them now."""
        return self.tasks is tasks and self.task is None and not self.ended
