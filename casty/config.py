"""Frozen settings, checked when they are made; durations are float seconds.

Every field says what it means and how to choose it. A nonsense value is a `ConfigError` that names
the field, what was expected and what was found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from casty.address import NodeId
from casty.checks import (
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


class MailboxOverflowStrategy(Enum):
    """What happens to a message for a mailbox that is full.

    It decides for ``tell`` and for ``await ref.send``. What comes from another node waits for room where a
    ``send`` would, while its node holds back; where that would raise, it becomes a dead letter. So does what
    finds no room and comes from a timer of the scheduler, which has no sender to tell.
    """

    drop_new = "drop_new"
    """The new message becomes a dead letter; ``send`` waits for room."""
    drop_oldest = "drop_oldest"
    """The oldest waiting message becomes a dead letter and the new one is taken; so does ``send``."""
    reject = "reject"
    """``tell`` and ``send`` raise MailboxFull: the sender has something better to do than wait."""
    back_pressure = "back_pressure"
    """``send`` waits for room, and ``tell``, which cannot wait, raises MailboxFull: nothing is dropped."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The bound of an actor's mailbox and what happens beyond it.

    Raises:
        ConfigError: ``capacity`` is below 1, or ``overflow`` no `MailboxOverflowStrategy`.
    """

    capacity: int = 1_000_000
    """Messages that wait, at least 1; system signals (stop, Terminated, timers) bypass it. Too low drops in bursts,
    too high hides an actor that cannot keep up: a small waiting message costs about 100 bytes."""
    overflow: MailboxOverflowStrategy = MailboxOverflowStrategy.drop_new
    """What happens to a message that finds the mailbox full."""

    def __post_init__(self) -> None:
        check_count(self, "capacity")
        check_kind("Mailbox.overflow", self.overflow, MailboxOverflowStrategy, "MailboxOverflowStrategy.drop_oldest")


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """Settings of an `ActorSystem`, clustered or not.

    Raises:
        ConfigError: A field makes no sense; the message names it, and says what was expected.
    """

    mailbox: Mailbox = Mailbox()
    """For actors that are spawned without a mailbox of their own, and that no pattern matches."""
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict[str, Mailbox], hash=False)
    """Mailboxes by patterns of paths, such as ``{"/orders/*": Mailbox(100)}``. In a pattern ``*`` stands
    for any part of one name, ``**`` for any number of names. The first that matches counts."""
    stop_timeout: float = 5.0
    """How long one actor's clean-up (``post_stop``, ``finally`` blocks) may take when it stops."""
    shutdown_timeout: float = 10.0
    """How long each phase of a shutdown (stopping the users' actors, leaving the cluster, stopping the
    rest) may take before what hangs is cancelled and named."""
    slow_handler_after: float = 0.2
    """A handler that holds the loop longer than this is named in a rate-limited warning."""
    check_messages: bool | None = None
    """Whether a message that is told to an actor of this system is compared with the actor's type, as it is for
    messages from other nodes always: another one is a TypeError at its sender, instead of falling through a
    ``match``. None means with ``python -X dev`` only. It costs nothing when off;
    when on, a ``tell`` takes more than twice as long."""
    seed: int | None = None
    """Makes what the system draws by chance repeatable: the jitter of restarts, the addresses of asks, and in
    a cluster the choices of the node, so each run of a node needs another one. For simulations only: an
    address that can be computed can be forged."""

    def __post_init__(self) -> None:
        if self.seed is not None:
            check_count(self, "seed", least=0)
        check_positive(self, "stop_timeout", "shutdown_timeout", "slow_handler_after")
        check_kind("SystemConfig.mailbox", self.mailbox, Mailbox, "Mailbox(100)")
        for pattern, mailbox in self.mailboxes.items():
            check_kind(f"SystemConfig.mailboxes[{pattern!r}]", mailbox, Mailbox, "Mailbox(100)")
            if not pattern.startswith("/"):
                raise ConfigError(f"SystemConfig.mailboxes: a pattern of paths begins with '/', got {pattern!r}")
        object.__setattr__(self, "mailboxes", MappingProxyType(dict(self.mailboxes)))

    def mailbox_for(self, path: str) -> Mailbox:
        """Return the mailbox of an actor at ``path`` that was spawned without one.

        >>> config = SystemConfig(mailboxes={"/orders/*": Mailbox(100), "/**/log": Mailbox(10)})
        >>> [config.mailbox_for(path).capacity for path in ("/orders/7", "/orders/7/log", "/log", "/orders")]
        [100, 10, 10, 1000000]

        Parameters:
            path: Path of the actor.

        Returns:
            The mailbox of the first pattern that matches, else ``mailbox``.
        """
        for pattern, mailbox in self.mailboxes.items():
            if _compiled(pattern).fullmatch(path):
                return mailbox
        return self.mailbox


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [".*" if name == "**" else re.escape(name).replace(r"\*", "[^/]*") for name in pattern.split("/")[1:]]
    return re.compile("".join("(?:/.*)?" if part == ".*" else "/" + part for part in parts))


