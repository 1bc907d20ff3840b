"""Members as users name them, by address or by ``node_id``, looked up in this node's view.

Owns the words for a name or an address that is nobody's. It does not know what is wanted of the member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from casty.address import NodeAddress
from casty.cluster.node import ClusterNode
from casty.config.validation import address_meant, written_address
from casty.protocol.state.member import Member, MemberStatus, member_called

MEMBERS_TOLD_MAX: Final = 16
"""Members named in an error."""


def address_of_member(node: ClusterNode, address: object) -> NodeAddress:
    """Return an address that is a member's. TypeError for another thing, LookupError where no member is."""
    if not isinstance(address, NodeAddress):
        raise TypeError(f"expected the address of a member, got {address!r}: write {written_address(address)}")
    known = sorted({node.self_node.address, *(member.address for member in node.board.members)})
    if address not in known:
        raise LookupError(f"no member is at {address}; members are at {_some_of([*map(str, known)])}")
    return address


def member_named(node: ClusterNode, name: str) -> Member:
    """Return the member with a ``node_id``. TypeError for another thing, LookupError where no member has it."""
    if not isinstance(cast("object", name), str):
        text = f"expected the node_id of a member or an address, got {name!r}: write {written_address(name)}"
        raise TypeError(text)
    member = member_called(node.board.members, name)
    if member is None:
        names = sorted(one.id for one in node.board.members if one.status is not MemberStatus.down)
        hint = f"; for an address write {written_address(name)}" if address_meant(name) else ""
        raise LookupError(f"no member has the node_id {name!r}; members are {_some_of(names)}{hint}")
    return member


def _some_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - MEMBERS_TOLD_MAX} more" if len(names) > MEMBERS_TOLD_MAX else ""
    return ", ".join(names[:MEMBERS_TOLD_MAX]) + more
