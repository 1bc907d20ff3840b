"""The driver of the membership: the actor ``_topology``, owner of the cluster's state on this node.

It feeds the topology machine, answers questions about the state, and pushes snapshots to
subscribers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from casty.address import NodeAddress, NodeId, UniqueAddress
from casty.cluster.commands import (
    GetClusterState,
    GetMembership,
    Membership,
    ResolveNode,
    SubscribeTopology,
    TopologyCmd,
    UnsubscribeTopology,
)
from casty.cluster.leases.lease import ask_lease
from casty.cluster.membership.subscribers import Subscribers
from casty.cluster.node import ClusterNode
from casty.cluster.observability.notes import show_note
from casty.cluster.peer_queue import PeerReady
from casty.errors import JoinRefused, NodeDowned
from casty.protocol.effects import Note, PublishEvent, Send, SendIfUp, StartTimer, TimerFired
from casty.protocol.failure_detector.monitor import watch_members
from casty.protocol.gossip.handover import SeenOfOther, SendLacking, SendVersions, StatePublished, StopGossip
from casty.protocol.membership.admission import VerifyAddress
from casty.protocol.membership.inputs import (
    AddressAnswered,
    Downed,
    Joined,
    JoinFailed,
    Left,
    Received,
    TopologyEffect,
    WorkFinished,
)
from casty.protocol.membership.leaving import AskedToLeave
from casty.protocol.membership.machine import Topology
from casty.protocol.membership.view import Forget, MembersChanged, SnapshotChanged
from casty.protocol.messages.membership import GossipState
from casty.protocol.split_brain.resolver import AcquireLease
from casty.protocol.split_brain.serving_lease import Serving, WorkFree
from casty.protocol.state.cluster_state import ClusterState, TopologySnapshot, project_state
from casty.protocol.state.events import MemberEvent, UnreachableMember
from casty.protocol.state.member import member_called
from casty.protocol.state.shard_allocation import ShardsAllocated
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import drive
from casty.runtime.events import Publish, Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import fail_system
from casty.schema.names import printable

AFTER_DOWN = "its actors were stopped; when it starts again, it joins as a new one"

VERIFYING_MAX = 16
"""Addresses of joiners dialled at one time; a joiner told to wait asks again."""


@dataclass(frozen=True, slots=True)
class NodeReply:
    """Effect: answer a `ResolveNode`."""

    query: ResolveNode


@dataclass(frozen=True, slots=True)
class ClusterStateReply:
    """Effect: answer a `GetClusterState`."""

    query: GetClusterState


@dataclass(frozen=True, slots=True)
class MembershipReply:
    """Effect: answer a `GetMembership`."""

    query: GetMembership


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Effect: send a new subscriber the current snapshot, and watch it where possible."""

    subscriber: ActorRef[TopologySnapshot]


Effect: TypeAlias = TopologyEffect | NodeReply | ClusterStateReply | MembershipReply | Subscribed


