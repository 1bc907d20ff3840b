"""Time of the decision of a partition's sides.

Owns the timing: the view must be stable first; and the members on no side at all. It does not know which side goes on
(`strategies`), how a decision travels (`gossip`) or what a downed node does.

How it works: two members that accuse each other, and have both seen the state that says so, are connected indirectly:
the link between them is bad, but gossip finds a way round. Each would decide that the other is lost, on a side with all
the rest. So both count as lost, for everybody and for themselves. Of the sides of a partition neither has seen the
accusations of the other, so nobody there is at odds. It is the rule of Akka's split brain resolver; deviation: the two
go on counting as voters of another side, so the rest must be a side by its strategy without them. Where it is none, as
of three nodes, but were one with the other end of each bad link, one end goes (`bad_links`). It is downed by nobody but
itself: if the link heals, and the rest is cut off at that very time, there are no two sides with each other down. If it
has not gone after a while, all give up.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.split_brain.bad_links import bad_links, ends_to_go, without_links
from casty.protocol.split_brain.down_commit import still_counting
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import KeepMajority, LeaseMajority, Partition, Strategy
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow, accusing_each_other

STABLE_AFTER = ((5, 7.0), (10, 10.0), (20, 13.0), (50, 17.0), (100, 20.0), (1_000, 30.0))
ROUNDED = 1e-6
"""By so much less a time is over: a timer is set by a delay, and a retry may find another decision due."""
UNSTABLE_SHARE = 0.75
UNSTABLE_CHANGES = 3
"""Fewer changes than these are faults one after the other, within the count of a side."""


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
class _SettledView:
    """Part of a view required to stay for a while: members, joining ones apart, and those lost to this node."""

    settled: tuple[tuple[UniqueAddress, MemberStatus], ...] = ()
    lost: frozenset[UniqueAddress] = frozenset()
    at_odds: frozenset[UniqueAddress] = frozenset()

    @classmethod
    def of(cls, state: Gossip, self_node: UniqueAddress) -> _SettledView:
        settled = tuple((m.unique, m.status) for m in state.ordered if m.status is not MemberStatus.joining)
        return cls(settled, state.lost_to(self_node), state.at_odds)

    def is_less_than(self, before: _SettledView, state: Gossip) -> bool:
        """Whether an end of a bad link has gone, and nobody else is lost: this begins nothing anew for the others."""
        down = [m.unique for m in state.ordered if m.status is MemberStatus.down]
        return self.lost <= before.lost and not before.at_odds.isdisjoint(down)


_NOTHING = _SettledView()


@dataclass(slots=True)
class Downing:
    """The machine of one node; without a strategy it never decides.

    A change of members or reachability starts the time again; joins don't count. A view in constant change downs
    everybody: better no cluster than two.
    """

    strategy: Strategy | None = KeepMajority()
    stable_after: float | None = None
    seen_tracker: SeenTracker = field(default_factory=SeenTracker)
    """Kept by the owner of this machine."""
    _view: _SettledView = field(init=False, default=_NOTHING)
    _changed_at: float = field(init=False, default=0.0)
    _changes: int = field(init=False, default=0)
    _unstable_since: float = field(init=False, default=0.0)
    _aware: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Members known to have seen a state of this view."""
    _held: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())

    def observe(self, state: Gossip, self_node: UniqueAddress, now: float) -> float | None:
        """Take note of the view; return the delay until `decide` is due, None while all is well."""
        if self.strategy is None or not Partition.of(state, self_node).unreachable:
            self._view, self._changes, self._aware = _NOTHING, 0, frozenset()
            self._held.clear()
            return None
        view = _SettledView.of(state, self_node)
        is_new = view != self._view and not view.is_less_than(self._view, state)
        self._aware = state.seen if is_new else self._aware | state.seen
        if is_new:
            patience = self._patience(len(state.members))
            if not self._changes or now - self._changed_at >= patience:
                # The first change; or the view was stable, though the leader with the decision was lost.
                self._changes, self._unstable_since = 0, now
            self._changed_at = now
            self._changes += 1
        self._view = view
        return max(self._due(len(state.members)) - now, 0.0)

    def hold(self, node: UniqueAddress, until: float) -> None:
        """Take note that this node hears a member again, and will take it back by then: it is not downed from here."""
        self._held[node] = until

    def decide(self, state: Gossip, self_node: UniqueAddress, now: float) -> frozenset[UniqueAddress]:
        """Return the members to down: the lost side, the own side, or, of an unstable view, all."""
        if self.observe(state, self_node, now) is None or now < self._due(len(state.members)) - ROUNDED:
            return frozenset()
        partition = self.partition(state, self_node)
        if not self.is_settled(state, now):
            losers = partition.reachable + partition.unreachable
        elif not self._against(partition):
            losers = tuple(one for one in partition.unreachable if now >= self._held.get(one.unique, now))
        elif ends := self._ends_to_go(state, self_node):
            if self_node in ends:
                return frozenset({self_node})
            waited = now >= self._changed_at + self._patience(len(state.members)) * (1 + UNSTABLE_SHARE)
            losers = partition.reachable + partition.indirect if waited else ()
        else:
            losers = partition.reachable + partition.indirect
        return frozenset(member.unique for member in losers)

    def why(self, state: Gossip, self_node: UniqueAddress, now: float) -> str:
        """Return why the side of ``self_node`` is lost, in words, where `decide` has just said so."""
        if not self.is_settled(state, now):
            return f"whom it can reach has kept changing for {now - self._unstable_since:.0f} s"
        since = f"for {now - self._changed_at:.0f} s it"
        against = self._against(self.partition(state, self_node))
        if against and self_node not in self._ends_to_go(state, self_node):
            return f"{since} {against}"
        accused = state.rows[self_node].accused & state.at_odds
        names = ", ".join(str(node.address) for node in sorted(accused))
        return f"{since} could not reach {names}, and the other way round, though others reach both"

    def partition(self, state: Gossip, self_node: UniqueAddress) -> Partition:
        """Return the sides of the last observed view; two members at odds, and aware of it, are on none."""
        down = still_counting(state, self.strategy, self.seen_tracker)
        return Partition.of(state, self_node, accusing_each_other(state.rows, state.at_odds & self._aware), down)

    def is_doubted(self, state: Gossip, self_node: UniqueAddress) -> bool:
        """Return whether a member heard by this node has it for lost, and knows everything known here.

        The others of its side have it for lost too, and another leader: it can decide for itself alone. The doubts of a
        member gone since are nobody's any more.
        """
        own = state.rows.get(self_node, ObserverRow()).accused
        heard = self._aware - own - state.unheeded
        return any(self_node in row.accused for observer, row in state.rows.items() if observer in heard)

    def _ends_to_go(self, state: Gossip, self_node: UniqueAddress) -> frozenset[UniqueAddress]:
        """Return the ends of bad links without which the rest is a side; nobody where it is none all the same."""
        links = bad_links(state.rows, state.at_odds & self._aware)
        if not links or isinstance(self.strategy, LeaseMajority):  # the lease keeps somebody in any case
            return frozenset()
        ends = ends_to_go(links, state.members)
        down = still_counting(state, self.strategy, self.seen_tracker)
        rest = Partition.of(without_links(state, links), self_node, ends, down)
        return frozenset() if self._against(rest) else ends

    def _against(self, partition: Partition) -> str:
        return "" if self.strategy is None else self.strategy.against(partition)

    def is_settled(self, state: Gossip, now: float) -> bool:
        """Whether the view has not changed for long enough."""
        return now >= self._changed_at + self._patience(len(state.members)) - ROUNDED

    def _patience(self, members: int) -> float:
        return stable_after(members) if self.stable_after is None else self.stable_after

    def _due(self, members: int) -> float:
        patience = self._patience(members)
        settled = self._changed_at + patience
        if self._changes < UNSTABLE_CHANGES:
            return settled
        return min(settled, self._unstable_since + patience * (1 + UNSTABLE_SHARE))
