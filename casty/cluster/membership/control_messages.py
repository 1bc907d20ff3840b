"""Control messages of the membership and of the failure detector: names, lanes, senders, and receivers."""

from __future__ import annotations

from functools import partial

from casty.address import UniqueAddress
from casty.cluster.access import Sender
from casty.cluster.control_registry import ControlRegistry, Deliver
from casty.cluster.node import ClusterNode
from casty.protocol.failure_detector.heartbeat import HeartbeatCame
from casty.protocol.failure_detector.monitor import Heard
from casty.protocol.gossip.handover import GossipCame
from casty.protocol.membership.inputs import Received
from casty.protocol.messages.liveness import Heartbeat, HeartbeatAck, ObservationMessage, ProbeAnswer, ProbeRequest
from casty.protocol.messages.membership import (
    AntiEntropyMessage,
    ExitingConfirmed,
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
    Join,
    JoinAnswer,
    JoinProbe,
    JoinWithdrawn,
    ServingGrant,
    ServingRequest,
    StandingAnswer,
    StandingQuestion,
    StatePage,
    TopologyMessage,
)
from casty.protocol.state.registry import RegistrySlots
from casty.protocol.state.rows import TableRows
from casty.wire.frame import Lane


def add_liveness_messages(
    registry: ControlRegistry, *, asked: Deliver[Heartbeat], heard: Deliver[ObservationMessage]
) -> None:
    """Add the messages between failure detectors."""
    # Answered for any asker: the sender may know this node as a member before it is known so here.
    registry.add(Heartbeat, "casty.heartbeat", Lane.control, asked, sender=Sender.anyone)
    registry.add(HeartbeatAck, "casty.heartbeat.ack", Lane.control, heard)
    registry.add(ProbeRequest, "casty.probe", Lane.control, heard)
    registry.add(ProbeAnswer, "casty.probe.ack", Lane.control, heard)


def add_topology_messages(
    registry: ControlRegistry,
    received: Deliver[TopologyMessage],
    *,
    compared: Deliver[AntiEntropyMessage],
    answered: Deliver[JoinAnswer],
    paged: Deliver[StatePage],
) -> None:
    """Add the messages between the machines of the membership."""
    add, lane, anyone = registry.add, Lane.control, Sender.anyone
    # For anyone: judged by their token, their sender, or their cluster; a removed run has to learn of its removal.
    add(JoinProbe, "casty.join.probe", lane, received, sender=anyone)
    add(Join, "casty.join", lane, received, sender=anyone)
    add(JoinWithdrawn, "casty.join.withdrawn", lane, received, sender=anyone)
    add(GossipState, "casty.gossip.state", lane, received, sender=anyone)
    add(GossipDelta, "casty.gossip.delta", lane, received, sender=anyone)
    add(GossipSeen, "casty.gossip.seen", lane, received, sender=anyone)
    add(GossipDigest, "casty.gossip.digest", lane, compared, sender=anyone)
    add(GossipVersions, "casty.gossip.versions", lane, compared, sender=anyone)
    add(StandingQuestion, "casty.standing.question", lane, received, sender=anyone)
    add(JoinAnswer, "casty.join.answer", lane, answered, sender=anyone)
    # Kept until the last one has come.
    add(StatePage, "casty.gossip.page", lane, paged, sender=Sender.inviter)
    add(RegistrySlots, "casty.registry.slots", lane, compared)
    # Written by extensions, and so kept out of the way of heartbeats.
    add(TableRows, "casty.table.rows", Lane.ordinary, compared)
    add(ServingRequest, "casty.lease.request", lane, received)
    add(ServingGrant, "casty.lease.grant", lane, received)
    add(StandingAnswer, "casty.standing.answer", lane, received)
    add(ExitingConfirmed, "casty.exiting.confirmed", lane, received)


def add_membership_messages(node: ClusterNode) -> None:
    """Add both to the registry of a node, for the actors with the machines behind them."""

    add_liveness_messages(node.control, asked=partial(_asked, node), heard=partial(_heard, node))
    add_topology_messages(
        node.control,
        partial(_received, node),
        compared=partial(_compared, node),
        answered=partial(_answered, node),
        paged=partial(_paged, node),
    )


def _asked(node: ClusterNode, peer: UniqueAddress, message: Heartbeat, size: int) -> None:
    node.heartbeat_mail.put(peer, HeartbeatCame(peer, message.sequence), size)


def _heard(node: ClusterNode, peer: UniqueAddress, message: ObservationMessage, size: int) -> None:
    node.availability_mail.put(peer, Heard(peer, message, node.kernel.now()), size)


def _received(node: ClusterNode, peer: UniqueAddress, message: TopologyMessage, size: int) -> None:
    node.topology_mail.put(peer, Received(peer, message), size)


def _compared(node: ClusterNode, peer: UniqueAddress, message: AntiEntropyMessage, size: int) -> None:
    node.gossip_mail.put(peer, GossipCame(peer, message), size)


def _answered(node: ClusterNode, peer: UniqueAddress, message: JoinAnswer, size: int) -> None:
    node.contacts.answered(peer.address, message)
    _received(node, peer, message, size)


def _paged(node: ClusterNode, peer: UniqueAddress, message: StatePage, size: int) -> None:
    state = node.state_pages.take(peer, message, size)
    if state is not None:
        _received(node, peer, state, size)