class TopologyDriver:
    """Driver of the machine: its queries and subscribers, and the performance of its effects."""

    def __init__(
        self,
        node: ClusterNode,
        machine: Topology,
        ctx: ActorContext[TopologyCmd | Terminated],
    ) -> None:
        self._node = node
        self._machine = machine
        self._ctx = ctx
        self._subscribers = Subscribers(node, ctx, self._snapshot)
        self._verifying: set[UniqueAddress] = set()
        node.welcome_if(machine.joining.may_welcome)

    def handle(self, event: TopologyCmd | Terminated, now: float) -> Sequence[Effect]:
        """Take a query or an event of the machine. A peer's impossible state changes nothing."""
        match event:
            case PeerReady():
                letter = self._node.topology_mail.take(event)
                return () if letter is None else self._received(letter, now)
            case ResolveNode():
                return (NodeReply(event),)
            case GetClusterState():
                return (ClusterStateReply(event),)
            case GetMembership():
                return (MembershipReply(event),)
            case SubscribeTopology(reply_to):
                return (Subscribed(reply_to),)
            case ShardsAllocated(allocations):
                return self._machine.view.allocate(allocations)
            case UnsubscribeTopology(subscriber):
                self._drop(subscriber)
            case Terminated(ref):
                self._drop(ref)
            case _:
                return self._machine.handle(event, now)
        return ()

    def _received(self, letter: Received, now: float) -> Sequence[Effect]:
        """Take a peer's message."""
        if self._machine.state is not None and letter.sender in self._machine.state.members:
            self._node.gossip_heard[letter.sender] = now
        return self._node.within_boundary(letter.sender, letter.message, lambda: self._machine.handle(letter, now))

    def perform(self, effect: Effect) -> None:
        """Perform an effect of the machine."""
        node = self._node
        match effect:
            case StatePublished() | SendLacking() | SendVersions() | SeenOfOther() | StopGossip():
                node.subsystems.gossip.tell(effect)
                if isinstance(effect, StatePublished):
                    node.board.tell(effect)
            case Send(to, GossipState() as state):
                node.send_state(to, state)
            case Send(to, message):
                node.send_control(to, message)
            case SendIfUp(to, message):
                node.send_control(to, message, if_up=True)
            case Serving(until):
                node.serving.extend(until)
                node.board.tell(effect)
            case WorkFree(gone, at):
                node.serving.free(gone, at)
                node.board.tell(effect)
            case AcquireLease():
                self._ctx.start_soon(self._acquire, effect)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case Note():
                show_note(node.cluster_complaints, effect, self._ctx.self.path)
            case PublishEvent(event):
                self._publish(event)
            case SnapshotChanged(snapshot):
                node.board.show(snapshot)
                node.serving.wake()
                self._subscribers.show(snapshot)
            case MembersChanged(members):
                if node.transport is not None:
                    node.transport.keep(member.unique for member in members)
                node.subsystems.availability.tell(watch_members(members))
            case Forget(gone):
                node.gossip_heard.pop(gone, None)
                node.forget(gone)
            case VerifyAddress():
                self._verify(effect)
            case Subscribed(subscriber):
                self._welcome(subscriber)
            case NodeReply(query):
                query.reply_to.tell(self._resolve(query.node_id))
            case ClusterStateReply(query):
                query.reply_to.tell(self._state())
            case MembershipReply(query):
                query.reply_to.tell(Membership(self._machine.member, self._machine.state, dict(node.gossip_heard)))
            case AskedToLeave():
                self._ctx.log.info("%s was asked to leave the cluster", node.self_node.address)
                if not node.board.ask_to_leave():
                    self._ctx.start_soon(self._finish)
            case Joined() | JoinFailed() | Left() | Downed():
                self._turn(effect)
            case _ as never:
                assert_never(never)

    def _turn(self, effect: Joined | JoinFailed | Left | Downed) -> None:
        board = self._node.board
        match effect:
            case Joined(let_in_by):
                own = self._node.self_node.address
                others = [seed for seed in self._machine.seeds if seed != own]
                self._ctx.log.info("%s %s", own, _joined(let_in_by, others))
                board.join()
            case JoinFailed(reason):
                board.end(JoinRefused(reason))
            case Left():
                how = "has left the cluster" if board.joined else "stops, and was in no cluster"
                self._ctx.log.info("%s %s", self._node.self_node.address, how)
                board.end()
            case Downed(reason, last):
                error = NodeDowned(f"{self._node.self_node.address} {_how(reason)}; {AFTER_DOWN}")
                error.last = last
                board.end(error)
                fail_system(self._node.system, error)
        self._node.serving.wake()

    def _publish(self, event: object) -> None:
        if isinstance(event, MemberEvent):
            level = logging.WARNING if isinstance(event, UnreachableMember) else logging.INFO
            member = event.member
            self._ctx.log.log(level, "%s: %s at %s", type(event).__name__, printable(member.id), member.unique)
        if self._node.event_stream is None:
            self._node.kernel.event_stream.publish(event)
        else:
            self._node.event_stream.tell(Publish(event))

    def _resolve(self, node_id: NodeId) -> NodeAddress | None:
        machine = self._machine
        found = member_called([machine.member] if machine.state is None else machine.state.ordered, node_id)
        return None if found is None else found.address

    def _state(self) -> ClusterState:
        machine = self._machine
        if machine.state is None:
            return ClusterState(frozenset({machine.member}))
        return project_state(machine.state, machine.registry, machine.view.unreachable, machine.view.allocations)

    def _snapshot(self) -> TopologySnapshot:
        return self._machine.view.snapshot or TopologySnapshot(frozenset({self._machine.member}), None, {}, 0)

    def _welcome(self, subscriber: ActorRef[TopologySnapshot]) -> None:
        if self._subscribers.add(subscriber):
            try:
                self._ctx.watch(subscriber)
            except ValueError:
                self._drop(subscriber)  # it is no actor but, for example, an ask: the first snapshot was the answer

    def _drop(self, subscriber: ActorRef[Any]) -> None:
        self._subscribers.drop(subscriber)

    def _verify(self, question: VerifyAddress) -> None:
        known, transport = self._verifying, self._node.transport
        if question.joiner not in known and len(known) < VERIFYING_MAX and transport is not None:
            self._verifying.add(question.joiner)
            self._ctx.start_soon(self._identify, question)

    async def _acquire(self, effect: AcquireLease) -> None:
        settings = self._node.settings
        self._ctx.self.tell(await ask_lease(settings.lease, effect.claim, settings.lease_timeout))

    async def _finish(self) -> None:
        """Go by itself: nobody has work to finish, but what the node has to hand over."""
        await self._node.handover.run(self._node.settings.handover_timeout)
        self._ctx.self.tell(WorkFinished())

    async def _identify(self, question: VerifyAddress) -> None:
        transport = self._node.transport
        found = None if transport is None else await transport.identify(question.joiner.address)
        self._verifying.discard(question.joiner)
        self._ctx.self.tell(AddressAnswered(question, found))


def _how(own_reason: str) -> str:
    if own_reason:
        return f"gave itself up: {own_reason}"
    return "was declared down by its cluster: the others could not reach it for too long, or somebody downed it by hand"


def topology_behavior(node: ClusterNode, machine: Topology) -> Behavior[TopologyCmd | Terminated]:
    """Return the behaviour of ``_topology``."""

    async def main(ctx: ActorContext[TopologyCmd | Terminated], inbox: Inbox[TopologyCmd | Terminated]) -> None:
        driver = TopologyDriver(node, machine, ctx)
        try:
            await drive(driver, inbox, driver.perform)
        finally:
            node.board.close()
            node.serving.wake()

    return task(main)


def _joined(let_in_by: UniqueAddress | None, seeds: Sequence[NodeAddress]) -> str:
    """Return in words how a node came to be a member; a node without memory of its seeds looks like a first one."""
    if let_in_by is not None:
        return f"has joined the cluster of {let_in_by.address}"
    if not seeds:
        return (
            "has formed a new cluster, for it has no seed_nodes of others: if there is one to join, "
            "stop this node and list some nodes of that one as its seed_nodes"
        )
    return (
        f"has formed a new cluster, for none of its seeds ({', '.join(map(str, seeds))}) was in one: "
        "the others join it if they list this node or one that does"
    )
