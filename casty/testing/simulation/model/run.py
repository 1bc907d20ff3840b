"""One run of a simulated node: its machines with their tasks, its clock, and its history."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.protocol.failure_detector.heartbeat import HeartbeatSender
from casty.protocol.failure_detector.monitor import Availability
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.membership.machine import Topology
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import Member
from casty.testing.simulation.model.machine import ModelMachine, ModelNode, Performers, PureMachine

Facts = dict[NodeAddress, str]
TOPOLOGY, GOSSIP, AVAILABILITY, HEARTBEAT = "topology", "gossip", "availability", "heartbeat"
TASKS = (TOPOLOGY, GOSSIP, AVAILABILITY, HEARTBEAT)
"""Tasks of the membership, on every node."""
Came = tuple[UniqueAddress, object]
"""A message, and the run it came from."""
Inbox = deque[tuple[object, Came | None]]
"""Events waiting for a task, each with the message in it."""

M = TypeVar("M")


@dataclass(slots=True, eq=False)
class ModelTask:
    """Task of a run: one machine, its timers, and the events waiting for it."""

    run: Run
    """Its run."""
    kind: ModelMachine[Any]
    """Description of its machine."""
    machine: PureMachine[Any]
    """Its machine."""
    performers: Performers
    """Function for each effect of the machine, by class."""
    chance: random.Random
    """Source of the draws about its messages."""
    handovers: random.Random
    """Source of the draws about the events handed over to it."""
    name: str = field(init=False)
    """Name of the machine."""
    is_topology: bool = field(init=False)
    """Whether it is the owner of the membership."""
    is_membership: bool = field(init=False)
    """Whether it is one of the membership's own."""
    inbox: Inbox = field(init=False, default_factory=lambda: deque[tuple[object, "Came | None"]]())
    """Events waiting for it, each with the message in it."""
    due: float = field(init=False, default=0.0)
    """Time at which the last of it is taken."""
    timers: dict[str, int] = field(init=False, default_factory=dict[str, int])
    """Running timers, by key."""

    def __post_init__(self) -> None:
        self.name = self.kind.name
        self.is_topology, self.is_membership = self.name == TOPOLOGY, self.name in TASKS

    def __repr__(self) -> str:
        return f"<ModelTask {self.name} of {self.run.name}, {len(self.inbox)} waiting>"


@dataclass(slots=True, eq=False)
class Run:
    """One run of a simulated node, and its record."""

    name: str
    """Name of the node."""
    node: UniqueAddress
    """Its address and incarnation."""
    member: Member
    """Its entry for the membership, as it asks to be let in."""
    parts: ModelNode = field(repr=False, compare=False)
    """Description of its machines."""
    tasks: dict[str, ModelTask] = field(init=False, repr=False, compare=False, default_factory=dict[str, ModelTask])
    """Its machines with their tasks, by name."""
    inboxes: tuple[Inbox, Inbox, Inbox, Inbox] = field(init=False, repr=False)
    """Events waiting for each task of the membership."""
    topology: Topology = field(init=False)
    """The membership machine."""
    gossip: Dissemination = field(init=False)
    """Spreader of its states, and of the services."""
    availability: Availability = field(init=False)
    """The failure detection."""
    heartbeat: HeartbeatSender = field(init=False)
    """Answerer of heartbeats, and sender of those of the failure detection."""
    seeds: tuple[str, ...] = ()
    """Nodes asked for its entry."""
    started_at: float = 0.0
    """Time of its start."""
    alive: bool = True
    """Whether it has neither ended nor crashed."""
    paused: bool = False
    """Whether its loop stands still."""
    outcome: str = ""
    """Empty while it runs; then ``left``, ``downed``, ``crashed`` or the reason of a refusal."""
    finished_at: float = math.inf
    """Time of the news of its finished work, so it may leave."""
    ended_at: float = math.inf
    """Time of its end or crash."""
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
    unknown: Counter[type] = field(default_factory=Counter[type])
    """Messages dropped, by class, since none of its machines takes them."""
    refused: Counter[type] = field(default_factory=Counter[type])
    """Messages dropped, by class, since their sender is no member."""
    published: list[tuple[float, str, object]] = field(default_factory=lambda: list[tuple[float, str, object]]())
    """Events published by further machines: the time, the machine, the event."""
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
        """Whether a task of the membership has something to take from another, or of the messages received."""
        one, two, three, four = self.inboxes
        return bool(one or two or three or four)

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

    def machine(self, name: str, kind: type[M]) -> M:
        """Return one of its machines, for a rule or a test to look into.

        Parameters:
            name: Name of the machine.
            kind: Class of the machine.

        Returns:
            The machine.

        Raises:
            TypeError: The machine is of another class.
            KeyError: The node has no machine of this name.
        """
        found = self.tasks[name].machine
        if not isinstance(found, kind):
            raise TypeError(f"the machine {name!r} of {self.name} is a {type(found).__name__}, no {kind.__name__}")
        return found

    def told(self, kind: type) -> list[object]:
        """List the events of one kind.

        Parameters:
            kind: Class of the events.

        Returns:
            The events, in the order of their publication.
        """
        return [event for _, event in self.events if isinstance(event, kind)]
