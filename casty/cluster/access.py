"""Access control: the senders of each of the cluster's own messages.

Owns the permissions. It does not know the consequences of a message: after the door each one is judged by its machine,
in the order of arrival. So the messages of a run before its membership is known here (a joiner, a removed one, one of
another cluster) are let in for anyone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Never, TypeAlias, assert_never

from casty.address import ASK_PREFIX, ENTITY_PREFIX, UniqueAddress, WireRef
from casty.cluster.commands import ResolveNode, SubscribeTopology, UnsubscribeTopology
from casty.errors import DecodeError
from casty.refs import ActorRef
from casty.schema.names import printable
from casty.wire.frame import FrameKind

INTERNAL_PREFIX: Final = "/_"
"""Prefix of the paths of the library's own actors."""


class Sender(Enum):
    """Senders permitted for a message; the value is for log lines."""

    anyone = "anyone"
    member = "a member"
    inviter = "a member, or a node that was asked to let this one in"
    host = "a member, of actors of its own"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Permitted senders of a message; ``actor`` is the field with a ref to an actor of the sender's node."""

    sender: Sender
    actor: str = ""


ANYONE, MEMBER = AccessRule(Sender.anyone), AccessRule(Sender.member)

RULES: Final[dict[FrameKind, AccessRule]] = {
    # The addressees of these are in them: users' actors, and asks, slices and links of the sender's own.
    FrameKind.ENVELOPE: ANYONE,
    FrameKind.CONTROL: ANYONE,
    FrameKind.NOTICE: ANYONE,
    FrameKind.SLICE: ANYONE,
    FrameKind.LARGE: ANYONE,
    FrameKind.ARRIVED: ANYONE,
    FrameKind.WITHDRAW: ANYONE,
    # A stranger could take up the room for them.
    FrameKind.PAUSE: MEMBER,
    FrameKind.RESUME: MEMBER,
}
"""Each frame of a link. Messages in a CONTROL frame have their rules in the `ControlRegistry`."""

RESTRICTED: Final = frozenset(kind for kind, rule in RULES.items() if rule is not ANYONE)
"""Frames not permitted for everybody."""

TOPIC_PREFIX: Final = "/_topic-"
"""Beginning of the paths of the actors that hand out the messages of a topic."""
OPEN_PREFIXES: Final = (ENTITY_PREFIX, TOPIC_PREFIX)
"""Beginnings of the paths of actors with messages of users, for members; each takes its own types alone."""

OpenPaths: TypeAlias = dict[str, dict[type, AccessRule]]
"""Actors of the library open to other nodes, each with its messages and their senders; the tree under ``/_`` is closed
else.

Anything else would be a bug of this node if it came from here, and would end it.
"""

OPEN_PATHS: Final[OpenPaths] = {
    "/_cluster": {
        # The reply goes wherever the sender says, so a stranger could choose the next address dialled by this node.
        ResolveNode: MEMBER,
        SubscribeTopology: AccessRule(Sender.host, "reply_to"),
        UnsubscribeTopology: AccessRule(Sender.host, "subscriber"),
    }
}
"""Those of every node; its extensions add to a copy."""


def is_internal(path: str) -> bool:
    """Return whether a path is that of an actor of the library.

    >>> is_internal("/_cluster"), is_internal("/_ask/7"), is_internal("/shop")
    (True, False, False)
    """
    return path.startswith(INTERNAL_PREFIX) and not path.startswith(ASK_PREFIX)


def rule_of(open_paths: OpenPaths, path: str, message: object) -> AccessRule | None:
    """Return the permitted senders of ``message`` to an actor of the library; None where other nodes may not at all."""
    if path.startswith(OPEN_PREFIXES):
        return MEMBER
    return open_paths.get(path, {}).get(type(message))


class ForeignRefError(DecodeError):
    """A stranger's message names an actor outside of its sender's node.

    Parameters:
        name: Wire name of the message.
        place: Where the actor is.
    """

    def __init__(self, name: str, place: WireRef) -> None:
        where = "this node" if place[2] is None else f"{printable(place[2])}:{place[3]}"
        super().__init__(
            f"{name} names {printable(place[1])} of {where}: who is no member of the cluster may name actors of "
            "its own node, and those here whose refs it was given"
        )


def may_name(peer: UniqueAddress, place: WireRef) -> bool:
    """Whether an actor is of the node of ``peer``, whichever run of it.

    Else a stranger could have an actor here tell others anything, as if it came of that actor.
    """
    return (place[2], place[3]) == (peer.address.host, peer.address.port) and place[4] in (0, peer.incarnation)


def as_of(peer: UniqueAddress, place: WireRef) -> WireRef:
    """Return the place of an actor of ``peer``, with its address and perhaps no run, as one of that run.

    Frames for any run at an address follow to where it leads, and ``peer`` could have that be another node.
    """
    return (*place[:4], peer.incarnation, place[5])


def admits(rule: AccessRule, peer: UniqueAddress, message: object, *, is_member: bool, is_inviter: bool) -> bool:
    """Return whether ``peer`` may send ``message``, whose rule it is."""
    match rule.sender:
        case Sender.anyone:
            return True
        case Sender.inviter:
            return is_member or is_inviter
        case Sender.member:
            return is_member
        case Sender.host:
            return is_member and is_on(peer, getattr(message, rule.actor))
        case _ as never:
            assert_never(never)


def is_on(peer: UniqueAddress, ref: ActorRef[Never]) -> bool:
    """Return whether a ref names an actor of that run; one without an incarnation, of any run there."""
    address = ref.address
    return address.node is not None and peer.is_named(UniqueAddress(address.node, address.incarnation))
