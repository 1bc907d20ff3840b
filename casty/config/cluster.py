"""Settings of a node, and of how it behaves in its cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from casty.address import NodeId, UniqueAddress
from casty.config.downing import DowningStrategy, DowningStrategyName, check_downing
from casty.config.failure_detector import FailureDetector, FailureDetectorConfig, check_detector_factory
from casty.config.transport import TransportLimits
from casty.config.validation import (
    check_count,
    check_downing_role,
    check_endpoint,
    check_kind,
    check_node_id,
    check_positive,
    check_roles,
    check_seed_nodes,
)
from casty.errors import ConfigError
from casty.lease import Lease
from casty.schema.names import message

WITHOUT_ROLE = ("down_all", "none")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Behaviour of a node in its cluster; all nodes of one cluster should have the same.

    >>> ClusterSettings.wan().failure_detector.threshold
    12.0

    Raises:
        ConfigError: A field has a bad value, alone or together with another; the message names it and the expected
            values.
    """

    gossip_interval: float = 1.0
    """Seconds between gossip rounds. Changes are pushed at once; the round repairs losses."""
    gossip_fanout: int = 3
    """Peers per round."""
    heartbeat_interval: float = 0.5
    """Seconds between heartbeats to each monitored node."""
    availability_interval: float = 2.0
    """The longest gap between two checks of the failure detector."""
    failure_detector: FailureDetectorConfig = FailureDetectorConfig()
    """Tuning of the phi accrual failure detector."""
    monitored_max: int = 9
    """Successors on the ring monitored by a node."""
    min_members: int = 1
    """No member becomes up before this many have joined."""
    min_members_per_role: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    """Nor before so many with these roles have: ``{"db": 2}``."""
    downing: DowningStrategyName | DowningStrategy = field(default="keep_majority", hash=False)
    """Survivors of a partition. ``keep_majority``: the side with more than half of the voters, the lowest address at a
    tie (hosts compare as text, ports as numbers). ``static_quorum``: the side with at least ``quorum_size`` voters.
    ``keep_oldest``: the side with the member that has been up for longest. ``lease_majority``: the side with the
    ``lease``. ``down_all``: nobody. ``none``: nobody is downed unless an operator does it. Or a strategy of yours: a
    `DowningStrategy`.
    """
    quorum_size: int | None = None
    """For ``static_quorum``: more than half of the voters that the cluster will ever have."""
    down_if_alone: bool = True
    """For ``keep_oldest``: an oldest member alone against several goes down, and they stay."""
    lease: Lease | None = None
    """For ``lease_majority``: the deciding lease, such as a `SqliteLease`; the same store for all nodes."""
    lease_minority_delay: float = 2.0
    """For ``lease_majority``: seconds by which the side without a majority asks later. Lower than the time between the
    two sides' notice of the partition, the smaller side may win.
    """
    lease_timeout: float = 5.0
    """Seconds for the lease to answer; silence is a refusal, and the asking side goes down."""
    downing_role: str | None = None
    """Only members with this role are voters; None lets everybody vote."""
    stable_after: float | None = None
    """Seconds of unchanged reachability before downing decides. None chooses by cluster size: 7 s up to 5 nodes, 10 s
    at 10, 20 s at 100. Lower fails over sooner and risks deciding twice. A member that comes and goes must answer for
    as long before it is reachable again.
    """
    on_downed: Literal["stop", "rejoin"] | None = None
    """For ``casty node`` after a downing of its node: ``rejoin``, also meant by None, starts it again as a new run;
    ``stop`` ends the process. A block ends with NodeDowned in any case.
    """
    allow_new_cluster: bool = False
    """Whether this node, if it is a seed or another one seeds from it, may begin a cluster alone, when no seed has
    answered for five seconds. Without it nobody begins one without more than half of the listed seeds. For one start of
    one node, by somebody sure that the other seeds are gone: while they are merely out of reach, there are two clusters
    afterwards.
    """
    handover_timeout: float = 30.0
    """Seconds for a leaving node to hand its shards over, before its actors stop; `leave_timeout` begins after it. Less
    than entities need to end (10 s at most, then they are cancelled) leaves shards unserved for some seconds; more
    holds up the end of a node beside a cluster that cannot take over.
    """
    leave_timeout: float = 5.0
    """Seconds for a graceful leave to wait for the others before the node stops anyway."""
    advertised_host: str | None = None
    """Host for peers to dial, where it differs from the bound one."""
    advertised_port: int | None = None
    """Port for peers to dial, where it differs from the bound one."""
    busy_poll: bool = True
    """Whether a reader of a peer's bytes looks for more for about 0.1 ms before sleeping, as long as it pays; False
    saves processor time where others wait for it.
    """
    limits: TransportLimits = TransportLimits()
    """Bounds of the transport."""
    failure_detector_factory: Callable[[UniqueAddress], FailureDetector] | None = field(default=None, hash=False)
    """Function that makes the `FailureDetector` of a monitored member, given its address and incarnation; called each
    time that the node begins to monitor one, and once for the node itself as it starts, to see that it works. None: the
    phi accrual detector. Nodes need not have the same.
    """

    def __post_init__(self) -> None:
        durations = ("gossip_interval", "heartbeat_interval", "availability_interval", "leave_timeout")
        check_positive(self, *durations, "handover_timeout", "lease_minority_delay", "lease_timeout")
        check_count(self, "gossip_fanout", "monitored_max", "min_members")
        check_kind("ClusterSettings.min_members_per_role", self.min_members_per_role, Mapping, '{"db": 2}')
        if any(type(count) is not int or count < 1 for count in self.min_members_per_role.values()):
            raise ConfigError(f"min_members_per_role must hold integers of at least 1, got {self.min_members_per_role}")
        if self.stable_after is not None:
            check_positive(self, "stable_after")
        self._check_downing()
        if self.failure_detector_factory is not None:
            check_detector_factory(self.failure_detector_factory)
        check_kind("ClusterSettings.busy_poll", self.busy_poll, bool, "False")
        check_kind("ClusterSettings.allow_new_cluster", self.allow_new_cluster, bool, "True")
        if self.on_downed not in (None, "stop", "rejoin"):
            raise ConfigError(f"ClusterSettings.on_downed must be 'stop' or 'rejoin', got {self.on_downed!r}")
        host, port = self.advertised_host, self.advertised_port
        check_endpoint(
            "ClusterSettings.advertised", "any" if host is None else host, 1 if port is None else port, port_least=1
        )

    def _check_downing(self) -> None:
        check_downing(self.downing)
        if self.downing == "static_quorum":
            if self.quorum_size is None:
                raise ConfigError(
                    "ClusterSettings.downing='static_quorum' needs quorum_size: more than half of the members "
                    "that the cluster will ever have"
                )
            check_count(self, "quorum_size")
        elif self.quorum_size is not None:
            raise ConfigError(f"ClusterSettings.quorum_size is for downing='static_quorum', got {self.downing!r}")
        if self.downing == "lease_majority":
            check_kind("ClusterSettings.lease", self.lease, Lease, 'SqliteLease("shop-lease.db")')
        elif self.lease is not None:
            raise ConfigError(f"ClusterSettings.lease is for downing='lease_majority', got {self.downing!r}")
        if self.downing_role is not None:
            if not isinstance(self.downing, str) or self.downing in WITHOUT_ROLE:
                raise ConfigError(f"ClusterSettings.downing_role has no meaning with downing={self.downing!r}")
            check_downing_role(self.downing_role)

    @classmethod
    def lan(cls) -> ClusterSettings:
        """Choose for machines of one data centre: the defaults.

        Returns:
            Settings; ``dataclasses.replace`` changes single fields.
        """
        return cls()

    @classmethod
    def local(cls) -> ClusterSettings:
        """Choose for processes of one machine: gossip twice as often.

        Returns:
            Settings; ``dataclasses.replace`` changes single fields.
        """
        return cls(gossip_interval=0.5)

    @classmethod
    def wan(cls) -> ClusterSettings:
        """Choose for links between data centres: more patience before an accusation.

        Returns:
            Settings; ``dataclasses.replace`` changes single fields.
        """
        detector = replace(FailureDetectorConfig(), threshold=12.0, acceptable_heartbeat_pause_ms=6000.0)
        return cls(gossip_interval=2.0, heartbeat_interval=1.0, failure_detector=detector)


