"""First calls of a store at the start of its system: a server may start later than its clients, and a file be locked.

Owns the bound of the attempts, and the log of them. It does not know the calls. Later calls are tried once: whoever
asked hears of the failure, and decides.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from casty.errors import JournalUnavailable, JournalUncertain
from casty.journal import Journal

T = TypeVar("T")

logger = logging.getLogger("casty.persistence")

ATTEMPTS_TIMEOUT: Final = 15.0
"""Seconds for all attempts of one call, but for the time of the last one."""
PAUSE_MIN, PAUSE_MAX = 0.25, 4.0
"""Seconds between two attempts, doubled each time."""


async def try_at_start(journal: Journal, act: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a call that may be made twice. Raises the error of the last attempt, if all fail."""
    end, pause = trio.current_time() + ATTEMPTS_TIMEOUT, PAUSE_MIN
    while True:
        try:
            return await act()
        except (JournalUnavailable, JournalUncertain) as error:
            left = end - trio.current_time()
            if left < pause:
                raise
            text = "%r cannot be used at the start, it is tried again for %.0f s: %s"
            logger.warning(text, journal, left, error)
        await trio.sleep(pause)
        pause = min(2 * pause, PAUSE_MAX)
