"""Looks of a reader for bytes before its task sleeps.

On another core, waking a sleeping task costs tens of microseconds, of both processes: on the machine of the
measurement, a round trip over a bare socket takes 72 us when both ends sleep, and 6 us when both look. So after a read
the reader looks again for a moment, as long as it pays: bytes coming meanwhile are worth a look the next time, and
looking in vain makes for longer and longer pauses without a look.
"""

from __future__ import annotations

import os
from typing import Final

TURNS: Final = 30
"""Turns of the loop for which a reader looks: about 0.1 ms, enough for the answer of a node that is awake itself. With
16, two nodes that both sleep come too late for each other, and never begin.
"""
BYTES_A_TURN: Final = 16 * 1024
"""For so many bytes sent, a reader looks for a turn longer: the other end has to read them before it answers. An ask
with 1 MiB takes 0.7 of the time by the clock, and 1.15 times the processor time.
"""
MORE_TURNS_MAX: Final = 100
LOOKING_MAX: Final = 4
"""Readers of one network looking at a time. Each makes the turns of the others longer, so many of them would look for
longer than pays: bytes from 50 peers at once, 330 times a second, took all of the processor in place of 16 %.
"""
PAUSE_MAX: Final = 1_023
"""Waits without a look, at most: then looking in vain costs 0.1 us for each."""


class Looking:
    """Readers of one network looking at this moment."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __repr__(self) -> str:
        return f"<Looking count={self.count}>"


class Polling:
    """Record of one reader on whether looking pays.

    >>> polling = Polling(Looking())
    >>> polling.turns() == TURNS
    True
    >>> polling.missed()
    >>> [polling.turns() for _ in range(3)]
    [0, 30, 30]
    """

    __slots__ = ("_left", "_pause", "looking")

    def __init__(self, looking: Looking) -> None:
        self.looking = looking
        self._pause = self._left = 0

    def turns(self) -> int:
        """Return for how many turns to look before this wait; 0 to sleep at once."""
        if self._left:
            self._left -= 1
            return 0
        return TURNS if self.looking.count < LOOKING_MAX else 0

    def hit(self) -> None:
        """Note that bytes came while the reader looked."""
        self._pause >>= 1  # and not at once 0: one hit among many misses is chance

    def missed(self) -> None:
        """Note that none came."""
        self._pause = self._left = min(2 * self._pause + 1, PAUSE_MAX)

    def __repr__(self) -> str:
        return f"<Polling pause={self._pause} left={self._left}>"


def more_turns(sent: int) -> int:
    """Return how many turns longer to look for the answer to ``sent`` bytes.

    >>> more_turns(200), more_turns(1024 * 1024)
    (0, 64)
    """
    return min(sent // BYTES_A_TURN, MORE_TURNS_MAX)


def usable_cores() -> int:
    """Return on how many cores this process may run: on a single one, looking keeps the other end from its work."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
