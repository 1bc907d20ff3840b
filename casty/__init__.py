"""A typed, clustered actor library on Trio."""

from __future__ import annotations

from casty.address import ActorAddress, NodeAddress, NodeId, UniqueAddress
from casty.behaviors import Behaviors
from casty.client.cluster_client import ClusterClient
from casty.cluster.cluster import Cluster
from casty.cluster.commands import ClusterCmd, ResolveNode, SubscribeTopology, UnsubscribeTopology
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.extension_tables import ClusterTable
from casty.cluster.leases.lease import SqliteLease
from casty.cluster.leases.serving import ServingLease
from casty.cluster.receptionist.group_router import GroupRouter
from casty.cluster.receptionist.services import (
    Deregister,
    Find,
    Listing,
    ReceptionistCmd,
    Register,
    ServiceInstance,
    Subscribe,
)
from casty.cluster.remoting.local_transport import LocalTransport
from casty.cluster.sharding.region_behavior import ShardEnvelope
from casty.cluster.system import ClusteredActorSystem
from casty.config import (
    ClusterConfig,
    ClusterSettings,
    DowningStrategy,
    FailureDetector,
    FailureDetectorConfig,
    Mailbox,
    MailboxOverflowStrategy,
    PartitionMember,
    PartitionView,
    PartitionVotes,
    SystemConfig,
    TlsConfig,
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
    ClusterUnreachable,
    ConfigError,
    DeathPactError,
    DecodeError,
    EncodeError,
    EntityMoved,
    Fenced,
    FrameError,
    JoinRefused,
    JournalDamaged,
    JournalError,
    JournalUnavailable,
    JournalUncertain,
    LeaseError,
    MailboxFull,
    NodeDowned,
    NoHost,
    NotSent,
    ProtocolError,
    RemoteFailure,
    RestartRequested,
    SequenceConflict,
    ShardBufferFull,
    StashOverflowError,
    TableFull,
    UnknownTypeError,
    UnsupportedTypeError,
)
from casty.journal import (
    Claim,
    HistoryStore,
    Journal,
    JournalRewound,
    Record,
    SnapshotStore,
    StateStore,
    Stored,
    StoredHistory,
    StoredSnapshot,
    slice_of,
)
from casty.lease import Lease, LeaseClaim
from casty.persistence.memory import MemoryJournal
from casty.persistence.sqlite.sqlite_journal import SqliteJournal
from casty.protocol.actor.supervision import (
    Directive,
    Escalate,
    OneForOneStrategy,
    Restart,
    Resume,
    Stop,
    SupervisionStrategy,
)
from casty.protocol.event_sourcing.effect import Effect, nothing, persist, refuse, store
from casty.protocol.event_sourcing.every import Every
from casty.protocol.failure_detector.phi_accrual import PhiAccrualFailureDetector
from casty.protocol.sharding.allocation import Allocation, LeastShards
from casty.protocol.sharding.entities.entity_events import EntityFailed
from casty.protocol.sharding.observability.shard_events import ShardMoved, ShardOpened, ShardResumed, ShardSuspended
from casty.protocol.sharding.observability.shard_listing import ShardListing, ShardRow
from casty.protocol.sharding.placement_events import CoordinatorChanged, EnlistBlocked, ShardConflict, ShardStuck
from casty.protocol.state.cluster_state import ClusterState, TopologySnapshot
from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.registry import ServiceEntry
from casty.protocol.state.shard_allocation import ShardAllocation
from casty.protocol.state.vector_clock import VectorClock
from casty.refs import ActorRef, EntityKey, EntityRef, ServiceKey, Topic
from casty.routers import Routers
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.actor.watching import Watching
from casty.runtime.behavior.behavior import Behavior, ReceiveTarget
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
from casty.runtime.listeners import ActorLifecycleListener
from casty.runtime.messaging.actor_channel import ActorSendChannel, channel_of
from casty.runtime.messaging.channel import ChannelStatistics
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.messaging.timers import CancelSchedule, ScheduleOnce, ScheduleTick
from casty.runtime.routing import PoolRouter
from casty.runtime.system.context import ActorContext
from casty.runtime.system.group_messaging import Broadcast
from casty.runtime.system.metrics import Metric, Metrics
from casty.runtime.system.shutdown import ShutdownPhase
from casty.runtime.system.statistics import SystemStatistics
from casty.runtime.system.system import ActorSystem
from casty.runtime.system.timer_scheduler import TimerScheduler
from casty.runtime.system.topic_subscription import TopicSubscription
from casty.schema.events import event, upcast
from casty.schema.names import message
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.interface import Network
from casty.transport.network.memory import MemoryNetwork
from casty.transport.network.tcp import TcpNetwork
from casty.transport.network.tls import TlsNetwork
from casty.wire_types import WireType

