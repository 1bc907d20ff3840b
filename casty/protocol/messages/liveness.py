"""What the failure detectors of two nodes say to each other, on the control lane."""

from __future__ import annotations

from dataclasses import dataclass

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
