"""Failure detectors of a user's, one for each monitored member, and the detector in their place once one is at fault.

Owns which detector judges which member, and what is a fault of it. It does not know what follows from a suspicion
(`monitor`), and it trusts no value of a user's code.

How it works: each answer goes to the member's own detector and to casty's. The time of a crossing is searched by
halving, up to the longest silence ever allowed, and kept until the next answer. A detector that raises, or whose phi is
no number, negative, NaN, or at the threshold with an answer just come, judges no more: casty's own has heard all that
it has, and judges that member until it is monitored anew. So nobody is accused, or trusted for ever, by a fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from casty.address import UniqueAddress
from casty.config import FailureDetector, FailureDetectorConfig
from casty.errors import ConfigError
from casty.protocol.failure_detector.phi_accrual import PhiAccrualFailureDetector

CROSSING_PRECISION = 0.001
"""Seconds by which a crossing found by halving may be late."""
ERROR_TEXT_MAX = 200
"""Characters of the text about a fault: what a user's code returns may be long."""
TRIAL_SECONDS = 1.0


class MemberDetectors(Protocol):
    """Detectors of all monitored members, for the machine of the monitoring node."""

    def expect(self, node: UniqueAddress, now: float) -> None:
        """Begin to judge a member, as if it had been heard ``now``."""
        ...

    def heartbeat(self, node: UniqueAddress, now: float) -> None:
        """Take an answer of a member."""
        ...

    def phi(self, node: UniqueAddress, now: float) -> float:
        """Return the suspicion of a member; 0.0 of one not judged."""
        ...

    def crossing(self, node: UniqueAddress, threshold: float) -> float:
        """Return when the suspicion reaches a threshold if nothing is heard until then; infinity for never."""
        ...

    def last_heard(self, node: UniqueAddress) -> float:
        """Return when a judged member was heard last."""
        ...

    def remove(self, node: UniqueAddress) -> None:
        """Forget a member."""
        ...


@dataclass(frozen=True, slots=True)
class DetectorFailed:
    """Effect: the detector of a member is at fault, and casty's own judges the member from now on."""

    node: UniqueAddress
    text: str
    """The fault, in words."""


@dataclass(slots=True)
class _Own:
    """Detector of one member, and the crossings found since its last answer, by threshold."""

    detector: FailureDetector
    crossings: dict[float, float]


