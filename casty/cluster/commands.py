"""Commands of the cluster actor and its subsystems: the public ones, and those between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Never, TypeAlias

from casty.address import NodeAddress, NodeId, UniqueAddress
from casty.cluster.peer_queue import PeerReady
from casty.protocol.failure_detector.heartbeat import SendHeartbeats
from casty.protocol.failure_detector.monitor import AvailabilityEvent
from casty.protocol.gossip.handover import GossipEvent
from casty.protocol.membership.inputs import TopologyEvent
from casty.protocol.state.cluster_state import ClusterState, TopologySnapshot
from casty.protocol.state.member import Member
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.shard_allocation import ShardsAllocated
from casty.refs import ActorRef
from casty.schema.names import message


@message("casty.ResolveNode")
@dataclass(frozen=True, slots=True)
class ResolveNode:
    """Ask where a node is; the reply is its address, or None when no member has the id.

    >>> from casty import Cluster, ClusterConfig
    >>> cluster = Cluster(system, ClusterConfig("127.0.0.1", 2551, node_id="web-1"))
    >>> await cluster.start()
    >>> reply: NodeAddress | None = await system.ask(cluster.ref, lambda ref: ResolveNode("web-1", ref))
    >>> reply
    NodeAddress(host='127.0.0.1', port=2551)
    """

    node_id: NodeId
    """Name of the node, as its ``ClusterConfig.node_id`` says."""
    reply_to: ActorRef[NodeAddress | None]
    """Receiver of the reply: the `NodeAddress`, or None."""


@message("casty.SubscribeTopology")
@dataclass(frozen=True, slots=True)
class SubscribeTopology:
    """Subscribe ``reply_to`` to every `TopologySnapshot`: the current one at once, then each change.

    The subscriber may live on another member: it is subscribed there, and may miss snapshots between others that follow
    too fast to be sent. It is dropped when it stops or its node is removed.
    """

    reply_to: ActorRef[TopologySnapshot]
    """Subscriber; on this node or on another one."""


@message("casty.UnsubscribeTopology")
@dataclass(frozen=True, slots=True)
class UnsubscribeTopology:
    """End a `SubscribeTopology`; from another node it counts for actors of that node alone."""

    subscriber: ActorRef[TopologySnapshot]
    """The ref of the `SubscribeTopology`. One without a subscription changes nothing."""


@message("casty.GetClusterState")
@dataclass(frozen=True, slots=True)
class GetClusterState:
    """Ask for this node's view of the cluster."""

    reply_to: ActorRef[ClusterState]


@message("casty.Suspicions")
@dataclass(frozen=True, slots=True)
class Suspicions:
    """A node's suspicion of each member it monitors: phi, to be compared with the threshold.

    Evidence such as refused connections makes a node unreachable whatever its phi is.
    """

    phi: dict[NodeAddress, float]


@message("casty.GetSuspicions")
@dataclass(frozen=True, slots=True)
class GetSuspicions:
    """Ask for this node's suspicion of the members it monitors."""

    reply_to: ActorRef[Suspicions]


@dataclass(frozen=True, slots=True)
class Membership:
    """A node's whole view of its cluster; never changed, so it is shared."""

    member: Member
    """The node itself, as it asked to be let in."""
    state: Gossip | None
    """None until the node is in a cluster."""
    heard: Mapping[UniqueAddress, float]
    """Time of the last gossip of each member."""


@dataclass(frozen=True, slots=True)
class GetMembership:
    """Ask for the `Membership`, within a node."""

    reply_to: ActorRef[Membership]


@message("casty.GetClusterActor")
@dataclass(frozen=True, slots=True)
class GetClusterActor:
    """Ask for an actor under ``_cluster`` by its name, such as ``_receptionist``; None where nobody has it."""

    name: str
    reply_to: ActorRef[ActorRef[Never] | None]


@message("casty.Leave")
@dataclass(frozen=True, slots=True)
class Leave:
    """Let the member at this address leave gracefully."""

    address: NodeAddress


@message("casty.Down")
@dataclass(frozen=True, slots=True)
class Down:
    """Declare the member at this address down: an operator knows that it is gone."""

    address: NodeAddress


@dataclass(frozen=True, slots=True)
class Finish:
    """This node's actors have finished: it may leave, or go, when it is leaving already."""


@dataclass(frozen=True, slots=True)
class AddressesFound:
    """Other nodes may be at these addresses, too."""

    addresses: tuple[NodeAddress, ...]


@dataclass(frozen=True, slots=True)
class WriteTable:
    """Ask a table of an extension for its own rows, and tell them: some have changed."""

    table: str


ClusterCmd: TypeAlias = (
    ResolveNode
    | SubscribeTopology
    | UnsubscribeTopology
    | GetClusterState
    | GetSuspicions
    | GetClusterActor
    | Leave
    | Down
)
"""Messages accepted by the ref of a cluster."""


TopologyQuery: TypeAlias = ResolveNode | SubscribeTopology | UnsubscribeTopology | GetClusterState
HeartbeatCmd: TypeAlias = SendHeartbeats | PeerReady
"""Everything that the heartbeat actor takes."""
AvailabilityCmd: TypeAlias = AvailabilityEvent | PeerReady | GetSuspicions
"""Everything that the availability actor takes."""
GossipCmd: TypeAlias = GossipEvent | WriteTable | PeerReady
"""Everything that the gossip actor takes."""
TopologyCmd: TypeAlias = TopologyEvent | TopologyQuery | GetMembership | ShardsAllocated | PeerReady
"""Messages of the topology actor."""


@dataclass(frozen=True, slots=True)
class Subsystems:
    """Actors under the cluster actor on every node; all others are of extensions."""

    topology: ActorRef[TopologyCmd]
    gossip: ActorRef[GossipCmd]
    heartbeat: ActorRef[HeartbeatCmd]
    availability: ActorRef[AvailabilityCmd]
