"""The serving lease, looked at from outside: the granters, the length of a grant, and the time of free work.

Owns the memory of requests and grants, by the clocks of their runs. Whether two act at one time is for `exclusive`;
these rules hold where nobody acts twice by luck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.membership import ServingGrant, ServingRequest
from casty.protocol.split_brain.serving_lease import Serving
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import CLOCKS_APART, GOING, LEASE, TAKEOVER, counts_in, goes_on
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

ROUNDED = 1e-6

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class GrantsHold(Rule):
    """The rules of a lease.

    Nobody grants to an accused or down member. A grant holds for four seconds from the sending of its request, and with
    the valid ones the holder is on a side that goes on. The work of a removed run is free when no grant of this side to
    it can hold any more.
    """

    kinds = (ServingRequest, ServingGrant, Serving)
    _asked: dict[UniqueAddress, dict[int, float]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, dict[int, float]]()
    )
    """Sending time of each request of a run, by its clock."""
    _answered: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """Sending time of the latest granted request, by holder and granter."""
    _granted_at: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """Sending time of the last request granted to a run, by granter and holder: it counts from then."""
    _asked_at: dict[tuple[UniqueAddress, int], float] = field(
        init=False, default_factory=lambda: dict[tuple[UniqueAddress, int], float]()
    )
    _split_brain: dict[UniqueAddress, set[UniqueAddress]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, set[UniqueAddress]]()
    )
    """Side in the count of the first one to have a run removed, by that run: grants of others are void by then, or too
    little for a side.
    """

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        if isinstance(message, ServingRequest):
            self._asked.setdefault(run.node, {})[message.sequence] = run.clock(self.cluster.now)
            self._asked_at[run.node, message.sequence] = self.cluster.now
        elif isinstance(message, ServingGrant):
            self._granted_at[run.node, to] = self._asked_at.get((to, message.sequence), -math.inf)
            self._may_grant(run, to)

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        if isinstance(message, ServingGrant):
            at = self._asked.get(run.node, {}).get(message.sequence, -math.inf)
            self._answered[run.node, sender] = max(at, self._answered.get((run.node, sender), -math.inf))

    def performed(self, run: Run, effect: object) -> None:
        if isinstance(effect, Serving):
            self._holds(run, effect.until)

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is None or after.tombstones is before.tombstones:
            return
        now = self.cluster.now
        for node in after.tombstones.keys() - before.tombstones.keys():
            free_in = max(run.work_free_at.get(node, -math.inf) - run.clock(now), 0.0)
            known = before.members.keys() & after.members.keys()  # who comes with the news has agreed to nothing
            granters = known & self._split_brain.setdefault(node, known)
            granted = max((self._granted_at.get((one, node), -math.inf) for one in granters), default=-math.inf)
            still = granted + LEASE - now
            if free_in < still * (1 - CLOCKS_APART) - ROUNDED:
                text = f"that of {node} in {free_in:.3f} s, and a grant holds for {still:.3f} s more"
                self._fail(run, "work is free when no grant holds", text)
            if free_in > TAKEOVER + ROUNDED:
                self._fail(run, "work is free in time", f"that of {node} in {free_in:.3f} s")

    def _may_grant(self, run: Run, to: UniqueAddress) -> None:
        state = run.topology.state
        if state is None or to not in state.members:
            self._fail(run, "grants go to members", f"to {to}")
            return
        void = {m.unique for m in state.ordered if m.status is MemberStatus.down}
        accusers = [
            one for one, row in state.rows.items() if to in row.accused and (one == run.node or counts_in(state, one))
        ]
        if accusers or to in void:
            self._fail(run, "nobody grants to who is accused or down", f"to {to}, accused by {accusers}")

    def _holds(self, run: Run, until: float) -> None:
        state, strategy = run.topology.state, self.cluster.settings.downing
        if until == -math.inf or state is None or run.node not in state.members:
            return
        sent = max(self._asked.get(run.node, {}).values(), default=-math.inf)
        now = run.clock(self.cluster.now)
        if until > (now if sent == -math.inf else max(sent, now)) + LEASE + ROUNDED:
            self._fail(run, "a lease is of four seconds", f"until {until - now:.3f} s from now")
        others = [m for m in state.ordered if m.status not in GOING and m.unique != run.node]
        holding = {
            m.unique for m in others if self._answered.get((run.node, m.unique), -math.inf) + LEASE >= until - ROUNDED
        }
        here = [m for m in state.ordered if m.unique == run.node or m.unique in holding]
        there = [m for m in others if m.unique not in holding]
        if there and (strategy is None or goes_on(strategy, here, there) is not True):
            granters = sorted(node.address.host for node in holding)
            self._fail(run, "a lease needs grants that hold", f"{granters} grant, {[m.id for m in there]} do not")

    def _fail(self, run: Run, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f} by {run.name}")
