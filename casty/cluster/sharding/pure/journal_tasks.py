"""Tasks for what waits for a journal: a bounded number, each for one entity after the other.

Owns the tasks and the line of entities before them. It does not know recoveries and appends, or what follows one.

How it works: a task takes the next of the line without being woken; it is made where there are fewer than the bound,
and sleeps where nobody waits. One that is cancelled with an entity in its hand ends, and makes room for another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from casty.runtime.waking import WOKEN

T = TypeVar("T")


class JournalTask:
    """One of the tasks."""

    __slots__ = ("is_cancelled", "scope", "task")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.is_cancelled = False
        """Whether its scope is: `CancelScope.cancel_called` looks at the clock each time."""

    def cancel(self) -> None:
        """Cancel the step begun."""
        self.is_cancelled = True
        self.scope.cancel()


class JournalTasks(Generic[T]):
    """Tasks for one kind of step, first come first served.

    Parameters:
        step: The step. Raises nothing but Cancelled.
        most: Bound of the tasks.
    """

    def __init__(self, step: Callable[[T], Awaitable[None]], most: int) -> None:
        self._step = step
        self._most = most
        self._line: deque[T] = deque()
        self._busy: dict[T, JournalTask] = {}
        self._idle: list[JournalTask] = []
        self._count = 0
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<JournalTasks busy={len(self._busy)} waiting={len(self._line)} tasks={self._count}>"

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Begin with those in the line, and go on until cancelled; those in it then are the owner's to end."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for _ in range(len(self._line)):
                    self._call()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def put(self, one: T) -> None:
        """Take the step for an entity in its turn. Not for one in the line, or in a task's hand."""
        self._line.append(one)
        self._call()

    def drop(self, one: T) -> bool:
        """Take an entity out of the line; False, and its task is cancelled, where its step has begun."""
        worker = self._busy.get(one)
        if worker is None:
            self._line.remove(one)
            return True
        worker.cancel()
        return False

    def drop_all(self) -> list[T]:
        """Take everybody out of the line, returned, and cancel the steps begun."""
        dropped = list(self._line)
        self._line.clear()
        for worker in self._busy.values():
            worker.cancel()
        return dropped

    def _call(self) -> None:
        if self._idle:
            task = self._idle.pop().task
            assert task is not None
            trio.lowlevel.reschedule(task, WOKEN)
        elif self._nursery is not None and self._count < self._most:
            self._count += 1
            self._nursery.start_soon(self._work, JournalTask())

    @trio.lowlevel.enable_ki_protection
    async def _work(self, worker: JournalTask) -> None:
        worker.task = trio.lowlevel.current_task()
        try:
            with worker.scope:
                while not worker.is_cancelled:  # a step may end well all the same, and the next is another's
                    if not self._line:
                        await self._rest(worker)
                        continue
                    one = self._line.popleft()
                    self._busy[one] = worker
                    try:
                        await self._step(one)
                    finally:
                        if self._busy.get(one) is worker:
                            del self._busy[one]
        finally:
            self._count -= 1
            if self._line:
                self._call()

    async def _rest(self, worker: JournalTask) -> None:
        def leave(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._idle.remove(worker)
            return trio.lowlevel.Abort.SUCCEEDED

        self._idle.append(worker)
        await trio.lowlevel.wait_task_rescheduled(leave)
