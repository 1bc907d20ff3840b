"""Accusations are true: nobody accuses a member it hears, and an answering member is taken back.

Owns the memory of the answers to each run, and since when they have no gap. It does not know how a silence is judged
(`casty.protocol.failure_detector.monitor`); whether a silence is noticed at all is for `silence`.
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

GAP_SHARE = 0.5
"""Share of the always forgiven pause in which a member counts as answering without a gap."""
ACCUSED_SHARE = 0.94
"""Share of a pause in which nobody is accused: by the fastest clock it is not over yet."""
LIFTED_WITHIN = 1.0
"""Seconds of answers; the first of them is enough."""
HELD_LONGER = 3.0
"""Seconds beside the time for which a member that came and went must be steady."""
FLAPS = 3
FLAPS_WITHIN = 130.0
LOOK_EVERY = 0.5
REFUSED_TWICE_IN = 0.19
"""Seconds between the two refused dials that accuse an ended run, by the fastest clock."""

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class _Answers:
    since: float
    last: float
    earlier: float
    """Time of the last one that no accusation under way to the membership can have missed, as far as is known."""


@dataclass(slots=True)
class AccusedRightly(Rule):
    """The rules: a member answering an observer is not accused by it, and is no more once it answers again.

    Two refused dials 0.2 seconds apart accuse an ended run, and one does not. A member with three comings and goings
    within two minutes has to be steady for longer.
    """

    kinds = (HeartbeatAck,)
    _answers: dict[Pair, _Answers] = field(init=False, default_factory=lambda: dict[Pair, _Answers]())
    _accused: dict[Pair, deque[float]] = field(init=False, default_factory=lambda: dict[Pair, "deque[float]"]())

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        now, known = self.cluster.now, self._answers.get((run.node, sender))
        earlier = -math.inf if known is None else known.last
        if known is not None and now - earlier <= self.cluster.handover:
            earlier = known.earlier
        since = now if known is None or now - known.last > self._gap(run) else known.since
        self._answers[run.node, sender] = _Answers(since, now, earlier)

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is not None and after.rows is before.rows:
            return
        own = after.rows.get(run.node)
        if own is None:
            return
        old = frozenset[UniqueAddress]()
        if before is not None and run.node in before.rows:
            old = before.rows[run.node].accused
        now = self.cluster.now
        for subject in own.accused - old:
            self._accused.setdefault((run.node, subject), deque(maxlen=FLAPS)).append(now)
            known = self._answers.get((run.node, subject))
            if known is None:
                continue
            is_missed = 0.0 < self.cluster.handover >= now - known.last  # it came when the accusation was under way
            answered_at = known.earlier if is_missed else known.last
            if now - answered_at < ACCUSED_SHARE * pause_of(run):
                self._must_be_gone(run, subject, answered_at)

    def look(self) -> None:
        now = self.cluster.now
        self.look_at = now + LOOK_EVERY
        for run in self.cluster.living:
            state = run.topology.state
            if state is None or run.paused or run.node not in state.rows:
                continue
            for subject in state.rows[run.node].accused:
                known = self._answers.get((run.node, subject))
                if known is None or now - known.last > self._gap(run) or not _stays(state, subject):
                    continue
                since = max(known.since, self._accused[run.node, subject][-1])
                if known.last <= since:
                    continue  # it has not answered since
                if now > since + self._lifted_within(run, state, subject):
                    text = f"{run.name} accuses {subject.address.host}, which has answered since {since:.4f}"
                    raise InvariantBroken("who answers again is taken back", f"{text}, at {now:.4f}")

    def _must_be_gone(self, run: Run, subject: UniqueAddress, answered_at: float) -> None:
        """Fail where a member is accused just after an answer, without two refused dials or another run there."""
        there, now = self.cluster.every[subject], self.cluster.now
        text = f"{run.name} accuses {subject.address.host}, which answered at {answered_at:.4f}"
        if there.alive:
            raise InvariantBroken("who answers is not accused", f"{text}, at {now:.4f}")
        is_last = self.cluster.runs[subject.address.host] is there
        if is_last and now < there.ended_at + REFUSED_TWICE_IN:
            text += f" and ended at {there.ended_at:.4f}"
            raise InvariantBroken("one refused dial accuses nobody", f"{text}, at {now:.4f}")

    def _gap(self, run: Run) -> float:
        return GAP_SHARE * pause_of(run)

    def _lifted_within(self, run: Run, state: Gossip, subject: UniqueAddress) -> float:
        times = self._accused[run.node, subject]
        if len(times) < FLAPS or self.cluster.now - times[0] > FLAPS_WITHIN + LIFTED_WITHIN:
            return LIFTED_WITHIN
        given = self.cluster.settings.stable_after
        return LIFTED_WITHIN + HELD_LONGER + (patience(len(state.members)) if given is None else given)


def _stays(state: Gossip, subject: UniqueAddress) -> bool:
    return subject in state.members and state.members[subject].status is not MemberStatus.down
