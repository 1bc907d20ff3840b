"""What an actor is told beside its mailbox: to stop, that something of its own failed, that it is time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from casty.runtime.timers import Entry

if TYPE_CHECKING:
    from casty.runtime.cell import Cell


class Stop:
    """The type of `STOP`, the signal after which no message is taken."""

    __slots__ = ()


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
