"""What an actor is told beside its mailbox: to stop, that something of its own failed, that it is time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, Final

from casty.runtime.timers import Entry

if TYPE_CHECKING:
    from casty.runtime.cell import Cell


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


class Failure:
    """The signal that a task, an adapter or a child has failed the actor, which does not go on as it is."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class ActorTimer(Entry):
    """A message of an actor to itself, later. Valid as long as it is the one under its key."""

    __slots__ = ("_cell", "interval", "key", "message", "pending")

    def __init__(self, cell: Cell, key: Hashable, message: object, interval: float | None) -> None:
        super().__init__()
        self._cell = cell
        self.key = key
        self.message = message
        self.interval = interval
        self.pending = False

    def fire(self, deadline: float) -> float | None:
        if not self.pending:  # a slow actor gets one tick, not a pile of them
            self.pending = True
            self._cell.signal(self)
        return None if self.interval is None else deadline + self.interval


STOP: Final = Stop()
PILL: Final = PoisonPill()
