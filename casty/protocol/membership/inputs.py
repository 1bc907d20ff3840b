"""Events of the topology machine, and its questions.

Owns the event and effect values of the topology machine, and its settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Send, SendIfUp, StartTimer, TimerFired
from casty.protocol.failure_detector.monitor import MarkReachable, MarkUnreachable
from casty.protocol.gossip.handover import GossipOrder, RegistryChanged
from casty.protocol.membership.admission import VerifyAddress
from casty.protocol.membership.leaving import AskedToLeave
from casty.protocol.membership.view import ViewEffect
from casty.protocol.messages.membership import AntiEntropyMessage, JoinSettings, TopologyMessage, WireTypesDigest
from casty.protocol.split_brain.resolver import AcquireLease, LeaseAnswered
from casty.protocol.split_brain.serving_lease import ServingEffect
from casty.protocol.split_brain.strategies import KeepMajority, Strategy


@dataclass(frozen=True, slots=True)
class TopologySettings:
    """Settings needed by the machine; durations in seconds."""

    gossip_interval: float = 1.0
    gossip_fanout: int = 3
    min_members: int = 1
    min_members_per_role: tuple[tuple[str, int], ...] = ()
    downing: Strategy | None = KeepMajority()
    stable_after: float | None = None
    leave_timeout: float = 5.0
    allow_new_cluster: bool = False
    wire_types: WireTypesDigest = WireTypesDigest()
    journal: str = ""
    """Identity of the store of durable state, "" without one."""
    store: str = ""
    """Store of the journal in words, for whoever runs this node; other nodes are not told."""

    @property
    def shared(self) -> JoinSettings:
        """Settings shared by all nodes of a cluster."""
        strategy = str(self.downing or "none")
        return JoinSettings(self.min_members, strategy, self.min_members_per_role, self.wire_types, self.journal)


@dataclass(frozen=True, slots=True)
class Start:
    """Event: begin to join or form a cluster."""


@dataclass(frozen=True, slots=True)
class Received:
    """Event: a message from the run at the other end of the link."""

    sender: UniqueAddress
    message: TopologyMessage | AntiEntropyMessage
    """One of the second kind comes from gossip, which leaves it to be judged who says it."""


@dataclass(frozen=True, slots=True)
class AddressAnswered:
    """Event: the outcome of ``question``; ``found`` is the answering run, None for nobody."""

    question: VerifyAddress
    found: UniqueAddress | None


@dataclass(frozen=True, slots=True)
class SelfAlias:
    """Event: dialling this address led back to this node."""

    address: NodeAddress


@dataclass(frozen=True, slots=True)
class SeedsFound:
    """Other nodes may be at these addresses: ask them as the seeds. They found nothing, and count for nothing."""

    addresses: tuple[NodeAddress, ...]


@dataclass(frozen=True, slots=True)
class HelloRefused:
    """Event: the node at this address refused the connection for good."""

    address: NodeAddress
    reason: str


@dataclass(frozen=True, slots=True)
class Mistrusted:
    """Event: an attempt to connect there ended because one end does not believe the other."""

    address: NodeAddress
    reason: str


@dataclass(frozen=True, slots=True)
class LeaveMember:
    """Event: the member at this address shall leave gracefully."""

    address: NodeAddress


@dataclass(frozen=True, slots=True)
class BeginLeave:
    """Event: this node begins to leave by its own will, and says `WorkFinished` when its work is handed over."""


@dataclass(frozen=True, slots=True)
class WorkFinished:
    """Event: this node's actors have finished, and it shall leave if it is not leaving yet."""


@dataclass(frozen=True, slots=True)
class DownMember:
    """Event: an operator declares the member at this address down."""

    address: NodeAddress


@dataclass(frozen=True, slots=True)
class WantServing:
    """Event: there is exclusive work on this node, for one node alone; see `serving_lease`."""


@dataclass(frozen=True, slots=True)
class GiveTerm:
    """Event: a coordinator on this node begins a term of this number: no later one is to have it again."""

    number: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Effect: this node is a member of a cluster: of its own one, where nobody has let it in."""

    let_in_by: UniqueAddress | None = None


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """Effect: this node was refused for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class Left:
    """Effect: this node has left and may stop."""


@dataclass(frozen=True, slots=True)
class Downed:
    """Effect: this node is down; it must stop its actors. ``reason``: why it gave itself up, "" where others did."""

    reason: str
    last: LastMembership


TopologyEvent = (
    Start | Received | TimerFired | MarkUnreachable | MarkReachable | AddressAnswered | SelfAlias | HelloRefused
    | Mistrusted | SeedsFound | LeaveMember | BeginLeave | WorkFinished | DownMember | RegistryChanged | WantServing
    | GiveTerm | LeaseAnswered
)  # fmt: skip
TopologyEffect = (
    Send | SendIfUp | StartTimer | Note | VerifyAddress | Joined | JoinFailed | AskedToLeave | Left | Downed
    | ViewEffect | ServingEffect | AcquireLease | GossipOrder
)  # fmt: skip
