"""In calm weather everything goes fast: news travel at once, joiners come up, leavers go, services are known.

Owns the memory of news, and since when the weather is calm: nothing is lost or held up, no path is cut, nobody stands
still or has just ended. It does not know how news travel (`casty.protocol.gossip.anti_entropy`).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import ServiceEntry
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import accused_in, lost_in, voters_in
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

CALM_AFTER = 5.0
"""Rounds of gossip, of a second at least, after the last trouble, from which on news have to be fast: earlier losses
are repaired by rounds.
"""
PUSHED_WITHIN = 0.1
"""Seconds beside five journeys, for a change to be known by all: it is pushed, and merged at worst. A round in a hurry
takes longer: a missing push shows.
"""
SETTLED_WITHIN = 3.0
"""Seconds beside the work of a leaver, for somebody to come up or to go: each step has to be agreed on."""
JOURNEYS = 5
HANDOVERS = 3
"""For each journey, from one task of a node to another."""
PUSH_ALL_MAX = 16
"""In a cluster of so many everybody is told of a change by its author."""
DELAY_MAX = 0.5
LOOK_EVERY = 0.1

NOTHING = frozenset[str]()

Version = VectorClock[int]
News = tuple[float, Run, Version, frozenset[UniqueAddress]]
"""Time of a version, its author, and the runs of which that was a member then."""
Offered = tuple[frozenset[ServiceEntry], dict[NodeAddress, frozenset[str]]]
Passing = tuple[UniqueAddress, str]
"""A run and the name of its status."""


@dataclass(slots=True)
class Weather(Rule):
    """Knows since when it is calm. It is no rule itself."""

    since: float = field(init=False, default=0.0)
    """Time of the last trouble."""
    _ended: int = field(init=False, default=0)
    _journey: float = field(init=False, default=0.0)
    _journey_at: float = field(init=False, default=0.0)
    """Time of the last message as slow as that."""

    def look(self) -> None:
        cluster = self.cluster
        if (
            cluster.loss
            or cluster.held_up
            or cluster.is_cut_somewhere
            or cluster.standing_still
            or cluster.delay + cluster.jitter > DELAY_MAX
        ):
            self.since = cluster.now
        journey = cluster.delay + cluster.jitter
        if journey >= self._journey or cluster.now > self._journey_at + self.calm_after:
            self._journey, self._journey_at = journey, cluster.now
        if len(cluster.ended) > self._ended:
            if any(run.outcome == "crashed" for run in cluster.ended[self._ended :]):
                self.since = cluster.now
            self._ended = len(cluster.ended)

    @property
    def journey(self) -> float:
        """Longest travel of a message perhaps still under way."""
        return max(self._journey, self.cluster.delay + self.cluster.jitter)

    @property
    def is_calm(self) -> bool:
        """Whether nothing has been wrong for long enough."""
        return self.cluster.now - self.since >= self.calm_after

    @property
    def calm_after(self) -> float:
        """Seconds after the last trouble until it is calm."""
        return CALM_AFTER * max(self.cluster.settings.gossip_interval, 1.0)


@dataclass(slots=True)
class NewsTravel(Rule):
    """The rules of calm weather.

    A change of the membership is known to all members in a tenth of a second and five journeys, and the leader knows
    it. Where nobody is unreachable, a joiner is up within three seconds unless too few have joined, a leaver is gone
    within as many after its work and missed by nobody, and the services of all are known in as long as a change.
    """

    weather: Weather
    """Knows since when it is calm; it must be one of the rules too, before this one."""
    _news: deque[News] = field(init=False, default_factory=lambda: deque[News]())
    _passing: dict[Passing, float] = field(init=False, default_factory=lambda: dict[Passing, float]())
    """Since when each run is in a passing status."""
    _unknown: dict[Passing, float] = field(init=False, default_factory=lambda: dict[Passing, float]())
    """Since when a node shows other services of a run than its own."""
    _passing_at: float = field(init=False, default=0.0)
    _offered: dict[UniqueAddress, Offered] = field(init=False, default_factory=lambda: dict[UniqueAddress, "Offered"]())
    """All services in the view of each run, and the same by their nodes."""

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        number = run.node.incarnation
        is_news = before is not None and after.version.version_of(number) > before.version.version_of(number)
        if before is not None and is_news and not _is_asked_about(before, after):
            states = {other.node: other.topology.state for other in self.cluster.living}
            knowing = frozenset(n for n, one in states.items() if one is not None and run.node in one.members)
            self._news.append((self.cluster.now, run, after.version, knowing))
            self.look_at = min(self.look_at, self.cluster.now + self._within)
        if before is not None and after.rows is not before.rows and self.weather.is_calm:
            self._missed(run, before, after)

    def look(self) -> None:
        now, within = self.cluster.now, self._within
        while self._news and now > self._news[0][0] + within:
            at, author, version, knowing = self._news.popleft()
            if at - self.weather.since >= self.weather.calm_after and len(self.cluster.runs) <= PUSH_ALL_MAX:
                self._known_by_all(author, version, at, knowing)
        if now >= self._passing_at:
            self._passing_at = now + LOOK_EVERY
            if self.weather.is_calm and not any(_is_held_up(run) for run in self.cluster.living):
                self._look_at_passing(within)
                self._look_at_services(within)
            else:
                self._passing, self._unknown = {}, {}
        self.look_at = min(self._passing_at, self._news[0][0] + within if self._news else math.inf)

    @property
    def _within(self) -> float:
        return PUSHED_WITHIN + JOURNEYS * (self.weather.journey + HANDOVERS * self.cluster.handover)

    def _missed(self, run: Run, before: Gossip, after: Gossip) -> None:
        """Fail for a run missing another one that was told to go, and went: it has said so."""
        accused, old = (
            state.rows[run.node].accused if run.node in state.rows else frozenset[UniqueAddress]()
            for state in (after, before)
        )
        for node in accused - old:
            gone = self.cluster.every[node]
            state = gone.topology.state
            own = None if state is None else state.members.get(node)
            was_calm = gone.ended_at - self.weather.since >= self.weather.calm_after
            if self.cluster.runs[gone.name] is not gone or gone.outcome != "left":
                continue  # another run of the node is evidence
            if own is not None and own.status is MemberStatus.exiting and was_calm:
                text = f"{run.name} accuses {gone.name}, which went at {gone.ended_at:.4f}"
                raise InvariantBroken("who went in order is not missed", f"{text}, at {self.cluster.now:.4f}")

    def _known_by_all(self, author: Run, version: Version, at: float, knowing: frozenset[UniqueAddress]) -> None:
        state = author.topology.state
        if state is None or not author.alive:
            return
        for run in self.cluster.living:
            theirs = run.topology.state
            if theirs is None or theirs.cluster_id != state.cluster_id or run.node not in knowing:
                continue
            if run.node not in state.members or author.node not in theirs.members:
                continue  # who was let in by one that has gone since asks the others anew, after ten seconds
            if not _covers(theirs, version):
                text = f"{run.name} does not know what {author.name} changed at {at:.4f}"
                raise InvariantBroken("news travel at once in calm weather", f"{text}, at {self.cluster.now:.4f}")
            if theirs.version == version and not _is_held_up(run):
                self._agreed_in(run, theirs, at)

    def _agreed_in(self, run: Run, state: Gossip, at: float) -> None:
        """Fail for a leader without the knowledge that a voter has seen the version."""
        if run.node != min(voters_in(state), default=None):
            return
        unknown = [n for n in voters_in(state) - state.seen if self.cluster.every[n].alive]
        if unknown:
            text = f"{run.name} leads, and cannot tell that {unknown[0].address.host} has seen the change of {at:.4f}"
            raise InvariantBroken("a leader knows at once who has seen a change", f"{text}, at {self.cluster.now:.4f}")

    def _look_at_passing(self, within: float) -> None:
        now = self.cluster.now
        states = {run.node: run.topology.state for run in self.cluster.living}
        passing = dict[Passing, float]()
        for node, state in states.items():
            # A run let in by one gone since is known to nobody for a while, and learns nothing.
            others = [one for other, one in states.items() if other != node and one is not None]
            if state is None or (others and all(node not in one.members for one in others)):
                continue
            seen = [m for m in state.ordered if m.status is not MemberStatus.up and m.unique != node]
            passing |= {(member.unique, member.status.name): now for member in seen}
        self._passing = {key: self._passing.get(key, now) for key in passing}
        for (node, status), since in self._passing.items():
            work = self.cluster.work if status in ("leaving", "exiting") else 0.0
            if now > since + SETTLED_WITHIN + JOURNEYS * within + work:
                text = f"{node.address.host} is {status} since {since:.4f}"
                raise InvariantBroken("nobody waits in calm weather", f"{text}, at {now:.4f}")

    def _look_at_services(self, within: float) -> None:
        now, unknown = self.cluster.now, dict[Passing, float]()
        for owner in self.cluster.living:
            known = owner.topology.state
            for run in self.cluster.living:
                state, snapshot = run.topology.state, run.topology.view.snapshot
                if state is None or snapshot is None or known is None:
                    continue
                if owner.node not in state.members or run.node not in known.members:
                    continue  # the same
                shown = self._shown_by(run, snapshot.registry).get(owner.node.address, NOTHING)
                if shown != owner.offered:
                    key = owner.node, run.name
                    since = unknown[key] = max(self._unknown.get(key, now), owner.offered_at)
                    if now > since + within:
                        text = f"{run.name} shows {sorted(shown)} at {owner.name}, which offers {sorted(owner.offered)}"
                        raise InvariantBroken("services are known at once in calm weather", f"{text}, at {now:.4f}")
        self._unknown = unknown

    def _shown_by(self, run: Run, registry: frozenset[ServiceEntry]) -> dict[NodeAddress, frozenset[str]]:
        known = self._offered.get(run.node)
        if known is None or known[0] is not registry:
            keys: dict[NodeAddress, set[str]] = {}
            for entry in registry:
                keys.setdefault(entry.node, set()).add(entry.key)
            known = self._offered[run.node] = registry, {node: frozenset(one) for node, one in keys.items()}
        return known[1]


def _is_asked_about(before: Gossip, after: Gossip) -> bool:
    """Return whether somebody goes without an accusation, as by a lease: others ask whether it can be."""
    down = {m.unique for m in after.ordered if m.status is MemberStatus.down}
    fresh = {m.unique for m in before.ordered if m.status is not MemberStatus.down and m.unique in down}
    return not fresh <= accused_in(before)


def _is_held_up(run: Run) -> bool:
    """Return whether a run waits for another: unreachable to it, down or only joining with too few."""
    state = run.topology.state
    if state is None or lost_in(state, run.node) or accused_in(state):
        return True
    return all(member.status is MemberStatus.joining for member in state.ordered)


def _covers(state: Gossip, version: Version) -> bool:
    mine = state.version
    pruned = {run.incarnation for run in state.tombstones}
    return all(mine.version_of(node) >= count or node in pruned for node, count in version.versions.items())
