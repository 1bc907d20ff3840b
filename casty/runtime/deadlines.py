"""One queue of timers for every deadline of a system.

The queue is one task with one cancel scope; its deadline moves to the earliest entry of a heap; a timer costs a heap
entry, not a task. Equal deadlines fire in the order of their making.
"""

from __future__ import annotations

import heapq
import math
from abc import abstractmethod
from collections.abc import Callable

import trio

DEAD_ENTRIES_MAX = 256
"""The heap is rebuilt when it holds more finished entries than this, and more than live ones."""


class TimerEntry:
    """Something with a deadline. It fires once per deadline unless it was finished before."""

    __slots__ = ("finished",)

    def __init__(self) -> None:
        self.finished = False

    @abstractmethod
    def fire(self, deadline: float) -> float | None:
        """Do the due work, without blocking or raising; return the next deadline, or None if done."""


class Action(TimerEntry):
    """Entry to call a function, once or again and again."""

    __slots__ = ("_function", "_interval")

    def __init__(self, function: Callable[[], None], interval: float | None = None) -> None:
        super().__init__()
        self._function = function
        self._interval = interval

    def fire(self, deadline: float) -> float | None:
        self._function()
        return None if self._interval is None else deadline + self._interval


class TimerQueue:
    """Fires entries when they are due, in order of deadline."""

    __slots__ = ("_dead", "_heap", "_now", "_scope", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerEntry]] = []
        self._serial = 0
        self._dead = 0
        self._scope: trio.CancelScope | None = None
        self._now = trio.current_time

    def add(self, entry: TimerEntry, deadline: float) -> None:
        """Set ``entry`` to fire at ``deadline``, a time of the Trio clock."""
        self._serial += 1
        heapq.heappush(self._heap, (deadline, self._serial, entry))
        if self._scope is not None and deadline < self._scope.deadline:
            self._scope.deadline = deadline

    def call_later(self, delay: float, function: Callable[[], None]) -> TimerEntry:
        """Call ``function`` in ``delay`` seconds, unless the returned entry is finished before."""
        entry = Action(function)
        self.add(entry, self._now() + delay)
        return entry

    def finish(self, entry: TimerEntry) -> None:
        """Keep ``entry`` from firing any more."""
        if not entry.finished:
            entry.finished = True
            self._dead += 1
            if self._dead > DEAD_ENTRIES_MAX and self._dead * 2 > len(self._heap):
                self._heap = [item for item in self._heap if not item[2].finished]
                heapq.heapify(self._heap)
                self._dead = 0

    def deadlines(self) -> list[float]:
        """Return when the entries will fire, the earliest first."""
        return sorted(deadline for deadline, _, entry in self._heap if not entry.finished)

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    async def run(self) -> None:
        """Fire entries until cancelled."""
        while True:
            self._fire_due(self._now())
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf) as self._scope:
                await trio.sleep_forever()
            self._scope = None

    def _fire_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            deadline, _, entry = heapq.heappop(self._heap)
            if entry.finished:
                self._dead -= 1
                continue
            again = entry.fire(deadline)
            if entry.finished:  # by itself, while it was not in the heap: it was counted too much
                self._dead -= 1
            elif again is None:
                entry.finished = True
            else:
                self.add(entry, again if again > now else now + (again - deadline))


def check_delay(name: str, seconds: object, *, zero: bool) -> None:
    """Raise ValueError unless ``seconds`` can be a delay or, above zero, an interval."""
    if not isinstance(seconds, (int, float)) or not (0 <= seconds if zero else 0 < seconds) or seconds == math.inf:
        least = "at least 0" if zero else "above 0"
        raise ValueError(f"{name} must be a finite number of seconds, {least}, got {seconds!r}")
