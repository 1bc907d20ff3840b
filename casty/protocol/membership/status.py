"""Report of a node on its cluster, for any asker.

Owns the values of a report and how they follow from the replicated state. It does not know who asks or how often one
may (`casty.transport.manager.peers`). A report only tells: nothing of it comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from casty.address import NodeAddress, NodeId, UniqueAddress
from casty.protocol.sharding.observability.shard_listing import ShardListing, ShardsReport
from casty.protocol.state.leader import leader_of
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip

ACCUSERS_TOLD_MAX = 16
"""Observers named for each member; their number is told besides."""

Phase: TypeAlias = Literal["joining", "member", "gone"]
"""Whether a node waits to be let in, is in a cluster, or is in none any more."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The telling node, and its cluster as a whole; a `MemberReport` for each member follows."""

    address: NodeAddress
    id: NodeId
    system: str
    version: str
    """Of casty."""
    phase: Phase
    seeds: str
    """Latest event with each seed, in words, until the node is in a cluster; then empty."""
    cluster_id: int
    leader: NodeAddress | None
    converged: bool
    """Whether every voter has seen this version, and nobody is missing."""
    members: int
    keys: int = 0
    """Kinds of entities, each told of in a `ShardsReport` behind the members."""
    keys_left_out: int = 0
    """Further kinds, beyond the bound of a report."""


@dataclass(frozen=True, slots=True)
class MemberReport:
    """One member in the eyes of the telling node. Its run is not told: the asker is a stranger."""

    address: NodeAddress
    id: NodeId
    status: MemberStatus
    roles: frozenset[str]
    up_number: int
    version: str
    """Of casty."""
    has_seen: bool
    """Whether it is known to have the version of the telling node."""
    accusers: int
    """Number of observers that miss its answers."""
    accused_by: tuple[NodeAddress, ...]
    """The first of them by address."""
    phi: float | None
    """Suspicion of it by the node; None when others monitor it."""
    gossip_age: float | None
    """Seconds since the node had gossip from it; None when it never had."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """A whole report: the node, the members by address, and the shards of each key."""

    node: NodeReport
    members: tuple[MemberReport, ...]
    shards: tuple[ShardListing, ...] = ()


REPORT_TYPES: Final[dict[type, str]] = {
    NodeReport: "casty.report.node",
    MemberReport: "casty.report.member",
    ShardsReport: "casty.report.shards",
}
"""Names on the wire. They stay when a class is renamed."""
"""Parts of a report on the wire, one in a frame, so that the size of a cluster is no matter."""


def leader_in(state: Gossip, self_node: UniqueAddress) -> NodeAddress | None:
    """Return where the leader is in the eyes of ``self_node``."""
    leader = leader_of(state, self_node)
    return None if leader is None else leader.address


def report_members(
    state: Gossip, phi: Mapping[NodeAddress, float], heard: Mapping[UniqueAddress, float], now: float
) -> tuple[MemberReport, ...]:
    """Return a report on each member; ``heard`` is when there was gossip from it last."""
    counted = [
        (observer, row.accused)
        for observer, row in sorted(state.rows.items())
        if observer in state.members and state.members[observer].status is not MemberStatus.down
    ]
    reports: list[MemberReport] = []
    for member in state.ordered:
        node = member.unique
        accusers = [observer.address for observer, accused in counted if node in accused]
        report = replace(
            report_alone(member),
            has_seen=node in state.seen,
            accusers=len(accusers),
            accused_by=tuple(accusers[:ACCUSERS_TOLD_MAX]),
            phi=phi.get(node.address),
            gossip_age=max(now - heard[node], 0.0) if node in heard else None,
        )
        reports.append(report)
    return tuple(reports)


def report_alone(member: Member) -> MemberReport:
    """Return the report of a node on itself, in no cluster yet."""
    who = member.address, member.id, member.status, member.roles, member.up_number, member.version
    return MemberReport(*who, has_seen=True, accusers=0, accused_by=(), phi=None, gossip_age=None)