@message("casty.ClusterConfig")
@dataclass(frozen=True)
class ClusterConfig:
    """Identity of a node, and the seeds it asks to be let in.

    >>> cfg = ClusterConfig("127.0.0.1", 2551, node_id="node-1", seed_nodes=(("127.0.0.1", 2552),))
    >>> cfg.host, cfg.port
    ('127.0.0.1', 2551)

    Raises:
        ConfigError: A field has a bad value; the message names it and the expected values.
    """

    host: str
    """The address to bind; the default of every other part of casty is loopback."""
    port: int
    """The TCP port; 0 takes a free one."""
    node_id: NodeId
    """The name of this node, unique among the living members: up to 128 printable characters, no spaces."""
    seed_nodes: tuple[tuple[str, int], ...] = ()
    """Initial contact points, the same on all nodes, the seeds themselves included. Empty: this node forms a new
    cluster at once. List three: a cluster begins with more than half of them, and the restart of a sole seed looks like
    a first start.
    """
    roles: frozenset[str] = frozenset()
    """Purposes of this node; services and placement can ask for a role. At most 64 names of at most 255 characters,
    together at most 1,024.
    """

    def __post_init__(self) -> None:
        check_endpoint("ClusterConfig", self.host, self.port)
        check_node_id(self.node_id)
        check_seed_nodes(self.seed_nodes)
        check_roles(self.roles)
