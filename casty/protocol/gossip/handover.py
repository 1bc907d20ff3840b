"""Events and orders between gossip and the owner of the membership, and further events of the gossip machine.

Owns the event and effect values of `gossip.machine`. The states published by the owner are all the knowledge that
gossip has of the members.
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
    """Event: the membership is this now. Only published states are told to peers as known here."""

    state: Gossip
    is_spread: bool = False
    """Whether it came from its author; in a small cluster its author pushes it to everybody."""


@dataclass(frozen=True, slots=True)
class SendLacking:
    """Event: a peer has the older version of this digest; send it the rest."""

    to: UniqueAddress
    version: bytes


@dataclass(frozen=True, slots=True)
class SendVersions:
    """Event: ask a peer for newer versions, by telling it the versions of this node."""

    to: UniqueAddress


@dataclass(frozen=True, slots=True)
class SeenOfOther:
    """Event: a peer's word on the nodes that saw a version other than the present one here."""

    sender: UniqueAddress
    message: GossipSeen


@dataclass(frozen=True, slots=True)
class StopGossip:
    """Event: this node is no member any more, and has said its last words."""


@dataclass(frozen=True, slots=True)
class OwnServices:
    """Event: these are all the services running on this node."""

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
"""Orders to gossip from the owner of the membership."""
GossipEvent = GossipOrder | OwnServices | GossipCame | TimerFired
GossipEffect = Send | StartTimer | RegistryChanged | HandOver