@dataclass(frozen=True, slots=True)
class FailureDetectorConfig:
    """Tuning of the phi accrual failure detector; the defaults tolerate pauses of three seconds.

    Raises:
        ConfigError: A field makes no sense; the message names it, and says what was expected.
    """

    threshold: float = 8.0
    """Suspicion at which a node is unreachable. 8 is one wrong alarm in 10^8 heartbeats under the
    model; 12 suits noisy clouds. Lower reacts sooner and errs more often."""
    max_sample_size: int = 200
    """How many heartbeat intervals are remembered. More is steadier, fewer adapts sooner."""
    min_std_deviation_ms: float = 100.0
    """Floor of the spread: keeps a very regular link from being judged by a hair."""
    acceptable_heartbeat_pause_ms: float = 3000.0
    """Silence that is forgiven on top of the usual interval: garbage collection, a busy loop.
    Higher forgives longer stalls and sees a cut link that much later."""
    first_heartbeat_estimate_ms: float = 1000.0
    """The interval assumed before any was seen; about twice the heartbeat interval."""

    def __post_init__(self) -> None:
        check_positive(self, "threshold", "min_std_deviation_ms", "first_heartbeat_estimate_ms")
        check_count(self, "max_sample_size")
        if not 0 <= self.acceptable_heartbeat_pause_ms < math.inf:
            raise ConfigError(
                "FailureDetectorConfig.acceptable_heartbeat_pause_ms must be a finite number of at least 0, "
                f"got {self.acceptable_heartbeat_pause_ms!r}"
            )


FRAME_BYTES_LEAST = 256 * 1024
"""What nodes send of their own accord: a page of the membership has so much, a slice a quarter of it."""


STRANGER_FRAMES_LEAST = 6
"""Frames of the largest size that strangers can have room for at least, two of them for what their links hold."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds that keep a hostile or broken peer from costing more than a connection.

    Raises:
        ConfigError: A field makes no sense; the message names it, and says what was expected.
    """

    hello_frame_bytes_max: int = 4 * 1024
    """Largest frame before the hello is accepted."""
    frame_bytes_max: int = 1024 * 1024 + 4096
    """Largest frame afterwards: a payload of 1 MiB and its envelope. At least 256 KiB, which pages of the membership
    have, and the same on all nodes: one with less hangs up on those that send more."""
    message_bytes_max: int = 16 * 1024 * 1024
    """Bytes of one message between actors. What is over ``frame_bytes_max`` travels in slices on a connection
    of its own. A node puts together four such messages at a time, of members only."""
    hello_timeout: float = 5.0
    """For the whole exchange of hellos, not for each read."""
    unauthenticated_max: int = 64
    """Connections at one time that have not said hello yet. The next one takes the place of the longest silent one."""
    unauthenticated_per_host_max: int = 16
    """The same, for one remote host."""
    links_max: int = 4_096
    """Established links over all peers and lanes; beyond it newcomers are refused for a while."""
    strangers_max: int = 1_024
    """The part of them that peers which are no members, joiners among them, may have opened. The next one takes the
    place of the longest one."""
    strangers_per_host_max: int = 256
    """The same, for one remote host."""
    strangers_bytes_max: int = 64 * 1024 * 1024
    """Memory that all such peers together may take up: what has come of their frames, what waits for them, 16 KiB for
    each of their links, and their messages that wait in mailboxes. Where their links hold more than three eighths of
    it, the one that holds the most, of the host that holds the most, is hung up on. Where their messages take up more
    than a quarter, further ones are dead letters."""
    idle_timeout: float = 60.0
    """A link is closed after so long without traffic, and dialled again when there is something to send.
    Heartbeats keep the control links of monitored nodes."""
    nesting_max: int = 32
    """Depth of containers inside a message."""
    elements_max: int = 65_536
    """Values inside one message, counted over all containers."""
    outbound_messages_max: int = 4_096
    """Frames waiting for one peer and lane; beyond it ``tell`` makes dead letters, ``send`` waits."""
    outbound_bytes_max: int = 8 * 1024 * 1024
    """Bytes waiting for one peer and lane."""
    dial_timeout: float = 5.0
    """How long one attempt to connect may take, the exchange of hellos included."""
    write_timeout: float = 10.0
    """A write that makes no progress for this long drops the link. On Linux it is dropped too when the other machine
    does not acknowledge bytes for this long, and on the control lane for 5 s at most."""

    def __post_init__(self) -> None:
        durations = ("hello_timeout", "dial_timeout", "write_timeout", "idle_timeout")
        check_positive(self, *durations)
        check_count(self, *(f.name for f in fields(self) if f.name not in durations))
        if self.frame_bytes_max < FRAME_BYTES_LEAST:
            raise ConfigError(
                f"TransportLimits.frame_bytes_max must be at least {FRAME_BYTES_LEAST}, got {self.frame_bytes_max!r}: "
                "pages of the membership and slices of large messages have to fit"
            )
        if self.strangers_bytes_max < STRANGER_FRAMES_LEAST * self.frame_bytes_max:
            raise ConfigError(
                f"TransportLimits.strangers_bytes_max must be at least {STRANGER_FRAMES_LEAST} times frame_bytes_max, "
                f"{STRANGER_FRAMES_LEAST * self.frame_bytes_max}, got {self.strangers_bytes_max!r}: a node that joins "
                "is a stranger at first"
            )


