"""Commands of a client to its node, about services and topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from casty.cluster.receptionist.services import ServiceInstance
from casty.refs import ActorRef
from casty.schema.names import message

M = TypeVar("M")

OWN_NAMES: Final = "casty.client."
"""Beginning of the names of these messages on the wire, of no use in a text for people."""


@message("casty.client.FindService")
@dataclass(frozen=True, slots=True)
class FindService(Generic[M]):
    """Ask for the instances of a service right now."""

    reply_to: ActorRef[tuple[ServiceInstance[M], ...]]


@message("casty.client.FollowTopic")
@dataclass(frozen=True, slots=True)
class FollowTopic:
    """Subscribe this connection to a topic; again, nothing but an answer comes of it.

    The reply is "" at once, or where ``known_within`` is above 0, once the other nodes know of it. Else it
    names the fault, such as the nodes without knowledge of it after so many seconds.
    """

    known_within: float
    reply_to: ActorRef[str]


@message("casty.client.UnfollowTopic")
@dataclass(frozen=True, slots=True)
class UnfollowTopic:
    """Subscribe this connection to a topic no more."""


TopicCommand = FollowTopic | UnfollowTopic
