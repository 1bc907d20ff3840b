"""What an actor is told beside its mailbox: to stop, that something of its own failed, that it is time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, Final

from casty.runtime.deadlines import TimerEntry
from casty.runtime.messaging.mailbox import NOTHING

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell


class Stop:
    """The type of `STOP`, the signal after which no message is taken."""

    __slots__ = ()


class PoisonPill:
    """A message that stops its actor once everything that was told before it has been handled.

    What is told after it becomes a dead letter. It takes its place in the mailbox, and can be dropped
    there, like any other message; only actors of the own system take it. There is one instance.

    >>> from casty import Behaviors, PoisonPill
    >>> ref = system.spawn(Behaviors.ignore(), "worker")
    >>> ref.of(PoisonPill).tell(PoisonPill())
    >>> await system.wait_stopped(ref)
    """

    __slots__ = ()
    _instance: ClassVar[PoisonPill | None] = None

    def __new__(cls) -> PoisonPill:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "PoisonPill()"


class Wakeup:
    """The type of `WAKEUP`, the signal that only makes an actor look again for what it takes next."""

    __slots__ = ()


class Failure:
    """The signal that a task, an adapter or a child has failed the actor, which does not go on as it is."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class ActorTimer(TimerEntry):
    """A message of an actor to itself, later. Valid as long as it is the one under its key."""

    __slots__ = ("cell", "interval", "key", "message", "pending")

    def __init__(self, cell: Cell, key: Hashable, message: object, interval: float | None) -> None:
        super().__init__()
        self.cell = cell
        self.key = key
        self.message = message
        self.interval = interval
        self.pending = False

    def take(self) -> object:
        """Return the message that the actor sees now; NOTHING if the timer was cancelled or replaced since it fired."""
        timers = self.cell.timers
        if timers is None or timers.get(self.key) is not self:
            return NOTHING
        self.pending = False
        self.taken(timers)
        return self.message

    def taken(self, timers: dict[Hashable, ActorTimer]) -> None:
        """Take note that the message was seen."""
        if self.interval is None:
            del timers[self.key]

    def fire(self, deadline: float) -> float | None:
        if not self.pending:  # a slow actor gets one tick, not a pile of them
            self.pending = True
            self.cell.signal(self)
        return None if self.interval is None else deadline + self.interval


class DelayTimer(ActorTimer):
    """A timer whose next delay begins when its message was seen."""

    __slots__ = ()

    def fire(self, deadline: float) -> None:
        super().fire(deadline)

    def taken(self, timers: dict[Hashable, ActorTimer]) -> None:
        if self.interval is not None:
            self.finished = False
            self.cell.kernel.timer_queue.add(self, self.cell.kernel.now() + self.interval)


class IdleTimer(ActorTimer):
    """The receive time-out: due when the actor has waited for ``interval`` seconds without a break."""

    __slots__ = ("_rested_at", "seconds")

    def __init__(self, cell: Cell, message: object, seconds: float) -> None:
        super().__init__(cell, RECEIVE_TIMEOUT, message, seconds)
        self.seconds = seconds
        self._rested_at = cell.kernel.now()

    def rest(self) -> None:
        """Take note that the actor begins to wait."""
        self._rested_at = self.cell.kernel.now()

    def fire(self, deadline: float) -> float:
        if self.cell.mailbox.sleeper is None:
            return deadline + self.seconds
        due = self._rested_at + self.seconds
        if due > deadline:
            return due
        super().fire(deadline)
        return deadline + self.seconds


STOP: Final = Stop()
WAKEUP: Final = Wakeup()
RECEIVE_TIMEOUT: Final = object()
"""The key of the receive time-out among the timers of an actor."""
PILL: Final = PoisonPill()
