"""A run deciding about others lets all of its side know first, and asks the lease of a strategy once, and in its turn.

Owns the memory of when each run knew first that another is accused or down: its real knowledge, and not who is known to
have seen what. It does not know when a view is stable (`deciding`), or whether the right side goes on (`cutting`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.split_brain.resolver import AcquireLease
from casty.protocol.split_brain.strategies import KeepMajority, LeaseMajority
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import (
    CLOCKS_APART,
    TAKEOVER,
    VOTERS,
    counts_in,
    goes_on,
    lost_in,
    patience,
    sides_in,
)
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

EARLY = 0.01

Nodes = frozenset[UniqueAddress]
Times = dict[UniqueAddress, float]
NOBODY: Nodes = frozenset()


@dataclass(slots=True)
class KnownToAll(Rule):
    """The rules of the steps once all know of an accusation.

    A run that downs others, or claims the lease against them, does so when every voter of its side has known that they
    are accused or down. Members ruled out by the lease go also where somebody came up before it answered. The work of a
    down member is free 4.4 s after the last voter of a side has known.
    """

    kinds = (AcquireLease,)
    _knew_at: dict[UniqueAddress, Times] = field(init=False, default_factory=lambda: dict[UniqueAddress, Times]())
    """Time of each run's first knowledge of another's accusation, by the time of the simulation."""
    _all_knew_at: Times = field(init=False, default_factory=dict[UniqueAddress, float])
    """Time of the last voter's knowledge, of the side that removed a run."""
    _down: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is not None and after.members is before.members and after.rows is before.rows:
            return
        down = {m.unique for m in after.members.values() if m.status is MemberStatus.down}
        fresh, self._down = down - self._down, self._down | down
        is_leased = isinstance(self.cluster.settings.downing, LeaseMajority)
        if fresh and before is not None and run.node not in down and not is_leased:
            verdict = {node for node in fresh if self._is_verdict(before, after, node)}
            if verdict:
                self._must_be_known(run, before, verdict, "downs")
        knew_at, now = self._knew_at.setdefault(run.node, {}), self.cluster.now
        for node in down.union(*self._accused(run, after)):
            knew_at.setdefault(node, now)
        if before is not None and after.tombstones is not before.tombstones:
            for node in after.tombstones.keys() - before.tombstones.keys():
                self._must_wait(run, before, node)

    def performed(self, run: Run, effect: object) -> None:
        state = run.topology.state
        if isinstance(effect, AcquireLease) and state is not None:
            _, theirs = sides_in(state, run.node)
            self._must_be_known(run, state, {m.unique for m in theirs}, "claims the lease against")

    def _accused(self, run: Run, state: Gossip) -> Iterable[Nodes]:
        """Yield the members accused by those whose word counts for a run."""
        for observer, row in state.rows.items():
            if row.accused and (observer == run.node or counts_in(state, observer)):
                yield row.accused

    def _is_verdict(self, before: Gossip, after: Gossip, node: UniqueAddress) -> bool:
        """Return whether somebody is down because it was unreachable."""
        member = before.members.get(node)
        if member is None or member.status is MemberStatus.joining or node in self.cluster.downed_by_hand:
            return False
        if self.cluster.settings.downing is None or self.cluster.runs[node.address.host].node != node:
            return False
        return not any(one.address == node.address and one != node for one in after.members)

    def _side(self, run: Run, state: Gossip, lost: Collection[UniqueAddress]) -> list[UniqueAddress]:
        """Return the voters of the side of a run."""
        heard = state.members.keys() - lost_in(state, run.node) - set(lost)
        return sorted(node for node in heard if state.members[node].status in VOTERS)

    def _must_be_known(self, run: Run, state: Gossip, lost: Collection[UniqueAddress], does: str) -> None:
        for node in self._side(run, state, lost):
            unknown = sorted(set(lost) - self._knew_at.get(node, {}).keys())
            if unknown and node != run.node:
                text = f"{run.name} {does} {unknown[0].address.host}, and {node.address.host} has never known of that"
                raise InvariantBroken("who is lost is known to all first", f"{text}, at {self.cluster.now:.4f}")

    def _must_wait(self, run: Run, before: Gossip, node: UniqueAddress) -> None:
        """Fail where the work of a removed run is free too early after the last voter has known.

        The side of the removing run counts: others may have been lost to it, and learn of all at once.
        """
        now = self.cluster.now
        if node not in self._all_knew_at:
            known = [self._knew_at.get(one, {}).get(node, -math.inf) for one in self._side(run, before, {node})]
            self._all_knew_at[node] = max(known, default=-math.inf)
        free_in = max(run.work_free_at.get(node, -math.inf) - run.clock(now), 0.0) / run.clock_rate
        if now + free_in < self._all_knew_at[node] + TAKEOVER * (1 - CLOCKS_APART) - EARLY:
            text = f"that of {node} for {run.name} in {free_in:.3f} s, and all know since {self._all_knew_at[node]:.4f}"
            raise InvariantBroken("work is free when all have known for long enough", f"{text}, at {now:.4f}")


@dataclass(slots=True)
class Claimed(Rule):
    """The rules of a lease as the judge between sides.

    The leader of a side claims it, once its view is stable, and later by the delay of the strategy where its side is no
    majority; not again before it was answered. The winner downs all others, and the loser its own side.
    """

    kinds = (AcquireLease,)
    _lost: dict[UniqueAddress, tuple[Nodes, float]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, "tuple[Nodes, float]"]()
    )
    """Members lost to each run, and since when, by its clock."""
    _open: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _answered: int = field(init=False, default=0)

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if isinstance(self.cluster.settings.downing, LeaseMajority):
            lost = lost_in(after, run.node)
            if self._lost.get(run.node, (NOBODY, 0.0))[0] != lost:
                self._lost[run.node] = lost, run.clock(self.cluster.now)

    def performed(self, run: Run, effect: object) -> None:
        strategy, state = self.cluster.settings.downing, run.topology.state
        if not isinstance(strategy, LeaseMajority) or state is None:
            return
        if run.node in self._open:
            self._fail(run, "the lease is asked once at a time", "it has not answered yet")
        self._open.add(run.node)
        self.look_at = -math.inf
        mine, theirs = sides_in(state, run.node)
        voters = [m.unique for m in mine if m.status in VOTERS and m.up_number]
        if voters and min(voters) != run.node:
            self._fail(run, "only the leader claims the lease", f"{min(voters)} leads")
        lost, since = self._lost.get(run.node, (NOBODY, -math.inf))
        given = self.cluster.settings.stable_after
        wait = patience(len(state.members)) if given is None else given
        if goes_on(KeepMajority(strategy.role), mine, theirs) is False:
            wait += strategy.minority_delay
        waited = run.clock(self.cluster.now) - since
        if lost == lost_in(state, run.node) and waited < wait - EARLY:
            self._fail(run, "the lease is claimed in turn", f"after {waited:.3f} s of {wait:g}")

    def look(self) -> None:
        answers = self.cluster.lease_answers
        for run, answer in answers[self._answered :]:
            self._open.discard(run.node)
            state = run.topology.state
            if state is None:
                continue
            gone = answer.claim.others if answer.held else answer.claim.side
            stays = [m.id for m in state.ordered if m.status is not MemberStatus.down and str(m.unique) in gone]
            if stays:
                self._fail(run, "who does not get the lease goes", f"{stays} stay, got by this side: {answer.held}")
        self._answered = len(answers)
        self.look_at = -math.inf if self._open else math.inf

    def _fail(self, run: Run, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f} by {run.name}")
