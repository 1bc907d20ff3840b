"""How versions spread: pushed at once, repaired by rounds.

Owns whom to send what, for the membership and for the service registry. It keeps no state: it is
given what a node knows and returns what to send. It does not know what a received state changes
(`topology`).

How it works: the author of a change pushes it to everybody, in a cluster of more than `PUSH_ALL_MAX`
to a few, who push it on. Whoever takes a version tells its sender and the leader that it has seen
it, so that the leader can prove agreement without waiting for a round. Each round a few peers are
asked: those that are believed equal by a digest of 16 bytes, the others with the whole state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from casty.address import UniqueAddress
from casty.protocol.effects import Rng, Send
from casty.protocol.gossip import Gossip
from casty.protocol.leader import leader_of
from casty.protocol.membership import MemberStatus
from casty.protocol.messages import (
    GossipDigest,
    RegistrySlots,
    RegistryVersions,
    seen_on_wire,
    to_wire,
)
from casty.protocol.paging import slot_pages
from casty.protocol.registry import Registry

PUSH_ALL_MAX = 10
HURRY = 3
"""Rounds come this much faster while fewer than half of the members have seen the version."""


@dataclass(frozen=True, slots=True)
class AntiEntropy:
    """The rules, for one node."""

    self_node: UniqueAddress
    fanout: int
    rng: Rng

    def push(self, state: Gossip, now: float) -> list[Send]:
        """Return the sends that spread a version which this node made or merged."""
        targets = [m.unique for m in state.others(self.self_node) if m.unique not in state.seen]
        message = to_wire(state, now)
        return [Send(node, message) for node in self._some(targets, len(state.members))]

    def taken(self, state: Gossip, sender: UniqueAddress, now: float) -> list[Send]:
        """Return the sends after taking a newer version from ``sender``."""
        seen = seen_on_wire(state)
        informed = [sender]
        leader = leader_of(state, self.self_node)
        if leader is not None and leader not in (self.self_node, sender):
            informed.append(leader)
        sends = [Send(node, seen) for node in informed]
        return sends if len(state.members) <= PUSH_ALL_MAX else [*sends, *self.push(state, now)]

    def round(self, state: Gossip, registry: Registry, now: float) -> list[Send]:
        """Return the sends of one round of gossip: unseen peers first."""
        peers = [m.unique for m in state.others(self.self_node) if m.status is not MemberStatus.down]
        unseen = [node for node in peers if node not in state.seen]
        chosen = self._sample(unseen, self.fanout)
        if len(chosen) < self.fanout:
            chosen += self._sample([node for node in peers if node in state.seen], self.fanout - len(chosen))
        sends: list[Send] = []
        if equal := [node for node in chosen if node in state.seen]:
            digest = GossipDigest(state.cluster_id, self.digest(state, registry))
            sends += [Send(node, digest) for node in equal]
        if behind := [node for node in chosen if node not in state.seen]:
            whole = to_wire(state, now)
            sends += [Send(node, whole) for node in behind]
        return sends

    def compare(
        self, state: Gossip, registry: Registry, digest: GossipDigest, sender: UniqueAddress, now: float
    ) -> list[Send]:
        """Return the answer to a digest: nothing when both know the same."""
        if digest.digest == self.digest(state, registry):
            return []
        return [Send(sender, to_wire(state, now)), Send(sender, self.versions(state, registry))]

    def push_slots(
        self, state: Gossip, registry: Registry, versions: Mapping[UniqueAddress, int], source: UniqueAddress
    ) -> list[Send]:
        """Return the sends that spread what is newer than ``versions`` and came from ``source``."""
        targets = [m.unique for m in state.others(self.self_node) if m.unique != source]
        if source != self.self_node and len(state.members) <= PUSH_ALL_MAX:
            return []
        messages = [RegistrySlots(state.cluster_id, pages) for pages in slot_pages(registry, versions)]
        if not messages:
            return []
        chosen = self._some(targets, len(state.members))
        return [Send(node, message) for message in messages for node in chosen]

    def send_slots(
        self, state: Gossip, registry: Registry, versions: Mapping[UniqueAddress, int], node: UniqueAddress
    ) -> list[Send]:
        """Return the sends that bring a node with ``versions`` what it lacks, in pages."""
        return [Send(node, RegistrySlots(state.cluster_id, pages)) for pages in slot_pages(registry, versions)]

    def versions(self, state: Gossip, registry: Registry) -> RegistryVersions:
        """Return the question which slots a peer has that this node lacks."""
        return RegistryVersions(state.cluster_id, tuple(registry.kept(state.members.keys()).versions.items()))

    def digest(self, state: Gossip, registry: Registry) -> bytes:
        """Return 16 bytes over all that this node knows."""
        slots = registry.kept(state.members.keys()).slots
        versions = sorted((owner.incarnation, slot.version) for owner, slot in slots.items())
        return blake2b(state.digest + repr(versions).encode(), digest_size=16).digest()

    def _some(self, targets: Sequence[UniqueAddress], members: int) -> Sequence[UniqueAddress]:
        return targets if members <= PUSH_ALL_MAX else self._sample(targets, self.fanout)

    def _sample(self, nodes: Sequence[UniqueAddress], count: int) -> list[UniqueAddress]:
        return self.rng.sample(nodes, min(max(count, 0), len(nodes)))
