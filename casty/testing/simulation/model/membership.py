"""The four machines of the membership on each simulated node, and the performance of their effects.

Owns what `Topology`, `Dissemination`, `Availability` and `HeartbeatSender` are given and ask for: addresses that are
dialled, the lease of a strategy, the end of a run. Each is the real machine, made as a real node makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.assembly import dissemination_of
from casty.protocol.effects import Dial, PublishEvent, Rng
from casty.protocol.failure_detector.custom_detectors import DetectorFailed
from casty.protocol.failure_detector.heartbeat import HeartbeatCame, HeartbeatSender, SendHeartbeats
from casty.protocol.failure_detector.monitor import (
    CHECK,
    Availability,
    DialFailed,
    Heard,
    LinkLost,
    MarkReachable,
    MarkUnreachable,
    RunSeen,
    WatchMembers,
    watch_members,
)
from casty.protocol.gossip.handover import (
    GossipCame,
    GossipOrder,
    HandOver,
    RegistryChanged,
    TableChanged,
    TableWritten,
    UnknownTables,
)
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.gossip.tables import ReplicatedTable
from casty.protocol.membership.admission import VerifyAddress
from casty.protocol.membership.inputs import (
    AddressAnswered,
    Downed,
    Joined,
    JoinFailed,
    Left,
    Received,
    Start,
    TopologyEvent,
    TopologySettings,
    WorkFinished,
)
from casty.protocol.membership.leaving import AskedToLeave
from casty.protocol.membership.machine import Topology
from casty.protocol.membership.view import Forget, MembersChanged, SnapshotChanged
from casty.protocol.messages.liveness import Heartbeat, ObservationMessage
from casty.protocol.messages.membership import AntiEntropyMessage, Join, TopologyMessage
from casty.protocol.split_brain.resolver import AcquireLease, LeaseAnswered
from casty.protocol.split_brain.serving_lease import Serving, WorkFree
from casty.protocol.state.registry import Registry
from casty.testing.simulation.model.engine import ModelEngine
from casty.testing.simulation.model.machine import ModelMachine, itself
from casty.testing.simulation.model.run import AVAILABILITY, GOSSIP, HEARTBEAT, TOPOLOGY, ModelTask, Run

DIAL_TIMEOUT = 5.0
PORT = 2551


class MembershipEngine(ModelEngine):
    """Runs with the membership machines of real nodes."""

    def __init__(self, seed: int, settings: TopologySettings, delay: float) -> None:
        super().__init__(seed, delay)
        self.settings: TopologySettings = settings
        """Settings of the membership."""
        self.availability: Callable[[UniqueAddress], Availability] = Availability
        """Makes the failure detection of a new run."""
        self.tables: Callable[[str], Sequence[ReplicatedTable]] = lambda _: ()
        """Makes the tables of a new run of a node, by its name, beside the registry."""
        self.work: float = 0.0
        """Seconds for which a node asked to leave goes on working."""
        self.ended: list[Run] = []
        """Runs ended or crashed, in this order."""
        self.accused_at: dict[tuple[UniqueAddress, UniqueAddress], float] = {}
        """Time of the last accusation of a run by an observer, by observer and run."""
        self.lost: frozenset[str] = frozenset()
        """Runs ruled out by the lease, for the strategy `LeaseMajority`."""
        self.lease_takes_max: float = 0.0
        """Longest time to an answer of the lease, in seconds; drawn for each claim."""
        self.lease_answers: list[tuple[Run, LeaseAnswered]] = []
        """Answers of the lease so far, with their receivers."""

    def tell(self, run: Run, event: TopologyEvent) -> None:
        """Feed the topology machine of a run and perform its effects.

        Parameters:
            run: The run.
            event: Event for its topology machine.

        Raises:
            TypeError: The machine wants an effect unknown to the model.
        """
        self.handle(run.tasks[TOPOLOGY], event)

    def finish_work(self, run: Run) -> None:
        """Tell a run that its actors have finished, so that it may leave.

        Parameters:
            run: The run.
        """
        run.finished_at = min(run.finished_at, self.now)
        self.tell(run, WorkFinished())

    def link_says(self, run: Run, event: RunSeen | LinkLost | DialFailed) -> None:
        """Tell the failure detection of a run of a link at once, and the machines that hear of such.

        Parameters:
            run: The run.
            event: What became of the link.
        """
        self.perform(run.tasks[AVAILABILITY], (event,))

    def answer_claim(self, run: Run, answer: LeaseAnswered) -> None:
        """Tell a run the answer of the lease.

        Parameters:
            run: The run.
            answer: The answer.
        """
        self.lease_answers.append((run, answer))
        self.tell(run, answer)

    def is_silent(self, run: Run, address: NodeAddress) -> bool:
        """Look whether a dial gets no answer: the path is cut, or the listening process there stands still.

        Parameters:
            run: The dialling run.
            address: The dialled address.

        Returns:
            Whether it gets none.
        """
        target = self.runs.get(address.host)
        stands_still = target is not None and target.alive and target.paused
        return stands_still or self.is_cut(run.name, address.host)

    def _receive(self, run: Run, sender: UniqueAddress, message: object) -> None:
        is_new = sender not in run.known
        run.known[sender] = self.now
        if is_new and self.runs[sender.address.host].node == sender:  # a run that has ended makes no connection
            self.link_says(run, RunSeen(sender))
        self._deliver(run, sender, message)


def _judge(cluster: MembershipEngine, task: ModelTask, event: RunSeen | LinkLost | DialFailed) -> None:
    cluster.handle(task, event)


def _mark_unreachable(cluster: MembershipEngine, task: ModelTask, effect: MarkUnreachable) -> None:
    node = task.run.node
    cluster.accused_at.update(((node, subject), cluster.now) for subject in effect.subjects)


def _dial(cluster: MembershipEngine, task: ModelTask, effect: Dial) -> None:
    run, address = task.run, effect.address
    target = cluster.runs.get(address.host)
    if cluster.is_silent(run, address):
        cluster.call_later(DIAL_TIMEOUT, run, cluster.link_says, run, DialFailed(address, refused=False))
    elif target is None or not target.alive:
        cluster.call_later(cluster.delay, run, cluster.link_says, run, DialFailed(address, refused=True))
    else:
        cluster.call_later(cluster.delay, run, cluster.link_says, run, RunSeen(target.node))


def _verify(cluster: MembershipEngine, task: ModelTask, question: VerifyAddress) -> None:
    target = cluster.runs.get(question.joiner.address.host)
    found = target.node if target is not None and target.alive else None
    delay = cluster.delay
    if cluster.is_silent(task.run, question.joiner.address):
        found, delay = None, DIAL_TIMEOUT
    cluster.call_later(delay, task.run, cluster.tell, task.run, AddressAnswered(question, found))


def _show(cluster: MembershipEngine, task: ModelTask, effect: SnapshotChanged) -> None:
    run = task.run
    run.snapshots.append(effect.snapshot)
    cluster.note(run, "sees", b"" if run.topology.state is None else run.topology.state.digest)


def _publish(cluster: MembershipEngine, task: ModelTask, effect: PublishEvent) -> None:
    task.run.events.append((cluster.now, effect.event))
    cluster.note(task.run, "publishes", type(effect.event).__name__)


def _work_on(cluster: MembershipEngine, task: ModelTask, effect: AskedToLeave) -> None:
    cluster.call_later(cluster.work, task.run, cluster.finish_work, task.run)


def _end(cluster: MembershipEngine, task: ModelTask, effect: Left | Downed | JoinFailed) -> None:
    run = task.run
    run.alive, run.ended_at = False, cluster.now
    cluster.ended.append(run)
    match effect:
        case Left():
            run.outcome = "left"
        case Downed(last=last):
            run.outcome, run.last = "downed", last
        case JoinFailed(reason):
            run.outcome = reason
    cluster.note(run, "ends", run.outcome)


def _claim(cluster: MembershipEngine, task: ModelTask, effect: AcquireLease) -> None:
    held = not cluster.lost & effect.claim.side
    cluster.lost |= effect.claim.others if held else frozenset()
    takes = cluster.delay + cluster.lease_takes_max * cluster.rng.random()
    cluster.call_later(takes, task.run, cluster.answer_claim, task.run, LeaseAnswered(effect.claim, held))


def _serve(cluster: MembershipEngine, task: ModelTask, effect: Serving) -> None:
    task.run.serving_until = effect.until


def _free(cluster: MembershipEngine, task: ModelTask, effect: WorkFree) -> None:
    task.run.work_free_at[effect.node] = effect.at


def _nothing(
    cluster: MembershipEngine, task: ModelTask, effect: Joined | Forget | DetectorFailed | UnknownTables
) -> None:
    """Do nothing: a driver tells its transport, and there is none."""


def _pass_on(cluster: MembershipEngine, task: ModelTask, effect: TableChanged) -> None:
    if isinstance(effect.table, Registry):
        cluster.hand(task.run, TOPOLOGY, RegistryChanged(effect.table))


def _topology(cluster: MembershipEngine, run: Run, rng: Rng) -> Topology:
    seeds = tuple(NodeAddress(seed, PORT) for seed in run.seeds)
    run.topology = Topology(run.member, seeds, cluster.settings, rng, run.last)
    return run.topology


def _gossip(cluster: MembershipEngine, run: Run, rng: Rng) -> Dissemination:
    run.gossip = dissemination_of(run.node, cluster.settings, rng, cluster.tables(run.name))
    return run.gossip


def _availability(cluster: MembershipEngine, run: Run, rng: Rng) -> Availability:
    run.availability = cluster.availability(run.node)
    return run.availability


def _heartbeat(cluster: MembershipEngine, run: Run, rng: Rng) -> HeartbeatSender:
    run.heartbeat = HeartbeatSender()
    return run.heartbeat


def _received(sender: UniqueAddress, message: TopologyMessage, at: float) -> Received:
    return Received(sender, message)


def _given_over(effect: HandOver) -> Received:
    return Received(effect.sender, effect.message)


def _gossip_came(sender: UniqueAddress, message: AntiEntropyMessage, at: float) -> GossipCame:
    return GossipCame(sender, message)


def _heartbeat_came(sender: UniqueAddress, message: Heartbeat, at: float) -> HeartbeatCame:
    return HeartbeatCame(sender, message.sequence)


def _members_to_watch(effect: MembersChanged) -> WatchMembers:
    return watch_members(effect.members)


MEMBERSHIP: tuple[ModelMachine[Any], ...] = (
    ModelMachine[Any](
        name=TOPOLOGY,
        make=_topology,
        starts_with=(Start(),),
        receives=dict.fromkeys(get_args(TopologyMessage), _received),
        hears={
            MarkUnreachable: itself,
            MarkReachable: itself,
            HandOver: _given_over,
        },
        performs={
            VerifyAddress: _verify,
            SnapshotChanged: _show,
            PublishEvent: _publish,
            AskedToLeave: _work_on,
            Left: _end,
            Downed: _end,
            JoinFailed: _end,
            AcquireLease: _claim,
            Serving: _serve,
            WorkFree: _free,
            Joined: _nothing,
            Forget: _nothing,
        },
        late=(Join,),
        sender="anyone",
        is_direct=True,
    ),
    ModelMachine[Any](
        name=GOSSIP,
        make=_gossip,
        receives=dict.fromkeys(get_args(AntiEntropyMessage), _gossip_came),
        hears={**dict.fromkeys(get_args(GossipOrder), itself), TableWritten: itself},
        performs={TableChanged: _pass_on, UnknownTables: _nothing},
        sender="anyone",
    ),
    ModelMachine[Any](
        name=AVAILABILITY,
        make=_availability,
        receives=dict.fromkeys(get_args(ObservationMessage), Heard),
        hears={MembersChanged: _members_to_watch},
        performs={
            MarkUnreachable: _mark_unreachable,
            Dial: _dial,
            RunSeen: _judge,
            LinkLost: _judge,
            DialFailed: _judge,
            DetectorFailed: _nothing,
        },
        sender="anyone",
        drains={CHECK: Heard},
    ),
    ModelMachine[Any](
        name=HEARTBEAT,
        make=_heartbeat,
        receives={Heartbeat: _heartbeat_came},
        hears={SendHeartbeats: itself},
        sender="anyone",
    ),
)
"""Machines on every node, in the order of their making."""
