"""A member that comes and goes is held: unreachable until it has been steady, and not downed by those it answers then.

Owns the memory of how often each member has come back to each observer. It does not know why it was accused
(`hearing`), or whether a steady one is taken back in time, a rule of that module, too.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.liveness import HeartbeatAck
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.failure_detector.silence import pause_of
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import patience
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

RETURNS = 3
RETURNS_WITHIN = 115.0
"""Seconds, by the fastest clock."""
STEADY_SHARE = 0.95
GAP_SHARE = 0.5
"""Share of the always forgiven pause in which a member counts as answering without a gap."""

NOBODY = frozenset[UniqueAddress]()


@dataclass(slots=True)
class _Member:
    """A member, in the eyes of one observer."""

    returns: deque[float] = field(default_factory=lambda: deque[float](maxlen=RETURNS))
    """Times of its returns."""
    answers_since: float = math.inf
    """Time of its first answer since it was accused."""
    steady_since: float = math.inf
    last: float = -math.inf
    is_excused: bool = False
    """Whether so many were lost with it that nobody is to blame."""

    def is_held(self) -> bool:
        """Return whether it has come back for the third time."""
        return len(self.returns) == RETURNS and self.returns[-1] - self.returns[0] < RETURNS_WITHIN


@dataclass(slots=True)
class Held(Rule):
    """The rules of a member on its third return within two minutes.

    It is taken back when it has answered for as long as a view must be stable, and no sooner; and an observer that
    hears it does not down it meanwhile. A member lost with half of those monitored by the observer is not held.
    """

    kinds = (HeartbeatAck,)
    _members: dict[UniqueAddress, dict[UniqueAddress, _Member]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, dict[UniqueAddress, _Member]]()
    )
    """By observer."""
    _down: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        member = self._members.get(run.node, {}).get(sender)
        if member is None or sender not in run.availability.accused:
            return
        now = self.cluster.now
        if member.answers_since == math.inf:
            member.answers_since = now
            if not member.is_excused:
                member.returns.append(now)
        if now - member.last > GAP_SHARE * pause_of(run):
            member.steady_since = now
        member.last = now

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is None or (after.rows is before.rows and after.members is before.members):
            return
        members, watched = self._members.setdefault(run.node, {}), run.availability
        for gone in members.keys() - set(watched.monitored):
            del members[gone]
        now, old = (state.rows[run.node].accused if run.node in state.rows else NOBODY for state in (after, before))
        for node in now - old:
            member = members.setdefault(node, _Member())
            member.answers_since = member.steady_since = math.inf
            member.last = -math.inf
        if now - old and 2 * len(watched.accused) >= min(len(watched.monitored), watched.monitored_max):
            for node in now:
                members.setdefault(node, _Member()).is_excused = True
        for node in old - now:
            if node in members and node in after.members:  # a removed one is not accused either
                self._taken_back(run, after, node, members[node])
        fresh = {m.unique for m in after.ordered if m.status is MemberStatus.down} - self._down
        self._down |= fresh
        for node in fresh & members.keys() & now - {run.node}:
            self._downed(run, before, node, members[node])

    def _taken_back(self, run: Run, state: Gossip, node: UniqueAddress, member: _Member) -> None:
        if member.is_held() and not member.is_excused:
            steady = self.cluster.now - member.answers_since
            if steady < STEADY_SHARE * self._steady_for(state):
                text = f"{run.name} takes {node.address.host} back {steady:.3f} s after its last return"
                raise InvariantBroken("who comes and goes is held", f"{text}, at {self.cluster.now:.4f}")
            member.returns.clear()
        member.is_excused = False

    def _downed(self, run: Run, before: Gossip, node: UniqueAddress, member: _Member) -> None:
        own = before.members.get(run.node)
        if not member.is_held() or member.is_excused or own is None or node in self.cluster.downed_by_hand:
            return
        is_steady = self.cluster.now - member.last <= GAP_SHARE * pause_of(run)
        is_first = member.steady_since == member.answers_since
        if is_steady and is_first and self.cluster.runs[node.address.host].node == node and run.node not in self._down:
            text = f"{run.name} downs {node.address.host}, which answers since {member.answers_since:.4f}"
            raise InvariantBroken("who is held and answers is not downed", f"{text}, at {self.cluster.now:.4f}")

    def _steady_for(self, state: Gossip) -> float:
        given = self.cluster.settings.stable_after
        counted = sum(member.status is not MemberStatus.down for member in state.members.values())
        return patience(counted) if given is None else given
