"""On what a task sleeps that waits for the end of an actor; kept apart from the wait for those who look for circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from casty.runtime.waking import WOKEN

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell


class EndWait:
    """The watcher of an actor that wakes one task at the actor's end: what that task sleeps on."""

    __slots__ = ("cell", "task")

    def __init__(self, cell: Cell, task: trio.lowlevel.Task) -> None:
        self.cell = cell
        self.task = task

    def __repr__(self) -> str:
        return f"<EndWait for {self.cell.path}>"

    def signal(self, _: object) -> None:
        trio.lowlevel.reschedule(self.task, WOKEN)
