"""Askers of counters, and their clocks: the common part of all rivals. Only the standard library is used here."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

COUNTERS = 1_000
ASKERS = 64
"""Requests in flight."""
WARM_UP = 0.2
"""Share of a run's time before its clock starts."""

Increment = Callable[[int], Awaitable[object]]
"""Function from the number of a counter to its new value, once that is durable."""


@dataclass(slots=True)
class Askers:
    """Askers in a closed loop: each asks the counters in turn, and waits for every answer.

    Parameters:
        increment: One request.
        seconds: Length of the run.
        counters: Number of counters.
    """

    increment: Increment
    seconds: float
    counters: int = COUNTERS
    _next: int = 0
    _from: float = 0.0
    _until: float = 0.0
    _latencies: list[float] = field(default_factory=list[float])

    def begin(self) -> None:
        """Start the clock."""
        now = time.perf_counter()
        self._from, self._until = now + WARM_UP * self.seconds, now + self.seconds

    async def work(self) -> None:
        """Be one asker until the time is over."""
        clock = time.perf_counter
        begin = clock()
        while begin < self._until:
            number = self._next = (self._next + 1) % self.counters
            await self.increment(number)
            end = clock()
            if self._from <= end < self._until:
                self._latencies.append(end - begin)
            begin = end

    def figures(self, **more: float) -> str:
        """Return a line of JSON: rate, mean and p99 of the latency, and how many were in flight by both of them."""
        taken = sorted(self._latencies)
        seconds = self._until - self._from
        rate, mean = len(taken) / seconds, sum(taken) / len(taken)
        p99 = taken[len(taken) * 99 // 100]
        return json.dumps({"rate": rate, "mean": mean, "p99": p99, "in_flight": rate * mean, **more})


def argument(place: int, default: str = "") -> str:
    """Return an argument of the program."""
    return sys.argv[place] if len(sys.argv) > place else default
