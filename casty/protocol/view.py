"""What a change of the cluster looks like from one node.

Owns the last snapshot and the events already published, so that each change is told exactly once:
MemberUp when a run is first seen up or beyond, MemberLeft at its removal if MemberUp was published,
UnreachableMember and ReachableMember on each edge. It does not know why anything changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.protocol.cluster_state import TopologySnapshot, project_snapshot
from casty.protocol.effects import Publish
from casty.protocol.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.gossip import Gossip
from casty.protocol.leader import leader_of
from casty.protocol.membership import Member, MemberStatus
from casty.protocol.registry import Registry, ServiceEntry


@dataclass(frozen=True, slots=True)
class SnapshotChanged:
    """Effect: push the snapshot to every subscriber."""

    snapshot: TopologySnapshot


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """Effect: the members, for whoever monitors them."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Effect: a run is removed for good; drop its links and what waits for it."""

    node: UniqueAddress


ViewEffect = Publish | SnapshotChanged | MembersChanged | Forget


@dataclass(slots=True)
class View:
    """The machine of one node's view; call `update` after each change."""

    self_node: UniqueAddress
    snapshot: TopologySnapshot | None = None
    _members: dict[UniqueAddress, Member] = field(default_factory=lambda: dict[UniqueAddress, Member]())
    _unreachable: frozenset[UniqueAddress] = frozenset()
    _told_up: set[UniqueAddress] = field(default_factory=lambda: set[UniqueAddress]())
    _state: Gossip | None = None
    _registry: Registry | None = None
    _entries: frozenset[ServiceEntry] = frozenset()

    def update(self, state: Gossip, registry: Registry) -> Sequence[ViewEffect]:
        """Return what subscribers and the event stream must hear of the step to ``state``."""
        if state is self._state and registry is self._registry:
            return ()
        members = dict(state.members)
        if registry is not self._registry or members.keys() != self._members.keys():
            self._entries = registry.entries(members.keys())
        self._state, self._registry = state, registry
        effects: list[ViewEffect] = []
        if members != self._members:
            effects.append(MembersChanged(state.ordered))
        effects.extend(self._member_events(state, members))
        snapshot = project_snapshot(state, self._entries, self.self_node, leader_of(state, self.self_node))
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            effects.append(SnapshotChanged(snapshot))
        return effects

    def _member_events(self, state: Gossip, members: dict[UniqueAddress, Member]) -> list[ViewEffect]:
        effects: list[ViewEffect] = []
        fresh = [m for m in state.ordered if m.up_number and m.unique not in self._told_up]
        for member in sorted(fresh, key=lambda m: m.up_number):
            self._told_up.add(member.unique)
            effects.append(Publish(MemberUp(member)))
        unreachable = state.unreachable - {self.self_node}
        effects.extend(Publish(UnreachableMember(members[node])) for node in sorted(unreachable - self._unreachable))
        effects.extend(
            Publish(ReachableMember(members[node]))
            for node in sorted(self._unreachable - unreachable)
            if node in members
        )
        for node in sorted(self._members.keys() - members.keys()):
            if node in self._told_up:
                self._told_up.discard(node)
                effects.append(Publish(MemberLeft(replace(self._members[node], status=MemberStatus.removed))))
            effects.append(Forget(node))
        self._members, self._unreachable = members, unreachable
        return effects
