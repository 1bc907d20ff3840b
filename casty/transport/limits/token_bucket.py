"""Share of a node's time for the frames of one link, or of all links with strangers of one host."""

from __future__ import annotations

from bisect import insort
from itertools import count

import trio

CONTROL_BYTES_PER_SECOND = 256 * 1024
CONTROL_BYTES_BURST = 2 * 1024 * 1024
"""Bytes a link may send at once after a quiet time: several whole states, or 20,000 small messages."""

STRANGER_BYTES_PER_SECOND = 1024 * 1024
STRANGER_BYTES_BURST = 1024 * 1024
"""Frames to actors, from all links with strangers of one host together."""

STRANGER_SHARES = 4
"""The strangers of all hosts together may send at most as much as those of so many hosts."""

STRANGER_PATIENCE = 5.0
"""Seconds in which the frames of a stranger wait for their turn; then the link is closed."""

TURN_BYTES_MAX = 8 * 1024
"""Bytes paid for in one turn of a pace: a newcomer waits for so much of the others, 32 ms."""

FRAME_COST_BYTES = 64
"""Cost of handling any frame, however small it is."""


SECOND_COST_BYTES = 20 * 1024 * 1024
"""Cost of a second of the processor, for time beyond the price paid before: so the strangers of one host have a
twentieth of it for their frames to actors, and those of all hosts a fifth.
"""


class TokenBucket:
    """Bucket that fills with time: taking more than it holds is paid for by waiting.

    >>> credit = TokenBucket(per_second=100, burst=50, now=0.0)
    >>> credit.take(50, now=0.0), credit.take(20, now=0.0), credit.take(5, now=1.0)
    (0.0, 0.2, 0.0)
    """

    __slots__ = ("_burst", "_held", "_per_second", "_since")

    def __init__(self, *, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._held = burst
        self._since = now

    def take(self, cost: float, *, now: float) -> float:
        """Take ``cost`` and return for how many seconds to wait before taking more."""
        self._held = min(self._burst, self._held + (now - self._since) * self._per_second) - cost
        self._since = now
        return max(-self._held / self._per_second, 0.0)

    def take_if_held(self, cost: float, *, now: float) -> bool:
        """Take ``cost`` where the bucket holds as much; False, and nothing is taken, where it does not."""
        self.take(0.0, now=now)
        if self._held < cost:
            return False
        self._held -= cost
        return True

    def is_full(self, now: float) -> bool:
        """Whether nothing is missing: a new one would be the same."""
        return self._held + (now - self._since) * self._per_second >= self._burst

    def __repr__(self) -> str:
        return f"<TokenBucket held={self._held:g}>"


class FairTokenBucket:
    """Credit of several links, paid for in small turns: the lowest rank first, then first in, first out.

    With ``beyond`` each amount is paid for there too. One turn of each pace waits there at a time, so those sharing it
    have their turns one after the other, however much each of them wants.
    """

    __slots__ = ("_beyond", "_credit", "_is_taken", "_order", "_waiting")

    def __init__(self, credit: TokenBucket, *, beyond: FairTokenBucket | None = None) -> None:
        self._beyond = beyond
        self._credit = credit
        self._is_taken = False
        self._order = count()
        self._waiting: list[tuple[tuple[float, int], trio.Event]] = []

    async def take(self, cost: float, *, rank: float = 0.0) -> None:
        """Return when all of it is paid for; between two turns a lower rank goes before."""
        place = (rank, next(self._order))
        while cost > 0:
            await self._enter(place)
            try:
                while cost > 0 and not (self._waiting and self._waiting[0][0] < place):
                    await self._pay(min(cost, TURN_BYTES_MAX))
                    cost -= TURN_BYTES_MAX
            finally:
                self._leave()

    def charge(self, cost: float) -> None:
        """Take for a cost already caused, without waiting: the next taker waits for it too."""
        self._credit.take(cost, now=trio.current_time())
        if self._beyond is not None:
            self._beyond.charge(cost)

    async def _pay(self, cost: float) -> None:
        pause = self._credit.take(cost, now=trio.current_time())
        if pause:
            await trio.sleep(pause)
        if self._beyond is not None:
            await self._beyond.take(cost)

    async def _enter(self, place: tuple[float, int]) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        its_turn = trio.Event()
        insort(self._waiting, (place, its_turn))
        try:
            await its_turn.wait()
        except trio.Cancelled:
            if its_turn.is_set():  # it was cancelled first, and handed the turn before it ran again
                self._leave()
            else:
                self._waiting.remove((place, its_turn))
            raise

    def _leave(self) -> None:
        """Hand the turn over to the first in line, if anybody waits."""
        if self._waiting:
            self._waiting.pop(0)[1].set()
        else:
            self._is_taken = False

    def is_rested(self, now: float) -> bool:
        """Whether nobody waits and nothing is missing."""
        return not self._is_taken and self._credit.is_full(now)

    def __repr__(self) -> str:
        return f"<FairTokenBucket {self._credit!r} waiting={len(self._waiting)}>"


def control_credit(now: float, *, shares: int = 1) -> TokenBucket:
    """Return the credit of a new control link, or of all strangers of so many hosts."""
    return TokenBucket(per_second=shares * CONTROL_BYTES_PER_SECOND, burst=shares * CONTROL_BYTES_BURST, now=now)


def stranger_credit(now: float, *, shares: int = 1) -> TokenBucket:
    """Return the credit of all strangers of so many hosts for frames to actors."""
    return TokenBucket(per_second=shares * STRANGER_BYTES_PER_SECOND, burst=shares * STRANGER_BYTES_BURST, now=now)