__all__ = [
    "ActorAddress",
    "ActorContext",
    "ActorFailed",
    "ActorLifecycleListener",
    "ActorRef",
    "ActorRestarted",
    "ActorSendChannel",
    "ActorStarted",
    "ActorStopped",
    "ActorStoppedError",
    "ActorSystem",
    "Allocation",
    "AskFailed",
    "AskFailure",
    "AskTimeoutError",
    "Behavior",
    "Behaviors",
    "BindError",
    "Broadcast",
    "CancelSchedule",
    "CastyError",
    "ChannelStatistics",
    "Claim",
    "Cluster",
    "ClusterClient",
    "ClusterCmd",
    "ClusterConfig",
    "ClusterExtension",
    "ClusterSettings",
    "ClusterState",
    "ClusterTable",
    "ClusterTimeoutError",
    "ClusterUnreachable",
    "ClusteredActorSystem",
    "ConfigError",
    "CoordinatorChanged",
    "DeadLetter",
    "DeathPactError",
    "DecodeError",
    "Deregister",
    "Directive",
    "DowningStrategy",
    "Effect",
    "EncodeError",
    "EnlistBlocked",
    "EntityFailed",
    "EntityKey",
    "EntityMoved",
    "EntityRef",
    "Escalate",
    "EventStreamSubscribe",
    "EventStreamUnsubscribe",
    "Every",
    "ExtensionNode",
    "FailureDetector",
    "FailureDetectorConfig",
    "Fenced",
    "Find",
    "FrameError",
    "GroupRouter",
    "HistoryStore",
    "Inbox",
    "JoinRefused",
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalRewound",
    "JournalUnavailable",
    "JournalUncertain",
    "Lease",
    "LeaseClaim",
    "LeaseError",
    "LeastShards",
    "Listing",
    "LocalTransport",
    "Mailbox",
    "MailboxFull",
    "MailboxOverflowStrategy",
    "Member",
    "MemberLeft",
    "MemberStatus",
    "MemberUp",
    "MemoryJournal",
    "MemoryNetwork",
    "MessageSummary",
    "Metric",
    "Metrics",
    "Network",
    "NoHost",
    "NodeAddress",
    "NodeDowned",
    "NodeId",
    "NotSent",
    "OneForOneStrategy",
    "PartitionMember",
    "PartitionView",
    "PartitionVotes",
    "PhiAccrualFailureDetector",
    "PoisonPill",
    "PoolRouter",
    "ProtocolError",
    "Publish",
    "ReachableMember",
    "ReceiveTarget",
    "ReceptionistCmd",
    "Record",
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
    "SequenceConflict",
    "ServiceEntry",
    "ServiceInstance",
    "ServiceKey",
    "ServingLease",
    "ShardAllocation",
    "ShardBufferFull",
    "ShardConflict",
    "ShardEnvelope",
    "ShardListing",
    "ShardMoved",
    "ShardOpened",
    "ShardResumed",
    "ShardRow",
    "ShardStuck",
    "ShardSuspended",
    "ShutdownPhase",
    "SnapshotStore",
    "SqliteJournal",
    "SqliteLease",
    "StashBuffer",
    "StashOverflowError",
    "StateStore",
    "Stop",
    "Stored",
    "StoredHistory",
    "StoredSnapshot",
    "Subscribe",
    "SubscribeTopology",
    "SupervisionStrategy",
    "SystemConfig",
    "SystemStatistics",
    "TableFull",
    "TcpNetwork",
    "Terminated",
    "TimerScheduler",
    "TlsConfig",
    "TlsNetwork",
    "Topic",
    "TopicSubscription",
    "TopologySnapshot",
    "TransportLimits",
    "UnhandledMessage",
    "UniqueAddress",
    "UnknownTypeError",
    "UnreachableMember",
    "UnsubscribeTopology",
    "UnsupportedTypeError",
    "VectorClock",
    "Watching",
    "WireType",
    "channel_of",
    "event",
    "message",
    "nothing",
    "persist",
    "refuse",
    "slice_of",
    "store",
    "upcast",
]
