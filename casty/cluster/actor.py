"""The actor ``_cluster``: parent of the subsystems, and the one door to them."""

from __future__ import annotations

from functools import partial
from typing import Never, TypeAlias, assert_never, cast

import trio

from casty.address import NodeAddress
from casty.cluster.commands import (
    ClusterCmd,
    Down,
    Finish,
    GetClusterState,
    GetReceptionist,
    GetSuspicions,
    Leave,
    PeerSaid,
    ResolveNode,
    SubscribeTopology,
    Subsystems,
    UnsubscribeTopology,
    UnwatchRemote,
    WatchRemote,
)
from casty.cluster.death_watch.watch import add_watch_messages, watch_behavior
from casty.cluster.membership.control_messages import add_membership_messages
from casty.cluster.membership.heartbeat import heartbeat_behavior
from casty.cluster.membership.topology import topology_behavior
from casty.cluster.node import ClusterNode
from casty.cluster.receptionist.receptionist import receptionist_behavior
from casty.cluster.receptionist.services import Register
from casty.cluster.remoting.inbound import Inbound
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import Mailbox
from casty.protocol.assembly import availability_of, topology_settings
from casty.protocol.effects import Rng
from casty.protocol.membership.inputs import DownMember, LeaveMember, Start, WorkFinished
from casty.protocol.membership.machine import Topology
from casty.refs import ActorRef, ServiceKey
from casty.runtime.actor.context import ActorContext
from casty.runtime.actor.watching import add_watcher
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import attempt
from casty.runtime.events import Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.ref import OwnRef
from casty.transport.manager.peers import RemoteTransport
from casty.wire.chunking.chunks import KEPT_SECONDS

HEARTBEAT_MAILBOX = Mailbox(capacity=16_384)
"""Peers fill it: beyond it their heartbeats are dropped, and the next ones count."""


ClusterMessage: TypeAlias = ClusterCmd | Finish | Terminated


def cluster_behavior(
    node: ClusterNode, local_transport: LocalTransport, seeds: tuple[NodeAddress, ...], rng: Rng
) -> Behavior[ClusterMessage]:
    """Return the behaviour of ``_cluster``."""

    async def main(ctx: ActorContext[ClusterMessage], inbox: Inbox[ClusterMessage]) -> None:
        try:
            node.subsystems = _spawn_subsystems(ctx, node, seeds, rng)
            _begin(ctx, node, local_transport)
            take = partial(_take, node)
            async for message in inbox:
                attempt(take, message)
        finally:
            _unhook(node)

    return task(main)


def add_control_messages(node: ClusterNode) -> None:
    """Have a node know what nodes say to each other."""
    add_membership_messages(node)
    add_watch_messages(
        node.control, lambda peer, message, size: node.watch_mail.put(peer, PeerSaid(peer, message), size)
    )


def _begin(ctx: ActorContext[ClusterMessage], node: ClusterNode, local_transport: LocalTransport) -> None:
    """Have the node join, once its transport runs where it has one."""
    _hook_into(node)
    if node.transport is None:
        node.subsystems.topology.tell(Start())
    else:
        local_transport.receive_backpressure = node.receive_backpressure
        ctx.spawn(_peers_behavior(node, node.transport, Inbound(node, local_transport)), "_peers")
    for child in ctx.children:
        ctx.watch(child)


def _spawn_subsystems(
    ctx: ActorContext[ClusterMessage], node: ClusterNode, seeds: tuple[NodeAddress, ...], rng: Rng
) -> Subsystems:
    machine = Topology(node.member, seeds, topology_settings(node.settings, node.lease_id), rng, node.last)
    availability = availability_of(node.self_node, node.settings)
    return Subsystems(
        ctx.spawn(topology_behavior(node, machine), "_topology"),
        ctx.spawn(heartbeat_behavior(node, availability), "_heartbeat", mailbox=HEARTBEAT_MAILBOX),
        ctx.spawn(receptionist_behavior(node), "_receptionist"),
        ctx.spawn(watch_behavior(node), "_watch"),
    )


def _hook_into(node: ClusterNode) -> None:
    """Have actors that are spawned from now on be known to the codec and the receptionist."""
    receptionist = node.subsystems.receptionist

    def offer(key: object, ref: ActorRef[Never]) -> None:
        receptionist.tell(Register(cast("ServiceKey[Never]", key), ref))

    node.kernel.on_spawn = node.register_spawned
    node.kernel.discovery = offer
    if node.transport is not None:
        watch = node.subsystems.watch
        node.kernel.watch_remote = lambda watcher, ref: watch.tell(WatchRemote(watcher, ref))
        node.kernel.unwatch_remote = lambda watcher, ref: watch.tell(UnwatchRemote(watcher, ref))


class Guard:
    """A watcher of ``_cluster`` itself: however it ends, a node without it is no member."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def signal(self, signal: object) -> None:
        if isinstance(signal, Terminated) and not self._node.is_leaving:
            self._node.fail(signal.ref, signal.cause)


def guard(node: ClusterNode, ref: ActorRef[Never]) -> None:
    """Have the node fail when the actor behind the ref of ``_cluster`` ends before the node leaves."""
    actor = ref.owner() if isinstance(ref, OwnRef) else None
    if actor is not None:
        add_watcher(actor, node.kernel.next_uid(), Guard(node))


def _unhook(node: ClusterNode) -> None:
    kernel = node.kernel
    kernel.on_spawn = kernel.discovery = kernel.watch_remote = kernel.unwatch_remote = None


def _peers_behavior(node: ClusterNode, transport: RemoteTransport, inbound: Inbound) -> Behavior[Never]:
    """Return the behaviour of ``_peers``, which runs the transport and then lets the node join."""

    async def main(ctx: ActorContext[Never], inbox: Inbox[Never]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                node.undelivered_frames.run_in(nursery)
                await nursery.start(transport.run, node.self_node, node.system_name, inbound, node.member.id)
                await _serve_peers(node, nursery, inbox)
        finally:
            node.undelivered_frames.end()

    return task(main)


async def _serve_peers(node: ClusterNode, nursery: trio.Nursery, inbox: Inbox[Never]) -> None:
    """Let the node join, and do what is to be done beside the transport, until the actor is to stop."""
    node.subsystems.topology.tell(Start())
    nursery.start_soon(_keep_house, node)
    if node.receive_backpressure is not None:
        node.receive_backpressure.run_in(nursery)
    async for _ in inbox:
        pass  # nobody sends to this actor: it waits for its stop
    nursery.cancel_scope.cancel()


async def _keep_house(node: ClusterNode) -> None:
    """Drop the large messages whose senders have gone."""
    while True:
        await trio.sleep(KEPT_SECONDS / 2)
        node.assembler.drop_old(trio.current_time())


def _take(node: ClusterNode, message: ClusterMessage) -> None:
    topology = node.subsystems.topology
    match message:
        case ResolveNode() | SubscribeTopology() | UnsubscribeTopology() | GetClusterState():
            topology.tell(message)
        case GetSuspicions():
            node.subsystems.heartbeat.tell(message)
        case GetReceptionist(reply_to):
            reply_to.tell(node.subsystems.receptionist)
        case Leave(address):
            topology.tell(LeaveMember(address))
        case Finish():
            topology.tell(WorkFinished())
        case Down(address):
            topology.tell(DownMember(address))
        case Terminated(ref, cause):
            # A node without one of its subsystems would be a member that does not behave like one.
            node.fail(ref, cause)
        case _ as never:
            assert_never(never)
