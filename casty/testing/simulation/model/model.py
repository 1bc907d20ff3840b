"""A cluster of machines on a heap of events: no Trio, no sockets, virtual time, one seed.

Owns the simulated nodes, their clock, the network between them, and the time of a hand-over between two tasks of a
node. Each run of a node is the real `Topology`, `Dissemination`, `Availability` and `HeartbeatSender` machine; this
module only performs their effects. Faults are methods: `crash`, `cut`, `heal`, `pause`, `resume`, `skew`; loss and
delay are fields. The same seed and the same calls give the same history.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TypeVar

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.assembly import dissemination_of
from casty.protocol.effects import Dial, Note, PublishEvent, Send, SendIfUp, StartTimer, TimerFired
from casty.protocol.failure_detector.custom_detectors import DetectorFailed
from casty.protocol.failure_detector.heartbeat import HeartbeatCame, HeartbeatEvent, SendHeartbeats
from casty.protocol.failure_detector.monitor import (
    CHECK,
    Availability,
    AvailabilityEvent,
    DialFailed,
    Heard,
    LinkLost,
    MarkReachable,
    MarkUnreachable,
    RunSeen,
    is_availability_timer,
    watch_members,
)
from casty.protocol.gossip.handover import (
    GossipCame,
    GossipEvent,
    GossipOrder,
    HandOver,
    OwnServices,
    RegistryChanged,
)
from casty.protocol.gossip.machine import is_gossip_timer
from casty.protocol.membership.admission import VerifyAddress
from casty.protocol.membership.inputs import (
    AddressAnswered,
    Downed,
    DownMember,
    Joined,
    JoinFailed,
    LeaveMember,
    Left,
    Received,
    SeedsFound,
    Start,
    TopologyEvent,
    TopologySettings,
    WorkFinished,
)
from casty.protocol.membership.leaving import AskedToLeave
from casty.protocol.membership.machine import Topology
from casty.protocol.membership.view import Forget, MembersChanged, SnapshotChanged
from casty.protocol.messages.liveness import Heartbeat, ObservationMessage
from casty.protocol.messages.membership import AntiEntropyMessage
from casty.protocol.split_brain.resolver import AcquireLease, LeaseAnswered
from casty.protocol.split_brain.serving_lease import Serving, WorkFree
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.samples import service_of
from casty.testing.simulation.model.network import ModelNetwork
from casty.testing.simulation.model.run import Run
from casty.testing.simulation.model.taps import Taps
from casty.testing.simulation.model.trace import Fact, Trace

DIAL_TIMEOUT = 5.0
PORT = 2551
TOPOLOGY, GOSSIP, AVAILABILITY, HEARTBEAT = "topology", "gossip", "availability", "heartbeat"
TASKS = (TOPOLOGY, GOSSIP, AVAILABILITY, HEARTBEAT)
"""Tasks of a run able to have something waiting for them."""

E = TypeVar("E")

Action = Callable[..., None]
Due = tuple[float, int, Run, Action, tuple[object, ...]]
"""Time, number among all, run, action, and arguments: ties break by the number."""


class ModelCluster(ModelNetwork):
    """Simulated nodes by name; ``run_for`` lets virtual time pass.

    >>> cluster = ModelCluster(seed=1)
    >>> for name in ("a", "b", "c"):
    ...     _ = cluster.start(name, seeds=("a",))
    >>> cluster.run_for(1.0)
    >>> sorted(cluster.runs["b"].statuses.values())
    ['up', 'up', 'up']

    Parameters:
        seed: Number behind all delays, losses and addresses.
        settings: Settings of the membership; None means the defaults.
        delay: Seconds of each message's travel.
    """

    def __init__(self, seed: int, *, settings: TopologySettings | None = None, delay: float = 0.001) -> None:
        super().__init__(random.Random(seed), delay)
        self.now: float = 0.0
        """Virtual time, in seconds."""
        self.settings: TopologySettings = settings or TopologySettings()
        """Settings of the membership."""
        self.clock_spread: float = 0.0
        """Monotonic clocks of new runs differ by up to so many seconds, as those of machines do."""
        self.availability: Callable[[UniqueAddress], Availability] = Availability
        """Makes the failure detection of a new run."""
        self.handover_max: dict[str, float] = {}
        """Longest time, in seconds, until a task of a run takes an event from another one of the run, or from its
        links; by the name of the task, drawn for each event, in their order. A task without a name here takes it at
        once.
        """
        self.trace: Trace | None = None
        """Recorder of each event; None records nothing."""
        self.taps: Taps = Taps()
        """Listeners to all messages."""
        self.acted: dict[UniqueAddress, Run] = {}
        """The runs whose membership was told something since somebody emptied this."""
        self.downed_by_hand: set[UniqueAddress] = set()
        """Runs declared down by an operator."""
        self.work: float = 0.0
        """Seconds for which a node asked to leave goes on working."""
        self.said: dict[type, int] = {}
        """How many messages of each class were sent so far."""
        self.runs: dict[str, Run] = {}
        """The latest run of each node, by name."""
        self.past: list[Run] = []
        """Replaced runs."""
        self.every: dict[UniqueAddress, Run] = {}
        """All runs ever started."""
        self.ended: list[Run] = []
        """Those ended or crashed, in this order."""
        self.standing_still: set[str] = set()
        """Paused nodes."""
        self.accused_at: dict[tuple[UniqueAddress, UniqueAddress], float] = {}
        """When each observer has accused a run for the last time, by observer and run."""
        self.lost: frozenset[str] = frozenset()
        """Runs ruled out by the lease, for the strategy `LeaseMajority`."""
        self.lease_takes_max: float = 0.0
        """Longest time to an answer of the lease, in seconds; drawn for each claim."""
        self.lease_answers: list[tuple[Run, LeaseAnswered]] = []
        """Answers of the lease so far, with their receivers."""
        self._handovers = random.Random(seed)  # of its own: what is drawn of the network stays the same
        self._heap: list[Due] = []
        self._sequence = 0
        self._texts: dict[UniqueAddress, str] = {}
        self._behind: tuple[Run, Gossip | None, int] | None = None
        """Last run found not yet up, in which state, and of how many."""

    def start(
        self,
        name: str,
        *,
        seeds: Iterable[str] = (),
        node_id: str | None = None,
        roles: Iterable[str] = (),
        remembers: bool = False,
    ) -> Run:
        """Start a run of a node; a run alive there is replaced.

        Parameters:
            name: Name of the node, and its host.
            seeds: Names of the nodes to ask for entry.
            node_id: Its node_id; None takes the name.
            roles: Its roles.
            remembers: Whether it knows the knowledge of the run before it at its downing, as a rejoining one does.

        Returns:
            The run.
        """
        last = self.runs[name].last if remembers else None
        if name in self.runs:
            self.crash(name)
            self.past.append(self.runs[name])
        node = UniqueAddress(NodeAddress(name, PORT), self.rng.getrandbits(63) | 1)
        status, identity = MemberStatus.joining, node_id or name
        member = Member(node.address, status, frozenset(roles), identity, incarnation=node.incarnation)
        rng = random.Random(self.rng.getrandbits(64))
        asked = tuple(seeds)
        topology = Topology(member, tuple(NodeAddress(seed, PORT) for seed in asked), self.settings, rng, last)
        gossip = dissemination_of(node, self.settings, rng)
        run = Run(name, node, topology, gossip, self.availability(node), seeds=asked, started_at=self.now)
        if self.clock_spread:
            run.clock_offset = self.rng.uniform(0.0, self.clock_spread)
        run.last = last
        self.runs[name] = self.every[node] = run
        self.standing_still.discard(name)
        self.tell(run, Start())
        return run

    def form(self, names: Iterable[str], *, within: float = 10.0) -> None:
        """Start these nodes, the first three of them as seeds, and let them all come up.

        Parameters:
            names: Names of the nodes.
            within: Seconds of virtual time for it.
        """
        every = list(names)
        for name in every:
            self.start(name, seeds=every[:3])
        self.run_for(within, until=lambda: self.all_up(len(every)))

    def crash(self, name: str) -> None:
        """End a run at once; the others' links to it break. Nothing follows if it has ended already.

        Parameters:
            name: Name of the node.
        """
        run = self.runs[name]
        if not run.alive:
            return
        run.alive, run.paused, run.outcome, run.ended_at = False, False, "crashed", self.now
        run.held.clear()
        self.standing_still.discard(name)
        self.ended.append(run)
        for other in self._others(run):
            if self.passes(name, other.name):
                self._at(self.delay, other, self._judge, other, LinkLost(run.node))

    def leave(self, name: str) -> None:
        """Let a node leave gracefully, with its work finished.

        Parameters:
            name: Name of the node.
        """
        run = self.runs[name]
        self._do(run, self._finish, run)

    def send_away(self, at: str, name: str) -> None:
        """Let one node ask another to leave; the other has ``work`` seconds to do before.

        Parameters:
            at: Name of the asking node.
            name: Name of the node to leave.
        """
        self.tell(self.runs[at], LeaveMember(NodeAddress(name, PORT)))

    def down(self, at: str, name: str) -> None:
        """Let the operator at one node declare another down.

        Parameters:
            at: Name of the operator's node.
            name: Name of the node to be declared down.
        """
        self.downed_by_hand.add(self.runs[name].node)
        self.tell(self.runs[at], DownMember(NodeAddress(name, PORT)))

    def find_seeds(self, name: str, *addresses: str) -> None:
        """Tell a node of further places where others may be.

        Parameters:
            name: Name of the node.
            *addresses: Names of nodes possibly there.
        """
        run = self.runs[name]
        self.tell(run, SeedsFound(tuple(NodeAddress(each, PORT) for each in addresses)))

    def pause(self, name: str) -> None:
        """Stop a run's loop; messages arriving meanwhile wait.

        Parameters:
            name: Name of the node.
        """
        self.runs[name].paused = True
        self.standing_still.add(name)

    def resume(self, name: str) -> None:
        """Let a paused run go on with the waiting messages, oldest first, each an event of its own as in its loop.

        Parameters:
            name: Name of the node.
        """
        run = self.runs[name]
        run.paused = False
        self.standing_still.discard(name)
        held, run.held = run.held, []
        for action in held:
            self._at(0.0, run, action)

    def skew(self, name: str, rate: float) -> None:
        """Let the clock of a run go ``rate`` times as fast as time from now on.

        Parameters:
            name: Name of the node.
            rate: Seconds of its clock for each second of time.
        """
        run = self.runs[name]
        shown = run.clock(self.now)
        run.clock_rate = rate
        run.clock_offset = shown - rate * self.now

    def offer(self, name: str, *keys: str) -> None:
        """Let a node run exactly these services.

        Parameters:
            name: Name of the node.
            *keys: Names of the services.
        """
        run = self.runs[name]
        services = frozenset(service_of(run.node, key) for key in keys)
        run.offered, run.offered_at = frozenset(keys), self.now
        self._do(run, self._gossip, run, OwnServices(services))

    def is_unheard(self, subject: UniqueAddress, by: Run) -> bool:
        """Look whether a run cannot answer another: it has ended or stands still, or the path is cut.

        Parameters:
            subject: The run to answer.
            by: The run to hear it.

        Returns:
            Whether it cannot.
        """
        run = self.runs.get(subject.address.host)
        gone = run is None or run.node != subject or not run.alive or run.paused
        return gone or self.is_cut(by.name, subject.address.host)

    def run_for(self, seconds: float, *, until: Callable[[], bool] | None = None) -> None:
        """Let virtual time pass.

        Parameters:
            seconds: At most so many.
            until: Function called before each event; time stops once it returns True. Its exceptions leave this call.
        """
        end, heap = self.now + seconds, self._heap
        while heap and heap[0][0] <= end:
            if until is not None and until():
                return
            self.now, _, run, action, values = heapq.heappop(heap)
            if run.paused:
                run.held.append(partial(action, *values))
            elif run.alive:
                action(*values)
        self.now = end if until is None or not until() else self.now

    @property
    def handover(self) -> float:
        """Longest time, in seconds, until a task of a run takes an event from another one."""
        return max(self.handover_max.values(), default=0.0)

    @property
    def sent(self) -> int:
        """Messages sent so far."""
        return sum(self.said.values())

    @property
    def living(self) -> list[Run]:
        """Runs neither ended nor crashed."""
        return [run for run in self.runs.values() if run.alive]

    def all_up(self, count: int, among: Collection[Run] | None = None) -> bool:
        """Look whether every living run sees the same number of members, all up and nobody unreachable.

        Parameters:
            count: Number of members.
            among: The runs to look at; None for all living ones.

        Returns:
            Whether it is so.
        """
        if self._behind is not None and self._behind[0].alive:
            # Asked before each event: whoever was behind and has the same state still is.
            run, state, of = self._behind
            if run.topology.state is state and of == count and (among is None or run in among):
                return False
        behind = next((run for run in among or self.living if not _sees_all_up(run.topology.state, count)), None)
        self._behind = None if behind is None else (behind, behind.topology.state, count)
        return behind is None

    def tell(self, run: Run, event: TopologyEvent) -> None:
        """Feed the topology machine of a run and perform its effects.

        Parameters:
            run: The run.
            event: Event for its topology machine.

        Raises:
            TypeError: The machine wants an effect unknown to the model.
        """
        self.acted[run.node] = run
        self._perform(run, run.topology.handle(event, run.clock(self.now)))

    def _gossip(self, run: Run, event: GossipEvent) -> None:
        if isinstance(event, GossipCame):
            self.taps.show_received(run, event.sender, event.message)
        self._perform(run, run.gossip.handle(event, run.clock(self.now)))

    def _judge(self, run: Run, event: AvailabilityEvent) -> None:
        if isinstance(event, Heard):
            self.taps.show_received(run, event.sender, event.message)
        self._perform(run, run.availability.handle(event, run.clock(self.now)))

    def _beat(self, run: Run, event: HeartbeatEvent) -> None:
        self._perform(run, run.heartbeat.handle(event, run.clock(self.now)))

    def _hand(self, run: Run, task: str, take: Callable[[Run, E], None], event: E) -> None:
        """Have a task of a run take an event, behind those waiting for it."""
        if task not in self.handover_max:
            take(run, event)
            return
        at = self.now + self.handover_max[task] * self._handovers.random()
        due = run.inbox_due[task] = max(at, run.inbox_due.get(task, 0.0))
        run.inboxes.setdefault(task, deque()).append(event)
        self._at(due - self.now, run, self._take, run, task, take)

    def _take(self, run: Run, task: str, take: Callable[[Run, object], None]) -> None:
        if run.inboxes[task]:  # a check may have taken it already
            take(run, run.inboxes[task].popleft())

    def _check(self, run: Run) -> None:
        """Let the failure detection check, after it has taken the answers waiting for it: as its driver does."""
        waiting = run.inboxes.get(AVAILABILITY, deque())
        heard = [event for event in waiting if isinstance(event, Heard)]
        for event in heard:
            waiting.remove(event)
            self._judge(run, event)
        self._judge(run, TimerFired(CHECK))

    def _perform(self, run: Run, effects: Sequence[object]) -> None:
        listening = self.taps.performed_of
        for effect in effects:
            for tap in listening.get(type(effect), ()):
                tap(run, effect)
            match effect:
                case Send() | SendIfUp():
                    self._send(run, effect.to, effect.message)
                case StartTimer(key, delay):
                    self._start_timer(run, key, delay)
                case SendHeartbeats():
                    self._hand(run, HEARTBEAT, self._beat, effect)
                case Dial(address):
                    self._dial(run, address)
                case VerifyAddress():
                    self._verify(run, effect)
                case MarkUnreachable(subjects):
                    self.accused_at.update(((run.node, subject), self.now) for subject in subjects)
                    self._hand(run, TOPOLOGY, self.tell, effect)
                case MarkReachable() | RegistryChanged():
                    self._hand(run, TOPOLOGY, self.tell, effect)
                case HandOver(sender, message):
                    self._hand(run, TOPOLOGY, self.tell, Received(sender, message))
                case MembersChanged(members):
                    self._hand(run, AVAILABILITY, self._judge, watch_members(members))
                case SnapshotChanged(snapshot):
                    run.snapshots.append(snapshot)
                    self._note(run, "sees", b"" if run.topology.state is None else run.topology.state.digest)
                case PublishEvent(event):
                    run.events.append((self.now, event))
                    self._note(run, "publishes", type(event).__name__)
                case Note(_, text):
                    run.notes.append(text)
                    self._note(run, "notes", text)
                case AskedToLeave():
                    self._at(self.work, run, self._finish, run)
                case Left() | Downed() | JoinFailed():
                    self._end(run, effect)
                case AcquireLease(claim):
                    held = not self.lost & claim.side
                    self.lost |= claim.others if held else frozenset()
                    takes = self.delay + self.lease_takes_max * self.rng.random()
                    self._at(takes, run, self._answer_claim, run, LeaseAnswered(claim, held))
                case Serving(until):
                    run.serving_until = until
                case WorkFree(node, at):
                    run.work_free_at[node] = at
                case Joined() | Forget() | DetectorFailed():
                    pass
                case _ if isinstance(effect, GossipOrder):
                    self._hand(run, GOSSIP, self._gossip, effect)
                case _:
                    raise TypeError(f"the model cannot perform {effect!r}")

    def _answer_claim(self, run: Run, answer: LeaseAnswered) -> None:
        self.lease_answers.append((run, answer))
        self.tell(run, answer)

    def _finish(self, run: Run) -> None:
        run.finished_at = min(run.finished_at, self.now)
        self.tell(run, WorkFinished())

    def _end(self, run: Run, effect: Left | Downed | JoinFailed) -> None:
        run.alive, run.ended_at = False, self.now
        self.ended.append(run)
        match effect:
            case Left():
                run.outcome = "left"
            case Downed(last=last):
                run.outcome, run.last = "downed", last
            case JoinFailed(reason):
                run.outcome = reason
        self._note(run, "ends", run.outcome)

    def _note(self, run: Run, does: str, what: Fact) -> None:
        if self.trace is not None:
            self.trace.add(self.now, run.name, does, what)

    def _send(self, run: Run, to: UniqueAddress, message: object) -> None:
        kind, taps = type(message), self.taps
        self.said[kind] = self.said.get(kind, 0) + 1
        for tap in taps.sent:
            tap(run, to, message)
        for tap in taps.sent_of.get(kind, ()):
            tap(run, to, message)
        if self.trace is not None:
            text = self._texts.get(to) or self._texts.setdefault(to, str(to))
            self.trace.add(self.now, run.name, "sends", kind.__name__, text)
        target = self.runs.get(to.address.host)
        if target is None or to.incarnation not in (0, target.node.incarnation):
            return
        for arrival in self.arrivals(run.node, target.name, self.now):
            self._sequence += 1
            values = (target, run.node, message)
            heapq.heappush(self._heap, (arrival, self._sequence, target, self._receive, values))
        late = self.late_after(message) if self.late_joins else None
        if late is not None:
            self._at(late, target, self._receive_late, target, run.node, message)

    def _receive(self, run: Run, sender: UniqueAddress, message: object) -> None:
        is_new = sender not in run.known
        run.known[sender] = self.now
        if is_new and self.runs[sender.address.host].node == sender:  # a run that has ended makes no connection
            self._judge(run, RunSeen(sender))
        if isinstance(message, Heartbeat):
            self.taps.show_received(run, sender, message)
            self._hand(run, HEARTBEAT, self._beat, HeartbeatCame(sender, message.sequence))
        elif isinstance(message, ObservationMessage):
            self._hand(run, AVAILABILITY, self._judge, Heard(sender, message, run.clock(self.now)))
        elif isinstance(message, AntiEntropyMessage):
            self._hand(run, GOSSIP, self._gossip, GossipCame(sender, message))
        else:
            self.taps.show_received(run, sender, message)
            self.tell(run, Received(sender, message))  # type: ignore[arg-type]  # machines send only control messages

    def _receive_late(self, run: Run, sender: UniqueAddress, message: object) -> None:
        if self.late_joins:  # it says nothing of who is alive now, so nobody counts as heard
            self.tell(run, Received(sender, message))  # type: ignore[arg-type]  # only Joins come late

    def _verify(self, run: Run, question: VerifyAddress) -> None:
        target = self.runs.get(question.joiner.address.host)
        found = target.node if target is not None and target.alive else None
        delay = self.delay
        if self._is_silent(run, question.joiner.address):
            found, delay = None, DIAL_TIMEOUT
        self._at(delay, run, self.tell, run, AddressAnswered(question, found))

    def _dial(self, run: Run, address: NodeAddress) -> None:
        target = self.runs.get(address.host)
        if self._is_silent(run, address):
            self._at(DIAL_TIMEOUT, run, self._judge, run, DialFailed(address, refused=False))
        elif target is None or not target.alive:
            self._at(self.delay, run, self._judge, run, DialFailed(address, refused=True))
        else:
            self._at(self.delay, run, self._judge, run, RunSeen(target.node))

    def _is_silent(self, run: Run, address: NodeAddress) -> bool:
        """Whether a dial gets no answer: the path is cut, or the listening process there stands still."""
        target = self.runs.get(address.host)
        stands_still = target is not None and target.alive and target.paused
        return stands_still or self.is_cut(run.name, address.host)

    def _start_timer(self, run: Run, key: str, delay: float) -> None:
        generation = self._sequence + 1
        run.timers[key] = generation
        self._at(delay / run.clock_rate, run, self._fire, run, key, generation)

    def _fire(self, run: Run, key: str, generation: int) -> None:
        if run.timers.get(key) == generation:
            del run.timers[key]
            if key == CHECK:
                self._check(run)
            elif is_availability_timer(key):
                self._judge(run, TimerFired(key))
            elif is_gossip_timer(key):
                self._gossip(run, TimerFired(key))
            else:
                self.tell(run, TimerFired(key))

    def _at(self, delay: float, run: Run, action: Action, *values: object) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now + delay, self._sequence, run, action, values))

    def _do(self, run: Run, action: Action, *values: object) -> None:
        """Let a run act now; once it wakes, if it is paused; never, if it has ended."""
        if run.paused:
            run.held.append(partial(action, *values))
        elif run.alive:
            action(*values)

    def _others(self, run: Run) -> list[Run]:
        return [other for other in self.living if other is not run]


def _sees_all_up(state: Gossip | None, count: int) -> bool:
    return (
        state is not None
        and len(state.members) == count
        and all(member.status is MemberStatus.up for member in state.ordered)
        and not state.unreachable
    )
