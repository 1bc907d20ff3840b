"""Listeners to the lives of a system's actors: `ActorLifecycleListener`, and the list of them.

Owns who is told, in what order, and the consequences of a listener's failure. It does not know when an actor starts,
fails or ends: `casty.runtime.actor` calls it there, only where there are listeners.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Never, Protocol

from casty.config.validation import check_callable
from casty.refs import ActorRef, ServiceKey
from casty.runtime.counters import Counters

logger = logging.getLogger("casty.runtime")

LISTENERS_MAX: Final = 64
"""Listeners of one system: each is called at every start and end."""

EVENTS: Final = ("started", "offered", "failed", "restarted", "stopped")
"""Methods of a listener."""


class ActorLifecycleListener(Protocol):
    """Told the starts, failures and ends of a system's actors, at once and in its loop.

    Subclass it and override some of the methods: each does nothing by itself. Or give all five to a class of yours.
    ``ActorSystem.add_lifecycle_listener`` adds an instance; an extension adds its own in ``start`` and removes it in
    ``ended``, as the receptionist does. Unlike a subscriber to `ActorStarted` and its kin, it needs
    no actor or task, and is called before the actor goes on: so it must be quick, and cannot wait.

    A method that raises hurts nobody: the first failure of a listener is logged, each is counted in
    `SystemStatistics`, and the actor and the other listeners go on. SystemExit and its kin end the system's block, as
    those of a handler do.
    """

    def started(self, ref: ActorRef[Never]) -> None:
        """Take the start of an actor: its setup is done, its first message not taken yet. Not called at a restart.

        Parameters:
            ref: The actor.
        """
        return

    def offered(self, ref: ActorRef[Never], key: ServiceKey[Never]) -> None:
        """Take the offer of an actor made by ``Behaviors.discoverable``, at its start, each restart, or later.

        Parameters:
            ref: The actor, started before.
            key: Its service key.
        """
        return

    def failed(self, ref: ActorRef[Never], error: Exception) -> None:
        """Take the failure of an actor, also in its setup; `restarted`, `stopped` or nothing follows.

        Parameters:
            ref: The actor.
            error: Exception out of its code.
        """
        return

    def restarted(self, ref: ActorRef[Never], error: Exception) -> None:
        """Take the restart of an actor: its new life has begun, and it has taken no message yet.

        Parameters:
            ref: The actor, under its ref from before.
            error: The failure, or `RestartRequested`.
        """
        return

    def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
        """Take the end of a started actor: its children have ended, its clean-up is done, its name is free.

        Parameters:
            ref: The actor. Its watchers are told next.
            error: Failure that ended it; None for a normal stop.
        """
        return


@dataclass(slots=True, eq=False)
class _Entry:
    listener: ActorLifecycleListener
    is_removed: bool = False
    has_failed: bool = False


class LifecycleListeners:
    """Listeners of one system, called in the order in which they were added.

    The list is replaced, never changed: one added during a call hears of the next event first, one removed of none.
    """

    __slots__ = ("_counters", "entries")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.entries: tuple[_Entry, ...] = ()
        """Empty: nobody need be called."""

    def __repr__(self) -> str:
        return f"<LifecycleListeners {len(self.entries)}>"

    def add(self, listener: ActorLifecycleListener) -> None:
        """Add a listener; nothing happens where it is there. TypeError or ValueError for a bad one, or one too many."""
        _check(listener)
        if any(entry.listener is listener for entry in self.entries):
            return
        if len(self.entries) >= LISTENERS_MAX:
            raise ValueError(f"a system has at most {LISTENERS_MAX} lifecycle listeners, one more is refused")
        self.entries = (*self.entries, _Entry(listener))

    def remove(self, listener: ActorLifecycleListener) -> None:
        """Call a listener no more, even if the present event has not reached it; nothing happens where it is gone."""
        for entry in self.entries:
            if entry.listener is listener:
                entry.is_removed = True
        self.entries = tuple(entry for entry in self.entries if not entry.is_removed)

    def started(self, ref: ActorRef[Never]) -> None:
        """Tell all of a start."""
        self._tell(lambda listener: listener.started(ref))

    def offered(self, ref: ActorRef[Never], key: ServiceKey[Never]) -> None:
        """Tell all of an offer."""
        self._tell(lambda listener: listener.offered(ref, key))

    def failed(self, ref: ActorRef[Never], error: Exception) -> None:
        """Tell all of a failure."""
        self._tell(lambda listener: listener.failed(ref, error))

    def restarted(self, ref: ActorRef[Never], error: Exception) -> None:
        """Tell all of a restart."""
        self._tell(lambda listener: listener.restarted(ref, error))

    def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
        """Tell all of an end."""
        self._tell(lambda listener: listener.stopped(ref, error))

    def _tell(self, call: Callable[[ActorLifecycleListener], None]) -> None:
        for entry in self.entries:
            if entry.is_removed:
                continue
            try:
                call(entry.listener)
            except Exception:  # the user's code: neither the actor nor the others suffer from it
                self._counters.listener_failures += 1
                if not entry.has_failed:
                    entry.has_failed = True
                    name = type(entry.listener).__qualname__
                    logger.exception("the lifecycle listener %s failed; further failures of it are counted only", name)


def _check(listener: object) -> None:
    if isinstance(listener, type):
        raise TypeError(
            f"add_lifecycle_listener needs an instance, got the class {listener!r}: write brackets behind it"
        )
    for event in EVENTS:
        wanted = f"a method `{event}` of an ActorLifecycleListener"
        method = getattr(listener, event, None)
        if method is None:
            raise TypeError(f"add_lifecycle_listener needs {wanted}, got {listener!r} without one")
        check_callable("add_lifecycle_listener", method, wanted)
