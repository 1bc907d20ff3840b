"""Which side of a partition goes on.

Owns the decision and its timing: the view must be stable first. It does not know how a decision
travels (`gossip`) or what a downed node does. The rules are those of Akka's split brain resolver
with the strategy keep_majority; deviation: the count is repeated with the other side's possible
promotions before a side is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from casty.address import UniqueAddress
from casty.protocol.gossip import Gossip
from casty.protocol.membership import GOING, VOTING, Member, MemberStatus

STABLE_AFTER = ((5, 7.0), (10, 10.0), (20, 13.0), (50, 17.0), (100, 20.0), (1_000, 30.0))
UNSTABLE_SHARE = 0.75


def stable_after(members: int) -> float:
    """Return how long a view must be stable, in seconds: longer gossip needs longer patience.

    >>> stable_after(3), stable_after(10), stable_after(15), stable_after(100)
    (7.0, 10.0, 11.5, 20.0)
    """
    place = bisect_left(STABLE_AFTER, (members, 0.0))
    if place == 0:
        return STABLE_AFTER[0][1]
    if place == len(STABLE_AFTER):
        return STABLE_AFTER[-1][1]
    (less, low), (more, high) = STABLE_AFTER[place - 1], STABLE_AFTER[place]
    return low + (high - low) * (members - less) / (more - less)


@dataclass(frozen=True, slots=True)
class Partition:
    """The voters that this side can and cannot hear, and the members that wait to become up."""

    reachable: tuple[Member, ...]
    unreachable: tuple[Member, ...]

    @classmethod
    def of(cls, state: Gossip, self_node: UniqueAddress) -> Partition:
        """Return the two sides as ``self_node`` sees them; it counts itself as reachable."""
        lost = state.unreachable - {self_node}
        members = [member for member in state.ordered if member.status not in GOING]
        return cls(
            tuple(member for member in members if member.unique not in lost),
            tuple(member for member in members if member.unique in lost),
        )


def keeps_majority(partition: Partition) -> bool:
    """Return whether this side holds the majority, twice counted; a tie keeps the lowest address.

    The second count takes what the other side may have decided in the meantime: this side's leaving
    members as gone, the other side's joining members as up. Both must say yes.
    """
    return _outvotes(*_votes(partition)) and _outvotes(*_votes_at_worst(partition))


Votes: TypeAlias = tuple[list[UniqueAddress], list[UniqueAddress]]
"""This side's voters and the other's."""


def _votes(partition: Partition) -> Votes:
    return _with(partition.reachable, VOTING), _with(partition.unreachable, VOTING)


def _votes_at_worst(partition: Partition) -> Votes:
    theirs_at_best = VOTING | {MemberStatus.joining}
    return _with(partition.reachable, {MemberStatus.up}), _with(partition.unreachable, theirs_at_best)


def _with(members: Collection[Member], statuses: Collection[MemberStatus]) -> list[UniqueAddress]:
    return sorted(member.unique for member in members if member.status in statuses)


def _outvotes(mine: list[UniqueAddress], theirs: list[UniqueAddress]) -> bool:
    if len(mine) != len(theirs):
        return len(mine) > len(theirs)
    return bool(mine) and mine[0] < theirs[0]


@dataclass(slots=True)
class Downing:
    """When to decide: after a time without a change of members or reachability; joins don't count."""

    enabled: bool = True
    stable_after: float | None = None
    _view: tuple[object, ...] = ()
    _changed_at: float = 0.0
    _unstable_since: float | None = None

    def observe(self, state: Gossip, self_node: UniqueAddress, now: float) -> float | None:
        """Take note of the view; return the delay until `decide` is due, None while all is well."""
        partition = Partition.of(state, self_node)
        if not self.enabled or not partition.unreachable:
            self._unstable_since = None
            self._view = ()
            return None
        settled = tuple((m.unique, m.status) for m in state.ordered if m.status is not MemberStatus.joining)
        view = (settled, tuple(sorted(state.unreachable)))
        if self._unstable_since is None:
            self._unstable_since = now
        if view != self._view:
            if self._view and now - self._changed_at >= self._patience(len(state.members)):
                self._unstable_since = now  # it was stable, though the leader who had to decide was lost
            self._view, self._changed_at = view, now
        return max(self._due(len(state.members)) - now, 0.0)

    def decide(self, state: Gossip, self_node: UniqueAddress, now: float) -> frozenset[UniqueAddress]:
        """Return the members to down: the lost side, the own side, or, of an unstable view, all."""
        if self.observe(state, self_node, now) is None or self._unstable_since is None:
            return frozenset()
        patience = self._patience(len(state.members))
        partition = Partition.of(state, self_node)
        if now - self._changed_at < patience:
            if now - self._unstable_since < patience * (1 + UNSTABLE_SHARE):
                return frozenset()
            losers = partition.reachable + partition.unreachable
        else:
            losers = partition.unreachable if keeps_majority(partition) else partition.reachable
        return frozenset(member.unique for member in losers)

    def why(self, state: Gossip, self_node: UniqueAddress, now: float) -> str:
        """Return why the side of ``self_node`` is lost, in words, where `decide` has just said so."""
        partition = Partition.of(state, self_node)
        if now - self._changed_at < self._patience(len(state.members)):
            since = now if self._unstable_since is None else self._unstable_since
            return f"whom it can reach has kept changing for {now - since:.0f} s"
        worst, (mine, theirs) = "", _votes(partition)
        if _outvotes(mine, theirs):
            worst, (mine, theirs) = " at worst", _votes_at_worst(partition)
        seen, voters = len(mine), len(mine) + len(theirs)
        tie = ", and of two halves the one with the lowest address goes on" if 2 * seen == voters else ""
        return f"it could not reach a majority (saw {seen} of {voters}{worst}) for {now - self._changed_at:.0f} s{tie}"

    def _patience(self, members: int) -> float:
        return stable_after(members) if self.stable_after is None else self.stable_after

    def _due(self, members: int) -> float:
        patience = self._patience(members)
        since = self._changed_at if self._unstable_since is None else self._unstable_since
        return min(self._changed_at + patience, since + patience * (1 + UNSTABLE_SHARE))
