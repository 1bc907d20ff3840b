"""What the death watches of two nodes say to each other, on the control lane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchActor:
    """Tell me when this actor ends: watch ``serial`` of my run."""

    serial: int
    path: str
    uid: int


@dataclass(frozen=True, slots=True)
class ActorWatched:
    """The actor of that watch is there, and watched."""

    serial: int


@dataclass(frozen=True, slots=True)
class UnwatchActor:
    """That watch is over."""

    serial: int


@dataclass(frozen=True, slots=True)
class ActorUnwatched:
    """I have forgotten that watch."""

    serial: int


@dataclass(frozen=True, slots=True)
class ActorTerminated:
    """The actor of your watch has ended, or never was; ``reason`` is its failure in words."""

    serial: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class TerminatedNoted:
    """I know that the actor of that watch has ended."""

    serial: int


WatchMessage = WatchActor | ActorWatched | UnwatchActor | ActorUnwatched | ActorTerminated | TerminatedNoted
