"""Trust of this node in its own ears: whether its loop has stood still.

Owns the measured lateness of the node's own timer, and its part in a silence. It does not know whose silence
(`monitor`). Nothing else withholds an accusation: many others silent at one time are no sign of a fault here, because a
minority must be able to see that it is one.

How it works: a stall is a tick that comes `LATENESS_MIN` late or more. Time in which this node stood still is not part
of anybody's silence, and after it nobody is accused for as long as it took, since the answers received meanwhile have
yet to be read: both for at most `STALL_FORGIVEN_MAX` per stall, so an always late node is no worse off than one late
once.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

LATENESS_MIN = 0.5
STALL_FORGIVEN_MAX = 3.0
STALLS_MAX = 8
"""Remembered stalls: more than can lie in one silence still too short for an accusation."""


@dataclass(frozen=True, slots=True)
class _Stall:
    due: float
    ended: float

    @property
    def forgiven(self) -> float:
        return min(self.ended - self.due, STALL_FORGIVEN_MAX)


@dataclass(slots=True)
class LocalHealth:
    """The notes of one node."""

    _due: float | None = field(init=False, default=None)
    _stalls: deque[_Stall] = field(init=False, default_factory=lambda: deque(maxlen=STALLS_MAX))

    def ticked(self, now: float, interval: float) -> None:
        """Take note of a tick; the next one is due after ``interval`` seconds."""
        self.look(now)
        self._due = now + interval

    def look(self, now: float) -> None:
        """Take note of a stall whose tick has not come yet to tell of it."""
        if self._due is None or now - self._due <= LATENESS_MIN:
            return
        if self._stalls and self._stalls[-1].due == self._due:
            self._stalls.pop()
        self._stalls.append(_Stall(self._due, now))

    def lost_since(self, heard: float) -> float:
        """Return how many seconds of a silence begun at ``heard`` this node stood still itself."""
        return sum(stall.forgiven for stall in self._stalls if stall.ended > heard)

    @property
    def withheld_until(self) -> float:
        """Until when this node accuses nobody because of a silence."""
        return max((stall.ended + stall.forgiven for stall in self._stalls), default=-math.inf)
