"""Changes of the cluster, as seen from one node.

Owns the last snapshot and the events already published, so that each change is told exactly once: MemberUp when a run
is first seen up or beyond, MemberLeft at its removal if MemberUp was published, UnreachableMember and ReachableMember
on each edge. It does not know why anything changed.

A member told to be unreachable stays so in three cases in which nobody heard from it again and yet nobody's accusation
counts any more. The accusers went down, this node perhaps among them, and are out of the count; or it is down itself,
with those it accused: its removal is the next news then, or the end of this node. Or this node accuses the accusers,
and waits for the next answer of that member too: it answers or is accused within seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.protocol.effects import PublishEvent
from casty.protocol.state.cluster_state import TopologySnapshot, project_snapshot
from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.state.leader import leader_without
from casty.protocol.state.member import Member, MemberStatus, by_age
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import Registry, ServiceEntry
from casty.protocol.state.shard_allocation import NO_ALLOCATIONS, Allocations


@dataclass(frozen=True, slots=True)
class SnapshotChanged:
    """Effect: push the snapshot to every subscriber."""

    snapshot: TopologySnapshot


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """Effect: the members, for their monitors."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Effect: a run is removed for good; drop its links and the frames waiting for it."""

    node: UniqueAddress


ViewEffect = PublishEvent | SnapshotChanged | MembersChanged | Forget


@dataclass(slots=True)
class View:
    """The machine of one node's view; call `update` after each change."""

    self_node: UniqueAddress
    snapshot: TopologySnapshot | None = None
    unreachable: frozenset[UniqueAddress] = frozenset()
    """Members told to be unreachable: the last event of each was UnreachableMember, not ReachableMember."""
    allocations: Allocations = NO_ALLOCATIONS
    """Places of shards, by word of the placement."""
    _members: Mapping[UniqueAddress, Member] = field(default_factory=lambda: dict[UniqueAddress, Member]())
    _shown: frozenset[Member] = frozenset()
    _suspected: set[UniqueAddress] = field(default_factory=lambda: set[UniqueAddress]())
    """Members of which this node waits for the next answer."""
    _told_up: set[UniqueAddress] = field(default_factory=lambda: set[UniqueAddress]())
    _state: Gossip | None = None
    _registry: Registry | None = None
    _entries: frozenset[ServiceEntry] = frozenset()

    def doubt(self, nodes: Collection[UniqueAddress]) -> None:
        """Take note that this node waits for the next answers of these members."""
        self._suspected.update(nodes)

    def trust(self, node: UniqueAddress) -> None:
        """Take note that a member answers; `update` returns the consequences, though the state may be the same."""
        if node in self._suspected:
            self._suspected.discard(node)
            self._state = None

    def allocate(self, allocations: Allocations) -> Sequence[ViewEffect]:
        """Take the places of shards; return the snapshot with them, as soon as there is one."""
        if allocations.epoch <= self.allocations.epoch:
            return ()
        self.allocations = allocations
        if self.snapshot is None:
            return ()
        places, epoch = allocations.by_key, allocations.epoch
        self.snapshot = replace(self.snapshot, shard_allocations=places, allocation_epoch=epoch)
        return [SnapshotChanged(self.snapshot)]

    def update(self, state: Gossip, registry: Registry) -> Sequence[ViewEffect]:
        """Return the news of the step to ``state`` for subscribers and the event stream."""
        before, self._state = self._state, state
        if before is not None and registry is self._registry:
            if state.members is before.members and state.rows is before.rows:
                return ()  # only who has seen it, which nobody is told
        members = state.members
        is_changed = members is not self._members and members != self._members
        if registry is not self._registry or is_changed:
            self._entries = registry.entries(members.keys())
        self._registry = registry
        effects: list[ViewEffect] = []
        if is_changed:
            effects.append(MembersChanged(state.ordered))
        effects.extend(self._member_events(state, members))
        # By the events told, not by the accusations in the count: a down node would name one out of its own reach.
        leader = leader_without(state, self.unreachable)
        snapshot = project_snapshot(self._shown, self.unreachable, self._entries, leader, self.allocations)
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            effects.append(SnapshotChanged(snapshot))
        return effects

    def _member_events(self, state: Gossip, members: Mapping[UniqueAddress, Member]) -> list[ViewEffect]:
        effects: list[ViewEffect] = []
        old = self._members
        changed = [member for unique, member in members.items() if old.get(unique) is not member]
        gone = sorted(old.keys() - members.keys())
        stale = [old[member.unique] for member in changed if member.unique in old]
        # Only changed parts are hashed again.
        self._shown = self._shown.difference(stale, [old[node] for node in gone]).union(changed)
        fresh = [member for member in changed if member.up_number and member.unique not in self._told_up]
        for member in sorted(fresh, key=by_age):
            self._told_up.add(member.unique)
            effects.append(PublishEvent(MemberUp(member)))
        unreachable = self._lost(state)
        effects.extend(
            PublishEvent(UnreachableMember(members[node])) for node in sorted(unreachable - self.unreachable)
        )
        effects.extend(
            PublishEvent(ReachableMember(members[node]))
            for node in sorted(self.unreachable - unreachable)
            if node in members
        )
        for node in gone:
            if node in self._told_up:
                self._told_up.discard(node)
                effects.append(PublishEvent(MemberLeft(replace(self._members[node], status=MemberStatus.removed))))
            effects.append(Forget(node))
        self._suspected.difference_update(gone)
        self._members, self.unreachable = members, unreachable
        return effects

    def _lost(self, state: Gossip) -> frozenset[UniqueAddress]:
        own = state.members.get(self.self_node)
        if own is None or own.status is MemberStatus.down:
            return self.unreachable & state.present
        lost = state.lost_to(self.self_node)
        returning = self.unreachable & state.present - lost
        if not returning:
            return lost
        suspected = self._suspected & state.unreachable
        return lost.union(n for n in returning if n in suspected or state.members[n].status is MemberStatus.down)
