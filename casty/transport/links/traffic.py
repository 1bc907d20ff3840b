"""Traffic over links, in frames and bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Traffic over one link, or over several."""

    frames_sent: int = 0
    """Handed to the network whole."""
    bytes_sent: int = 0
    frames_received: int = 0
    bytes_received: int = 0
    frames_broken: int = 0
    """In an interrupted write."""
    frames_unknown: int = 0
    """Of those sent or broken: so many may not have arrived, as they were written since the peer was last heard."""
    frames_undelivered: int = 0
    """Given back, because they will never be written."""

    def add(self, other: Traffic) -> None:
        """Count the other's traffic too."""
        self.frames_sent += other.frames_sent
        self.bytes_sent += other.bytes_sent
        self.frames_received += other.frames_received
        self.bytes_received += other.bytes_received
        self.frames_broken += other.frames_broken
        self.frames_unknown += other.frames_unknown
        self.frames_undelivered += other.frames_undelivered
