"""Messages between the failure detectors of two nodes, on the control lane."""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import UniqueAddress


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Question of a monitor: is the receiver there?"""

    sequence: int


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    """Answer to the heartbeat of this number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Question of a monitor: has the receiver heard from this run? The sender hears nothing."""

    subject: UniqueAddress
    sequence: int


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """Seconds since the subject's last answer; for the request of this number."""

    sequence: int
    heard_ago: float


ObservationMessage = HeartbeatAck | ProbeRequest | ProbeAnswer
"""Evidence for the failure detection; a `Heartbeat` asks for an answer and for nothing else."""
LivenessMessage = Heartbeat | ObservationMessage