DowningStrategy: TypeAlias = Literal[
    "keep_majority", "static_quorum", "keep_oldest", "lease_majority", "down_all", "none"
]
DOWNING_STRATEGIES: tuple[DowningStrategy, ...] = get_args(DowningStrategy)
WITHOUT_ROLE = ("down_all", "none")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How a node behaves in its cluster; all nodes of one cluster should have the same.

    >>> ClusterSettings.wan().failure_detector.threshold
    12.0

    Raises:
        ConfigError: A field makes no sense, or not together with another; the message names it, and says what was
            expected.
    """

    gossip_interval: float = 1.0
    """Seconds between gossip rounds. Changes are pushed at once; the round repairs what was lost."""
    gossip_fanout: int = 3
    """Peers per round."""
    heartbeat_interval: float = 0.5
    """Seconds between heartbeats to each monitored node."""
    availability_interval: float = 2.0
    """The longest gap between two checks of the failure detector."""
    failure_detector: FailureDetectorConfig = FailureDetectorConfig()
    """Tuning of the phi accrual failure detector."""
    monitored_max: int = 9
    """How many successors on the ring a node monitors."""
    min_members: int = 1
    """No member becomes up before this many have joined."""
    min_members_per_role: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    """Nor before so many with these roles have: ``{"db": 2}``."""
    downing: DowningStrategy = "keep_majority"
    """Who survives a partition. ``keep_majority``: the side with more than half of the voters, the
    lowest address at a tie (hosts compare as text, ports as numbers). ``static_quorum``: the side with at least
    ``quorum_size`` voters. ``keep_oldest``: the side with the member that has been up for longest.
    ``lease_majority``: the side that gets the ``lease``. ``down_all``: nobody. ``none``: nobody is downed
    unless an operator does it."""
    quorum_size: int | None = None
    """For ``static_quorum``: more than half of the voters that the cluster will ever have."""
    down_if_alone: bool = True
    """For ``keep_oldest``: an oldest member that is alone against several goes down, and they stay."""
    lease: Lease | None = None
    """For ``lease_majority``: what decides, such as a `SqliteLease`; the same store for all nodes."""
    lease_minority_delay: float = 2.0
    """For ``lease_majority``: how much later the side without a majority asks. Lower than the time by
    which the sides notice the partition apart, the smaller side may win."""
    lease_timeout: float = 5.0
    """How long the lease may take to answer; silence is a refusal, and the side that asked goes down."""
    downing_role: str | None = None
    """Only members with this role are voters; None lets everybody vote."""
    stable_after: float | None = None
    """How long reachability must be unchanged before downing decides. None chooses by cluster size:
    7 s up to 5 nodes, 10 s at 10, 20 s at 100. Lower fails over sooner and risks deciding twice. A member
    that comes and goes must answer for as long before it is reachable again."""
    on_downed: Literal["stop", "rejoin"] | None = None
    """For ``casty node``, when its node was downed: ``rejoin``, which None means too, starts it again
    as a new run; ``stop`` ends the process. A block ends with NodeDowned in any case."""
    allow_new_cluster: bool = False
    """Whether this node, if it is a seed or another one seeds from it, may begin a cluster alone, when no seed has
    answered for five seconds. Without it nobody begins one without more than half of the listed seeds. For one start
    of one node, by somebody who knows that the other seeds are gone: while they are merely out of reach, there are two
    clusters afterwards."""
    leave_timeout: float = 5.0
    """How long a graceful leave waits for the others before the node stops anyway."""
    advertised_host: str | None = None
    """The host that peers dial, where it differs from the one that is bound."""
    advertised_port: int | None = None
    """The port that peers dial, where it differs from the one that is bound."""
    busy_poll: bool = True
    """Whether whoever has just read from a peer looks for more for about 0.1 ms before sleeping, as long as that
    pays; False saves processor time where others wait for it."""
    limits: TransportLimits = TransportLimits()
    """Bounds of the transport."""

    def __post_init__(self) -> None:
        durations = ("gossip_interval", "heartbeat_interval", "availability_interval", "leave_timeout")
        check_positive(self, *durations, "lease_minority_delay", "lease_timeout")
        check_count(self, "gossip_fanout", "monitored_max", "min_members")
        check_kind("ClusterSettings.min_members_per_role", self.min_members_per_role, Mapping, '{"db": 2}')
        if any(type(count) is not int or count < 1 for count in self.min_members_per_role.values()):
            raise ConfigError(f"min_members_per_role must hold integers of at least 1, got {self.min_members_per_role}")
        if self.stable_after is not None:
            check_positive(self, "stable_after")
        self._check_downing()
        check_kind("ClusterSettings.busy_poll", self.busy_poll, bool, "False")
        check_kind("ClusterSettings.allow_new_cluster", self.allow_new_cluster, bool, "True")
        if self.on_downed not in (None, "stop", "rejoin"):
            raise ConfigError(f"ClusterSettings.on_downed must be 'stop' or 'rejoin', got {self.on_downed!r}")
        host, port = self.advertised_host, self.advertised_port
        check_endpoint(
            "ClusterSettings.advertised", "any" if host is None else host, 1 if port is None else port, port_least=1
        )

    def _check_downing(self) -> None:
        if self.downing not in DOWNING_STRATEGIES:
            raise ConfigError(f"ClusterSettings.downing must be one of {DOWNING_STRATEGIES}, got {self.downing!r}")
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
            if self.downing in WITHOUT_ROLE:
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


@dataclass(frozen=True)
class ClusterConfig:
    """Who a node is and whom it asks to be let in.

    >>> cfg = ClusterConfig("127.0.0.1", 2551, node_id="node-1", seed_nodes=(("127.0.0.1", 2552),))
    >>> cfg.host, cfg.port
    ('127.0.0.1', 2551)

    Raises:
        ConfigError: A field makes no sense; the message names it, and says what was expected.
    """

    host: str
    """The address to bind; the default of every other part of casty is loopback."""
    port: int
    """The TCP port; 0 takes a free one."""
    node_id: NodeId
    """The name of this node, unique among the living members: up to 128 printable characters, no spaces."""
    seed_nodes: tuple[tuple[str, int], ...] = ()
    """Initial contact points, the same on all nodes, the seeds themselves included. Empty: this node forms a new
    cluster at once. List three: a cluster begins with more than half of them, and a sole seed that restarts looks like
    a first start."""
    roles: frozenset[str] = frozenset()
    """What this node is for; services and placement can ask for a role. At most 64 names of at most 255
    characters, together at most 1,024."""

    def __post_init__(self) -> None:
        check_endpoint("ClusterConfig", self.host, self.port)
        check_node_id(self.node_id)
        check_seed_nodes(self.seed_nodes)
        check_roles(self.roles)
