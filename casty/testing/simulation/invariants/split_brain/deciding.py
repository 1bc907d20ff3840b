"""Decisions that members are down: by whom, when, and whether the right side goes on.

Owns the memory of each run's view and since when it has it, by its own clock. The side to go on is judged by
`promises`, not by the protocol. Members declared down by an operator, replaced by another run, or only joining, are
nobody's verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.split_brain.strategies import LeaseMajority
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import GOING, VOTERS, counts_in, goes_on, lost_in, patience, sides_in
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

UNSTABLE_SHARE = 0.75
UNSTABLE_CHANGES = 3
GIVEN_UP_WITHIN = 1.0
"""Seconds for a node to give itself up after its view has kept changing for too long."""
EARLY = 0.01
LOOK_EVERY = 0.5
DECIDED_WITHIN = 15.0
"""Seconds after twice the time of downing: a leader waits until its whole side knows; a lease may be slow."""

Lost = frozenset[UniqueAddress]


@dataclass(slots=True)
class _View:
    settled: frozenset[tuple[UniqueAddress, MemberStatus]]
    lost: Lost
    at_odds: Lost
    changed_at: float
    """By the clock of the run."""
    began_at: float
    """Time of the first of the changes that followed on each other."""
    shown_at: float
    """By the time of the simulation."""
    changes: int = 1
    """Number of changes that followed on each other."""


@dataclass(slots=True)
class Decided(Rule):
    """The rules of a verdict.

    Nobody is down before the view of the deciding run has been stable for the promised time, or has been changing for
    1.75 of it, three times at least; then all go. A side that goes on by its strategy downs its lost members, by its
    leader; a side that does not downs itself. And somebody decides in the end.
    """

    _views: dict[UniqueAddress, _View] = field(init=False, default_factory=lambda: dict[UniqueAddress, _View]())
    _down: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is not None and after.members is before.members and after.rows is before.rows:
            return
        fresh = {
            node
            for node, member in after.members.items()
            if member.status is MemberStatus.down and node not in self._down
        }
        self._down |= fresh
        if fresh and before is not None and self.cluster.settings.downing is not None:
            verdict = {node for node in fresh if self._is_verdict(before, after, node)}
            own = after.members.get(run.node)
            if own is not None and own.status is MemberStatus.down:
                verdict.add(run.node)  # others may have said so before
            if fresh & verdict and run.node in self._views:
                self._judge(run, before, verdict)
        self._show(run, after)

    def look(self) -> None:
        now = self.cluster.now
        self.look_at = now + LOOK_EVERY
        if self.cluster.settings.downing is None:
            return
        for run in self.cluster.living:
            view, state = self._views.get(run.node), run.topology.state
            if view is None or state is None:
                continue
            if run.paused:
                view.shown_at = now
            elif now > view.shown_at + 2 * self._patience(state) + DECIDED_WITHIN:
                lost = ", ".join(node.address.host for node in sorted(view.lost))
                self._fail(run, "who stays unreachable is decided on", f"{lost} lost since {view.shown_at:.4f}")
            elif view.changes >= UNSTABLE_CHANGES:
                self._must_give_up(run, view, self._patience(state))

    def _must_give_up(self, run: Run, view: _View, wait: float) -> None:
        """Fail where a node goes on with a view not settled in time."""
        now, due = run.clock(self.cluster.now), view.began_at + wait * (1 + UNSTABLE_SHARE)
        has_settled = view.changed_at + wait <= due + EARLY
        if not has_settled and min(now - max(due, view.changed_at), self.cluster.now - view.shown_at) > GIVEN_UP_WITHIN:
            text = f"{view.changes} changes in {now - view.began_at:.3f} s"
            self._fail(run, "a view that keeps changing ends its node", text)

    def _show(self, run: Run, state: Gossip) -> None:
        lost, now = lost_in(state, run.node), run.clock(self.cluster.now)
        before = self._views.get(run.node)
        if all(state.members[node].status in GOING for node in lost):
            self._views.pop(run.node, None)
            return
        settled = frozenset((m.unique, m.status) for m in state.ordered if m.status is not MemberStatus.joining)
        odds = _at_odds(state)
        if before is None:
            self._views[run.node] = _View(settled, lost, odds, now, now, self.cluster.now)
        elif (settled, lost, odds) != (before.settled, before.lost, before.at_odds):
            gone = {m.unique for m in state.ordered if m.status is MemberStatus.down}
            is_new = not (lost <= before.lost and before.at_odds & gone)
            stood = now - before.changed_at >= self._patience(state)
            changed_at, began_at, changes = before.changed_at, before.began_at, before.changes
            if is_new:
                changed_at, began_at, changes = now, now if stood else began_at, 1 if stood else changes + 1
            self._views[run.node] = _View(settled, lost, odds, changed_at, began_at, self.cluster.now, changes)

    def _is_verdict(self, before: Gossip, after: Gossip, node: UniqueAddress) -> bool:
        member = before.members.get(node)
        if member is None or member.status is MemberStatus.joining or node in self.cluster.downed_by_hand:
            return False
        there = self.cluster.runs[node.address.host].node
        return there == node and not any(one.address == node.address and one != node for one in after.members)

    def _judge(self, run: Run, state: Gossip, verdict: set[UniqueAddress]) -> None:
        view, now = self._views[run.node], run.clock(self.cluster.now)
        strategy, wait = self.cluster.settings.downing, self._patience(state)
        names = ", ".join(node.address.host for node in sorted(verdict))
        gives_up = run.node in verdict
        stable, unstable = now - view.changed_at, now - view.began_at
        never_settles = view.changes >= UNSTABLE_CHANGES and unstable >= wait * (1 + UNSTABLE_SHARE) - EARLY
        if stable < wait - EARLY and not (gives_up and never_settles):
            if isinstance(strategy, LeaseMajority):
                return  # the lease was asked when the view was stable, and answers later
            text = f"{names} after {stable:.3f} s of {wait:g} without a change of the view"
            self._fail(run, "nobody is downed before the view is stable", text)
        if not gives_up:
            came_up = [m for m in state.ordered if m.status in VOTERS and m.up_number]
            voters = [m.unique for m in came_up if m.unique not in lost_in(state, run.node)]
            if voters and min(voters) != run.node:
                self._fail(run, "only the leader downs others", f"{names}, and {min(voters)} leads")
        is_clear = not view.at_odds and not any(m.status is MemberStatus.down for m in state.ordered)
        is_both = gives_up and never_settles and stable < wait + EARLY  # about to be stable when it was given up
        if strategy is None or not is_clear or stable < wait - EARLY or is_both:
            return
        mine, theirs = sides_in(state, run.node)
        may = goes_on(strategy, mine, theirs)
        if may is gives_up and may is not None:
            sides = f"{[m.id for m in mine]} of {[m.id for m in (*mine, *theirs)]} by {strategy}"
            self._fail(run, "the right side goes on", f"{names} downed by {sides}")
        spared = run.node not in verdict and verdict - {m.unique for m in theirs}
        if spared:
            self._fail(run, "only who is unreachable is downed", names)

    def _patience(self, state: Gossip) -> float:
        given = self.cluster.settings.stable_after
        return patience(len(state.members)) if given is None else given

    def _fail(self, run: Run, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f} by {run.name}")


def _at_odds(state: Gossip) -> Lost:
    """Return the members accusing one that accuses them too, all with a word that counts."""
    rows = {n: row.accused for n, row in state.rows.items() if counts_in(state, n)}
    return frozenset(one for one, accused in rows.items() for other in accused if one in rows.get(other, ()))
