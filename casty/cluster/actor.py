"""The actor ``_cluster``: parent of the subsystems, and the one door to them."""

from __future__ import annotations

from functools import partial
from typing import Never, TypeAlias, assert_never

import trio

from casty.address import NodeAddress
from casty.cluster.commands import (
    AddressesFound,
    ClusterCmd,
    Down,
    Finish,
    GetClusterActor,
    GetClusterState,
    GetSuspicions,
    Leave,
    ResolveNode,
    SubscribeTopology,
    Subsystems,
    UnsubscribeTopology,
)
from casty.cluster.extensions import Extensions
from casty.cluster.membership.availability import availability_behavior
from casty.cluster.membership.gossip import gossip_behavior
from casty.cluster.membership.heartbeat import heartbeat_behavior
from casty.cluster.membership.topology import topology_behavior
from casty.cluster.node import ClusterNode
from casty.cluster.remoting.inbound import Inbound
from casty.cluster.remoting.local_transport import LocalTransport
from casty.protocol.assembly import availability_of, dissemination_of, topology_settings
from casty.protocol.effects import Rng
from casty.protocol.failure_detector.heartbeat import HeartbeatSender
from casty.protocol.membership.inputs import DownMember, LeaveMember, SeedsFound, Start, WorkFinished
from casty.protocol.membership.machine import Topology
from casty.protocol.messages.membership import TYPES_NAMED_MAX, WireTypesDigest
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import attempt
from casty.runtime.events import Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.context import ActorContext
from casty.transport.manager.peers import RemoteTransport
from casty.wire.chunking.chunks import KEPT_SECONDS

CLUSTER_PATH = "/_cluster"
STORE_TEXT_MAX = 512
"""Characters of a journal's own words for its store: those of a user's class may be without end."""

ClusterMessage: TypeAlias = ClusterCmd | Finish | AddressesFound | Terminated


def cluster_behavior(
    node: ClusterNode,
    extensions: Extensions,
    local_transport: LocalTransport,
    seeds: tuple[NodeAddress, ...],
    rng: Rng,
) -> Behavior[ClusterMessage]:
    """Return the behaviour of ``_cluster``."""

    async def main(ctx: ActorContext[ClusterMessage], inbox: Inbox[ClusterMessage]) -> None:
        try:
            node.run_with(_spawn_subsystems(ctx, node, extensions, seeds, rng))
            _begin(ctx, node, extensions, local_transport)
            take = partial(_take, node, extensions)
            async for message in inbox:
                attempt(take, message)
        finally:
            _end(node, extensions)

    return task(main)


def _begin(
    ctx: ActorContext[ClusterMessage], node: ClusterNode, extensions: Extensions, local_transport: LocalTransport
) -> None:
    """Start the extensions, then have the node join, once its transport runs where it has one."""
    extensions.start(ctx)
    node.kernel.hooks.on_spawn = node.register_spawned
    if node.transport is None:
        node.subsystems.topology.tell(Start())
    else:
        local_transport.receive_backpressure = node.receive_backpressure
        local_transport.open_paths = node.open_paths
        ctx.spawn(_peers_behavior(node, node.transport, Inbound(node, local_transport)), "_peers")
    for child in ctx.children:
        ctx.watch(child)


def _end(node: ClusterNode, extensions: Extensions) -> None:
    """End the extensions, and let calls on the node that come later be told so."""
    node.kernel.hooks.on_spawn = None
    node.kernel.hooks.has_ended = True
    extensions.end()


def _store_of(node: ClusterNode) -> str:
    """Return the store of the node's journal in the journal's own words."""
    if node.kernel.journal is None:
        return ""
    journal = node.kernel.journal.journal
    try:
        return repr(journal)[:STORE_TEXT_MAX]
    except Exception:  # the user's code, for one line of one error
        return type(journal).__name__


def _spawn_subsystems(
    ctx: ActorContext[ClusterMessage],
    node: ClusterNode,
    extensions: Extensions,
    seeds: tuple[NodeAddress, ...],
    rng: Rng,
) -> Subsystems:
    names = sorted(one.name for one in node.system.wire_types)[:TYPES_NAMED_MAX]
    wire_types = WireTypesDigest(node.codec.wire_types_digest(), tuple(names))
    settings = topology_settings(node.settings, node.lease_id, wire_types, node.journal_id, _store_of(node))
    machine = Topology(node.member, seeds, settings, rng, node.last)
    gossip = dissemination_of(node.self_node, settings, rng, [table.replicated for table in extensions.tables])
    availability = availability_of(node.self_node, node.settings)
    return Subsystems(
        ctx.spawn(topology_behavior(node, machine), "_topology"),
        ctx.spawn(gossip_behavior(node, gossip, extensions.tables), "_gossip"),
        ctx.spawn(heartbeat_behavior(node, HeartbeatSender()), "_heartbeat"),
        ctx.spawn(availability_behavior(node, availability), "_availability"),
    )


class Guard:
    """A watcher of ``_cluster`` itself: however it ends, a node without it is no member."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def signal(self, signal: object) -> None:
        if isinstance(signal, Terminated) and not self._node.is_leaving:
            self._node.fail(signal.ref, signal.cause)


def guard(node: ClusterNode, ref: ActorRef[Never]) -> None:
    """Fail the node when the actor behind the ref of ``_cluster`` ends before the node leaves."""
    actor = ref.owner() if isinstance(ref, OwnRef) else None
    if actor is not None:
        actor.add_watcher(node.kernel.next_uid(), Guard(node))


def _peers_behavior(node: ClusterNode, transport: RemoteTransport, inbound: Inbound) -> Behavior[Never]:
    """Return the behaviour of ``_peers``: it runs the transport and then lets the node join."""

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
    """Let the node join, and do the work beside the transport, until the actor is to stop."""
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


def _take(node: ClusterNode, extensions: Extensions, message: ClusterMessage) -> None:
    topology = node.subsystems.topology
    match message:
        case ResolveNode() | SubscribeTopology() | UnsubscribeTopology() | GetClusterState():
            topology.tell(message)
        case GetSuspicions():
            node.subsystems.availability.tell(message)
        case GetClusterActor(name, reply_to):
            reply_to.tell(node.kernel.targets.get(f"{CLUSTER_PATH}/{name}"))
        case Leave(address):
            topology.tell(LeaveMember(address))
        case Finish():
            topology.tell(WorkFinished())
        case Down(address):
            topology.tell(DownMember(address))
        case AddressesFound(addresses):
            topology.tell(SeedsFound(addresses))
        case Terminated(ref, cause):
            if not extensions.lose(ref, cause):
                # A node without one of its subsystems would be a member that does not behave like one.
                node.fail(ref, cause)
        case _ as never:
            assert_never(never)
