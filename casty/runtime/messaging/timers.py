"""The scheduler: messages of a system to any actors, later."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Never, TypeAlias, cast

import trio

from casty.refs import ActorRef
from casty.runtime.deadlines import TimerEntry, TimerQueue, check_delay
from casty.runtime.messaging.ref import tell_or_drop

logger = logging.getLogger("casty.runtime")


@dataclass(frozen=True, slots=True)
class ScheduleOnce:
    """Tell an actor a message, once, later; replaces an entry of the same key."""

    key: Hashable
    """Name of the schedule, shared by all users of the scheduler."""
    target: ActorRef[Never]
    """Actor to tell, on any node."""
    message: object
    """Message to tell."""
    delay: float
    """Seconds, at least 0; the scheduler's ``tell`` raises ValueError for less."""


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """Tell an actor a message again and again; replaces an entry of the same key."""

    key: Hashable
    """Name of the schedule, shared by all users of the scheduler."""
    target: ActorRef[Never]
    """Actor to tell, on any node."""
    message: object
    """Message to tell."""
    interval: float
    """Seconds from message to message, above 0; the scheduler's ``tell`` raises ValueError for less."""


@dataclass(frozen=True, slots=True)
class CancelSchedule:
    """Forget the schedule with this key, if there is one."""

    key: Hashable
    """Name of the schedule."""


SchedulerCmd: TypeAlias = ScheduleOnce | ScheduleTick | CancelSchedule


class Scheduler:
    """Later messages of one system; keys are shared by all users of the scheduler."""

    __slots__ = ("_entries", "_timer_queue")

    def __init__(self, timer_queue: TimerQueue) -> None:
        self._timer_queue = timer_queue
        self._entries: dict[Hashable, TimerEntry] = {}

    def handle(self, command: SchedulerCmd) -> None:
        """Take a command at once. ValueError for a senseless delay or interval."""
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
        """Take note of the entry of ``key`` as done."""
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
