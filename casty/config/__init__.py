"""Frozen settings, checked when they are made; durations are float seconds.

Every field says its meaning and how to choose it. A bad value is a `ConfigError` with the name of the field, the
expected values and the one found.
"""

from __future__ import annotations

from casty.config.actors import Mailbox, MailboxOverflowStrategy, SystemConfig
from casty.config.cluster import WITHOUT_ROLE, ClusterConfig, ClusterSettings
from casty.config.downing import (
    DOWNING_STRATEGIES,
    DowningStrategy,
    DowningStrategyName,
    PartitionMember,
    PartitionView,
    PartitionVotes,
)
from casty.config.failure_detector import FailureDetector, FailureDetectorConfig
from casty.config.tls import TlsConfig
from casty.config.transport import FRAME_BYTES_LEAST, STRANGER_FRAMES_LEAST, TransportLimits

__all__ = [
    "ClusterConfig",
    "ClusterSettings",
    "DOWNING_STRATEGIES",
    "DowningStrategy",
    "DowningStrategyName",
    "FRAME_BYTES_LEAST",
    "FailureDetector",
    "FailureDetectorConfig",
    "Mailbox",
    "MailboxOverflowStrategy",
    "PartitionMember",
    "PartitionView",
    "PartitionVotes",
    "STRANGER_FRAMES_LEAST",
    "SystemConfig",
    "TlsConfig",
    "TransportLimits",
    "WITHOUT_ROLE",
]
