"""Spread of versions: pushed at once, repaired by rounds, and never sent to nodes known to have them.

Owns the choice of peers and of messages to them, for the membership and for the replicated tables. Beside the last
versions of this node (`versions`) it keeps no state: it is given the knowledge of a node and returns messages to send.
It does not know when (`gossip.machine`) or what a received state changes (`receive`).

How it works: the author of a change pushes it to everybody, in a cluster of more than `PUSH_ALL_MAX` to a few, and
these push it on, several changes together when they come within `PUSH_GAP`. The receiver of a version tells its sender
and the leader of having seen it, so the leader can prove agreement without waiting for a round. Each round a few peers
are asked: those believed equal by a digest of 16 bytes, answered with their versions if theirs differs.

A peer known to have had a version still remembered here is sent the changes since. Any other is told the own versions,
and asks in return for the rest: only then, and only when its version is not remembered, does a whole state travel.
Source: delta-state CRDTs, Almeida, Shoker and Baquero 2018; deviation: the bases of differences are acknowledged
versions, not intervals of a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import Rng, Send, StartTimer
from casty.protocol.gossip.state_on_wire import clock_entries, difference, to_wire
from casty.protocol.gossip.tables import ReplicatedTable, TableSet, Versions, digest_of, is_had_by
from casty.protocol.gossip.versions import RecentVersions
from casty.protocol.messages.membership import GossipDelta, GossipDigest, GossipState, GossipVersions
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip

PUSH_ALL_MAX = 16
"""Members up to which an author pushes to all. A change then costs 0.75 of the bytes of passing it on, and nobody waits
for a round. Where many come at once, more members would cost: a hundred forming a cluster send 1.4 times the bytes with
24.
"""
PUSH = "push"
PUSH_GAP = 0.1
"""Seconds between two pushes of one node of a larger cluster, where many changes may come at one time."""
HURRY = 3
"""Rounds come this much faster while fewer than half of the members have seen the version."""


@dataclass(slots=True)
class AntiEntropy:
    """The rules, for one node."""

    self_node: UniqueAddress
    fanout: int
    rng: Rng
    recent: RecentVersions = field(default_factory=RecentVersions)
    _kept: tuple[Gossip, TableSet, TableSet] | None = field(init=False, default=None)
    """Last state and tables, and the tables with the parts of its members only."""
    _digests: dict[tuple[str, ...], GossipDigest] = field(
        init=False, default_factory=lambda: dict[tuple[str, ...], GossipDigest]()
    )
    """Digests of those, by the names of the tables in them."""

    def push(self, state: Gossip, tables: TableSet, now: float) -> list[Send]:
        """Return the sends to spread a version made, merged, or passed on by this node."""
        targets = [m.unique for m in state.others(self.self_node) if m.unique not in state.seen]
        return self._news(state, tables, self._some(targets, len(state.members)), now)

    def round(self, state: Gossip, tables: TableSet, now: float) -> list[Send]:
        """Return the sends of one round of gossip: unseen peers first, and one more to a lost node.

        Lost nodes see no version, and would be the only ones asked. They get the sends left over by the others.
        """
        others = [m.unique for m in state.others(self.self_node) if m.status is not MemberStatus.down]
        lost = state.lost_to(self.self_node)
        peers = [node for node in others if node not in lost]
        chosen = self._sample([node for node in peers if node not in state.seen], self.fanout)
        equal = self._sample([node for node in peers if node in state.seen], self.fanout - len(chosen))
        left = max(self.fanout - len(chosen) - len(equal), 1)
        missed = self._sample([node for node in others if node in lost], left)
        digests = (Send(node, self.digest(state, tables, node)) for node in equal)
        return [*self._news(state, tables, [*chosen, *missed], now), *digests]

    def compare(self, state: Gossip, tables: TableSet, digest: GossipDigest, sender: UniqueAddress) -> list[Send]:
        """Return the answer to a digest: nothing when both know the same."""
        if digest == self.digest(state, tables, sender):
            return []
        return [Send(sender, self.versions(state, tables, sender))]

    def lacking(self, state: Gossip, digest: bytes, now: float) -> GossipDelta | GossipState:
        """Return the changes or the state for a node with the older version of that digest."""
        base = self.recent.find(digest)
        delta = None if base is None else difference(base, state, now)
        return to_wire(state, now) if delta is None else delta

    def push_table(
        self, state: Gossip, table: ReplicatedTable, versions: Versions, source: UniqueAddress
    ) -> list[Send]:
        """Return the sends to spread the news of a table after ``versions`` that came from ``source``."""
        targets = [
            member.unique
            for member in state.others(self.self_node)
            if member.unique != source and is_had_by(member, table)
        ]
        if source != self.self_node and len(state.members) <= PUSH_ALL_MAX:
            return []
        messages = list(table.messages(state.cluster_id, versions))
        if not messages:
            return []
        chosen = self._some(targets, len(state.members))
        return [Send(node, message) for message in messages for node in chosen]

    def send_table(self, state: Gossip, table: ReplicatedTable, versions: Versions, node: UniqueAddress) -> list[Send]:
        """Return the sends to bring a node with ``versions`` up to date, in pages."""
        return [Send(node, message) for message in table.messages(state.cluster_id, versions)]

    def versions(self, state: Gossip, tables: TableSet, node: UniqueAddress) -> GossipVersions:
        """Return the versions known to this node, for another one; they are also the question for newer ones."""
        return self._versions(state, tables, tables.shared_with(state.members.get(node)))

    def digest(self, state: Gossip, tables: TableSet, node: UniqueAddress) -> GossipDigest:
        """Return a digest of 16 bytes over the knowledge of this node, as far as another one can have the same."""
        kept, names = self._of_members(state, tables), tables.shared_with(state.members.get(node))
        digest = self._digests.get(names)
        if digest is None:
            digest = GossipDigest(state.cluster_id, digest_of(kept.named(names), state.digest))
            self._digests[names] = digest
        return digest

    def _versions(self, state: Gossip, tables: TableSet, names: tuple[str, ...]) -> GossipVersions:
        shared = self._of_members(state, tables).named(names)
        told = tuple((table.name, tuple(versions.items())) for table in shared if (versions := table.versions))
        return GossipVersions(state.cluster_id, clock_entries(state.version), state.seen_bits, told)

    def _of_members(self, state: Gossip, tables: TableSet) -> TableSet:
        if self._kept is None or self._kept[0] is not state or self._kept[1] is not tables:
            self._kept, self._digests = (state, tables, tables.kept(state.members.keys())), {}
        return self._kept[2]

    def _news(self, state: Gossip, tables: TableSet, nodes: Sequence[UniqueAddress], now: float) -> list[Send]:
        """Return the messages that bring the state to nodes that may lack it."""
        made: dict[bytes | tuple[str, ...], GossipDelta | GossipState | GossipVersions] = {}
        sends: list[Send] = []
        for node in nodes:
            base = self.recent.base_of(node)
            what = tables.shared_with(state.members.get(node)) if base is None else base.version_digest
            if what not in made:
                made[what] = (
                    self.lacking(state, what, now) if isinstance(what, bytes) else self._versions(state, tables, what)
                )
            sends.append(Send(node, made[what]))
        return sends

    def _some(self, targets: Sequence[UniqueAddress], members: int) -> Sequence[UniqueAddress]:
        return targets if members <= PUSH_ALL_MAX else self._sample(targets, self.fanout)

    def _sample(self, nodes: Sequence[UniqueAddress], count: int) -> list[UniqueAddress]:
        return self.rng.sample(nodes, min(max(count, 0), len(nodes)))


@dataclass(slots=True)
class Pushes:
    """Times of pushes: each new version at once, in a larger cluster several together."""

    spread: AntiEntropy
    _pushed: Gossip | None = None
    _waits: bool = False
    _next_at: float = 0.0

    def take(self, state: Gossip) -> None:
        """Take note of a version that came from its author; in a small cluster its author pushes it to all."""
        if len(state.members) <= PUSH_ALL_MAX:
            self._pushed = state

    def settle(self, state: Gossip, tables: TableSet, now: float) -> list[Send | StartTimer]:
        """Return the effects of a published state."""
        before, self._pushed = self._pushed, state
        self.spread.recent.note(state)
        if before is not None and (before.version is state.version or before.version == state.version):
            return []
        if len(state.members) <= PUSH_ALL_MAX or now >= self._next_at:
            return self.push(state, tables, now)
        if self._waits:
            return []
        self._waits = True
        return [StartTimer(PUSH, self._next_at - now)]

    def push(self, state: Gossip, tables: TableSet, now: float) -> list[Send | StartTimer]:
        """Push the pending changes: the timer fired, or nothing was pushed lately."""
        self._waits, self._next_at = False, now + PUSH_GAP
        return [*self.spread.push(state, tables, now)]
