"""A check of a failure detector against what a node expects of it: `check_failure_detector`.

Owns which answers are drawn, and the times asked about. It does not know what a node makes of a suspicion.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from casty.address import NodeAddress, UniqueAddress
from casty.config import FailureDetector, FailureDetectorConfig
from casty.config.validation import check_callable
from casty.protocol.failure_detector.custom_detectors import checked_phi, make_detector
from casty.protocol.failure_detector.monitor import CROSSING_AFTER_PAUSE_MAX, PROBE_PHI

MEMBER, OTHER_MEMBER = (UniqueAddress(NodeAddress(host, 2551), 1) for host in ("n1", "n2"))
ANSWERS_MAX = 40
STARTS = (0.0, 1.0, 86_400.0)
"""Times of a node's clock at which it may begin to monitor: its zero may lie anywhere."""
JITTER = 0.2
"""Part of the interval by which an answer may be early or late on a good link."""
GAP = 0.05
"""Part of the intervals that an outage takes the place of, in an irregular history."""
LEARNED = 20
"""Answers after which a detector must know a member."""
ROUNDED = 1e-6
STEPS = 16


def check_failure_detector(
    factory: Callable[[UniqueAddress], FailureDetector],
    *,
    config: FailureDetectorConfig | None = None,
    heartbeat_interval: float = 0.5,
    histories: int = 1_000,
    seed: int = 1,
) -> None:
    """Try a failure detector on drawn histories of answers, and in the silence after them.

    Phi must be a number of at least 0, below the threshold at each answer, and may not fall in silence. A member that
    answers on a good link at each interval, a fifth of it early or late, may not even come to a phi of 1; after twenty
    answers, it must be at the threshold before the longest silence is over. Two detectors with one history must say the
    same, whatever else one of them has been asked: phi follows from no clock, chance or question. Each member has a
    detector of its own: answers of another one change nothing.

    It finds faults and proves nothing: how fast and how sure a detector is on your network, measure there.

    Parameters:
        factory: Function that makes a detector, as in `ClusterSettings`.
        config: Tuning with the threshold and the pause; None means ``FailureDetectorConfig()``.
        heartbeat_interval: Seconds between two heartbeats, as in `ClusterSettings`.
        histories: Histories, at least 1.
        seed: Seed of the draws. The same one draws the same histories.

    Raises:
        AssertionError: The detector breaks one of these rules. The message has the times of the answers.
        TypeError: ``factory`` is no function, or makes no detector, or phi is no number.
        ValueError: ``histories`` is not at least 1, ``heartbeat_interval`` not above 0, or phi is negative or NaN.

    Example:
        >>> class Late:
        ...     def heartbeat(self, now):
        ...         self.heard = now
        ...     def phi(self, now):
        ...         return 8.0 * (now - self.heard) / 0.4
        >>> check_failure_detector(lambda node: Late())
        Traceback (most recent call last):
            ...
        AssertionError: a member that answers every 0.5 s is unreachable: phi 11.3897 at 0.569487 s, after answers at 0
    """
    check_callable("check_failure_detector", factory, "a function of a node that returns its FailureDetector")
    if histories < 1:
        raise ValueError(f"histories must be at least 1, got {histories!r}")
    if not heartbeat_interval > 0:
        raise ValueError(f"heartbeat_interval must be above 0, got {heartbeat_interval!r}")
    rng = random.Random(seed)
    trial = _Trial(factory, config or FailureDetectorConfig(), heartbeat_interval)
    for number in range(histories):
        trial.run(rng, is_regular=number % 2 == 0)


