"""What gossip and the owner of the membership hand each other, and what else the gossip machine is told.

Owns the event and effect values of `gossip.machine`. What the owner publishes is all that gossip knows of the members.
"""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.protocol.effects import Send, StartTimer, TimerFired
from casty.protocol.messages.membership import AntiEntropyMessage, GossipSeen
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import Registry, ServiceEntry


@dataclass(frozen=True, slots=True)
class StatePublished:
    """Event: the membership is this now. Only what was published is ever told to peers as something known here."""

    state: Gossip
    is_spread: bool = False
    """Whether it came from its author, who pushes it to everybody in a small cluster."""


@dataclass(frozen=True, slots=True)
class SendLacking:
    """Event: a peer has the older version of this digest; send it what it lacks."""

    to: UniqueAddress
    version: bytes


@dataclass(frozen=True, slots=True)
class SendVersions:
    """Event: ask a peer for what this node lacks, by telling it how far this node is."""

    to: UniqueAddress


@dataclass(frozen=True, slots=True)
class SeenOfOther:
    """Event: a peer knows by whom a version was seen that is not the one here."""

    sender: UniqueAddress
    message: GossipSeen


@dataclass(frozen=True, slots=True)
class StopGossip:
    """Event: this node is no member any more, and has said its last words."""


@dataclass(frozen=True, slots=True)
class OwnServices:
    """Event: these are all the services that run on this node."""

    services: frozenset[ServiceEntry]


@dataclass(frozen=True, slots=True)
class GossipCame:
    """Event: a message from the run that said hello on the link."""

    sender: UniqueAddress
    message: AntiEntropyMessage


@dataclass(frozen=True, slots=True)
class RegistryChanged:
    """Effect, for the owner of the membership: the services of the cluster, as far as they are known here."""

    registry: Registry


@dataclass(frozen=True, slots=True)
class HandOver:
    """Effect, for the owner of the membership: this is for it to judge."""

    sender: UniqueAddress
    message: AntiEntropyMessage | GossipSeen


GossipOrder = StatePublished | SendLacking | SendVersions | SeenOfOther | StopGossip
"""What the owner of the membership has gossip do."""
GossipEvent = GossipOrder | OwnServices | GossipCame | TimerFired
GossipEffect = Send | StartTimer | RegistryChanged | HandOver
