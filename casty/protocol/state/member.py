"""Members and the moves between their states.

Owns the allowed successions of states, and which of two copies of one member is further along. It does not know who
decides a move (`leader`, `downing`) or how it travels (`gossip`). The states are those of Akka Cluster's membership
lifecycle; `removed` is kept as a tombstone, not as a member.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from casty.address import NodeAddress, NodeId, UniqueAddress, by_place, run_text
from casty.schema.names import message


@message("casty.MemberStatus")
class MemberStatus(Enum):
    """Status of a member in its life."""

    joining = "joining"
    """Let in, and not yet promoted by the leader: it gets no exclusive work, and has no vote."""
    up = "up"
    """A full member."""
    leaving = "leaving"
    """Asked to leave; it still finishes its work."""
    exiting = "exiting"
    """Has finished; it waits for the leader to remove it."""
    down = "down"
    """Declared gone, by a downing strategy or an operator; it never comes back as this run."""
    removed = "removed"
    """Out of the cluster. Only events and old copies show it."""

    @property
    def rank(self) -> int:
        """Rank of the status in a member's life; the furthest of two copies wins a merge."""
        return _RANK[self]


_RANK = {status: rank for rank, status in enumerate(MemberStatus)}

MOVES: dict[MemberStatus, frozenset[MemberStatus]] = {
    MemberStatus.joining: frozenset({MemberStatus.up, MemberStatus.leaving, MemberStatus.down}),
    MemberStatus.up: frozenset({MemberStatus.leaving, MemberStatus.down}),
    MemberStatus.leaving: frozenset({MemberStatus.exiting, MemberStatus.down}),
    MemberStatus.exiting: frozenset({MemberStatus.removed, MemberStatus.down}),
    MemberStatus.down: frozenset({MemberStatus.removed}),
    MemberStatus.removed: frozenset(),
}
"""Allowed next states of each one: any other move is a programmer's error."""

VOTING = (MemberStatus.up, MemberStatus.leaving)
"""States in the count for convergence, leadership and majorities."""

GOING = (MemberStatus.exiting, MemberStatus.down)
"""States without need of anybody's agreement any more: they block no convergence."""


class _CachedValues:
    """Cache of values that follow from a member's fields: they are asked for some times in each step of each member."""

    __slots__ = ("_unique",)
    _unique: UniqueAddress


@message("casty.Member")
@dataclass(frozen=True, slots=True)
class Member(_CachedValues):
    """One run of a node as its cluster sees it.

    >>> Member(NodeAddress("10.0.0.1", 2551), MemberStatus.joining, frozenset({"web"}), "web-1").id
    'web-1'
    """

    address: NodeAddress
    """Address of the node's listener."""
    status: MemberStatus
    """Status in its life."""
    roles: frozenset[str]
    """Purposes of the node."""
    id: NodeId
    """Name of the node: ``ClusterConfig.node_id``."""
    incarnation: int = field(default=0, kw_only=True)
    """Large random number to tell this run of the node from earlier ones."""
    up_number: int = field(default=0, kw_only=True)
    """Rank among the members in the order of becoming up, from 1; 0 before that. It never falls. Two leaders of one
    moment can give the same one: who is older says `is_older_than`.
    """
    version: str = field(default="", kw_only=True)
    """Version of casty run by the node."""
    extra: tuple[tuple[str, bytes], ...] = field(default=(), kw_only=True)
    """Capabilities of the node's `ClusterExtension` objects, by name. Kept and passed on."""

    @property
    def unique(self) -> UniqueAddress:
        """Address and incarnation: the identity of this run."""
        try:
            return self._unique
        except AttributeError:
            unique = UniqueAddress(self.address, self.incarnation)
            object.__setattr__(self, "_unique", unique)
            return unique

    def __repr__(self) -> str:
        named = f"address={self.address!r}, status={self.status!r}, roles={self.roles!r}, id={self.id!r}"
        run = f"incarnation=0x{run_text(self.incarnation)}, up_number={self.up_number}, version={self.version!r}"
        return f"Member({named}, {run}{f', extra={self.extra!r}' if self.extra else ''})"

    def is_older_than(self, other: Member) -> bool:
        """Return whether this member became up before the other; of one ``up_number`` the lower address is older.

        A member not up yet is younger than all that have been.

        Parameters:
            other: Another member of the same cluster.

        Returns:
            True for the older one of two; of two copies of one run none is.

        >>> a, b = (Member(NodeAddress(host, 2551), MemberStatus.up, frozenset(), host, up_number=3) for host in "ab")
        >>> a.is_older_than(b), b.is_older_than(a)
        (True, False)
        """
        return by_age(self) < by_age(other)

    def __hash__(self) -> int:
        # Copies of one run in two states are rare; hashing all fields takes ten times as long.
        return self.incarnation

    def moved_to(self, status: MemberStatus, *, up_number: int | None = None) -> Member:
        """Copy this member into its next state.

        Parameters:
            status: The next state.
            up_number: Its number in the order of becoming up; None keeps the present one.

        Returns:
            The member in the new state.

        Raises:
            ValueError: No member goes from its present state to the new one.
        """
        if status not in MOVES[self.status]:
            raise ValueError(f"member {self.id} cannot go from {self.status.name} to {status.name}")
        moved = replace(self, status=status, up_number=self.up_number if up_number is None else up_number)
        object.__setattr__(moved, "_unique", self.unique)  # the same object, which is the fastest to compare
        return moved


def was_up(member: Member) -> bool:
    """Return whether a member is up, or was before it began to go."""
    return member.up_number > 0 or member.status is MemberStatus.up


def by_age(member: Member) -> tuple[bool, int, UniqueAddress]:
    """Return the key for sorting members by age, the oldest first: `Member.is_older_than` compares it."""
    return not member.up_number, member.up_number, member.unique


def furthest(one: Member, other: Member) -> Member:
    """Return the copy of a member that is further along; commutative, associative, idempotent.

    Two leaders can give different up numbers, if one of them was lost before anybody heard of it: the higher one stays,
    so that no node sees a number it has told fall.
    """
    ahead = one if one.status.rank >= other.status.rank else other
    up_number = max(one.up_number, other.up_number)
    return ahead if ahead.up_number == up_number else replace(ahead, up_number=up_number)


def member_called(members: Iterable[Member], node_id: NodeId) -> Member | None:
    """Return the member of this name, or None when nobody has it, down ones apart.

    Of two joined under one name at one time it is the one to stay: see `leader`.
    """
    named = (member for member in members if member.id == node_id and member.status is not MemberStatus.down)
    return min(named, key=lambda member: (member.status is MemberStatus.joining, member.unique), default=None)


def in_order(
    members: dict[UniqueAddress, Member], ordered: Collection[UniqueAddress] = ()
) -> dict[UniqueAddress, Member]:
    """Return the members by address, then incarnation; the ``ordered`` ones come first and are in order."""
    if len(members) == len(ordered):
        return members
    known = len(ordered)
    order = list(members)
    order, new = order[:known], order[known:]
    if len(new) > known:
        order = sorted(members, key=by_place)
    else:
        for unique in new:  # one or a few among many: finding their places takes less than sorting all
            order.insert(bisect_left(order, by_place(unique), key=by_place), unique)
    return {unique: members[unique] for unique in order}
