"""Thread to notice an actor that keeps the loop from everybody else, and to name it.

It looks at the stack of the loop's thread a few times a second. If it finds an actor there, it asks the loop for a sign
of life; a loop without one for ``slow_handler_after`` seconds, with the same actor on its stack, is held by that actor.
An idle loop is never woken. Systems on a virtual clock have no watchdog: its signs of life would make two runs differ.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Final, Protocol

import trio

from casty.runtime.ports import KernelPort

logger = logging.getLogger("casty.runtime")

STOOD_STILL: Final = 1.0
"""Lateness of the thread's waking, in seconds, before it says the whole process stood still."""

WARNING_INTERVAL: Final = 5.0
"""Seconds between two warnings of one system, so a bad day does not fill the log."""


class WatchedKernel(KernelPort, Protocol):
    """The kernel, for its watchdog."""

    @property
    def token(self) -> trio.lowlevel.TrioToken:
        """The way into the loop from another thread."""
        ...


class Watchdog:
    """Watches one system from `start` to `stop`."""

    def __init__(self, kernel: WatchedKernel) -> None:
        self._kernel = kernel
        self._own: Mapping[CodeType, str] = {}
        self._limit = kernel.config.slow_handler_after
        self._ended = threading.Event()
        self._alive = threading.Event()
        self._warned_at = -WARNING_INTERVAL
        self._seen: tuple[float, str] | None = None
        """Time of the last hold of the loop, and its holder."""
        self._thread: threading.Thread | None = None
        self._is_started = False

    def start(self, own: Mapping[CodeType, str]) -> None:
        """Begin, unless the clock is virtual; ``own`` are the functions running an actor's code, with its variable."""
        self._own, self._is_started = own, True
        if not hasattr(trio.lowlevel.current_clock(), "autojump_threshold"):
            self._thread = threading.Thread(target=self._run, name=f"{self._kernel.name} (watchdog)", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread. It never waits for the loop once it is told to end, so this returns at once."""
        self._ended.set()
        self._alive.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._rests():
            suspect = self._actor_on_stack()
            if suspect is not None and not self._gives_a_sign():
                found = self._actor_on_stack()
                if found is not None and found[0] == suspect[0]:
                    self._warn(*found)

    def _rests(self) -> bool:
        """Wait until the next look; True when there is none. A stop of the process shows in a late wake-up."""
        began = time.monotonic()
        is_over = self._ended.wait(self._limit / 2)
        late = time.monotonic() - began - self._limit / 2
        if not is_over and late > STOOD_STILL:
            self._seen = time.monotonic(), f"the whole process stand still for {late:.1f} s"
        return is_over

    def last_seen(self) -> str:
        """Name the last occupation of the loop, in words, also when the system has ended."""
        if not self._is_started:
            return "it had no watchdog yet"
        if self._thread is None:
            return "there is no watchdog on a virtual clock"
        if self._seen is None:
            return "the watchdog saw nobody hold the loop"
        at, what = self._seen
        return f"the watchdog saw {what}, {time.monotonic() - at:.1f} s before"

    def _gives_a_sign(self) -> bool:
        self._alive.clear()
        if self._ended.is_set():
            return True
        try:
            self._kernel.token.run_sync_soon(self._alive.set)
        except trio.RunFinishedError:
            return True
        return self._alive.wait(self._limit)

    def _actor_on_stack(self) -> tuple[str, str] | None:
        """Return the path of the running actor and its present line; None without one."""
        innermost = sys._current_frames().get(self._kernel.thread)  # pyright: ignore[reportPrivateUsage]  # documented
        frame: FrameType | None = innermost
        while frame is not None and innermost is not None:
            if (variable := self._own.get(frame.f_code)) is not None:
                where = f"{innermost.f_code.co_filename}:{innermost.f_lineno} in {innermost.f_code.co_name}"
                return str(frame.f_locals[variable].path), where
            frame = frame.f_back
        return None

    def _warn(self, path: str, where: str) -> None:
        now = time.monotonic()
        self._seen = now, f"actor {path} hold the loop for more than {self._limit} s, at {where}"
        if now - self._warned_at >= WARNING_INTERVAL:
            self._warned_at = now
            logger.warning("actor %s holds the loop for more than %s s, at %s", path, self._limit, where)
