"""One queue of timers for every deadline of a system, and the scheduler that is built on it.

The queue is one task with one cancel scope, whose deadline it moves to the earliest entry of a heap;
a timer costs a heap entry, not a task. Equal deadlines fire in the order in which they were made.
"""

from __future__ import annotations

import heapq
import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Never, TypeAlias, cast

import trio

from casty.refs import ActorRef
from casty.runtime.messaging.ref import tell_or_drop

logger = logging.getLogger("casty.runtime")

DEAD_ENTRIES_MAX = 256
"""The heap is rebuilt when it holds more finished entries than this, and more than live ones."""


class TimerEntry:
    """Something with a deadline. It fires once per deadline unless it was finished before."""

    __slots__ = ("finished",)

    def __init__(self) -> None:
        self.finished = False

    @abstractmethod
    def fire(self, deadline: float) -> float | None:
        """Do what is due, without blocking or raising; return the next deadline, or None if done."""


class Action(TimerEntry):
    """An entry that calls a function, once or again and again."""

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
        """Have ``entry`` fire at ``deadline``, a time of the Trio clock."""
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
        """Make sure that ``entry`` does not fire any more."""
        if not entry.finished:
            entry.finished = True
            self._dead += 1
            if self._dead > DEAD_ENTRIES_MAX and self._dead * 2 > len(self._heap):
                self._heap = [item for item in self._heap if not item[2].finished]
                heapq.heapify(self._heap)
                self._dead = 0

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


@dataclass(frozen=True, slots=True)
class ScheduleOnce:
    """Tell an actor a message, once, later; replaces what has the same key."""

    key: Hashable
    """Name of the schedule, shared by all who use the scheduler."""
    target: ActorRef[Never]
    """Actor to tell, on any node."""
    message: object
    """What to tell."""
    delay: float
    """Seconds, at least 0; the scheduler's ``tell`` raises ValueError for less."""


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """Tell an actor a message again and again; replaces what has the same key."""

    key: Hashable
    """Name of the schedule, shared by all who use the scheduler."""
    target: ActorRef[Never]
    """Actor to tell, on any node."""
    message: object
    """What to tell."""
    interval: float
    """Seconds from message to message, above 0; the scheduler's ``tell`` raises ValueError for less."""


@dataclass(frozen=True, slots=True)
class CancelSchedule:
    """Forget the schedule with this key, if there is one."""

    key: Hashable
    """Name of the schedule."""


SchedulerCmd: TypeAlias = ScheduleOnce | ScheduleTick | CancelSchedule


def check_delay(name: str, seconds: object, *, zero: bool) -> None:
    """Raise ValueError unless ``seconds`` can be a delay or, above zero, an interval."""
    if not isinstance(seconds, (int, float)) or not (0 <= seconds if zero else 0 < seconds) or seconds == math.inf:
        least = "at least 0" if zero else "above 0"
        raise ValueError(f"{name} must be a finite number of seconds, {least}, got {seconds!r}")


class Scheduler:
    """The messages that one system will send later; keys are shared by all who use it."""

    __slots__ = ("_entries", "_timer_queue")

    def __init__(self, timer_queue: TimerQueue) -> None:
        self._timer_queue = timer_queue
        self._entries: dict[Hashable, TimerEntry] = {}

    def handle(self, command: SchedulerCmd) -> None:
        """Take a command at once. ValueError for a delay or interval that makes no sense."""
        match command:
            case ScheduleOnce(key, target, message, delay):
                check_delay("delay", delay, zero=True)
                self._replace(key, Delivery(self, key, target, message, None), delay)
            case ScheduleTick(key, target, message, interval):
                check_delay("interval", interval, zero=False)
                self._replace(key, Delivery(self, key, target, message, interval), interval)
            case CancelSchedule(key):
                self.forget(key)
            case _:  # pyright: ignore[reportUnnecessaryComparison]  # the ref may have been untyped
                raise TypeError(f"the scheduler takes ScheduleOnce, ScheduleTick or CancelSchedule, got {command!r}")

    def forget(self, key: Hashable) -> None:
        """Drop the entry of ``key``."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._timer_queue.finish(entry)

    def fired_once(self, key: Hashable) -> None:
        """Take note that the entry of ``key`` has done its work."""
        self._entries.pop(key, None)

    def _replace(self, key: Hashable, entry: TimerEntry, delay: float) -> None:
        self.forget(key)
        self._entries[key] = entry
        self._timer_queue.add(entry, trio.current_time() + delay)


class Delivery(TimerEntry):
    """A scheduled message on its way."""

    __slots__ = ("_interval", "_key", "_message", "_scheduler", "_target")

    def __init__(
        self, scheduler: Scheduler, key: Hashable, target: ActorRef[Never], message: object, interval: float | None
    ) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._key = key
        self._target = target
        self._message = message
        self._interval = interval

    def fire(self, deadline: float) -> float | None:
        if self._interval is None:
            self._scheduler.fired_once(self._key)
        try:
            tell_or_drop(cast("ActorRef[object]", self._target), self._message)
        except Exception:  # an unencodable message must not end the queue
            logger.exception("a scheduled message to %s could not be told", self._target.path)
        return None if self._interval is None else deadline + self._interval
