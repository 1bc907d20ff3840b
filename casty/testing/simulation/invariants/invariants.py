"""Rules of a simulated cluster after every single event.

Owns the memory of each run's views so far. Give `Watch.check` to `ModelCluster.run_for` as its ``until``: it never
stops the run, it fails with the time and the node.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.state.member import GOING, VOTING, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.promises import patience
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

REMEMBERED_FOR, REMEMBERED_MAX = 24 * 3600.0, 4_096
"""Seconds for which so many removed runs are remembered."""
OVERLAP_MAX = 10.0
"""Seconds, beside the time of downing on each side, in which a lost side notices its loss."""


class InvariantBroken(AssertionError):
    """Raised when a simulated cluster breaks a rule.

    Parameters:
        rule: The broken rule, in a few words, the same for every way of breaking it.
        text: How it was broken: the time, the nodes.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule: str = rule
        """The broken rule, in a few words, the same for every way of breaking it."""


@dataclass(slots=True)
class _Shown:
    numbers: dict[UniqueAddress, int] = field(default_factory=lambda: dict[UniqueAddress, int]())
    status: dict[UniqueAddress, MemberStatus] = field(default_factory=lambda: dict[UniqueAddress, MemberStatus]())
    gone: set[UniqueAddress] = field(default_factory=lambda: set[UniqueAddress]())


@dataclass(slots=True)
class Watch(Rule):
    """The rules, over the views of all runs of one cluster.

    A status only moves on; a removed run never comes back, and is remembered for a day; one cluster; one up run per
    address and one up member per node_id; a number once told never falls, and nobody gives one known to it as given,
    though two leaders may; no two living runs have removed each other, and none lives on for long while down or removed
    for others. A down member counts until its downing is agreed (`down_commit`), so two sides may have each other down
    until one of them gives up.
    """

    one_cluster: bool = True
    """Whether a second cluster is a fault; False where a node restarts while it is cut off."""
    _shown: dict[UniqueAddress, _Shown] = field(init=False, default_factory=lambda: dict[UniqueAddress, _Shown]())
    _cluster_id: int = field(init=False, default=0)
    _given: set[tuple[UniqueAddress, int]] = field(init=False, default_factory=lambda: set[tuple[UniqueAddress, int]]())
    """Numbers shown by anybody: the first to show one has given it."""
    _rejected: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())
    """Runs down or removed for a living one, and since when they could have known."""

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is not None and after.tombstones is not before.tombstones and self.cluster.now < REMEMBERED_FOR:
            forgotten = sorted(before.tombstones.keys() - after.tombstones.keys())
            if forgotten and len(before.tombstones) <= REMEMBERED_MAX:
                self._fail(run, "a removed run is remembered", f"{forgotten[0]} is forgotten")
        if after is not before:
            if before is None or after.members is not before.members:
                shown = self._shown.setdefault(run.node, _Shown())
                self._members(run, after, shown)
                self._numbers(run, after, shown)
                self._identities(run, after)
            self._rejections(run, after)

    def look(self) -> None:
        self._overdue()
        self.look_at = -math.inf if self._rejected else math.inf

    def path(self, at: str, subject: UniqueAddress) -> list[str]:
        """List the statuses of a run in the view of another.

        Parameters:
            at: Name of the viewing node.
            subject: Run in its view.

        Returns:
            Names of statuses in order, each once; ``removed`` where it is gone.
        """
        path: list[str] = []
        for snapshot in self.cluster.runs[at].snapshots:
            found = [member.status.name for member in snapshot.members if member.unique == subject]
            status = found[0] if found else "removed"
            if (found or path) and (not path or path[-1] != status):
                path.append(status)
        return path

    def _members(self, run: Run, state: Gossip, shown: _Shown) -> None:
        for unique, member in state.members.items():
            before = shown.status.get(unique)
            if before is member.status:
                continue
            if unique in shown.gone:
                self._fail(run, "a removed run never comes back", f"{unique} is {member.status.name}")
            if before is not None and before.rank > member.status.rank:
                moves = f"{unique} went from {before.name} to {member.status.name}"
                self._fail(run, "a status only moves on", moves)
            shown.status[unique] = member.status
        shown.gone.update(shown.status.keys() - state.members.keys())

    def _numbers(self, run: Run, state: Gossip, shown: _Shown) -> None:
        given: list[int] = []
        known = max(shown.numbers.values(), default=0)
        for unique, member in state.members.items():
            number = member.up_number
            before = shown.numbers.get(unique, 0)
            if number == before:
                continue
            if number < before:
                self._fail(run, "a told number never falls", f"that of {unique} went from {before} to {number}")
            if (unique, number) in self._given:
                known = max(known, number)
            else:
                given.append(number)
                self._given.add((unique, number))
            shown.numbers[unique] = number
        if given and (min(given) <= known or len(given) != len(set(given))):
            self._fail(run, "a number is given once", f"it gave {given} and knew {known}")

    def _identities(self, run: Run, state: Gossip) -> None:
        voters = [member for member in state.ordered if member.status in VOTING]
        came_up = [member for member in state.ordered if member.up_number]
        for what, values in (
            ("address", [member.address for member in came_up]),
            ("node_id", [member.id for member in voters if member.status is MemberStatus.up]),
        ):
            if len(set(values)) < len(values):
                twice = next(value for value, count in Counter(values).items() if count > 1)
                self._fail(run, f"no two members are up with one {what}", str(twice))
        if self.one_cluster and run.alive and state.cluster_id != self._cluster_id:
            others = [other.topology.state for other in self.cluster.living if other is not run]
            if any(other is not None and other.cluster_id == self._cluster_id for other in others):
                self._fail(run, "there is one cluster", "this one is in a second")
            self._cluster_id = state.cluster_id  # the first one, or nobody is left in the one before

    def _rejections(self, run: Run, state: Gossip) -> None:
        """Note the runs down or removed for ``run``; fail if it and one of these have removed each other."""
        if not _goes_on(run):
            return
        for other in self.cluster.runs.values():
            if other is not run and other.alive and _rejects(state, other.node):
                self._rejected.setdefault(other.node, self.cluster.now)
                self.look_at = -math.inf
                theirs = other.topology.state
                removed = theirs is not None and run.node in theirs.tombstones and other.node in state.tombstones
                if removed and _goes_on(other):
                    self._fail(run, "at most one side goes on", f"{other.name} and {run.name} removed each other")

    def _overdue(self) -> None:
        """Fail for a removed run that could have known of its side's loss, and goes on."""
        for node, since in list(self._rejected.items()):
            run = self.cluster.every[node]
            if not run.alive:
                del self._rejected[node]
            elif run.paused:
                self._rejected[node] = self.cluster.now
            elif self.cluster.now > since + self._patience():
                del self._rejected[node]
                removed_by = [other.name for other in self.cluster.living if _goes_on_without(other, run.node)]
                if removed_by and _goes_on(run):
                    by = f"removed by {removed_by[0]} since {since:.4f}"
                    self._fail(run, "who was removed stops", by)

    def _patience(self) -> float:
        settings = self.cluster.settings
        return OVERLAP_MAX + 2 * (settings.stable_after or patience(len(self.cluster.runs)))

    def _fail(self, run: Run, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f} in the view of {run.name}")


