"""Settings of the failure detector, and the contract of one of a user's: `FailureDetector`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from casty.config.validation import check_callable, check_count, check_positive
from casty.errors import ConfigError
from casty.schema.names import message


@runtime_checkable
class FailureDetector(Protocol):
    """Judges the silence of one member, by the times of its answers. Made by `failure_detector_factory`.

    Its suspicion, phi, has the scale of the phi accrual detector: at 1 other members are asked whether they hear the
    member, at the ``threshold`` of `FailureDetectorConfig` it is unreachable. It is so at the latest after a silence of
    ``acceptable_heartbeat_pause_ms`` and two seconds: a more patient detector needs a longer pause there.

    Phi must follow from the answers and ``now`` alone, and only grow in silence. One that raises, or returns anything
    but a number of at least 0, below the threshold at an answer, is at fault: the node logs an error, counts it in the
    metric ``detector_failures``, and judges that member by the phi accrual detector as long as it monitors it.
    `casty.testing.check_failure_detector` tries all of that.

    Both methods run in the loop of the node, phi some dozens of times between two answers: they must be quick.
    """

    def heartbeat(self, now: float) -> None:
        """Take an answer. Called first as the node begins to monitor the member, before any has come.

        Parameters:
            now: When it came, in monotonic seconds of this node; never earlier than the one before.
        """
        ...

    def phi(self, now: float) -> float:
        """Compute how suspicious the silence since the last answer is.

        Parameters:
            now: Monotonic seconds, not before the last answer. Times to come are asked about too, in any order, to find
                out when to look again.

        Returns:
            The suspicion, from 0; infinity is certainty.
        """
        ...


def check_detector_factory(factory: object) -> None:
    """Raise ConfigError unless ``factory`` can be called for detectors."""
    where = "ClusterSettings.failure_detector_factory"
    if isinstance(factory, FailureDetector) and not isinstance(factory, type):
        raise ConfigError(
            f"{where} must be a function that makes a detector for each member, got a detector, {factory!r}: "
            "write `lambda node:` before it"
        )
    try:
        check_callable(where, factory, "a function of a node that returns its FailureDetector")
    except TypeError as error:
        raise ConfigError(str(error)) from None


@message("casty.FailureDetectorConfig")
@dataclass(frozen=True, slots=True)
class FailureDetectorConfig:
    """Tuning of the phi accrual failure detector; the defaults tolerate pauses of three seconds.

    A detector of a user's takes from it the threshold, and the pause for the longest silence.

    Raises:
        ConfigError: A field has a bad value; the message names it and the expected values.
    """

    threshold: float = 8.0
    """Suspicion for a node to be unreachable. 8 is one wrong alarm in 10^8 heartbeats under the model; 12 suits noisy
    clouds. Lower reacts sooner and errs more often.
    """
    max_sample_size: int = 200
    """Heartbeat intervals remembered. More is steadier, fewer adapts sooner."""
    min_std_deviation_ms: float = 100.0
    """Floor of the spread: keeps a very regular link from being judged by a hair."""
    acceptable_heartbeat_pause_ms: float = 3000.0
    """Silence forgiven on top of the usual interval: garbage collection, a busy loop. Higher forgives longer stalls and
    sees a cut link that much later.
    """
    first_heartbeat_estimate_ms: float = 1000.0
    """The interval assumed before any was seen; about twice the heartbeat interval."""

    def __post_init__(self) -> None:
        check_positive(self, "threshold", "min_std_deviation_ms", "first_heartbeat_estimate_ms")
        check_count(self, "max_sample_size")
        if not 0 <= self.acceptable_heartbeat_pause_ms < math.inf:
            raise ConfigError(
                "FailureDetectorConfig.acceptable_heartbeat_pause_ms must be a finite number of at least 0, "
                f"got {self.acceptable_heartbeat_pause_ms!r}"
            )
