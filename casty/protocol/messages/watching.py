"""Messages between the death watches of two nodes, on the control lane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchActor:
    """Request to tell the end of this actor: watch ``serial`` of the sender's run."""

    serial: int
    path: str
    uid: int


@dataclass(frozen=True, slots=True)
class ActorWatched:
    """Answer: the actor of this watch is there, and watched."""

    serial: int


@dataclass(frozen=True, slots=True)
class UnwatchActor:
    """Request to end this watch."""

    serial: int


@dataclass(frozen=True, slots=True)
class ActorUnwatched:
    """Answer: this watch is forgotten."""

    serial: int


@dataclass(frozen=True, slots=True)
class ActorTerminated:
    """News: the actor of the receiver's watch has ended, or never was; ``reason`` is its failure in words."""

    serial: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class TerminatedNoted:
    """Answer: the end of this watch's actor is noted."""

    serial: int


WatchMessage = WatchActor | ActorWatched | UnwatchActor | ActorUnwatched | ActorTerminated | TerminatedNoted
