"""Ends of runs: a leaving one waits and is waited for, a killed one is missed at once.

Owns the memory of each run's end, and of those due to notice it. It does not know how others decide about it
(`deciding`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import CLOCKS_APART, CRASH_SEEN_WITHIN, lost_in
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

LOOK_EVERY = 0.5
STAYING = (MemberStatus.joining, MemberStatus.up)


@dataclass(slots=True)
class LeavesInOrder(Rule):
    """The rules of a leave.

    A leaving run finishes its work. It stays until it is told to go, or for the time in the settings, or until nobody
    is left in its reach; and no longer. A run told to go is removed once it has said that it went, or cannot be
    reached, and not before.
    """

    _leaving_since: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())
    _woke: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())
    _exiting: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _removed: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _down: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is None or after.members is not before.members:
            self._note(run, after)
        if before is not None and after.tombstones is not before.tombstones:
            for node in after.tombstones.keys() - before.tombstones.keys() - self._removed:
                self._removed.add(node)
                self._remove(run, before, node)
        if run.outcome == "left":
            self._left(run, after)
        elif run.alive and run.finished_at <= self.cluster.now:
            self._may_stay(run, after)

    def look(self) -> None:
        cluster = self.cluster
        self.look_at = cluster.now + LOOK_EVERY
        for node in list(self._leaving_since):
            run = cluster.every[node]
            if not run.alive:
                del self._leaving_since[node]
            elif run.paused:
                self._woke[node] = cluster.now
            elif cluster.now - max(run.finished_at, self._woke.get(node, 0.0)) > self._longest:
                self._fail(run, "who leaves goes in the end", f"its work is finished since {run.finished_at:.4f}")

    @property
    def _longest(self) -> float:
        return self.cluster.settings.leave_timeout * (1 + CLOCKS_APART) + LOOK_EVERY

    def _note(self, run: Run, state: Gossip) -> None:
        own = state.members.get(run.node)
        if own is not None and own.status is MemberStatus.leaving:
            self._leaving_since.setdefault(run.node, run.clock(self.cluster.now))
        for member in state.ordered:
            if member.status is MemberStatus.exiting:
                self._exiting.add(member.unique)
            elif member.status is MemberStatus.down:
                self._down.add(member.unique)

    def _left(self, run: Run, state: Gossip) -> None:
        own = state.members.get(run.node)
        if run.finished_at > self.cluster.now:
            self._fail(run, "who leaves finishes its work", "it went before")
        if own is None or own.status is not MemberStatus.leaving:
            return
        lost = lost_in(state, run.node)
        others = [m for m in state.ordered if m.status in STAYING and m.unique not in lost and m.unique != run.node]
        waited = run.clock(self.cluster.now) - self._leaving_since[run.node]
        if others and waited < self.cluster.settings.leave_timeout * (1 - CLOCKS_APART):
            text = f"it went after {waited:.3f} s, though {others[0].id} had not let it go"
            self._fail(run, "who leaves waits for the others", text)

    def _may_stay(self, run: Run, state: Gossip) -> None:
        own = state.members.get(run.node)
        if own is None or own.status is not MemberStatus.leaving:
            return
        lost = lost_in(state, run.node) | {run.node}
        if not any(m.status in STAYING and m.unique not in lost for m in state.ordered):
            self._fail(run, "who leaves goes at once where nobody stays", "it waits")

    def _remove(self, run: Run, before: Gossip, node: UniqueAddress) -> None:
        gone = self.cluster.every[node]
        if node in self._down or not gone.alive or node in lost_in(before, run.node) or str(node) in self.cluster.lost:
            return  # the lease may have ruled it out, and its answer came to the last one of a side
        accused = self.cluster.accused_at  # this may be the very moment: then it is accused no more
        if not any((one.node, node) in accused for one in self.cluster.living):
            text = f"{gone.name} was removed, has not said that it went, and nobody missed it"
            self._fail(run, "who leaves is waited for", text)

    def _fail(self, run: Run, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f} by {run.name}")


@dataclass(slots=True)
class CrashSeen(Rule):
    """The rule: the monitor of a killed run, in reach of its place, accuses it within two seconds.

    Whether nobody is there any more or another run of the node is.
    """

    _ended: int = field(init=False, default=0)
    _missed: dict[tuple[UniqueAddress, UniqueAddress], float] = field(
        init=False, default_factory=lambda: dict[tuple[UniqueAddress, UniqueAddress], float]()
    )
    """By observer and run: until when it has to be accused."""

    def look(self) -> None:
        cluster = self.cluster
        if len(cluster.ended) > self._ended:
            crashed = [run.node for run in cluster.ended[self._ended :] if run.outcome == "crashed"]
            self._ended = len(cluster.ended)
            for node in crashed:
                self._crashed(node)
        for (observer, node), until in list(self._missed.items()) if self._missed else ():
            run = cluster.every[observer]
            if not self._misses(run, node):
                del self._missed[observer, node]
            elif cluster.now > until:
                text = f"{run.name} has not missed {node}, which ended {CRASH_SEEN_WITHIN:g} s before"
                raise InvariantBroken("a crash is seen at once", f"{text} {until:.4f}")

    def _crashed(self, node: UniqueAddress) -> None:
        for run in self.cluster.living:
            if node in run.availability.monitored:
                self._missed[run.node, node] = self.cluster.now + CRASH_SEEN_WITHIN

    def _misses(self, run: Run, node: UniqueAddress) -> bool:
        """Return whether a run should accuse another, and does not yet."""
        there = self.cluster.runs.get(node.address.host)
        silent = self.cluster.is_cut(run.name, node.address.host) or (there is not None and there.paused)
        if not run.alive or run.paused or silent:
            return False
        return node in run.availability.monitored and node not in run.availability.accused
