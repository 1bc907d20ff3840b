"""A silent run is asked about before it is accused, and the asked one looks.

Owns the memory of the questions about each member, and of messages owed until the end of the event with the question.
It does not know when a silence is too long (`silence`), or whether an accusation is true (`hearing`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.liveness import Heartbeat, HeartbeatAck, ProbeAnswer, ProbeRequest
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.failure_detector.silence import pause_of
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

STALL_OVER = 15.0
"""Seconds after a run stood still in which its checks may come too late to ask."""

POSTPONED = 1.0
"""Seconds by which an accusation is put off where another has heard the member."""
CROSSING_MAX = 2.0
"""Seconds after the forgiven pause at which phi has crossed at the latest."""
CAME_LATELY = 2.5
"""Seconds in which a member, accused or none yet, was not there to be asked in time."""
ROUNDED = 0.01
REPEATED_AFTER = 0.6
"""Share of an interval in which a heartbeat follows on one with an overdue answer."""

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class Probed(Rule):
    """The rules of indirect probes.

    A member with an overdue answer is sent twice as many heartbeats. Nobody is accused for its silence before another
    member was asked, if there is one, and a second later where this other has heard it since. An asked member sends a
    heartbeat at once, and tells the asker when it is answered. Where messages got lost, silences are long before they
    are strange.
    """

    kinds = (ProbeRequest, ProbeAnswer, Heartbeat, HeartbeatAck)
    _asked: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """Time of a run's last question about another."""
    _heard: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """Time of a run's last answer of another."""
    _owed: dict[Pair, tuple[type, UniqueAddress]] = field(
        init=False, default_factory=lambda: dict[Pair, "tuple[type, UniqueAddress]"]()
    )
    """By debtor and creditor of a message: its class, and the asker."""
    _sent_for: dict[tuple[UniqueAddress, UniqueAddress, int], UniqueAddress] = field(
        init=False, default_factory=lambda: dict[tuple[UniqueAddress, UniqueAddress, int], UniqueAddress]()
    )
    """Asker for a heartbeat, by its sender, its receiver, and its number."""
    _put_off: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """By how much the accusation of a run is late, by observer and run."""
    _questions: dict[tuple[UniqueAddress, int], UniqueAddress] = field(
        init=False, default_factory=lambda: dict[tuple[UniqueAddress, int], UniqueAddress]()
    )
    """Member a run has asked about, by the number of the question."""
    _beats: dict[Pair, tuple[float, bool]] = field(
        init=False, default_factory=lambda: dict[Pair, "tuple[float, bool]"]()
    )
    """Time of a run's last heartbeat to another, by its clock, and whether two answers were overdue then."""
    _stood: dict[str, float] = field(init=False, default_factory=lambda: dict[str, float]())
    _came: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """Time at which a run last took an accusation back, or learned of a member, by observer and run."""
    _is_rough: bool = field(init=False, default=False)

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        if isinstance(message, ProbeRequest):
            self._asked[run.node, message.subject] = self.cluster.now
            self._questions[run.node, message.sequence] = message.subject
        if isinstance(message, Heartbeat):
            self._beat(run, to)
        owed = self._owed.get((run.node, to)) if self._owed else None
        if owed is not None and isinstance(message, owed[0]):
            del self._owed[run.node, to]
            if isinstance(message, Heartbeat):
                self._sent_for[run.node, to, message.sequence] = owed[1]

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        if isinstance(message, HeartbeatAck):
            self._heard[run.node, sender] = self.cluster.now
            self._put_off.pop((run.node, sender), None)
            asker = self._sent_for.pop((run.node, sender, message.sequence), None)
            if asker is not None:
                self._owed[run.node, asker] = ProbeAnswer, sender
        elif isinstance(message, ProbeAnswer):
            subject = self._questions.get((run.node, message.sequence))
            if subject is None:
                return
            # An answer to a question before the last sign of life of the member is void.
            asked, heard = (times.get((run.node, subject), -math.inf) for times in (self._asked, self._heard))
            if asked > heard and subject in run.availability.monitored:
                since = run.clock(self.cluster.now) - run.availability.detector.last_heard(subject)
                later = min(since - message.heard_ago, POSTPONED)
                self._put_off[run.node, subject] = max(later, self._put_off.get((run.node, subject), 0.0))
        elif isinstance(message, ProbeRequest):
            state = run.topology.state
            # While its tasks are busy, the failure detection may not know the members yet that the others know.
            counted = frozenset[UniqueAddress]() if state is None or run.is_busy else state.present - state.down
            if {sender, message.subject} <= counted and message.subject != run.node:
                self._owed[run.node, message.subject] = Heartbeat, sender

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is None:
            return
        if after.members is not before.members:
            fresh = after.members.keys() - before.members.keys()
            self._came.update(dict.fromkeys(((run.node, node) for node in fresh), self.cluster.now))
        if after.rows is before.rows or run.node not in after.rows:
            return
        accused = after.rows[run.node].accused
        old = before.rows[run.node].accused if run.node in before.rows else frozenset[UniqueAddress]()
        now = self.cluster.now
        self._came.update(dict.fromkeys(((run.node, node) for node in old - accused), now))
        others = [
            m.unique
            for m in after.ordered
            if m.status is not MemberStatus.down
            and m.unique not in accused | old
            and now - self._came.get((run.node, m.unique), -math.inf) > CAME_LATELY
        ]
        for subject in accused - old:
            heard = self._heard.get((run.node, subject), 0.0)
            if 0.0 < self.cluster.handover and now - heard <= self.cluster.handover:
                continue  # its answer came when the accusation was under way to the membership
            if len(others) > 1 and self._is_only_silent(run, subject):
                asked = self._asked.get((run.node, subject), -math.inf)
                if asked < heard:
                    text = f"{run.name} accuses {subject.address.host} and has asked nobody"
                    raise InvariantBroken("who is silent is asked about", f"{text}, at {self.cluster.now:.4f}")
                self._must_wait(run, subject)

    def look(self) -> None:
        cluster = self.cluster
        if cluster.standing_still:
            self._stood.update(dict.fromkeys(cluster.standing_still, cluster.now))
        if cluster.loss or cluster.held_up:
            self._is_rough = True
        if self._owed:
            (node, to), (kind, _) = next(iter(self._owed.items()))
            text = f"{node.address.host} owes {to.address.host} a {kind.__name__}, at {cluster.now:.4f}"
            raise InvariantBroken("who is asked about somebody looks", text)

    def _beat(self, run: Run, to: UniqueAddress) -> None:
        monitoring, now, pair = run.availability, run.clock(self.cluster.now), (run.node, to)
        interval = monitoring.heartbeat_interval
        before, was_late = self._beats.get(pair, (now, False))
        is_late = to in monitoring.monitored and to not in monitoring.accused
        is_late = is_late and monitoring.detector.last_heard(to) < now - 2 * interval
        self._beats[pair] = now, is_late
        has_stood = self.cluster.now - self._stood.get(run.name, -math.inf) < STALL_OVER
        if was_late and is_late and not has_stood and now - before > REPEATED_AFTER * interval + self.cluster.handover:
            text = f"{run.name} asks {to.address.host} again after {now - before:.3f} s"
            raise InvariantBroken("who is late is asked twice as often", f"{text}, at {self.cluster.now:.4f}")

    def _must_wait(self, run: Run, subject: UniqueAddress) -> None:
        detector, put_off = run.availability.detector, self._put_off.get((run.node, subject), 0.0)
        crossing = detector.crossing(subject, run.availability.detector_config.threshold)
        due = min(crossing, detector.last_heard(subject) + pause_of(run) + CROSSING_MAX) + put_off
        if run.clock(self.cluster.now) < due - ROUNDED - self.cluster.handover:
            text = f"{run.name} accuses {subject.address.host} {due - run.clock(self.cluster.now):.3f} s too early"
            raise InvariantBroken("who is heard by others has a second more", f"{text}, at {self.cluster.now:.4f}")

    def _is_only_silent(self, run: Run, subject: UniqueAddress) -> bool:
        """Return whether nothing but its silence speaks against a run, and its accuser has looked in time."""
        is_there = self.cluster.every[subject].alive and self.cluster.runs[subject.address.host].node == subject
        stood = self._stood.get(run.name, -math.inf)
        return is_there and not self._is_rough and self.cluster.now > stood + STALL_OVER
