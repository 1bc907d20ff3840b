"""Exclusive work in a simulated cluster: the oldest member does it, and never two at one time.

Owns who acts in the eyes of each run: it is the oldest member that it knows, it serves by its own
clock, and the work of every older run that it has known is free. Give `OneOwner.check` to
`ModelCluster.run_for` as its ``until``, as that of `Watch`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.serving_lease import HOLDING
from casty.protocol.topology_events import WantServing
from casty.testing.simulation.invariants import InvariantBroken
from casty.testing.simulation.model import ModelCluster
from casty.testing.simulation.run import Run


@dataclass(slots=True)
class OneOwner:
    """The rule: of all runs that are not stopped at this moment at most one acts, whatever cluster it is in."""

    cluster: ModelCluster
    """The nodes to look at."""
    acted: Counter[UniqueAddress] = field(default_factory=lambda: Counter[UniqueAddress]())
    """How often each run was found acting."""
    _older: dict[UniqueAddress, set[UniqueAddress]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, set[UniqueAddress]]()
    )

    def check(self) -> bool:
        """Look at every run. Give it to `ModelCluster.run_for` as its ``until``.

        Returns:
            Always False, so that time goes on.

        Raises:
            InvariantBroken: Two runs of one cluster act.
        """
        acting = self.acting
        self.acted.update(run.node for run in acting)
        if len(acting) > 1:
            names = " and ".join(run.name for run in acting)
            raise InvariantBroken("exclusive work has one owner", f"{names} act, at {self.cluster.now:.4f}")
        return False

    @property
    def acting(self) -> list[Run]:
        """The runs that act right now."""
        return [run for run in self.cluster.living if self._acts(run) and not run.paused]

    def _acts(self, run: Run) -> bool:
        state, now = run.topology.state, run.clock(self.cluster.now)
        if run.node not in self._older:
            self._older[run.node] = set()
            self.cluster.tell(run, WantServing())
        if state is None or run.node not in state.members:
            return False
        own = state.members[run.node]
        older = self._older[run.node]
        older.update(member.unique for member in state.ordered if member.up_number and member.is_older_than(own))
        is_free = all(node not in state.members and run.work_free_at.get(node, -math.inf) <= now for node in older)
        return own.up_number > 0 and own.status in HOLDING and is_free and now < run.serving_until
