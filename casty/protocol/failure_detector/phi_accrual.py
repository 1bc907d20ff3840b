"""The phi accrual failure detector: how suspicious a silence is.

Owns the heartbeat intervals of each node and the suspicion drawn from them. It does not know who sends heartbeats or
where an accusation leads (`monitor`).

Source: Hayashibara, Défago, Yared, Katayama 2004, "The phi accrual failure detector", section 4. The tail of the normal
distribution is computed in logarithms (Abramowitz and Stegun 1964, 26.2.12, where `erfc` becomes too small), to tell a
phi of 16 from one of 50 and of 5,000. Deviations: a pause is added to the mean; intervals beyond
``learned_interval_max`` (outages) are not learned.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from casty.config import FailureDetectorConfig

N = TypeVar("N", bound=Hashable)

CROSSING_STEPS = 60
ERFC_DEVIATIONS_MAX = 30.0
"""Beyond it the tail is below 10^-197; `erfc` of it becomes zero at 38."""

_LN10 = math.log(10.0)
_ROOT2 = math.sqrt(2.0)
_LN_ROOT_2PI = math.log(2.0 * math.pi) / 2


@dataclass(slots=True)
class _History:
    last: float
    intervals: deque[float]
    total: float
    squares: float


class PhiAccrualFailureDetector(Generic[N]):
    """Suspicion per node, from the arrival times of its heartbeats.

    >>> detector = PhiAccrualFailureDetector[str]()
    >>> for second in range(10):
    ...     detector.heartbeat("a", now=float(second))
    >>> detector.is_available("a", now=10.0), detector.is_available("a", now=60.0)
    (True, False)
    >>> detector.phi("never heard of", now=60.0)
    0.0

    Parameters:
        config: Tuning; None means ``FailureDetectorConfig()``.
        learned_interval_max: Longest interval to learn from, in seconds; a longer one was an outage.
    """

    def __init__(
        self,
        config: FailureDetectorConfig | None = None,
        *,
        learned_interval_max: float = math.inf,
    ) -> None:
        self.config: FailureDetectorConfig = config or FailureDetectorConfig()
        """The tuning."""
        self._learned_interval_max = learned_interval_max
        self._deviations_max = deviations_at(self.config.threshold)
        self._histories: dict[N, _History] = {}

    def heartbeat(self, node: N, now: float) -> None:
        """Note the arrival of a heartbeat of ``node``.

        Parameters:
            node: Whose heartbeat it is; one never heard of is judged from then on.
            now: Monotonic seconds.
        """
        history = self._histories.get(node)
        if history is None:
            self.expect(node, now)
            return
        interval = now - history.last
        history.last = now
        if 0 <= interval <= self._learned_interval_max:
            self._learn(history, interval)

    def expect(self, node: N, now: float) -> None:
        """Begin to judge a node not heard yet, as if it had been heard ``now``.

        Its first interval is assumed to be ``first_heartbeat_estimate_ms``, with a spread of a quarter of it, so a node
        that never answers is judged too.

        Parameters:
            node: Node to judge; nothing changes when it is judged already.
            now: Monotonic seconds.
        """
        if node in self._histories:
            return
        estimate = self.config.first_heartbeat_estimate_ms / 1000
        history = _History(now, deque(), 0.0, 0.0)
        for interval in (estimate - estimate / 4, estimate + estimate / 4):
            self._learn(history, interval)
        self._histories[node] = history

    def phi(self, node: N, now: float) -> float:
        """Compute how suspicious the silence of a node is.

        Parameters:
            node: Node to judge.
            now: Monotonic seconds.

        Returns:
            The suspicion: 0.0 is certainly alive, 8 is wrong once in 10^8; 0.0 for a node never heard of.
        """
        history = self._histories.get(node)
        if history is None:
            return 0.0
        mean, deviation = self._spread(history)
        return _phi((now - history.last - mean) / deviation)

    def is_available(self, node: N, now: float) -> bool:
        """Compare the suspicion with the threshold.

        Parameters:
            node: Node to judge.
            now: Monotonic seconds.

        Returns:
            Whether it is below; True for a node never heard of.
        """
        return self.phi(node, now) < self.config.threshold

    def crossing(self, node: N, threshold: float | None = None) -> float:
        """Compute when the suspicion will reach a threshold if nothing is heard until then.

        Parameters:
            node: A judged node.
            threshold: Suspicion, above 0; None takes the one of ``config``.

        Returns:
            Monotonic seconds.

        Raises:
            KeyError: ``node`` is not judged.
        """
        history = self._histories[node]
        mean, deviation = self._spread(history)
        deviations = self._deviations_max if threshold is None else deviations_at(threshold)
        return history.last + mean + deviations * deviation

    def last_heard(self, node: N) -> float:
        """Look up when the last heartbeat of a node arrived.

        Parameters:
            node: A judged node.

        Returns:
            Monotonic seconds; where no heartbeat came yet, when the first was expected from.

        Raises:
            KeyError: ``node`` is not judged.
        """
        return self._histories[node].last

    def remove(self, node: N) -> None:
        """Forget a node.

        Parameters:
            node: Node to forget; an unjudged one changes nothing.
        """
        self._histories.pop(node, None)

    @property
    def tracked_nodes(self) -> frozenset[N]:
        """Judged nodes."""
        return frozenset(self._histories)

    def _learn(self, history: _History, interval: float) -> None:
        history.intervals.append(interval)
        history.total += interval
        history.squares += interval * interval
        if len(history.intervals) > self.config.max_sample_size:
            oldest = history.intervals.popleft()
            history.total -= oldest
            history.squares -= oldest * oldest

    def _spread(self, history: _History) -> tuple[float, float]:
        """Return mean and standard deviation in seconds, the forgiven pause in the mean."""
        count = len(history.intervals)
        mean = history.total / count
        variance = max(history.squares / count - mean * mean, 0.0)
        deviation = max(math.sqrt(variance), self.config.min_std_deviation_ms / 1000)
        return mean + self.config.acceptable_heartbeat_pause_ms / 1000, deviation


def _phi(deviations: float) -> float:
    """Return -log10 of the probability of a heartbeat later than this many deviations."""
    if deviations < 0:
        return -math.log1p(-math.erfc(-deviations / _ROOT2) / 2) / _LN10
    if deviations <= ERFC_DEVIATIONS_MAX:
        return -math.log10(math.erfc(deviations / _ROOT2) / 2)
    square = deviations * deviations
    series = math.log1p((-1 + (3 - 15 / square) / square) / square)
    return (square / 2 + math.log(deviations) + _LN_ROOT_2PI - series) / _LN10


@lru_cache(maxsize=64)
def deviations_at(threshold: float) -> float:
    """Return the number of deviations at which phi reaches ``threshold``, by halving the interval."""
    low, high = -1.0, 1.0
    while _phi(low) >= threshold:
        low *= 2
    while _phi(high) < threshold:
        low, high = high, high * 2
    for _ in range(CROSSING_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _phi(middle) < threshold else (low, middle)
    return high
