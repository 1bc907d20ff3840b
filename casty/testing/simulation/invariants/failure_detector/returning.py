"""A member told to be reachable again was heard.

Owns the memory of each run's knowledge and news at the last look. It does not know why somebody is unreachable in a
view (`casty.protocol.membership.view`). Give `ReturnHeard.check` to `ModelCluster.run_for` as its ``until``, as with
`Watch`.

How it works: an accusation may cease to count without being taken back, because its author is lost itself. This says
nothing about the accused member: there must be somebody who hears it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.events import ReachableMember
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import counts_in, lost_in
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

LAST_ANSWER = 0.1
"""Seconds before an accusation in which the last answer may have been given, and not to the accuser."""


@dataclass(slots=True)
class ReturnHeard(Rule):
    """The rule: nobody is told to be reachable again while silent now and at the time of the accusation.

    Silent is a run that has ended, stands still, or is cut off from its reporter and from all runs in that one's reach.
    A withdrawn accusation is none, as the member was heard then, and one of a down member is none either. And the
    reporter watches the member: among more than ten, others believe those who do.
    """

    _events: dict[UniqueAddress, int] = field(init=False, default_factory=lambda: dict[UniqueAddress, int]())

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        told = self._events.get(run.node, 0)
        if len(run.events) > told:
            self._events[run.node] = len(run.events)
            for _, event in run.events[told:]:
                if isinstance(event, ReachableMember):
                    self._judge(run, event.member.unique, before)

    def _judge(self, run: Run, subject: UniqueAddress, before: Gossip | None) -> None:
        after, cluster = run.topology.state, self.cluster
        if before is None or after is None or subject not in run.availability.monitored:
            return
        side = [run, *self._heard_by(run, after)]
        if not all(cluster.is_unheard(subject, one) for one in side if one.node != subject):
            return
        heard = max(one.known.get(subject, -math.inf) for one in side)
        for observer, at in self._standing(run, before, after, subject):
            if at > heard + LAST_ANSWER:
                name, by = subject.address.host, observer.address.host
                text = f"{run.name} told so of {name}, heard at {heard:.4f} and accused by {by} at {at:.4f}"
                raise InvariantBroken("who is reachable again was heard", f"{text}, at {cluster.now:.4f}")

    def _heard_by(self, run: Run, state: Gossip) -> list[Run]:
        """Return the other runs reachable for one, and heard by it."""
        heard = state.members.keys() - lost_in(state, run.node) - {run.node}
        return [one for one in self.cluster.living if one.node in heard and not self.cluster.is_unheard(one.node, run)]

    def _standing(
        self, run: Run, before: Gossip, after: Gossip, subject: UniqueAddress
    ) -> Iterator[tuple[UniqueAddress, float]]:
        """Yield the accusers of a member that still count and have not taken it back, each with the time."""
        for observer, row in before.rows.items():
            counts = observer == run.node or counts_in(after, observer)
            took_back = observer in after.rows and subject not in after.rows[observer].accused
            if subject in row.accused and not took_back and counts:
                yield observer, self.cluster.accused_at[observer, subject]
