"""Views of the cluster for applications: whole values, each complete in itself.

Owns the public projections of the replicated state. They never travel back into it. It does not know when a projection
is due or who gets it (`view`).

How it works: a projection copies; two states of different nodes merge by the rules of `gossip`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.state.leader import leader_among
from casty.protocol.state.member import VOTING, Member, MemberStatus, furthest
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import Registry, ServiceEntry
from casty.protocol.state.shard_allocation import NO_ALLOCATIONS, Allocations, ShardAllocation
from casty.protocol.state.vector_clock import VectorClock
from casty.schema.names import message


@message("casty.TopologySnapshot")
@dataclass(frozen=True)
class TopologySnapshot:
    """The cluster at one moment, pushed whole to every subscriber on each change."""

    members: frozenset[Member]
    """All members, this node included; the removed are not among them."""
    leader: NodeAddress | None
    """Never one of the unreachable; None when no other can lead, as in the last snapshot of a downed node."""
    shard_allocations: dict[str, dict[int, ShardAllocation]]
    """Name of an `EntityKey` -> shard -> its place. A shard without a node yet is absent, as between two owners."""
    allocation_epoch: int
    """Grows with every change of the allocations, and never shrinks; 0 before the first."""
    unreachable: frozenset[NodeAddress] = frozenset()
    """Members unreachable for this node, or by the report of others."""
    registry: frozenset[ServiceEntry] = frozenset()
    """Services of all members, as far as this node knows them."""


@message("casty.ClusterState")
@dataclass(frozen=True)
class ClusterState:
    """One node's knowledge of its cluster; two of them merge into the knowledge of both.

    >>> from casty import Member, MemberStatus
    >>> node = NodeAddress("10.0.0.1", 2551)
    >>> state = ClusterState(frozenset({Member(node, MemberStatus.up, frozenset(), "a")}), seen=frozenset({node}))
    >>> state.leader, state.is_converged
    (NodeAddress(host='10.0.0.1', port=2551), True)
    """

    members: frozenset[Member] = frozenset()
    """All members, this node included; the removed are not among them."""
    unreachable: frozenset[NodeAddress] = frozenset()
    """Members unreachable for this node, or by the report of others."""
    version: VectorClock[int] = field(default_factory=VectorClock[int])
    """Changes per incarnation."""
    shard_allocations: dict[str, dict[int, ShardAllocation]] = field(
        default_factory=dict[str, dict[int, ShardAllocation]]
    )
    """Name of an `EntityKey` -> shard -> its place. A shard without a node yet is absent, as between two owners."""
    allocation_epoch: int = 0
    """Number of the allocations: grows with every change of them; 0 before the first."""
    seen: frozenset[NodeAddress] = frozenset()
    """Nodes known to have this version."""
    registry: frozenset[ServiceEntry] = frozenset()
    """Services of all members, as far as this node knows them."""

    @property
    def leader(self) -> NodeAddress | None:
        """Leader in this view, None when nobody is there to lead."""
        leader = leader_among(self.members, self._unreachable_runs())
        return None if leader is None else leader.address

    @property
    def is_converged(self) -> bool:
        """Whether every reachable up or leaving member has seen this version and nobody is missing."""
        if self._unreachable_runs():
            return False
        return all(m.address in self.seen for m in self.members if m.status in VOTING)

    def merge(self, other: ClusterState) -> ClusterState:
        """Merge two views into the knowledge of both; commutative, associative and idempotent.

        Of two copies of a member the furthest status wins. A node that has seen the merged version, and not just a part
        of it, is known to have seen it.

        Parameters:
            other: The view of another node, or of another time.

        Returns:
            A new state; neither of the two changes.
        """
        members = {member.unique: member for member in self.members}
        for member in other.members:
            mine = members.get(member.unique)
            members[member.unique] = member if mine is None else furthest(mine, member)
        version = self.version.merge(other.version)
        seen = (state.seen for state in (self, other) if state.version == version)
        # Whole tables of one view: a mixture of two would be an allocation decided by nobody.
        newer = self if self._epoch_order >= other._epoch_order else other
        return ClusterState(
            frozenset(members.values()),
            self.unreachable | other.unreachable,
            version,
            newer.shard_allocations,
            newer.allocation_epoch,
            frozenset[NodeAddress]().union(*seen),
            self.registry | other.registry,
        )

    @property
    def _epoch_order(self) -> tuple[int, str]:
        tables = sorted((shards, sorted(table.items())) for shards, table in self.shard_allocations.items())
        return self.allocation_epoch, repr(tables)

    def _unreachable_runs(self) -> frozenset[UniqueAddress]:
        going = (MemberStatus.exiting, MemberStatus.down)
        return frozenset(m.unique for m in self.members if m.address in self.unreachable and m.status not in going)


def project_state(
    state: Gossip,
    registry: Registry,
    unreachable: frozenset[UniqueAddress],
    allocations: Allocations = NO_ALLOCATIONS,
) -> ClusterState:
    """Return the state as shown to applications; ``unreachable`` are the members their node cannot reach."""
    return ClusterState(
        members=frozenset(state.ordered),
        unreachable=_addresses(unreachable),
        version=state.version,
        shard_allocations=allocations.by_key,
        allocation_epoch=allocations.epoch,
        seen=_addresses(state.seen),
        registry=registry.entries(state.members.keys()),
    )


def project_snapshot(
    members: frozenset[Member],
    unreachable: frozenset[UniqueAddress],
    entries: frozenset[ServiceEntry],
    leader: UniqueAddress | None,
    allocations: Allocations = NO_ALLOCATIONS,
) -> TopologySnapshot:
    """Return the snapshot for subscribers; ``unreachable`` are the members their node cannot reach."""
    return TopologySnapshot(
        members=members,
        leader=None if leader is None else leader.address,
        shard_allocations=allocations.by_key,
        allocation_epoch=allocations.epoch,
        unreachable=_addresses(unreachable),
        registry=entries,
    )


def _addresses(nodes: frozenset[UniqueAddress]) -> frozenset[NodeAddress]:
    return frozenset(node.address for node in nodes)
