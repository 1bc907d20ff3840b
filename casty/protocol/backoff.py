"""Delays before the next attempt: longer each time, up to a cap, and never the same for all.

Owns the arithmetic of capped exponential back-off with jitter. Must not know what is attempted, nor
a clock: the attempt's number and the source of chance are passed in.

The delay doubles from ``delay_min`` with each attempt until ``delay_max``. Jitter lengthens it by a
random part of itself, so that what failed together is not tried again together; the cap holds for
the lengthened delay too.
"""

from __future__ import annotations

from casty.protocol.effects import Rng

DOUBLINGS_MAX = 62
"""Further doublings would change nothing: no sensible cap is that many times a sensible minimum."""


def backoff_delay(attempt: int, rng: Rng, *, delay_min: float, delay_max: float, jitter: float) -> float:
    """Return the seconds before attempt number ``attempt``, counted from 0.

    >>> from random import Random
    >>> [backoff_delay(n, Random(1), delay_min=0.1, delay_max=1.0, jitter=0.0) for n in range(5)]
    [0.1, 0.2, 0.4, 0.8, 1.0]
    """
    delay = delay_min * 2.0 ** min(attempt, DOUBLINGS_MAX)
    if jitter:
        delay += delay * jitter * rng.random()
    return min(delay, delay_max)
