"""One run of a simulated node: its machines, its clock, and its history."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.protocol.failure_detector.heartbeat import HeartbeatSender
from casty.protocol.failure_detector.monitor import Availability
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.membership.machine import Topology
from casty.protocol.state.cluster_state import TopologySnapshot

Facts = dict[NodeAddress, str]


@dataclass(slots=True)
class Run:
    """One run of a simulated node, and its record."""

    name: str
    """Name of the node."""
    node: UniqueAddress
    """Its address and incarnation."""
    topology: Topology
    """The membership machine."""
    gossip: Dissemination
    """Spreader of its states, and of the services."""
    availability: Availability
    """The failure detection."""
    heartbeat: HeartbeatSender = HeartbeatSender()
    """Answerer of heartbeats, and sender of those of the failure detection."""
    seeds: tuple[str, ...] = ()
    """Nodes asked for its entry."""
    started_at: float = 0.0
    """When it was started."""
    alive: bool = True
    """Whether it has neither ended nor crashed."""
    paused: bool = False
    """Whether its loop stands still."""
    outcome: str = ""
    """Empty while it runs; then ``left``, ``downed``, ``crashed`` or the reason of a refusal."""
    finished_at: float = math.inf
    """Time of the news of its finished work, so it may leave."""
    ended_at: float = math.inf
    """When it ended or crashed."""
    last: LastMembership | None = None
    """Its knowledge at its downing; until then, the remembered knowledge of the run before it."""
    events: list[tuple[float, object]] = field(default_factory=lambda: list[tuple[float, object]]())
    """Published events, each with the time."""
    snapshots: list[TopologySnapshot] = field(default_factory=lambda: list[TopologySnapshot]())
    """Snapshots shown to its subscribers."""
    notes: list[str] = field(default_factory=lambda: list[str]())
    """Notes for its log."""
    known: dict[UniqueAddress, float] = field(default_factory=lambda: dict[UniqueAddress, float]())
    """Runs with a message received here, and the time of the last one."""
    held: list[Callable[[], None]] = field(default_factory=lambda: list[Callable[[], None]]())
    """Actions waiting until it goes on."""
    inboxes: dict[str, deque[object]] = field(default_factory=lambda: dict[str, "deque[object]"]())
    """Events waiting for one of its tasks, by the name of the task."""
    inbox_due: dict[str, float] = field(default_factory=lambda: dict[str, float]())
    """When the last of it is taken."""
    timers: dict[str, int] = field(default_factory=lambda: dict[str, int]())
    """Running timers, by key."""
    serving_until: float = -math.inf
    """Until when, by its own clock, it may do exclusive work, once it was told `WantServing`."""
    work_free_at: dict[UniqueAddress, float] = field(default_factory=lambda: dict[UniqueAddress, float]())
    """From when on, by its own clock, the work of removed runs may be taken over."""
    offered: frozenset[str] = frozenset()
    """The keys of its services."""
    offered_at: float = 0.0
    """Time of the last change of it."""
    clock_offset: float = 0.0
    """Time of its clock at time 0."""
    clock_rate: float = 1.0
    """Seconds of its clock for each second of time."""

    @property
    def is_busy(self) -> bool:
        """Whether one of its tasks has something to take from another, or of the messages received."""
        return any(self.inboxes.values())

    @property
    def statuses(self) -> Facts:
        """Address and status name of every member in this run's view."""
        state = self.topology.state
        return {} if state is None else {member.address: member.status.name for member in state.ordered}

    def clock(self, now: float) -> float:
        """Read the monotonic clock of this run.

        Parameters:
            now: Time of the simulation.

        Returns:
            Time shown by the clock.
        """
        return self.clock_offset + self.clock_rate * now

    def told(self, kind: type) -> list[object]:
        """List the events of one kind.

        Parameters:
            kind: Class of the events.

        Returns:
            The events, in the order of their publication.
        """
        return [event for _, event in self.events if isinstance(event, kind)]
