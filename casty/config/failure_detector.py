"""Settings of the failure detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

from casty.config.validation import (
    check_count,
    check_positive,
)
from casty.errors import ConfigError
from casty.schema.names import message


@message("casty.FailureDetectorConfig")
@dataclass(frozen=True, slots=True)
class FailureDetectorConfig:
    """Tuning of the phi accrual failure detector; the defaults tolerate pauses of three seconds.

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
