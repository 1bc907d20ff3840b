"""Which members this node accuses of not answering.

Owns the heartbeats that this node sends, the failure detector, and the evidence of refused dials.
It does not know what the cluster makes of an accusation (`reachability`, `downing`).

How it works: each node monitors its successors on a ring of hashes, so that the number of
heartbeats grows with the nodes and not with their square. A silence is judged by phi; the time at
which phi crosses the threshold is computed and a timer set for it. A lost connection is redialled
at once: two refused dials at least `REFUSAL_GAP` apart, or an answer by another run of the node,
are evidence and act at once. Only measured lateness of this node's own loop delays an accusation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from casty.address import NodeAddress, UniqueAddress
from casty.config import FailureDetectorConfig
from casty.protocol.effects import Dial, SendIfUp, StartTimer, TimerFired
from casty.protocol.messages import Heartbeat, HeartbeatAck
from casty.protocol.phi_accrual import PhiAccrualFailureDetector

REFUSAL_GAP = 0.2
LEARNED_INTERVALS_MAX = 4
CROSSING_AFTER_PAUSE_MAX = 2.0
LATENESS_MIN = 0.5
LATENESS_FORGIVEN_MAX = 3.0

HEARTBEAT = "heartbeat"
CHECK = "check"
REDIAL = "redial "


@dataclass(frozen=True, slots=True)
class WatchMembers:
    """Event: these are the members now; the ring is drawn over them."""

    members: tuple[UniqueAddress, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """Event: a message of the heartbeat protocol came from a node."""

    sender: UniqueAddress
    message: Heartbeat | HeartbeatAck


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
class Accuse:
    """Effect: the member does not answer."""

    subject: UniqueAddress


@dataclass(frozen=True, slots=True)
class Absolve:
    """Effect: the member, accused before, answers again."""

    subject: UniqueAddress


AvailabilityEvent = WatchMembers | Heard | LinkLost | DialFailed | RunSeen | TimerFired
AvailabilityEffect = SendIfUp | Dial | StartTimer | Accuse | Absolve


def ring_position(node: UniqueAddress) -> bytes:
    """Return where a node stands on the ring: a hash, the same in every process."""
    return blake2b(str(node).encode(), digest_size=8).digest()


def successors(self_node: UniqueAddress, members: Collection[UniqueAddress], count: int) -> list[UniqueAddress]:
    """Return the next ``count`` members after ``self_node`` on the ring, without itself."""
    ring = sorted((ring_position(node), node) for node in members if node != self_node)
    start = bisect_right(ring, (ring_position(self_node), self_node))
    return [node for _, node in (ring[start:] + ring[:start])[:count]]


@dataclass(slots=True)
class Availability:
    """The machine; feed it `AvailabilityEvent` values."""

    self_node: UniqueAddress
    heartbeat_interval: float = 0.5
    availability_interval: float = 2.0
    monitored_max: int = 9
    detector_config: FailureDetectorConfig = FailureDetectorConfig()
    detector: PhiAccrualFailureDetector[UniqueAddress] = field(init=False)
    monitored: list[UniqueAddress] = field(init=False, default_factory=lambda: list[UniqueAddress]())
    accused: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _sequence: int = field(init=False, default=0)
    _tick_due: float | None = field(init=False, default=None)
    _forgiven_until: float = field(init=False, default=0.0)
    _refused_at: dict[NodeAddress, float] = field(init=False, default_factory=lambda: dict[NodeAddress, float]())

    def __post_init__(self) -> None:
        learned_max = LEARNED_INTERVALS_MAX * self.heartbeat_interval
        self.detector = PhiAccrualFailureDetector(self.detector_config, learned_interval_max=learned_max)

    def handle(self, event: AvailabilityEvent, now: float) -> Sequence[AvailabilityEffect]:
        """Return what follows from one event."""
        match event:
            case WatchMembers(members):
                return self._watch(members, now)
            case Heard(sender, message):
                return self._heard(sender, message, now)
            case LinkLost(node):
                return [Dial(node.address)] if node in self.monitored else []
            case DialFailed(address, refused):
                return self._dial_failed(address, refused, now)
            case RunSeen(node):
                self._refused_at.pop(node.address, None)
                return [
                    effect
                    for other in self.monitored
                    if other.address == node.address and other != node
                    for effect in self._accuse(other)
                ]
            case TimerFired(key):
                return self._timer(key, now)

    def suspicion(self, node: UniqueAddress, now: float) -> float:
        """Return phi of a monitored node, 0.0 of any other."""
        return self.detector.phi(node, now)

    def _watch(self, members: tuple[UniqueAddress, ...], now: float) -> list[AvailabilityEffect]:
        ring = successors(self.self_node, members, self.monitored_max)
        present = set(members)
        # Whoever is accused stays monitored, or nobody would notice that it answers again.
        wanted = ring + [node for node in sorted(self.accused) if node in present and node not in ring]
        gone = [node for node in self.monitored if node not in wanted]
        new = [node for node in wanted if node not in self.monitored]
        self.monitored = wanted
        for node in gone:
            self.detector.remove(node)
            self._refused_at.pop(node.address, None)
        for node in new:
            self.detector.expect(node, now)
        # Whoever is gone and accused is down or removed: the accusation ends with the member.
        self.accused.difference_update(gone)
        effects: list[AvailabilityEffect] = []
        if self._tick_due is None:
            self._tick_due = now
            effects.append(StartTimer(HEARTBEAT, 0.0))
        effects.extend(self._beat(new))
        return [*effects, *self._plan_check(now)]

    def _heard(self, sender: UniqueAddress, message: Heartbeat | HeartbeatAck, now: float) -> list[AvailabilityEffect]:
        if isinstance(message, Heartbeat):
            return [SendIfUp(sender, HeartbeatAck(message.sequence))]
        if sender not in self.monitored:
            return []
        self.detector.heartbeat(sender, now)
        self._refused_at.pop(sender.address, None)
        if sender not in self.accused:
            return []
        self.accused.discard(sender)
        return [Absolve(sender), *self._plan_check(now)]

    def _dial_failed(self, address: NodeAddress, refused: bool, now: float) -> list[AvailabilityEffect]:
        judged = [node for node in self.monitored if node.address == address and node not in self.accused]
        if not judged or not refused:
            self._refused_at.pop(address, None)
            return []
        due = self._refused_at.setdefault(address, now) + REFUSAL_GAP
        if now >= due:  # not now - first: rounded, that can miss the gap for ever at the very time of the timer
            return [effect for node in judged for effect in self._accuse(node)]
        return [StartTimer(REDIAL + str(address), due - now)]

    def _timer(self, key: str, now: float) -> list[AvailabilityEffect]:
        if key == HEARTBEAT:
            late = now - (now if self._tick_due is None else self._tick_due)
            if late > LATENESS_MIN:
                self._forgiven_until = now + min(late, LATENESS_FORGIVEN_MAX)
            self._tick_due = now + self.heartbeat_interval
            return [*self._beat(self.monitored), StartTimer(HEARTBEAT, self.heartbeat_interval)]
        if key == CHECK:
            return self._check(now)
        return [Dial(node.address) for node in self.monitored if key == REDIAL + str(node.address)]

    def _beat(self, nodes: Sequence[UniqueAddress]) -> list[SendIfUp]:
        self._sequence += 1
        return [SendIfUp(node, Heartbeat(self._sequence)) for node in nodes]

    def _check(self, now: float) -> list[AvailabilityEffect]:
        late = now - (now if self._tick_due is None else self._tick_due)
        if late > LATENESS_MIN:
            # This loop stood still, and the heartbeat timer has not run yet to say so.
            self._forgiven_until = max(self._forgiven_until, now + min(late, LATENESS_FORGIVEN_MAX))
        effects: list[AvailabilityEffect] = []
        if now >= self._forgiven_until:
            for node in self.monitored:
                if node not in self.accused and now >= self._crossing(node):
                    effects.extend(self._accuse(node))
        return [*effects, *self._plan_check(now)]

    def _accuse(self, node: UniqueAddress) -> list[AvailabilityEffect]:
        if node in self.accused:
            return []
        self.accused.add(node)
        return [Accuse(node)]

    def _crossing(self, node: UniqueAddress) -> float:
        """Return when the node's silence becomes an accusation."""
        last_heard = self.detector.last_heard(node)
        longest = self.detector_config.acceptable_heartbeat_pause_ms / 1000 + CROSSING_AFTER_PAUSE_MAX
        return min(self.detector.crossing(node), last_heard + longest)

    def _plan_check(self, now: float) -> list[StartTimer]:
        judged = [self._crossing(node) for node in self.monitored if node not in self.accused]
        if not judged:
            return []
        due = max(min(judged), self._forgiven_until)
        return [StartTimer(CHECK, min(max(due - now, 0.001), self.availability_interval))]
