"""Signals to an actor beside its mailbox: a stop, a failure of something of its own, a fired timer."""

from __future__ import annotations

from typing import ClassVar, Final


class StopSignal:
    """Type of `STOP`, the signal after which no message is taken."""

    __slots__ = ()


class PoisonPill:
    """Message to stop its actor once everything told before it has been handled.

    A message told after it becomes a dead letter. It takes its place in the mailbox, and can be dropped there, like any
    other message; only actors of the own system take it. That of a timer or receive time-out of the actor comes ahead
    of the mailbox, as every message of a timer does. There is one instance.

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
    """Type of `WAKEUP`, the signal that only makes an actor look again for its next message or signal."""

    __slots__ = ()


class Failure:
    """Signal of a task, an adapter or a child that has failed the actor; it does not go on as it is."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


STOP: Final = StopSignal()
WAKEUP: Final = Wakeup()
PILL: Final = PoisonPill()
