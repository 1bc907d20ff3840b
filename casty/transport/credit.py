"""How much of its time a node has for the control frames of one link."""

from __future__ import annotations

CONTROL_BYTES_PER_SECOND = 256 * 1024
CONTROL_BYTES_BURST = 2 * 1024 * 1024
"""What a link may send at once after a quiet time: several whole states, or 20,000 small messages."""

FRAME_COST_BYTES = 64
"""What handling any frame costs, however small it is."""


class Credit:
    """A bucket that fills with time: taking more than it holds is paid for by waiting.

    >>> credit = Credit(per_second=100, burst=50, now=0.0)
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

    def __repr__(self) -> str:
        return f"<Credit held={self._held:g}>"


def control_credit(now: float) -> Credit:
    """Return the credit of a new control link."""
    return Credit(per_second=CONTROL_BYTES_PER_SECOND, burst=CONTROL_BYTES_BURST, now=now)
