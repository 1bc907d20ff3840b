"""The network of simulated nodes: a memory network whose delays follow from a seed.

Owns the effect of a bad path on a stream connection: lost bytes are sent again after a while, held up ones hold up the
following ones on their connection, and nothing arrives twice.
"""

from __future__ import annotations

from random import Random

from casty.testing.simulation.model.trace import Trace
from casty.transport.network.memory import MemoryNetwork

DELAY = 0.001
RESENT_AFTER = 0.2
"""Seconds after which TCP sends lost bytes again, at first; each time twice as long."""
RESENT_MAX = 6


class SeededNetwork(MemoryNetwork):
    """Paths with delays, losses and hold-ups, by draws from ``rng``."""

    def __init__(self, rng: Random, trace: Trace) -> None:
        super().__init__()
        self.sent = 0
        self.seconds = DELAY
        self.jitter = 0.0
        self.loss = 0.0
        self.held_up = 0.0
        """Share of the traffic held up, for at most ``held_up_for`` seconds."""
        self.held_up_for = 0.0
        self._rng = rng
        self._trace = trace

    def arrival(self, source: str, target: str, now: float) -> float:
        """Return the time of arrival at ``target`` of bytes leaving ``source`` now, cuts apart."""
        seconds = self.seconds + self.jitter * self._rng.random()
        if self.held_up and self._rng.random() < self.held_up:
            seconds += self.held_up_for * self._rng.random()
        again, times = RESENT_AFTER, 0
        while self.loss and times < RESENT_MAX and self._rng.random() < self.loss:
            seconds, again, times = seconds + again, 2 * again, times + 1
        self.sent += 1
        self._trace.add(now, source, "sends to", target, seconds)
        return now + seconds

    def end_faults(self) -> None:
        """Let everything travel as it did at first; held bytes arrive now."""
        self.seconds, self.jitter, self.loss, self.held_up = DELAY, 0.0, 0.0, 0.0
        self.heal_all()
