"""What the failure detectors of two nodes say to each other, on the control lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casty.address import UniqueAddress


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Are you there?"""

    sequence: int


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    """I am; answers the heartbeat of that number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """I hear nothing from this run: do you?"""

    subject: UniqueAddress
    sequence: int


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """It answered me so many seconds ago: answers the request of that number."""

    sequence: int
    heard_ago: float


LivenessMessage = Heartbeat | HeartbeatAck | ProbeRequest | ProbeAnswer

LIVENESS_MESSAGES: Final[dict[type, str]] = {
    Heartbeat: "casty.heartbeat",
    HeartbeatAck: "casty.heartbeat.ack",
    ProbeRequest: "casty.probe",
    ProbeAnswer: "casty.probe.ack",
}
"""Names on the wire. They stay when a class is renamed."""
