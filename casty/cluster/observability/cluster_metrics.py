"""Counters of the cluster's actors for `casty.ActorSystem.collect`, and the gauges read when it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import MemberStatus
from casty.runtime.system.metrics import Metric, Metrics
from casty.schema.names import printable
from casty.transport.links.link import LinkState
from casty.transport.links.link_table import TransportStatistics
from casty.wire.frame import Lane

MEMBERS: Final = Metric("members", "Members in this node's view, by their status.", ("status",))
UNREACHABLE: Final = Metric("unreachable_members", "Members that somebody says do not answer.")
LEADER: Final = Metric("leader", "1 where this node takes itself for the leader, else 0.")
MONITORED: Final = Metric("monitored_members", "Members that this node sends heartbeats to.")
PHI_MAX: Final = Metric("phi_max", "How much this node suspects the member that it suspects most.")
ACCUSATIONS: Final = Metric("accusations", "Times that this node found a member not to answer.")
DETECTOR_FAILURES: Final = Metric("detector_failures", "Failure detectors of yours that were found at fault.")
GOSSIP_ROUNDS: Final = Metric("gossip_rounds", "Rounds of gossip that this node began.")
CONTROL_SENT: Final = Metric("control_messages_sent", "Messages of the cluster itself, by their names.", ("type",))
CONTROL_SENT_BYTES: Final = Metric("control_bytes_sent", "The bytes of those.", ("type",))
CONTROL_RECEIVED: Final = Metric("control_messages_received", "The same, that came.", ("type",))
CONTROL_RECEIVED_BYTES: Final = Metric("control_bytes_received", "The bytes of those.", ("type",))
DECODE_ERRORS: Final = Metric("decode_errors", "Frames from peers that could not be decoded.")
CONTROL_UNKNOWN: Final = Metric(
    "control_messages_unknown", "Control messages of types that this node does not know, and ignored.", ("type",)
)
TABLES_UNKNOWN: Final = Metric(
    "tables_unknown", "Messages about replicated tables that this node does not have, and ignores.", ("table",)
)
CONTROL_DROPPED: Final = Metric(
    "control_messages_dropped", "Control messages for an extension for which too much waits already.", ("type",)
)
REFUSED: Final = Metric("refused_messages", "Messages whose sender may not send them, by their type.", ("type",))
LINKS: Final = Metric("links", "Links that are up, by lane.", ("lane",))
DIALS: Final = Metric("dials", "Peers that are being dialled.")
CERTIFICATE_SECONDS_LEFT: Final = Metric(
    "tls_certificate_seconds_left", "Seconds until the TLS certificate of this node ends; below 0 when it has."
)
UNAUTHENTICATED: Final = Metric("unauthenticated_connections", "Connections that have not said hello.")
QUEUED_MESSAGES: Final = Metric("queued_messages", "Frames that wait to be written to peers.")
QUEUED_BYTES: Final = Metric("queued_bytes", "The bytes of those.")
WAITING_SENDERS: Final = Metric("waiting_senders", "Tasks that wait for room in the queue of a peer.")
FRAMES_SENT: Final = Metric("frames_sent", "Frames handed to the network whole.")
BYTES_SENT: Final = Metric("bytes_sent", "The bytes of those.")
FRAMES_RECEIVED: Final = Metric("frames_received", "Frames that came from peers.")
BYTES_RECEIVED: Final = Metric("bytes_received", "The bytes of those.")
FRAMES_REJECTED: Final = Metric("frames_rejected", "Frames that were not taken, because a queue was full or closed.")
FRAMES_UNDELIVERED: Final = Metric("frames_undelivered", "Frames that were taken and will never be written.")
FRAMES_UNKNOWN: Final = Metric("frames_unknown", "Frames lost at most: written since a peer was last heard.")

CLUSTER_METRICS: Final = (
    MEMBERS,
    UNREACHABLE,
    LEADER,
    MONITORED,
    PHI_MAX,
    ACCUSATIONS,
    DETECTOR_FAILURES,
    GOSSIP_ROUNDS,
    CONTROL_SENT,
    CONTROL_SENT_BYTES,
    CONTROL_RECEIVED,
    CONTROL_RECEIVED_BYTES,
    DECODE_ERRORS,
    CONTROL_UNKNOWN,
    TABLES_UNKNOWN,
    CONTROL_DROPPED,
    REFUSED,
    LINKS,
    DIALS,
    CERTIFICATE_SECONDS_LEFT,
    UNAUTHENTICATED,
    QUEUED_MESSAGES,
    QUEUED_BYTES,
    WAITING_SENDERS,
    FRAMES_SENT,
    BYTES_SENT,
    FRAMES_RECEIVED,
    BYTES_RECEIVED,
    FRAMES_REJECTED,
    FRAMES_UNDELIVERED,
    FRAMES_UNKNOWN,
)
"""Further metrics of a node of a cluster."""

UNKNOWN_NAMES_MAX: Final = 64
"""Names of unknown control messages counted apart; peers choose them."""
OTHER: Final = "other"
"""Stands for all names beyond those, and for all names from strangers."""

PRESENT: Final = tuple(status for status in MemberStatus if status is not MemberStatus.removed)


def _nobody() -> Mapping[NodeAddress, float]:
    return {}


class ClusterMetrics:
    """The counters of one node. Its rates are those of the control lane: some dozens a second."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.received_bytes: Counter[str] = Counter()
        self.gossip_rounds = 0
        self.accusations = 0
        self.detector_failures = 0
        self.decode_errors = 0
        self.refused: Counter[str] = Counter()
        """Messages not permitted for their senders, by the names of their types or frames: see `access`."""
        self.unknown: Counter[str] = Counter()
        """Control messages unknown to this node, by at most `UNKNOWN_NAMES_MAX` names and `OTHER`."""
        self.unknown_tables: Counter[str] = Counter()
        """Messages about tables unknown to this node, by as many names."""
        self.dropped: Counter[str] = Counter()
        """Control messages for extensions with too much waiting already, by their names."""
        self.suspicions: Callable[[], Mapping[NodeAddress, float]] = _nobody
        """Phi of each monitored node now; the availability actor puts it here."""

    def note_sent(self, name: str, size: int) -> None:
        """Count a control message taken by the transport, by its name on the wire."""
        self.sent[name] += 1
        self.sent_bytes[name] += size

    def note_received(self, name: str, size: int) -> None:
        """Count a decoded control message: of a type known to this node, so the names are few."""
        self.received[name] += 1
        self.received_bytes[name] += size

    def note_unknown(self, name: str) -> bool:
        """Count a control message unknown to this node; "" for a stranger's. Return whether its name is new."""
        return _count(self.unknown, name)

    def note_unknown_table(self, name: str) -> None:
        """Count a message about a table unknown to this node."""
        _count(self.unknown_tables, name)

    def collect(self, metrics: Metrics, snapshot: TopologySnapshot | None, self_node: UniqueAddress) -> None:
        """Hand over the figures of the membership."""
        members = () if snapshot is None else snapshot.members
        counts = Counter(member.status for member in members)
        for status in PRESENT:
            metrics.gauge(MEMBERS, counts[status], status.name)
        metrics.gauge(UNREACHABLE, 0 if snapshot is None else len(snapshot.unreachable))
        metrics.gauge(LEADER, float(snapshot is not None and snapshot.leader == self_node.address))
        phi = self.suspicions()
        metrics.gauge(MONITORED, len(phi))
        metrics.gauge(PHI_MAX, max(phi.values(), default=0.0))
        metrics.counter(ACCUSATIONS, self.accusations)
        metrics.counter(DETECTOR_FAILURES, self.detector_failures)
        metrics.counter(GOSSIP_ROUNDS, self.gossip_rounds)
        for metric, by_type in (
            (CONTROL_SENT, self.sent),
            (CONTROL_SENT_BYTES, self.sent_bytes),
            (CONTROL_RECEIVED, self.received),
            (CONTROL_RECEIVED_BYTES, self.received_bytes),
            (CONTROL_UNKNOWN, self.unknown),
            (TABLES_UNKNOWN, self.unknown_tables),
            (CONTROL_DROPPED, self.dropped),
        ):
            for name, count in sorted(by_type.items()):
                metrics.counter(metric, count, name)
        metrics.counter(DECODE_ERRORS, self.decode_errors)
        for name, count in sorted(self.refused.items()):
            metrics.counter(REFUSED, count, name)