class CustomDetectors:
    """Detectors made by a user's factory. Raises ConfigError where one for this node itself cannot judge.

    Parameters:
        self_node: This node, for whom one is made as a trial.
        factory: Factory of the settings.
        config: Tuning: the threshold.
        longest: Seconds of the longest silence without an accusation.
        plain: Casty's own detector, which hears all that the others hear.
    """

    def __init__(
        self,
        self_node: UniqueAddress,
        factory: Callable[[UniqueAddress], FailureDetector],
        config: FailureDetectorConfig,
        longest: float,
        plain: PhiAccrualFailureDetector[UniqueAddress],
    ) -> None:
        self._factory = factory
        self._threshold = config.threshold
        self._longest = longest
        self._plain = plain
        self._own: dict[UniqueAddress, _Own] = {}
        self._faults: list[DetectorFailed] = []
        self._try(self_node)

    def __repr__(self) -> str:
        return f"<CustomDetectors {len(self._own)}>"

    def take_faults(self) -> list[DetectorFailed]:
        """Return the faults since the last time."""
        faults, self._faults = self._faults, []
        return faults

    def expect(self, node: UniqueAddress, now: float) -> None:
        """Begin to judge a member with a new detector, as if it had been heard ``now``."""
        self._plain.expect(node, now)
        if node not in self._own:
            try:
                self._own[node] = _Own(self._begun(node, now), {})
            except Exception as error:  # the user's code
                self._fail(node, error)

    def heartbeat(self, node: UniqueAddress, now: float) -> None:
        """Take an answer of a member."""
        self._plain.heartbeat(node, now)
        own = self._own.get(node)
        if own is None:
            return
        own.crossings.clear()
        try:
            self._beat(own.detector, now)
        except Exception as error:  # the user's code
            self._fail(node, error)

    def phi(self, node: UniqueAddress, now: float) -> float:
        """Return the suspicion of a member; 0.0 of one not judged."""
        own = self._own.get(node)
        if own is not None:
            try:
                return checked_phi(own.detector.phi(now))
            except Exception as error:  # the user's code
                self._fail(node, error)
        return self._plain.phi(node, now)

    def crossing(self, node: UniqueAddress, threshold: float) -> float:
        """Return when the suspicion reaches a threshold, up to the longest silence; infinity for later."""
        own = self._own.get(node)
        if own is not None:
            try:
                if threshold not in own.crossings:
                    own.crossings[threshold] = self._search(own.detector, self._plain.last_heard(node), threshold)
                return own.crossings[threshold]
            except Exception as error:  # the user's code
                self._fail(node, error)
        return self._plain.crossing(node, threshold)

    def last_heard(self, node: UniqueAddress) -> float:
        """Return when a judged member was heard last."""
        return self._plain.last_heard(node)

    def remove(self, node: UniqueAddress) -> None:
        """Forget a member."""
        self._plain.remove(node)
        self._own.pop(node, None)

    def _try(self, self_node: UniqueAddress) -> None:
        where = "ClusterSettings.failure_detector_factory"
        try:
            detector = self._begun(self_node, 0.0)
            self._beat(detector, TRIAL_SECONDS)
            self._search(detector, TRIAL_SECONDS, self._threshold)
        except Exception as error:  # the user's code
            raise ConfigError(f"{where} makes no detector that can judge: {_worded(error)}") from error

    def _begun(self, node: UniqueAddress, now: float) -> FailureDetector:
        detector = make_detector(self._factory, node)
        self._beat(detector, now)
        return detector

    def _beat(self, detector: FailureDetector, now: float) -> None:
        detector.heartbeat(now)
        phi = checked_phi(detector.phi(now))
        if phi >= self._threshold:
            raise ValueError(f"phi must be below the threshold of {self._threshold:g} at an answer, got {phi!r}")

    def _search(self, detector: FailureDetector, heard: float, threshold: float) -> float:
        low, high = heard, heard + self._longest
        if checked_phi(detector.phi(high)) < threshold:
            return math.inf
        while high - low > CROSSING_PRECISION:
            middle = (low + high) / 2
            low, high = (middle, high) if checked_phi(detector.phi(middle)) < threshold else (low, middle)
        return high

    def _fail(self, node: UniqueAddress, error: Exception) -> None:
        self._own.pop(node, None)
        self._faults.append(DetectorFailed(node, _worded(error)))


def make_detector(factory: Callable[[UniqueAddress], object], node: UniqueAddress) -> FailureDetector:
    """Return the detector that a user's factory makes for a node; TypeError where it is none."""
    detector = factory(node)
    if isinstance(detector, type) or not isinstance(detector, FailureDetector):
        raise TypeError(f"the factory must return an object with heartbeat(now) and phi(now), got {detector!r}")
    return detector


def checked_phi(phi: object) -> float:
    """Return phi as a user's detector gives it; TypeError or ValueError unless it is a number of at least 0."""
    if isinstance(phi, bool) or not isinstance(phi, (int, float)):
        raise TypeError(f"phi must be a number, got {phi!r}")
    if not phi >= 0:
        raise ValueError(f"phi must be at least 0, got {phi!r}")
    try:
        return float(phi)
    except OverflowError:
        raise ValueError("phi must be a number of the size of a float, got a larger one") from None


def _worded(error: Exception) -> str:
    try:
        text = str(error)
    except Exception as another:  # the user's code, too
        text = f"its text cannot be had: {type(another).__name__}"
    return f"{type(error).__name__}: {text}"[:ERROR_TEXT_MAX]
