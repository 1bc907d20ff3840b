"""Short ways to write membership values in a test.

Owns nothing: every function returns an ordinary value of the protocol layer, or the table of what nodes say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Never

from casty.address import NodeAddress, UniqueAddress
from casty.cluster.control_registry import ControlRegistry
from casty.cluster.death_watch.watch import add_watch_messages
from casty.cluster.membership.control_messages import add_liveness_messages, add_topology_messages
from casty.protocol.state.member import Member, MemberStatus, in_order
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import ServiceEntry
from casty.wire.codec.codec import Codec

PORT = 2551
CLUSTER_ID = 77


def address(name: str) -> NodeAddress:
    """Return the address of the node ``name``; names sort like their addresses."""
    return NodeAddress(name, PORT)


def run_of(name: str, incarnation: int = 0) -> UniqueAddress:
    """Return a run of the node ``name``; its incarnation follows from the name unless given."""
    return UniqueAddress(address(name), incarnation or int.from_bytes(name.encode(), "big"))


def member(name: str, status: str = "up", *, incarnation: int = 0, up_number: int = 0, id: str = "") -> Member:
    """Return a member; ``id`` is the name unless given."""
    run = run_of(name, incarnation)
    kept = MemberStatus[status]
    return Member(run.address, kept, frozenset(), id or name, incarnation=run.incarnation, up_number=up_number)


def service_of(node: UniqueAddress, key: str, *, uid: int = 1) -> ServiceEntry:
    """Return a service of a node under ``key``, by an actor of the same name."""
    return ServiceEntry(key, node.address, f"/{key}", incarnation=node.incarnation, uid=uid, accepts=(f"{key}.Do",))


def gossip_of(*members: Member, seen: Iterable[str] | None = None, author: str = "") -> Gossip:
    """Return a state with these members, seen by all unless given, first made by ``author``."""
    numbers = [one.up_number for one in members]
    by = run_of(author) if author else members[0].unique
    ordered = in_order({one.unique: one for one in members})
    state = Gossip(CLUSTER_ID).changed(by, members=ordered, up_numbers_given=max(numbers, default=0))
    nodes = [one.unique for one in members] if seen is None else [run_of(name) for name in seen]
    return state.seen_by(*nodes)


def control_registry() -> ControlRegistry:
    """Return the table of all messages between nodes of this version, delivered to nobody."""
    registry = ControlRegistry(Codec(export_ref=_no_ref, import_ref=_no_ref))
    add_liveness_messages(registry, asked=_nobody, heard=_nobody)
    add_topology_messages(registry, _nobody, compared=_nobody, answered=_nobody, paged=_nobody)
    add_watch_messages(registry, _nobody)
    return registry


def _nobody(peer: UniqueAddress, message: object, size: int) -> None:
    """Take a control message, and do nothing with it."""


def _no_ref(_: object, type_form: object) -> Never:
    raise AssertionError("a control message holds no ref")
