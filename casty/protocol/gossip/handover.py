"""Events and orders between gossip and the owner of the membership, and further events of the gossip machine.

Owns the event and effect values of `gossip.machine`. The states published by the owner are all the knowledge that
gossip has of the members.
"""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.protocol.effects import Send, StartTimer, TimerFired
from casty.protocol.gossip.tables import ReplicatedTable
from casty.protocol.messages.membership import AntiEntropyMessage, GossipSeen
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import Registry


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
class TableWritten:
    """Event: this is all that this node says in a table, such as the services running on it in the registry."""

    table: str
    content: object
    """Of the kind taken by that table."""


@dataclass(frozen=True, slots=True)
class GossipCame:
    """Event: a message from the run that said hello on the link."""

    sender: UniqueAddress
    message: AntiEntropyMessage


@dataclass(frozen=True, slots=True)
class TableChanged:
    """Effect: a table, as it is known here from now on."""

    table: ReplicatedTable


@dataclass(frozen=True, slots=True)
class UnknownTables:
    """Effect: a peer tells of tables that this node does not have, as a newer one may; ignored."""

    sender: UniqueAddress
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegistryChanged:
    """Event for the owner of the membership: the services of the cluster, as far as they are known here."""

    registry: Registry


@dataclass(frozen=True, slots=True)
class HandOver:
    """Effect, for the owner of the membership: this is for it to judge."""

    sender: UniqueAddress
    message: AntiEntropyMessage | GossipSeen


GossipOrder = StatePublished | SendLacking | SendVersions | SeenOfOther | StopGossip
"""Orders to gossip from the owner of the membership."""
GossipEvent = GossipOrder | TableWritten | GossipCame | TimerFired
GossipEffect = Send | StartTimer | TableChanged | UnknownTables | HandOver
