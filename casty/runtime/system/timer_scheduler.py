"""Timers of an actor under one name, as handed by ``Behaviors.with_timers`` to its factory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from casty.runtime.system.context import ActorContext

M = TypeVar("M")


class TimerScheduler(Generic[M]):
    """Starter and canceller of the timers of one actor: messages to itself, later.

    They come ahead of the mailbox. A timer replaces the one with the same key; a cancelled or replaced one never
    arrives, though it may be due already. Without a key, each is a timer of its own. All end with the life of the
    actor. They are those of the context: ``ctx.schedule_once`` and the rest. Made by ``Behaviors.with_timers``.
    """

    __slots__ = ("_ctx",)

    def __init__(self, ctx: ActorContext[M]) -> None:
        self._ctx = ctx

    def __repr__(self) -> str:
        return f"<TimerScheduler of {self._ctx.self.path}>"

    def start_single_timer(self, message: M, delay: float, *, key: Hashable = None) -> Hashable:
        """Get ``message`` once, in ``delay`` seconds.

        Parameters:
            message: Message to get.
            delay: Seconds, at least 0.
            key: Name of the timer; None makes it a timer of its own.

        Returns:
            The key, for `cancel`.

        Raises:
            ValueError: ``delay`` is no finite number of at least 0.
        """
        return self._ctx.schedule_once(message, delay, key=key)

    def start_timer_at_fixed_rate(
        self, message: M, interval: float, *, initial_delay: float | None = None, key: Hashable = None
    ) -> Hashable:
        """Get ``message`` again and again at a fixed rate; a slow actor sees one, not all the due ones.

        Parameters:
            message: Message to get.
            interval: Seconds from message to message, above 0.
            initial_delay: Seconds until the first message, at least 0; None is one interval.
            key: Name of the timer; None makes it a timer of its own.

        Returns:
            The key, for `cancel`.

        Raises:
            ValueError: ``interval`` or ``initial_delay`` makes no sense.
        """
        return self._ctx.schedule_tick(message, interval, initial_delay=initial_delay, key=key)

    def start_timer_with_fixed_delay(
        self, message: M, delay: float, *, initial_delay: float | None = None, key: Hashable = None
    ) -> Hashable:
        """Get ``message`` again and again, each time a delay after the actor took the one before.

        Parameters:
            message: Message to get.
            delay: Seconds of pause, above 0.
            initial_delay: Seconds until the first message, at least 0; None is one delay.
            key: Name of the timer; None makes it a timer of its own.

        Returns:
            The key, for `cancel`.

        Raises:
            ValueError: ``delay`` or ``initial_delay`` makes no sense.
        """
        return self._ctx.schedule_with_fixed_delay(message, delay, initial_delay=initial_delay, key=key)

    def is_timer_active(self, key: Hashable) -> bool:
        """Look whether a timer will still arrive.

        Parameters:
            key: Key returned at the start of the timer.

        Returns:
            False for one already arrived, cancelled, or never started.
        """
        return self._ctx.is_timer_active(key)

    def cancel(self, key: Hashable) -> None:
        """Cancel a timer: it does not arrive any more, though it may be due already.

        Parameters:
            key: Key returned at the start of the timer; an unknown key changes nothing.
        """
        self._ctx.cancel_timer(key)

    def cancel_all(self) -> None:
        """Cancel every timer of the actor; the receive time-out stays."""
        self._ctx.cancel_all_timers()
