"""A quiet cluster that is cut: exactly those go that the documentation names, and in time.

Owns the members due to stay: they follow from the cut paths, from the ages of the members and from the strategy; and
until when all of it is decided. It asks no machine for any of it. It looks only at a cluster in agreement on all its
members at the time of the cut, without any other event until the decision is due.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.split_brain.strategies import KeepMajority, LeaseMajority, Strategy
from casty.protocol.state.member import Member, MemberStatus
from casty.testing.simulation.invariants.failure_detector.silence import NOTICED_WITHIN, pause_of
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import CLOCKS_APART, goes_on, patience
from casty.testing.simulation.invariants.rules import Rule

LOOK_EVERY = 0.1
QUIET_FOR = 25.0
"""Seconds after a standstill, or a cut healed again, in which detectors are more patient."""
JITTER_MAX = 0.11
ROUNDS = 2
"""Rounds of gossip in which an accusation gets round a bad link."""
DECIDED_WITHIN = 1.5
"""Seconds for retries of a leader that waits until its side knows, and for the news of it."""

Link = frozenset[UniqueAddress]
Nodes = frozenset[UniqueAddress]


def parts_of(nodes: Collection[UniqueAddress], cuts: Collection[Link]) -> list[Nodes]:
    """Return the nodes in parts: each of all those with a way to each other, over others too.

    >>> from casty.address import NodeAddress
    >>> a, b, c = (UniqueAddress(NodeAddress(name, 1), 1) for name in "abc")
    >>> len(parts_of((a, b, c), [frozenset({a, b})])), len(parts_of((a, b, c), [frozenset({a, b}), frozenset({a, c})]))
    (1, 2)
    """
    left, parts = sorted(nodes), list[Nodes]()
    while left:
        part, found = {left[0]}, [left[0]]
        while found:
            one = found.pop()
            new = [other for other in left if other not in part and frozenset((one, other)) not in cuts]
            part.update(new)
            found += new
        parts.append(frozenset(part))
        left = [node for node in left if node not in part]
    return parts


def ends_without_links(links: Collection[Link], members: Collection[Member]) -> Nodes:
    """Return the ends to go so that no link is bad: first the one with most, of equals the last to come up."""
    ends: set[UniqueAddress] = set()
    left = list(links)
    while left:
        first = max(
            (member for member in members if any(member.unique in link for link in left)),
            key=lambda member: (sum(member.unique in link for link in left), member.up_number, member.unique),
        )
        ends.add(first.unique)
        left = [link for link in left if first.unique not in link]
    return frozenset(ends)


@dataclass(frozen=True, slots=True)
class Staying:
    """Members to go on: nobody else than ``may`` does, and all who ``must``."""

    may: Nodes
    must: Nodes


def who_stays(strategy: Strategy | None, members: Collection[Member], cuts: Collection[Link]) -> Staying | None:
    """Return the members to go on after these cuts; None where several sides may, and one does.

    Where several bad links cost one end each, the first to go may leave a rest that is a side without both ends of the
    next: then both go.

    Parameters:
        strategy: The strategy of downing; with None everybody stays.
        members: The members, all of them up.
        cuts: The pairs out of each other's hearing.
    """
    every = frozenset(member.unique for member in members)
    if strategy is None or not cuts:
        return Staying(every, every)
    parts = parts_of(every, cuts)
    judge: Strategy = KeepMajority(strategy.role) if isinstance(strategy, LeaseMajority) else strategy

    def is_side(side: Nodes) -> bool:
        mine, theirs = ([m for m in members if (m.unique in side) is here] for here in (True, False))
        return goes_on(judge, mine, theirs) is True

    staying: Nodes = frozenset()
    for part in parts:
        links = [link for link in cuts if link <= part]
        rest = part.difference(*links)
        if is_side(rest):
            return Staying(rest, rest)  # two such sides are none
        if isinstance(strategy, LeaseMajority):
            if rest and len(parts) > 1:
                return None  # whose leader asks first gets the lease
            staying |= rest
        elif links and is_side(part - (ends := ends_without_links(links, members))):
            others = frozenset[UniqueAddress]().union(*links) - ends
            return Staying(part - ends, part - ends if len(ends) == 1 else part - ends - others)
    return Staying(staying, staying)


@dataclass(slots=True)
class _Case:
    """Outcome due after cuts."""

    cuts: frozenset[Link]
    began_at: float
    members: tuple[Member, ...]
    stays: Staying | None
    decided_by: float


@dataclass(slots=True)
class CutDecided(Rule):
    """The rule: a cluster cut while all is well is one side by its strategy in time, and nobody else is left.

    Two out of each other's hearing, though others hear both, are on no side; or the end with most such links goes, of
    equals the youngest, where nobody else were a side. Time is the sum for noticing a silence, waiting until the view
    is stable, and telling all.
    """

    _quiet_since: float = field(init=False, default=-math.inf)
    _was_whole: bool = field(init=False, default=False)
    """Whether all agreed, and nothing was cut, when this looked last."""
    _case: _Case | None = field(init=False, default=None)
    _known: tuple[int, int] = field(init=False, default=(0, 0))
    """Number of runs, and of those that ended other than by being downed."""

    def look(self) -> None:
        cluster, case = self.cluster, self._case
        self.look_at = cluster.now + LOOK_EVERY
        cuts = self._cuts()
        is_disturbed = self._is_disturbed()
        if case is not None and (is_disturbed or cuts is None or self._is_left()):
            case = None
        if case is not None and cuts != case.cuts:
            is_same = cluster.now <= case.began_at + 2 * LOOK_EVERY and cuts is not None
            case = self._case_of(cuts or frozenset(), case.began_at, case.members) if is_same else None
        elif case is None and cuts and self._was_whole and not is_disturbed:
            states = (run.topology.state for run in cluster.living)
            members = next((state.ordered for state in states if state is not None), ())
            case = self._case_of(cuts, cluster.now, members)
        self._case = case
        self._was_whole = not cuts and not is_disturbed and self._is_whole()
        if case is not None:
            self._judge(case)

    def _cuts(self) -> frozenset[Link] | None:
        """Return the pairs out of each other's hearing; None where messages pass one way."""
        cluster, found = self.cluster, set[Link]()
        if not cluster.is_cut_somewhere:
            return frozenset()
        runs = [run for run in cluster.runs.values() if run.alive or run.outcome == "downed"]
        for place, one in enumerate(runs):
            for other in runs[place + 1 :]:
                if cluster.is_cut(one.name, other.name):
                    if cluster.passes(one.name, other.name) or cluster.passes(other.name, one.name):
                        return None
                    found.add(frozenset((one.node, other.node)))
        return frozenset(found)

    def _is_disturbed(self) -> bool:
        """Look whether anything happens but cuts, and note when it did."""
        cluster = self.cluster
        ended = sum(run.outcome != "downed" for run in cluster.ended)
        known, self._known = self._known, (len(cluster.every), ended)
        if cluster.loss or cluster.held_up or cluster.duplicated or cluster.jitter > JITTER_MAX:
            self._quiet_since = math.inf
        if cluster.standing_still:
            self._quiet_since = max(self._quiet_since, cluster.now + QUIET_FOR)
        return known != self._known or self._quiet_since > cluster.now

    def _is_left(self) -> bool:
        """Look whether anybody wants to leave, or was declared down by hand."""
        states = [run.topology.state for run in self.cluster.living]
        leaves = any(
            member.status in (MemberStatus.leaving, MemberStatus.exiting)
            for state in states
            if state is not None
            for member in state.ordered
        )
        return leaves or bool(self.cluster.downed_by_hand)

    def _is_whole(self) -> bool:
        """Look whether all are up for all, watch all others, and have missed nobody of them lately."""
        cluster = self.cluster
        living = cluster.living
        nodes = {run.node for run in living}
        return (
            len(living) > 1
            and cluster.all_up(len(living))
            and all(run.availability.monitored_max >= len(living) - 1 for run in living)
            and not any(node in nodes and other in nodes for node, other in cluster.accused_at)
        )

    def _case_of(self, cuts: frozenset[Link], began_at: float, members: tuple[Member, ...]) -> _Case:
        settings = self.cluster.settings
        pause = max(pause_of(self.cluster.every[member.unique]) for member in members)
        stable = settings.stable_after
        within = pause + NOTICED_WITHIN + (patience(len(members)) if stable is None else stable)
        if isinstance(settings.downing, LeaseMajority):
            within += settings.downing.minority_delay + self.cluster.lease_takes_max
        within += ROUNDS * settings.gossip_interval + DECIDED_WITHIN
        stays = who_stays(settings.downing, members, cuts)
        return _Case(cuts, began_at, members, stays, began_at + within / (1 - CLOCKS_APART))

    def _judge(self, case: _Case) -> None:
        there = [self.cluster.every[member.unique] for member in case.members]
        alive = frozenset(run.node for run in there if run.alive)
        is_due = self.cluster.now > case.decided_by
        if case.stays is None:
            parts = parts_of([run.node for run in there], case.cuts)
            if is_due and sum(not part.isdisjoint(alive) for part in parts) != 1:
                self._fail(case, f"one side with the lease, not {_names(alive)},")
        elif case.stays.must - alive:
            self._fail(case, f"{_names(case.stays.must)} and not without {_names(case.stays.must - alive)}")
        elif is_due and alive - case.stays.may:
            self._fail(case, f"{_names(case.stays.may)} and not {_names(alive)}")
        elif is_due:
            self._must_be_known(case, alive)
        if is_due:
            self._case = None

    def _must_be_known(self, case: _Case, alive: Nodes) -> None:
        """Fail where a run goes on without holding every gone one for down, or removed."""
        gone = {member.unique for member in case.members} - alive
        for node in alive:
            state = self.cluster.every[node].topology.state
            kept = [one for one in gone if state is not None and one in state.members.keys() - state.down]
            if kept:
                self._fail(case, f"{_names(alive)}, and {node.address.host} does not count {_names(kept)} any more")

    def _fail(self, case: _Case, what: str) -> None:
        links = " ".join(sorted("-".join(sorted(node.address.host for node in link)) for link in case.cuts))
        text = f"{what} go on by {self.cluster.settings.downing}, {links} cut since {case.began_at:.4f}"
        raise InvariantBroken("exactly the right side goes on", f"{text}, at {self.cluster.now:.4f}")


def _names(nodes: Collection[UniqueAddress]) -> str:
    return " ".join(sorted(node.address.host for node in nodes)) or "nobody"
