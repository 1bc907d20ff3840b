"""Messages of the actor ``_watch``: from the runtime of its node, from peers, and from the actors they watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never, TypeAlias

from casty.address import UniqueAddress
from casty.cluster.peer_queue import PeerReady
from casty.protocol.effects import TimerFired
from casty.protocol.messages.watching import WatchMessage
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.refs import ActorRef


@dataclass(frozen=True, slots=True)
class WatchRemote:
    """Tell ``watcher`` when the actor of another node behind ``ref`` ends."""

    watcher: ActorRef[Never]
    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class UnwatchRemote:
    """End a `WatchRemote`."""

    watcher: ActorRef[Never]
    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class PeerSaid:
    """A peer said something about a watch."""

    peer: UniqueAddress
    message: WatchMessage


@dataclass(frozen=True, slots=True)
class LocalEnded:
    """An actor of this node, watched by a peer, has ended."""

    peer: UniqueAddress
    serial: int
    reason: str | None


WatchCmd: TypeAlias = WatchRemote | UnwatchRemote | PeerReady | LocalEnded | TopologySnapshot | TimerFired
"""Messages of the watch actor."""