def _count(by_name: Counter[str], name: str) -> bool:
    """Count one more of a name chosen by a peer; return whether that is new."""
    shown = printable(name) or OTHER
    is_new = shown not in by_name
    if is_new and len(by_name) >= UNKNOWN_NAMES_MAX:
        shown, is_new = OTHER, False
    by_name[shown] += 1
    return is_new


def collect_certificate(seconds_left: float | None, metrics: Metrics) -> None:
    """Hand over when the certificate of this node ends; nothing without TLS."""
    if seconds_left is not None:
        metrics.gauge(CERTIFICATE_SECONDS_LEFT, seconds_left)


def collect_transport(statistics: TransportStatistics, metrics: Metrics) -> None:
    """Hand over the figures of a transport."""
    up = Counter(link.lane for link in statistics.links if link.state is LinkState.up)
    for lane in (Lane.control, Lane.ordinary):
        metrics.gauge(LINKS, up[lane], lane.name)
    metrics.gauge(DIALS, statistics.dials)
    metrics.gauge(UNAUTHENTICATED, statistics.unauthenticated)
    metrics.gauge(QUEUED_MESSAGES, sum(link.queued_messages for link in statistics.links))
    metrics.gauge(QUEUED_BYTES, sum(link.queued_bytes for link in statistics.links))
    metrics.gauge(WAITING_SENDERS, sum(link.waiting_senders for link in statistics.links))
    metrics.counter(FRAMES_SENT, statistics.frames_sent)
    metrics.counter(BYTES_SENT, statistics.bytes_sent)
    metrics.counter(FRAMES_RECEIVED, statistics.frames_received)
    metrics.counter(BYTES_RECEIVED, statistics.bytes_received)
    metrics.counter(FRAMES_REJECTED, statistics.frames_rejected)
    metrics.counter(FRAMES_UNDELIVERED, statistics.frames_undelivered)
    metrics.counter(FRAMES_UNKNOWN, statistics.frames_unknown)
