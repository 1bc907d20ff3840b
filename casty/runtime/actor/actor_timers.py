"""The timers of one actor: messages to itself, later, ahead of its mailbox."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from casty.runtime.actor.actor_ports import ActorPort
from casty.runtime.deadlines import TimerEntry
from casty.runtime.messaging.mailbox import NOTHING

RECEIVE_TIMEOUT: Final = object()
"""The key of the receive time-out among the timers of an actor."""


class ActorTimer(TimerEntry):
    """A message of an actor to itself, later. Valid as long as it is the one under its key."""

    __slots__ = ("_timers", "interval", "key", "message", "pending")

    def __init__(self, timers: ActorTimers, key: Hashable, message: object, interval: float | None) -> None:
        super().__init__()
        self._timers = timers
        self.key = key
        self.message = message
        self.interval = interval
        self.pending = False

    def take(self) -> object:
        """Return the message for the actor now; NOTHING if the timer was cancelled or replaced since it fired."""
        if not self._timers.is_valid(self):
            return NOTHING
        self.pending = False
        self._taken(self._timers)
        return self.message

    def fire(self, deadline: float) -> float | None:
        if not self.pending:  # a slow actor gets one tick, not a pile of them
            self.pending = True
            self._timers.actor.signal(self)
        return None if self.interval is None else deadline + self.interval

    def _taken(self, timers: ActorTimers) -> None:
        """Take note of the message as seen."""
        if self.interval is None:
            timers.forget(self.key)


class DelayTimer(ActorTimer):
    """A timer whose next delay begins when its message was seen."""

    __slots__ = ()

    def fire(self, deadline: float) -> None:
        super().fire(deadline)

    def _taken(self, timers: ActorTimers) -> None:
        if self.interval is not None:
            self.finished = False
            kernel = timers.actor.kernel
            kernel.timer_queue.add(self, kernel.now() + self.interval)


class IdleTimer(ActorTimer):
    """The receive time-out: due when the actor has waited for ``interval`` seconds without a break."""

    __slots__ = ("_rested_at", "_seconds")

    def __init__(self, timers: ActorTimers, message: object, seconds: float) -> None:
        super().__init__(timers, RECEIVE_TIMEOUT, message, seconds)
        self._seconds = seconds
        self._rested_at = timers.actor.kernel.now()

    def rest(self) -> None:
        """Take note of the beginning of a wait of the actor."""
        self._rested_at = self._timers.actor.kernel.now()

    def fire(self, deadline: float) -> float:
        if self._timers.actor.mailbox.sleeper is None:
            return deadline + self._seconds
        due = self._rested_at + self._seconds
        if due > deadline:
            return due
        super().fire(deadline)
        return deadline + self._seconds


class ActorTimers:
    """Timers of one actor by their keys, private to it."""

    __slots__ = ("_by_key", "_idle", "actor")

    def __init__(self, actor: ActorPort) -> None:
        self.actor = actor
        self._by_key: dict[Hashable, ActorTimer] = {}
        self._idle: IdleTimer | None = None
        """The receive time-out among them."""

    def once(self, key: Hashable, message: object, delay: float) -> Hashable:
        """Send the actor ``message`` once."""
        return self._start(ActorTimer(self, self._own_key(key), message, None), delay)

    def tick(self, key: Hashable, message: object, interval: float, first: float) -> Hashable:
        """Send the actor ``message`` at a fixed rate, for the first time in ``first`` seconds."""
        return self._start(ActorTimer(self, self._own_key(key), message, interval), first)

    def with_fixed_delay(self, key: Hashable, message: object, delay: float, first: float) -> Hashable:
        """Send the actor ``message`` a delay after it took the one before, for the first time in ``first``."""
        return self._start(DelayTimer(self, self._own_key(key), message, delay), first)

    def set_receive_timeout(self, message: object, seconds: float) -> None:
        """Send the actor ``message`` whenever it has waited for so long."""
        self.cancel_receive_timeout()
        if not self.actor.stopping:
            self._idle = IdleTimer(self, message, seconds)
            self._start(self._idle, seconds)

    def cancel_receive_timeout(self) -> None:
        """Cancel the receive time-out."""
        self._idle = None
        self.cancel(RECEIVE_TIMEOUT)

    def cancel(self, key: Hashable) -> None:
        """Cancel a timer; an unknown key changes nothing."""
        timer = self._by_key.pop(key, None)
        if timer is not None:
            self.actor.kernel.timer_queue.finish(timer)

    def cancel_all(self) -> None:
        """Cancel all but the receive time-out."""
        for key in list(self._by_key):
            if key is not RECEIVE_TIMEOUT:
                self.cancel(key)

    def is_active(self, key: Hashable) -> bool:
        """Whether a timer will still arrive."""
        return key in self._by_key

    def is_valid(self, timer: ActorTimer) -> bool:
        """Whether a fired timer was neither cancelled nor replaced since."""
        return self._by_key.get(timer.key) is timer

    def forget(self, key: Hashable) -> None:
        """Let go of a timer with its work done."""
        del self._by_key[key]

    def rest(self) -> None:
        """Take note of the beginning of a wait of the actor."""
        if self._idle is not None:
            self._idle.rest()

    def drop(self) -> None:
        """Cancel all, at the end of a life."""
        self._idle = None
        for timer in self._by_key.values():
            self.actor.kernel.timer_queue.finish(timer)
        self._by_key.clear()

    def _own_key(self, key: Hashable) -> Hashable:
        return ("timer", self.actor.kernel.next_serial()) if key is None else key

    def _start(self, timer: ActorTimer, delay: float) -> Hashable:
        kernel = self.actor.kernel
        kernel.check_thread(f"set a timer of {self.actor.path}")
        self.cancel(timer.key)
        if not self.actor.stopping:
            self._by_key[timer.key] = timer
            kernel.timer_queue.add(timer, kernel.now() + delay)
        return timer.key

    def __len__(self) -> int:
        return len(self._by_key)

    def __repr__(self) -> str:
        return f"<ActorTimers of {self.actor.path} {len(self)}>"