class _Trial:
    def __init__(
        self, factory: Callable[[UniqueAddress], FailureDetector], config: FailureDetectorConfig, interval: float
    ) -> None:
        self._factory = factory
        self._threshold = config.threshold
        self._interval = interval
        self._longest = config.acceptable_heartbeat_pause_ms / 1000 + CROSSING_AFTER_PAUSE_MAX

    def run(self, rng: random.Random, *, is_regular: bool) -> None:
        """Try one history. A regular one is of a member that must stay reachable all the time."""
        one, other, of_another = (make_detector(self._factory, who) for who in (MEMBER, MEMBER, OTHER_MEMBER))
        if one is other or one is of_another or other is of_another:
            raise AssertionError(
                f"the factory hands out one detector twice, {one!r}: a member has its own, so make a new one in each "
                "call, such as lambda node: MyDetector()"
            )
        start = rng.choice(STARTS)
        answers = [start]
        self._hear(one, other, answers)
        for _ in range(rng.randrange(ANSWERS_MAX)):
            after = self._interval * (1 + rng.uniform(-JITTER, JITTER) if is_regular else self._irregular(rng))
            now = answers[-1] + after
            if is_regular:
                self._check_kept(one, answers, now)
            if rng.random() < 0.5:  # a question about a time to come, of which no trace may be left
                other.phi(answers[-1] + rng.uniform(0.0, self._longest))
            answers.append(now)
            self._hear(one, other, answers)
        self._fall_silent(rng, one, other, answers, is_regular=is_regular)
        self._hear_another(other, of_another, answers)

    def _irregular(self, rng: random.Random) -> float:
        return rng.uniform(2.0, 20.0) if rng.random() < GAP else rng.choice((0.0, rng.random(), rng.expovariate(1.0)))

    def _hear(self, one: FailureDetector, other: FailureDetector, answers: Sequence[float]) -> None:
        for detector in (one, other):
            detector.heartbeat(answers[-1])
        phi = checked_phi(one.phi(answers[-1]))
        if phi >= self._threshold:
            self._refuse(f"phi is {phi:g} at an answer, at least the threshold of {self._threshold:g}", answers)

    def _check_kept(self, detector: FailureDetector, answers: Sequence[float], now: float) -> None:
        phi = checked_phi(detector.phi(now))
        if phi >= PROBE_PHI:
            said = "unreachable" if phi >= self._threshold else "asked about, at a phi of 1"
            text = f"a member that answers every {self._interval:g} s is {said}"
            self._refuse(f"{text}: phi {phi:g} at {now - answers[0]:g} s", answers)

    def _fall_silent(
        self,
        rng: random.Random,
        one: FailureDetector,
        other: FailureDetector,
        answers: Sequence[float],
        *,
        is_regular: bool,
    ) -> None:
        heard, before = answers[-1], 0.0
        times = [heard + self._longest * step / STEPS for step in range(STEPS + 1)]
        found = [checked_phi(one.phi(at)) for at in times]
        for at, phi in zip(times, found, strict=True):
            if phi < before - ROUNDED:
                self._refuse(f"phi falls in silence, from {before:g} to {phi:g}, {at - heard:g} s long", answers)
            before = phi
        if is_regular and len(answers) > LEARNED and found[-1] < self._threshold - ROUNDED:
            self._refuse(f"phi is {found[-1]:g} after {self._longest:g} s of silence, the longest there is", answers)
        for place in rng.sample(range(STEPS + 1), STEPS + 1):
            phi = checked_phi(other.phi(times[place]))
            if phi != found[place]:
                text = f"two detectors with one history say {found[place]:g} and {phi:g}"
                self._refuse(f"{text} after {times[place] - heard:g} s of silence", answers)

    def _hear_another(self, detector: FailureDetector, of_another: FailureDetector, answers: Sequence[float]) -> None:
        now = answers[-1] + self._longest
        before = checked_phi(detector.phi(now))
        of_another.heartbeat(now)
        after = checked_phi(detector.phi(now))
        if before != after:
            text = f"detectors of two members share what they know: phi was {before:g}, and is {after:g}"
            self._refuse(f"{text} once another member has answered, {self._longest:g} s into the silence", answers)

    def _refuse(self, text: str, answers: Sequence[float]) -> None:
        shown = ", ".join(f"{at - answers[0]:g}" for at in answers[-5:])
        began = "" if answers[0] == 0 else f", on a clock that began at {answers[0]:g}"
        more = "" if len(answers) <= 5 else f"{len(answers) - 5} earlier ones and "
        raise AssertionError(f"{text}, after answers at {more}{shown}{began}")
