"""A typed, clustered actor library on Trio."""

from __future__ import annotations

from casty.address import ActorAddress, NodeAddress, NodeId
from casty.behaviors import Behaviors
from casty.cluster.cluster import Cluster
from casty.cluster.commands import ClusterCmd, ResolveNode, SubscribeTopology, UnsubscribeTopology
from casty.cluster.group_router import GroupRouter
from casty.cluster.lease import SqliteLease
from casty.cluster.local_transport import LocalTransport
from casty.cluster.services import Deregister, Find, Listing, ReceptionistCmd, Register, ServiceInstance, Subscribe
from casty.cluster.serving import ServingLease
from casty.cluster.system import ClusteredActorSystem
from casty.config import (
    ClusterConfig,
    ClusterSettings,
    FailureDetectorConfig,
    Mailbox,
    MailboxOverflowStrategy,
    SystemConfig,
    TransportLimits,
)
from casty.errors import (
    ActorStoppedError,
    AskFailed,
    AskFailure,
    AskTimeoutError,
    BindError,
    CastyError,
    ClusterTimeoutError,
    ConfigError,
    DeathPactError,
    DecodeError,
    EncodeError,
    FrameError,
    JoinRefused,
    LeaseError,
    MailboxFull,
    NodeDowned,
    ProtocolError,
    RemoteFailure,
    RestartRequested,
    StashOverflowError,
    UnknownTypeError,
    UnsupportedTypeError,
)
from casty.lease import Lease, LeaseClaim
from casty.naming import message
from casty.protocol.cluster_state import ClusterState, TopologySnapshot
from casty.protocol.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.membership import Member, MemberStatus
from casty.protocol.phi_accrual import PhiAccrualFailureDetector
from casty.protocol.registry import ServiceEntry
from casty.protocol.shard_allocation import ShardAllocation
from casty.protocol.supervision import (
    Directive,
    Escalate,
    OneForOneStrategy,
    Restart,
    Resume,
    Stop,
    SupervisionStrategy,
)
from casty.protocol.vector_clock import VectorClock
from casty.refs import ActorRef, ServiceKey
from casty.routers import Routers
from casty.runtime.behavior import Behavior
from casty.runtime.context import ActorContext
from casty.runtime.events import (
    ActorFailed,
    ActorRestarted,
    ActorStarted,
    ActorStopped,
    DeadLetter,
    EventStreamSubscribe,
    EventStreamUnsubscribe,
    MessageSummary,
    Publish,
    Terminated,
    UnhandledMessage,
)
from casty.runtime.inbox import Inbox
from casty.runtime.interception import ReceiveTarget
from casty.runtime.metrics import Metric, Metrics
from casty.runtime.routing import PoolRouter
from casty.runtime.shutdown import ShutdownPhase
from casty.runtime.signals import PoisonPill
from casty.runtime.stash import StashBuffer
from casty.runtime.statistics import SystemStatistics
from casty.runtime.system import ActorSystem
from casty.runtime.timer_scheduler import TimerScheduler
from casty.runtime.timers import CancelSchedule, ScheduleOnce, ScheduleTick
from casty.runtime.watching import Watching
from casty.transport.base import Network
from casty.transport.memory import MemoryNetwork
from casty.transport.peers import RemoteTransport
from casty.transport.tcp import TcpNetwork

__all__ = [
    "ActorAddress",
    "ActorContext",
    "ActorFailed",
    "ActorRef",
    "ActorRestarted",
    "ActorStarted",
    "ActorStopped",
    "ActorStoppedError",
    "ActorSystem",
    "AskFailed",
    "AskFailure",
    "AskTimeoutError",
    "Behavior",
    "Behaviors",
    "BindError",
    "CancelSchedule",
    "CastyError",
    "Cluster",
    "ClusterCmd",
    "ClusterConfig",
    "ClusterSettings",
    "ClusterState",
    "ClusterTimeoutError",
    "ClusteredActorSystem",
    "ConfigError",
    "DeadLetter",
    "DeathPactError",
    "DecodeError",
    "Deregister",
    "Directive",
    "EncodeError",
    "Escalate",
    "EventStreamSubscribe",
    "EventStreamUnsubscribe",
    "FailureDetectorConfig",
    "Find",
    "FrameError",
    "GroupRouter",
    "Inbox",
    "JoinRefused",
    "Lease",
    "LeaseClaim",
    "LeaseError",
    "Listing",
    "LocalTransport",
    "Mailbox",
    "MailboxFull",
    "MailboxOverflowStrategy",
    "Member",
    "MemberLeft",
    "MemberStatus",
    "MemberUp",
    "MemoryNetwork",
    "MessageSummary",
    "Metric",
    "Metrics",
    "Network",
    "NodeAddress",
    "NodeDowned",
    "NodeId",
    "OneForOneStrategy",
    "PhiAccrualFailureDetector",
    "PoisonPill",
    "PoolRouter",
    "ProtocolError",
    "Publish",
    "ReachableMember",
    "ReceiveTarget",
    "ReceptionistCmd",
    "Register",
    "RemoteFailure",
    "RemoteTransport",
    "ResolveNode",
    "Restart",
    "RestartRequested",
    "Resume",
    "Routers",
    "ScheduleOnce",
    "ScheduleTick",
    "ServiceEntry",
    "ServiceInstance",
    "ServiceKey",
    "ServingLease",
    "ShardAllocation",
    "ShutdownPhase",
    "SqliteLease",
    "StashBuffer",
    "StashOverflowError",
    "Stop",
    "Subscribe",
    "SubscribeTopology",
    "SupervisionStrategy",
    "SystemConfig",
    "SystemStatistics",
    "TcpNetwork",
    "Terminated",
    "TimerScheduler",
    "TopologySnapshot",
    "TransportLimits",
    "UnhandledMessage",
    "UnknownTypeError",
    "UnreachableMember",
    "UnsubscribeTopology",
    "UnsupportedTypeError",
    "VectorClock",
    "Watching",
    "message",
]
