"""Quorum of seeds for the beginning of a new cluster.

Owns the seeds under their real addresses, and the count of them. It does not know how they are asked (`joining`,
`cluster_merge`), or what else the first members wait for (`leader`).

How it works: a cluster is founded by one node and begins when its first members are moved up. Both take more than half
of the seeds: as answers for the one, and as members known to have this very state for the other. A run is in one
cluster in its life, so the runs of these seeds cannot begin two, whatever is cut, delayed or lost meanwhile: two sets
of more than half have a seed in common. The id of a cluster follows from the incarnation of its founder. The founder
moves the first members up, as it counts the seeds of its own list; once it has gone, the leader does. The id is a
digest: it is told to any asker for the status, and an incarnation is not.

Source: the majority of a leader's term in Raft, Ongaro 2014, sec. 3.4, with one term. Deviation: nothing is written
down, so an ended run forgets, and its seed counts for the next cluster (`joining` says what may remember).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.state.leader import has_begun, leader_of
from casty.protocol.state.member import GOING
from casty.protocol.state.membership_state import Gossip

FOUND_MAX: Final = 256
"""Addresses found later, kept by one node."""


def cluster_id_of(founder: UniqueAddress) -> int:
    """Return the id of the cluster founded by a run: 63 bits, and never 0.

    >>> cluster_id_of(UniqueAddress(NodeAddress("a", 1), 7)) == cluster_id_of(UniqueAddress(NodeAddress("b", 2), 7))
    True
    """
    digest = blake2b(founder.incarnation.to_bytes(8, "big"), digest_size=8, person=b"casty cluster").digest()
    return int.from_bytes(digest, "big") >> 1 | 1


@dataclass(slots=True)
class Founding:
    """Seeds of one node; it counts itself among them once another node seeds from it."""

    self_node: UniqueAddress
    seeds: tuple[NodeAddress, ...] = ()
    is_free: bool = False
    """Whether an operator lets this node begin a cluster without the others."""
    is_seeded_from: bool = False
    found: tuple[NodeAddress, ...] = ()
    """Addresses of other nodes, perhaps, as found later: they are asked as seeds are, and count for nothing."""
    _addresses: dict[NodeAddress, NodeAddress] = field(init=False, default_factory=dict[NodeAddress, NodeAddress])
    """Own address of the node behind each seed."""

    def note(self, seed: NodeAddress, address: NodeAddress) -> None:
        """Take note that the node dialled as ``seed`` is at ``address``; other addresses are not kept."""
        if seed in self.seeds or seed in self.found:
            self._addresses[seed] = address

    def find(self, addresses: Iterable[NodeAddress]) -> list[NodeAddress]:
        """Take note of addresses of other nodes, perhaps, as far as there is room, and return the new ones."""
        known = {*self.seeds, *self.found, self.self_node.address}
        new = [each for each in dict.fromkeys(addresses) if each not in known][: FOUND_MAX - len(self.found)]
        self.found += tuple(new)
        return new

    def address_of(self, seed: NodeAddress) -> NodeAddress:
        """Return the address of the node behind a seed, as far as it is known."""
        return self._addresses.get(seed, seed)

    @property
    def others(self) -> list[NodeAddress]:
        """Seeds, as they are dialled, apart from those known to lead back to this node."""
        return self._elsewhere(self.seeds)

    @property
    def contacts(self) -> list[NodeAddress]:
        """Those, and the addresses found later."""
        return self._elsewhere((*self.seeds, *self.found))

    def _elsewhere(self, addresses: Iterable[NodeAddress]) -> list[NodeAddress]:
        return [each for each in dict.fromkeys(addresses) if self.address_of(each) != self.self_node.address]

    @property
    def is_listed(self) -> bool:
        """Whether this node is one of its seeds."""
        return len(self.others) < len(set(self.seeds))

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody else to ask: no seed, or this node as the only one."""
        return not self.others

    @property
    def is_candidate(self) -> bool:
        """Whether this node may found a cluster at all."""
        return self.is_listed or self.is_seeded_from or self.is_alone

    @property
    def counted(self) -> frozenset[NodeAddress]:
        """Seeds in the count, by address; this node among them if it is a candidate."""
        own = {self.self_node.address} if self.is_candidate else set[NodeAddress]()
        return frozenset(map(self.address_of, self.others)) | own

    def is_majority(self, present: Collection[NodeAddress]) -> bool:
        """Whether these are more than half of the seeds."""
        counted = self.counted
        return 2 * len(counted.intersection(present)) > len(counted)

    def decides(self, state: Gossip) -> bool:
        """Whether this node has its cluster begin, or gives it up: the founder does, or after it the leader.

        One node for both: of two, one could begin it while the other gives it up and founds another.
        """
        if cluster_id_of(self.self_node) == state.cluster_id:
            return True
        is_founded_by_other = any(cluster_id_of(node) == state.cluster_id for node in state.members)
        return not is_founded_by_other and leader_of(state, self.self_node) == self.self_node

    def may_begin(self, state: Gossip) -> bool:
        """Whether this node may move the first members of its cluster up, as far as the seeds are concerned."""
        if has_begun(state) or not self.decides(state):
            return False
        if self.is_free and cluster_id_of(self.self_node) == state.cluster_id:
            return True
        knowing = (state.members[node] for node in state.seen)
        return self.is_majority({member.address for member in knowing if member.status not in GOING})
