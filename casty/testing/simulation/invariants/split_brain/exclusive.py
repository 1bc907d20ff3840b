"""Exclusive work in a simulated cluster: the oldest member does it, and never two at one time.

Owns the acting run in the eyes of each run: the oldest member known to itself, serving by its own clock, with the work
of every older run known to it free. Give `OneOwner.check` to `ModelCluster.run_for` as its ``until``, as with `Watch`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.membership.inputs import WantServing
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import SERVING, age_of
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

FOUND_WITHIN = 30.0
"""Seconds until two clusters kept apart have found each other: each asks somebody every ten seconds."""


@dataclass(slots=True)
class OneOwner(Rule):
    """The rule: of all runs not stopped at this moment at most one acts, whatever cluster it is in.

    Where more than half of the seeds are started anew, and cut off from a member that goes on, they begin a cluster of
    their own: nobody there remembers it. The two find each other once the cut is over. Whether such a cluster may begin
    is for `Founded`.
    """

    _older: dict[UniqueAddress, set[UniqueAddress]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, set[UniqueAddress]]()
    )
    _first: dict[UniqueAddress, Run] = field(init=False, default_factory=lambda: dict[UniqueAddress, Run]())
    """Runs that know of no older member there."""
    _apart_at: float = field(init=False, default=-math.inf)
    """Time of the last cut of a path."""

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if run.node not in self._older:
            self._older[run.node] = set()
            self.cluster.tell(run, WantServing())
        elif before is not None and after.members is before.members:
            return
        self._first.pop(run.node, None)
        if self._is_first(run, after):
            self._first[run.node] = run

    def look(self) -> None:
        if self.cluster.is_cut_somewhere:
            self._apart_at = self.cluster.now
        acting = self._acting() if len(self._first) > 1 else ()
        if len(acting) > 1 and not self._could_not_know(acting):
            names = " and ".join(run.name for run in acting)
            raise InvariantBroken("exclusive work has one owner", f"{names} act, at {self.cluster.now:.4f}")

    def _could_not_know(self, acting: Sequence[Run]) -> bool:
        """Return whether the acting runs are in clusters that may not have found each other yet."""
        clusters = {run.topology.state.cluster_id for run in acting if run.topology.state is not None}
        return len(clusters) == len(acting) and self.cluster.now < self._apart_at + FOUND_WITHIN

    @property
    def acting(self) -> list[Run]:
        """Runs acting right now."""
        self.check()
        return self._acting()

    def _acting(self) -> list[Run]:
        return [run for run in self._first.values() if run.alive and not run.paused and self._may_act(run)]

    def _is_first(self, run: Run, state: Gossip) -> bool:
        own = state.members.get(run.node)
        if own is None:
            return False
        older, age = self._older[run.node], age_of(own)
        older.update(member.unique for member in state.ordered if member.up_number and age_of(member) < age)
        return own.up_number > 0 and own.status in SERVING and older.isdisjoint(state.members)

    def _may_act(self, run: Run) -> bool:
        now = run.clock(self.cluster.now)
        if now >= run.serving_until:
            return False
        free_at = run.work_free_at
        return not free_at or all(free_at.get(node, -math.inf) <= now for node in self._older[run.node])
