"""Replicated state of a cluster: a value for any two nodes to merge.

Owns the membership state, its version and who has seen it. Only a local change makes a version; receiving never does,
so an idle cluster changes nothing. It does not know when to send (`Topology`) or what a leader does with it (`leader`).
The form follows the gossip of Akka Cluster; deviation: reachability rows and tombstones are merged by their own
versions and ages, and each node leaves out the rows of members it accuses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from hashlib import blake2b

from casty.address import NodeAddress, UniqueAddress
from casty.errors import DecodeError
from casty.protocol.state.member import GOING, VOTING, Member, MemberStatus, furthest, in_order, was_up
from casty.protocol.state.reachability import ObserverRow, accusing_each_other, kept_rows, merge_rows, unreachable_in
from casty.protocol.state.vector_clock import VectorClock

TOMBSTONE_AGE_MAX = 24 * 3600.0
TOMBSTONES_MAX = 4_096
MEMBERS_MAX = 1_024


_NO_ROW = ObserverRow()


class Relation(Enum):
    """Relation of a received state to the own one."""

    same = "same"
    newer = "newer"
    older = "older"
    concurrent = "concurrent"


def _no_members() -> dict[UniqueAddress, Member]:
    return {}


def _no_tombstones() -> dict[UniqueAddress, float]:
    return {}


def _no_rows() -> dict[UniqueAddress, ObserverRow]:
    return {}


@dataclass(frozen=True)
class Gossip:
    """One version of the membership of one cluster."""

    cluster_id: int
    members: Mapping[UniqueAddress, Member] = field(default_factory=_no_members)
    """By address, then incarnation: every addition keeps the order, so nobody has to sort."""
    tombstones: Mapping[UniqueAddress, float] = field(default_factory=_no_tombstones)
    """Removed runs and when, in monotonic seconds of this node, they were removed."""
    rows: Mapping[UniqueAddress, ObserverRow] = field(default_factory=_no_rows)
    up_numbers_given: int = 0
    version: VectorClock[int] = field(default_factory=VectorClock[int])
    """Local changes per incarnation."""
    seen: frozenset[UniqueAddress] = frozenset()
    """Nodes known to have this very version."""
    terms_given: int = 0
    """Highest number of a term of a coordinator: a newcomer has it with its welcome, and gives none twice."""

    @cached_property
    def unreachable(self) -> frozenset[UniqueAddress]:
        """Members accused by an observer whose accusations count."""
        if not any(row.accused for row in self.rows.values()):
            return frozenset()
        return unreachable_in(self.rows, self.members.keys(), self.unheeded)

    def lost_to(self, self_node: UniqueAddress) -> frozenset[UniqueAddress]:
        """Return the members accused by ``self_node``, or by somebody not accused by it; never itself.

        A member it accuses is heard no more and cannot take back its word: its accusations count for nothing.
        """
        own = self.rows.get(self_node, _NO_ROW).accused
        # The word of a joining node counts for itself.
        joins = bool(own) and self_node in self.unheeded and self_node not in self.down
        if not self.unreachable and not joins:
            return self.unreachable
        if own.isdisjoint(self.rows) and not joins:
            return self.unreachable - {self_node}
        heard = {observer: row for observer, row in self.rows.items() if observer not in own}
        void = self.unheeded - {self_node} if joins else self.unheeded
        return unreachable_in(heard, self.members.keys(), void) - {self_node}

    @cached_property
    def at_odds(self) -> frozenset[UniqueAddress]:
        """Members in mutual accusation with another one."""
        return accusing_each_other(self.rows, self.present - self.unheeded) if self.unreachable else frozenset()

    @cached_property
    def unheeded(self) -> frozenset[UniqueAddress]:
        """Members whose accusations count for nobody else: the down ones, and those never up, once anybody is.

        A newly admitted member may be anybody, and says by a row of its own that all others are lost. It may leave.
        """
        statuses = {member.status for member in self.members.values()}
        if MemberStatus.up not in statuses:
            return self.down
        void = frozenset(node for node, member in self.members.items() if not was_up(member))
        return self.down | void if void else self.down

    @cached_property
    def down(self) -> frozenset[UniqueAddress]:
        """Down members."""
        return frozenset(unique for unique, member in self.members.items() if member.status is MemberStatus.down)

    @cached_property
    def ordered(self) -> tuple[Member, ...]:
        """The members by address, then incarnation."""
        return tuple(self.members.values())

    @cached_property
    def present(self) -> frozenset[UniqueAddress]:
        """The members as a set: of two sets Python compares stored hashes."""
        return frozenset(self.members)

    @cached_property
    def voters(self) -> frozenset[UniqueAddress]:
        """Members up, or leaving and up before: convergence is their agreement, as far as they are reachable."""
        return frozenset(n for n, member in self.members.items() if member.status in VOTING and was_up(member))

    @cached_property
    def digest(self) -> bytes:
        """Digest of 16 bytes, different when version, content or seen differ."""
        return blake2b(self._content + self.seen_bits, digest_size=16).digest()

    @cached_property
    def version_digest(self) -> bytes:
        """Digest of 16 bytes, different when the version differs: its name, where both sides may know it."""
        return blake2b(repr(sorted(self.version.versions.items())).encode(), digest_size=16).digest()

    @cached_property
    def seen_bits(self) -> bytes:
        """Nodes with this version, as on the wire: a bit for each member, in their order, the first in the lowest."""
        places, bits = self._places, bytearray((len(self.members) + 7) // 8)
        for unique in self.seen:
            place = places[unique]
            bits[place >> 3] |= 1 << (place & 7)
        return bytes(bits)

    @cached_property
    def _places(self) -> Mapping[UniqueAddress, int]:
        return {unique: place for place, unique in enumerate(self.members)}

    def named_by(self, bits: bytes) -> frozenset[UniqueAddress]:
        """Return the members of ``bits``. DecodeError for bits impossible in a state with these members."""
        number, order = int.from_bytes(bits, "little"), tuple(self.members)
        if len(bits) != (len(order) + 7) // 8 or number >> len(order):
            raise DecodeError(f"gossip: seen must have a bit for each of {len(order)} members, got {len(bits)} bytes")
        named: list[UniqueAddress] = []
        while number:
            lowest = number & -number
            named.append(order[lowest.bit_length() - 1])
            number ^= lowest
        return frozenset(named)

    @cached_property
    def _content(self) -> bytes:
        members = [(m.incarnation, m.address.host, m.address.port, m.status.name, m.up_number) for m in self.ordered]
        rows = sorted((observer.incarnation, row.version) for observer, row in self.rows.items())
        removed = sorted(unique.incarnation for unique in self.tombstones)
        facts = (self.cluster_id, self.version_digest, members, rows, removed)
        return blake2b(repr(facts).encode(), digest_size=16).digest()

    def others(self, self_node: UniqueAddress) -> tuple[Member, ...]:
        """The members without the asking node."""
        return tuple(member for member in self.ordered if member.unique != self_node)

    def changed(self, by: UniqueAddress, **updates: object) -> Gossip:
        """Return a new version with ``updates``, made by node ``by``, alone in having seen it."""
        version = self.version.increment(by.incarnation)
        return replace(self, **updates, version=version, seen=frozenset({by}))  # type: ignore[arg-type]  # field names are checked by replace

    def with_member(self, by: UniqueAddress, member: Member) -> Gossip:
        """Return the version with ``member`` as given, new or moved."""
        given = max(self.up_numbers_given, member.up_number)
        members = in_order({**self.members, member.unique: member}, self.members)
        return self.changed(by, members=members, up_numbers_given=given)

    def runs_at(self, address: NodeAddress) -> set[UniqueAddress]:
        """Return the members at an address: one, or while a restarted node waits, two."""
        return {unique for unique in self.members if unique.address == address}

    def with_moved(self, by: UniqueAddress, nodes: Collection[UniqueAddress], status: MemberStatus) -> Gossip:
        """Return the version with ``nodes`` at least in ``status``, or this one if all were."""
        behind = [member for member in self.ordered if member.unique in nodes and member.status.rank < status.rank]
        if not behind:
            return self
        moved = {member.unique: member.moved_to(status) for member in behind}
        return self.changed(by, members={**self.members, **moved})

    def with_term(self, by: UniqueAddress, number: int) -> Gossip:
        """Return the version in which this number of a term is given, or this one if it was, or a higher one."""
        return self if number <= self.terms_given else self.changed(by, terms_given=number)

    def with_row(self, by: UniqueAddress, row: ObserverRow) -> Gossip:
        """Return the version in which ``by`` accuses as ``row`` says."""
        return self.changed(by, rows={**self.rows, by: row})

    def without_members(self, by: UniqueAddress, gone: frozenset[UniqueAddress], now: float) -> Gossip:
        """Return the version with the ``gone`` members removed and remembered as such."""
        tombstones = dict(self.tombstones) | {unique: now for unique in sorted(gone)}
        return _normal(self.changed(by, tombstones=tombstones))

    def without_old_tombstones(self, by: UniqueAddress, now: float) -> Gossip:
        """Return the version without tombstones over their age or number, or this one if none is."""
        oldest_first = sorted(self.tombstones, key=lambda unique: (self.tombstones[unique], unique))
        surplus = len(oldest_first) - TOMBSTONES_MAX
        gone = [
            unique
            for place, unique in enumerate(oldest_first)
            if place < surplus or now - self.tombstones[unique] > TOMBSTONE_AGE_MAX
        ]
        if not gone:
            return self
        kept = {unique: at for unique, at in self.tombstones.items() if unique not in gone}
        clock = self.version
        for unique in gone:
            clock = clock.without(unique.incarnation)
        return replace(self, version=clock).changed(by, tombstones=kept)

    def seen_by(self, *nodes: UniqueAddress) -> Gossip:
        """Return the same version, known to have been seen by ``nodes`` too."""
        return self.seen_by_all(frozenset(nodes))

    def seen_by_all(self, nodes: frozenset[UniqueAddress]) -> Gossip:
        """Return the same version, known to have been seen by the members among ``nodes`` too."""
        seen = self.seen | (nodes & self.present)
        return self if len(seen) == len(self.seen) else self._with_seen(seen)

    def _with_seen(self, seen: frozenset[UniqueAddress]) -> Gossip:
        # Most steps of a state change nothing but who has seen it: all values independent of it are kept.
        same = object.__new__(Gossip)
        same.__dict__.update(self.__dict__, seen=seen)
        for name in _SEEN:
            same.__dict__.pop(name, None)
        return same

    def relation_of(self, other: Gossip) -> Relation:
        """Return how ``other`` stands to this state.

        The clock entry of a removed run counts only while both know the run: a leader pruning a tombstone drops its
        entry, and makes so a newer version, not one beside the unpruned.
        """
        mine, theirs = _comparable(self, other), _comparable(other, self)
        mine_covers, other_covers = mine.covers(theirs), theirs.covers(mine)
        if mine_covers and other_covers:
            return Relation.same
        if other_covers:
            return Relation.newer
        return Relation.older if mine_covers else Relation.concurrent

    def merge(self, other: Gossip) -> Gossip:
        """Return the least state with both in it; the merging node adds itself to ``seen``.

        Commutative, associative and idempotent. Of two copies of a member the furthest status wins,
        and a tombstone is further than any status.
        """
        members = dict(self.members)
        for unique, member in other.members.items():
            mine = members.get(unique)
            members[unique] = member if mine is None else furthest(mine, member)
        members = in_order(members, self.members)
        tombstones = dict(self.tombstones)
        for unique, at in other.tombstones.items():
            tombstones[unique] = min(at, tombstones.get(unique, at))
        version = self.version.merge(other.version)
        seen = (state.seen for state in (self, other) if state.version == version)
        merged = Gossip(
            self.cluster_id,
            members,
            tombstones,
            merge_rows(self.rows, other.rows),
            max(self.up_numbers_given, other.up_numbers_given),
            version,
            frozenset[UniqueAddress]().union(*seen),
            max(self.terms_given, other.terms_given),
        )
        return _normal(merged)

    def is_converged(self, self_node: UniqueAddress) -> bool:
        """Return whether this version is agreed on.

        Every reachable up or leaving member has seen it, and nobody is unreachable except down or exiting members. A
        node counts itself as reachable.
        """
        lost = self.lost_to(self_node)
        if any(self.members[unique].status not in GOING for unique in lost):
            return False
        return (self.voters - lost if lost else self.voters) <= self.seen


_SEEN = ("digest", "seen_bits")
"""Values that follow from ``seen``."""


def _comparable(state: Gossip, other: Gossip) -> VectorClock[int]:
    """Return the version of ``state`` without the removed runs pruned by ``other``."""
    clock = state.version
    for unique in state.tombstones:
        if unique not in other.tombstones and unique not in other.members:
            clock = clock.without(unique.incarnation)
    return clock


def _normal(state: Gossip) -> Gossip:
    """Return the state without members beside their tombstones, and without traces of absent ones."""
    present = state.members.keys()
    if (
        present.isdisjoint(state.tombstones)
        and present >= state.rows.keys()
        and all(present >= row.accused for row in state.rows.values() if row.accused)
    ):
        return state
    members = {unique: member for unique, member in state.members.items() if unique not in state.tombstones}
    rows = {
        observer: ObserverRow(row.version, row.accused & members.keys())
        for observer, row in kept_rows(state.rows, members.keys()).items()
    }
    return replace(state, members=members, rows=rows, seen=state.seen & members.keys())
