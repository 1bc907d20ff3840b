"""Accusations of this node against members for not answering.

Owns the ring, the numbers of heartbeats, the failure detector, the lateness of this node's loop, and the evidence of
refused dials. It does not know how a heartbeat leaves this node (`heartbeat`, told its receivers here) or what the
cluster makes of an accusation (`reachability`, `downing`).

How it works: each node monitors its successors on a ring of hashes, so the number of heartbeats grows with the nodes
and not with their square; an accused one takes nobody's place there. While some are joining the voters stand on a
second ring, of their own. A silence is judged by phi, and each answer counts from the time of its arrival. However long
it waits for this machine, nobody is accused for the wait: the driver of the machine hands over all waiting answers
before a check. The time at which phi crosses the threshold is computed and a timer set for it. At `PROBE_PHI` others
are asked whether they hear the member (`indirect_probes`). A lost connection is redialled at once: two refused dials at
least `REFUSAL_GAP` apart, or an answer by another run of the node, are evidence and act at once. Only measured lateness
of this node's own loop (`local_health`) withholds an accusation. A member that answers again is taken back, unless it
comes and goes (`flapping`). The detector of phi may be a user's (`custom_detectors`): the rest holds with it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from casty.address import NodeAddress, UniqueAddress
from casty.config import FailureDetector, FailureDetectorConfig
from casty.protocol.effects import Dial, Send, StartTimer, TimerFired
from casty.protocol.failure_detector.custom_detectors import CustomDetectors, DetectorFailed, MemberDetectors
from casty.protocol.failure_detector.flapping import Flapping
from casty.protocol.failure_detector.heartbeat import SendHeartbeats
from casty.protocol.failure_detector.indirect_probes import IndirectProbes
from casty.protocol.failure_detector.local_health import LocalHealth
from casty.protocol.failure_detector.phi_accrual import PhiAccrualFailureDetector
from casty.protocol.failure_detector.ring import successors
from casty.protocol.messages.liveness import HeartbeatAck, ObservationMessage, ProbeAnswer, ProbeRequest
from casty.protocol.split_brain.downing import stable_after
from casty.protocol.state.member import Member, MemberStatus

HELD_LONGER = 1.0
"""Seconds allowed to the next answer, at which a held member is taken back, and to the news of it."""
REFUSAL_GAP = 0.2
LEARNED_INTERVALS_MAX = 4
CROSSING_AFTER_PAUSE_MAX = 2.0
PROBE_PHI = 1.0
PROBED_AFTER_PAUSE_MAX = 1.0
"""Others are asked a second before the longest tolerated silence, where the learned intervals let phi rise late."""

WIDENED = 4
"""Further members to monitor for each lost one, once as many are lost as a node should monitor."""

HEARTBEAT = "heartbeat"
REPEAT = "repeat"
CHECK = "check"
REDIAL = "redial "


@dataclass(frozen=True, slots=True)
class WatchMembers:
    """Event: these are the members now; the ring is drawn over them."""

    members: tuple[UniqueAddress, ...]
    voters: tuple[UniqueAddress, ...] = ()
    """Those of them whose accusations count, if not all do."""


def watch_members(members: Sequence[Member]) -> WatchMembers:
    """Return the event to have these members watched, without the down ones."""
    watched = [member for member in members if member.status is not MemberStatus.down]
    voters = [member.unique for member in watched if member.status is not MemberStatus.joining]
    return WatchMembers(tuple(one.unique for one in watched), () if len(voters) == len(watched) else tuple(voters))


@dataclass(frozen=True, slots=True)
class Heard:
    """Event: a message for the failure detection came from a node."""

    sender: UniqueAddress
    message: ObservationMessage
    at: float | None = None
    """Time of arrival by the clock of this node; None: it has not waited."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """Event: an established control connection ended without a goodbye."""

    node: UniqueAddress


@dataclass(frozen=True, slots=True)
class DialFailed:
    """Event: an attempt to connect failed; ``refused`` is a definite no."""

    address: NodeAddress
    refused: bool


@dataclass(frozen=True, slots=True)
class RunSeen:
    """Event: this run of a node has just identified itself on a connection."""

    node: UniqueAddress


@dataclass(frozen=True, slots=True)
class MarkUnreachable:
    """Effect: these do not answer, all at one time; or one does again, and is taken back in ``held_for`` seconds."""

    subjects: tuple[UniqueAddress, ...]
    held_for: float = 0.0
    suspected: tuple[UniqueAddress, ...] = ()
    """Members of which this node waits for the next answer; `MarkUnreachable` or `MarkReachable` follows for each."""


@dataclass(frozen=True, slots=True)
class MarkReachable:
    """Effect: the member, accused or suspected before, answers again."""

    subject: UniqueAddress


AvailabilityEvent = WatchMembers | Heard | LinkLost | DialFailed | RunSeen | TimerFired
AvailabilityEffect = Send | SendHeartbeats | Dial | StartTimer | MarkUnreachable | MarkReachable | DetectorFailed


def is_availability_timer(key: str) -> bool:
    """Return whether a timer of this key was started by `Availability`."""
    return key in (HEARTBEAT, REPEAT, CHECK) or key.startswith(REDIAL)


@dataclass(slots=True)
class Availability:
    """The machine; feed it `AvailabilityEvent` values."""

    self_node: UniqueAddress
    heartbeat_interval: float = 0.5
    availability_interval: float = 2.0
    monitored_max: int = 9
    detector_config: FailureDetectorConfig = FailureDetectorConfig()
    stable_after: float | None = None
    """Seconds for which a member that comes and goes must answer before it is taken back; None: by the size."""
    detector_factory: Callable[[UniqueAddress], FailureDetector] | None = None
    """Function that makes a member's detector; None: phi accrual."""
    detector: MemberDetectors = field(init=False)
    _custom: CustomDetectors | None = field(init=False, default=None)
    monitored: list[UniqueAddress] = field(init=False, default_factory=lambda: list[UniqueAddress]())
    accused: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _suspected: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _members: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    _voters: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    _heard_at: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())
    """Time of the last real answer of each monitored node."""
    _health: LocalHealth = field(init=False, default_factory=LocalHealth)
    _flapping: Flapping = field(init=False, default_factory=Flapping)
    _probes: IndirectProbes = field(init=False, default_factory=IndirectProbes)
    _sequence: int = field(init=False, default=0)
    _refused_at: dict[NodeAddress, float] = field(init=False, default_factory=lambda: dict[NodeAddress, float]())

    def __post_init__(self) -> None:
        learned_max = LEARNED_INTERVALS_MAX * self.heartbeat_interval
        plain = PhiAccrualFailureDetector[UniqueAddress](self.detector_config, learned_interval_max=learned_max)
        self.detector = plain
        if self.detector_factory is not None:
            longest = self._longest(CROSSING_AFTER_PAUSE_MAX)
            self.detector = self._custom = CustomDetectors(
                self.self_node, self.detector_factory, self.detector_config, longest, plain
            )

    def handle(self, event: AvailabilityEvent, now: float) -> Sequence[AvailabilityEffect]:
        """Return the effects of one event."""
        accused = len(self.accused)
        effects = self._happen(event, now)
        if len(self.accused) < accused:
            effects = [*effects, *self._choose(now)]
        return effects if self._custom is None else [*effects, *self._custom.take_faults()]

    def _happen(self, event: AvailabilityEvent, now: float) -> Sequence[AvailabilityEffect]:
        match event:
            case WatchMembers(members, voters):
                return self._watch(members, voters, now)
            case Heard(sender, message, at):
                return self._heard(sender, message, now if at is None else min(at, now), now)
            case LinkLost(node):
                return [Dial(node.address)] if node in self.monitored else []
            case DialFailed(address, refused):
                return self._dial_failed(address, refused, now)
            case RunSeen(node):
                self._refused_at.pop(node.address, None)
                return self._accuse([n for n in self.monitored if n.address == node.address and n != node], now)
            case TimerFired(key):
                return self._timer(key, now)

    def suspicion(self, node: UniqueAddress, now: float) -> float:
        """Return phi of a monitored node, 0.0 of any other."""
        return self.detector.phi(node, now)

    def _watch(
        self, members: tuple[UniqueAddress, ...], voters: tuple[UniqueAddress, ...], now: float
    ) -> list[AvailabilityEffect]:
        first = [] if self._members else [StartTimer(HEARTBEAT, 0.0)]
        self._members, self._voters = frozenset(members), frozenset(voters)
        return [*first, *self._choose(now)]

    def _choose(self, now: float) -> list[AvailabilityEffect]:
        """Monitor the next on the ring apart from accused ones, and all accused ones.

        Nobody else would notice the answers of an accused one. If these took the places of others, a side of few would
        never see how many it has lost. And a node that has lost as many as it should monitor looks at several times as
        many next: with nine after nine, a node of twenty, cut off alone, took three rounds to find out.
        """
        accused = sorted(self.accused & self._members)
        lost = len(accused)
        count = self.monitored_max if lost < self.monitored_max else lost * WIDENED
        wanted = [*successors(self.self_node, self._members.difference(accused), count), *accused]
        if self.self_node in self._voters:
            # Among many joiners no other member with a word that counts may stand before this voter on the ring.
            others = successors(self.self_node, self._voters.difference(accused), count)
            wanted.extend(node for node in others if node not in wanted)
        gone = [node for node in self.monitored if node not in wanted]
        new = [node for node in wanted if node not in self.monitored]
        self.monitored = wanted
        if not gone and not new:
            return []
        for node in gone:
            self.detector.remove(node)
            self._probes.ended(node)
            self._flapping.forget(node)
            self._heard_at.pop(node, None)
            self._refused_at.pop(node.address, None)
        for node in new:
            self.detector.expect(node, now)
        # Whoever is gone and accused is down or removed: the accusation ends with the member.
        self.accused.difference_update(gone)
        let_go = [MarkReachable(node) for node in gone if node in self._suspected and node in self._members]
        self._suspected.difference_update(gone)
        return [*let_go, *self._beat(new), *self._plan_check(now)]

    def _heard(
        self, sender: UniqueAddress, message: ObservationMessage, at: float, now: float
    ) -> list[AvailabilityEffect]:
        match message:
            case HeartbeatAck(sequence):
                return [*self._probes.acked(sender, sequence), *self._acked(sender, at, now)]
            case ProbeRequest():
                return [*self._asked(sender, message, now)]
            case ProbeAnswer():
                self._probes.answered(sender, message, at)
                return []
            case _ as never:
                assert_never(never)

    def _acked(self, sender: UniqueAddress, at: float, now: float) -> list[AvailabilityEffect]:
        if sender not in self.monitored:
            return []
        was_silent = sender in self.accused and at >= self._too_silent_at(sender)
        self.detector.heartbeat(sender, max(at, self.detector.last_heard(sender)))
        self._heard_at[sender] = at
        self._probes.ended(sender)
        self._refused_at.pop(sender.address, None)
        is_doubted = sender in self._suspected
        self._suspected.discard(sender)
        if sender not in self.accused:
            return [MarkReachable(sender)] if is_doubted else []
        steady_for = stable_after(len(self._members)) if self.stable_after is None else self.stable_after
        was_held = self._flapping.is_held(sender)
        if not self._flapping.answered(sender, at, was_silent=was_silent, steady_for=steady_for):
            return [] if was_held else [MarkUnreachable((sender,), steady_for + HELD_LONGER)]
        self.accused.discard(sender)
        return [MarkReachable(sender), *self._plan_check(now)]

    def _asked(self, sender: UniqueAddress, request: ProbeRequest, now: float) -> list[Send]:
        # Between members only: a stranger could have this node dial whatever address it names.
        if not {sender, request.subject} <= self._members or request.subject == self.self_node:
            return []
        heard_at = self._heard_at.get(request.subject)
        known = [] if heard_at is None else [Send(sender, ProbeAnswer(request.sequence, now - heard_at))]
        self._sequence += 1
        return [*known, self._probes.requested(sender, request, self._sequence)]

    def _dial_failed(self, address: NodeAddress, refused: bool, now: float) -> list[AvailabilityEffect]:
        judged = [node for node in self.monitored if node.address == address and node not in self.accused]
        if not judged or not refused:
            self._refused_at.pop(address, None)
            return []
        due = self._refused_at.setdefault(address, now) + REFUSAL_GAP
        if now >= due:  # not now - first: rounded, that can miss the gap for ever at the very time of the timer
            return self._accuse(judged, now)
        return [StartTimer(REDIAL + str(address), due - now)]

    def _timer(self, key: str, now: float) -> list[AvailabilityEffect]:
        if key == HEARTBEAT:
            self._health.ticked(now, self.heartbeat_interval)
            again = [StartTimer(REPEAT, self.heartbeat_interval / 2)] if self._late(now) else []
            return [*self._beat(self.monitored), *again, StartTimer(HEARTBEAT, self.heartbeat_interval)]
        if key == REPEAT:
            return [*self._beat(self._late(now))]
        if key == CHECK:
            return self._check(now)
        return [Dial(node.address) for node in self.monitored if key == REDIAL + str(node.address)]

    def _beat(self, nodes: Sequence[UniqueAddress]) -> list[SendHeartbeats]:
        self._sequence += 1
        return [SendHeartbeats(tuple(nodes), self._sequence)] if nodes else []

    def _late(self, now: float) -> list[UniqueAddress]:
        """Return those whose last answer is overdue: they are asked twice as often, in case one was lost."""
        since = now - self.heartbeat_interval
        return [n for n in self.monitored if n not in self.accused and self.detector.last_heard(n) < since]

    def _check(self, now: float) -> list[AvailabilityEffect]:
        self._health.look(now)  # this loop may have stood still, and the tick that says so may be yet to come
        judged = [node for node in self.monitored if node not in self.accused]
        effects = self._accuse([node for node in judged if now >= self._accused_at(node)], now)
        for node in judged:
            if node not in self.accused and now >= self._probed_at(node):
                effects.extend(self._probes.ask(node, self._helpers(node, now), self.detector.last_heard(node)))
        return [*effects, *self._plan_check(now)]

    def _accuse(self, nodes: Sequence[UniqueAddress], now: float) -> list[AvailabilityEffect]:
        lost = [node for node in nodes if node not in self.accused]
        for node in lost:
            self.accused.add(node)
            self._flapping.accused(self.accused, min(len(self.monitored), self.monitored_max))
            self._probes.ended(node)
        if not lost:
            return []
        others = self._choose(now)
        # Not only the overdue ones: of any member cut off at this moment the last answer has just come. And the members
        # monitored from now on too: the word of the accused ones on them counts no more.
        self._suspected = {node for node in self.monitored if node not in self.accused}
        return [MarkUnreachable(tuple(lost), suspected=tuple(sorted(self._suspected))), *others]

    def _crossing(self, node: UniqueAddress, threshold: float, after_pause_max: float) -> float:
        """Return when phi reaches the threshold, so long after the pause at most, if this node has listened always."""
        heard = self.detector.last_heard(node)
        longest = self._longest(after_pause_max)
        return min(self.detector.crossing(node, threshold), heard + longest) + self._health.lost_since(heard)

    def _longest(self, after_pause_max: float) -> float:
        return self.detector_config.acceptable_heartbeat_pause_ms / 1000 + after_pause_max

    def _accused_at(self, node: UniqueAddress) -> float:
        """Return when the node's silence becomes an accusation."""
        at = self._too_silent_at(node) + self._probes.postponed(node)
        return max(at, self._health.withheld_until)

    def _too_silent_at(self, node: UniqueAddress) -> float:
        return self._crossing(node, self.detector_config.threshold, CROSSING_AFTER_PAUSE_MAX)

    def _probed_at(self, node: UniqueAddress) -> float:
        """Return when others are asked about the node's silence: infinity if they were."""
        return math.inf if self._probes.is_asked(node) else self._crossing(node, PROBE_PHI, PROBED_AFTER_PAUSE_MAX)

    def _helpers(self, subject: UniqueAddress, now: float) -> list[UniqueAddress]:
        """Return the members to ask, the best first: its monitors, next before it on the ring; silent ones last."""
        around = successors(subject, self._members - self.accused - {self.self_node}, len(self._members))
        return sorted(reversed(around), key=lambda node: self.detector.phi(node, now) >= PROBE_PHI)

    def _plan_check(self, now: float) -> list[StartTimer]:
        judged = [node for node in self.monitored if node not in self.accused]
        if not judged:
            return []
        due = min(min(self._accused_at(node), self._probed_at(node)) for node in judged)
        return [StartTimer(CHECK, min(max(due - now, 0.001), self.availability_interval))]