def _rejects(state: Gossip, node: UniqueAddress) -> bool:
    member = state.members.get(node)
    return node in state.tombstones or (member is not None and member.status is MemberStatus.down)


def _goes_on(run: Run) -> bool:
    """Return whether a run is alive and neither on its way out nor down in its own view."""
    state = run.topology.state
    own = None if state is None else state.members.get(run.node)
    return run.alive and own is not None and own.status not in GOING


def _goes_on_without(run: Run, node: UniqueAddress) -> bool:
    state = run.topology.state
    return state is not None and _goes_on(run) and _rejects(state, node)


def check_snapshots(run: Run) -> None:
    """Fail unless each snapshot of ``run`` names as leader a reachable member, or nobody.

    Parameters:
        run: The run whose snapshots are looked at.

    Raises:
        InvariantBroken: A snapshot is not complete in itself.
    """
    for snapshot in run.snapshots:
        leader = snapshot.leader
        led = [member for member in snapshot.members if member.address == leader]
        if leader is not None and (leader in snapshot.unreachable or all(m.status is MemberStatus.down for m in led)):
            shown = f"{leader} is {', '.join(member.status.name for member in led) or 'no member'}"
            is_lost = " and unreachable" if leader in snapshot.unreachable else ""
            raise InvariantBroken("the leader can be reached", f"in a snapshot of {run.name} {shown}{is_lost}")


def check_events(run: Run) -> None:
    """Fail unless ``run`` has told each change once: up before left, reachable after unreachable.

    Parameters:
        run: The run whose events are looked at.

    Raises:
        InvariantBroken: An event cannot follow on those before it.
    """
    told: dict[UniqueAddress, list[str]] = {}
    for _, event in run.events:
        match event:
            case MemberUp(member) | MemberLeft(member) | UnreachableMember(member) | ReachableMember(member):
                told.setdefault(member.unique, []).append(type(event).__name__)
            case _:
                raise InvariantBroken("only events of members are told", f"{run.name} published {event!r}")
    for unique, kinds in told.items():
        count = Counter(kinds)
        edges = [kind for kind in kinds if kind.endswith("Member")]
        alternating = all(kind == ("UnreachableMember", "ReachableMember")[at % 2] for at, kind in enumerate(edges))
        left_last = "MemberLeft" not in kinds or ("MemberUp" in kinds and kinds[-1] == "MemberLeft")
        if count["MemberUp"] > 1 or count["MemberLeft"] > 1 or not alternating or not left_last:
            raise InvariantBroken("each change is told once", f"{run.name} told of {unique}: {kinds}")
