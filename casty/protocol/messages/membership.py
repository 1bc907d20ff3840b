"""Messages between the cluster machines of two nodes.

Owns the values on the control lane. It does not know the ways between a state and such values (`state_on_wire`). The
sender of a message is the run that said hello on the link, never a field of the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casty.address import UniqueAddress
from casty.protocol.messages.liveness import LivenessMessage
from casty.protocol.messages.watching import WatchMessage
from casty.protocol.state.member import Member
from casty.protocol.state.registry import RegistrySlots
from casty.protocol.state.rows import TableRows

TEXT_MAX = 64
TOKEN_BITS = 63
TYPES_NAMED_MAX = 16


@dataclass(frozen=True, slots=True)
class WireTypesDigest:
    """Digest of the types taught to the system of a node: of their names and forms on the wire."""

    digest: bytes = b""
    names: tuple[str, ...] = ()
    """First of them, sorted, for the words of a refusal; TYPES_NAMED_MAX at most."""

    def difference(self, theirs: WireTypesDigest) -> str:
        """Return the difference in words: the names expected, and those found."""
        mine, found = sorted({*self.names} - {*theirs.names}), sorted({*theirs.names} - {*self.names})
        if mine or found:
            return _differ("wire_types", mine, found)
        return "expected wire_types that travel as those of the cluster do, found others of the same names"


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """Settings required to be the same on all nodes of a cluster."""

    min_members: int
    downing: str
    min_members_per_role: tuple[tuple[str, int], ...] = ()
    """Sorted by role."""
    wire_types: WireTypesDigest = WireTypesDigest()
    journal: str = ""
    """Identity of the store of durable state; "" of a node without one, free to join any cluster."""

    def difference(self, theirs: JoinSettings) -> str | None:
        """Return the first difference, with the value expected by this node and the one found, or None."""
        if self.min_members != theirs.min_members:
            return _differ("min_members", self.min_members, theirs.min_members)
        if self.min_members_per_role != theirs.min_members_per_role:
            return _differ("min_members_per_role", dict(self.min_members_per_role), dict(theirs.min_members_per_role))
        if self.downing != theirs.downing:
            return _differ("downing", self.downing, theirs.downing)
        if self.wire_types != theirs.wire_types:
            return self.wire_types.difference(theirs.wire_types)
        if self.journal and theirs.journal and self.journal != theirs.journal:
            return _differ("journal", self.journal, theirs.journal)
        return None

    def is_refused_for_journal(self, reason: str) -> bool:
        """Return whether a refusal of a node with these settings is for its journal."""
        return bool(self.journal) and reason.startswith("expected journal ")


def _differ(setting: str, expected: object, found: object) -> str:
    return f"expected {setting} {repr(expected)[:TEXT_MAX]}, as the cluster has it, found {repr(found)[:TEXT_MAX]}"


@dataclass(frozen=True, slots=True)
class JoinProbe:
    """Question of a joiner: may it join the receiver, and is that in a cluster at all?

    Only the receiver of the probe knows ``token``, and answers with it.
    """

    joiner: Member
    settings: JoinSettings
    token: int
    is_to_seed: bool = True
    """Whether the joiner lists the asked node as a seed; it may also have known it as a member."""


class JoinState(Enum):
    """Standing of a probed node."""

    in_cluster = "in_cluster"
    not_in_cluster = "not_in_cluster"
    waiting = "waiting"
    """In no cluster, and not to be counted by a founder: it was a member, and that cluster may go on."""
    retry = "retry"
    refused = "refused"


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """Answer to the probe of this token; ``reason`` says why not now (retry) or why never (refused)."""

    token: int
    state: JoinState
    reason: str = ""
    cluster_id: int = 0
    """With ``in_cluster``: the id of the cluster, and its size. Else the id of the last run's cluster, or 0."""
    members: int = 0
    has_begun: bool = False
    """Whether a member of that cluster was ever moved up."""
    former: UniqueAddress | None = None
    """Last run of a node formerly in a cluster and in none now."""


@dataclass(frozen=True, slots=True)
class Join:
    """Request to be made a member; ``token`` is the one of the sender's probe."""

    joiner: Member
    settings: JoinSettings
    token: int


@dataclass(frozen=True, slots=True)
class GossipState:
    """A whole version of the membership; ``welcome`` when it answers a `Join`."""

    cluster_id: int
    members: tuple[Member, ...]
    tombstones: tuple[tuple[UniqueAddress, float], ...]
    rows: tuple[tuple[UniqueAddress, int, tuple[UniqueAddress, ...]], ...]
    up_numbers_given: int
    version: tuple[tuple[int, int], ...]
    seen: bytes
    """A bit for each member, in their order by address and incarnation, the first in the lowest."""
    terms_given: int = 0
    welcome: bool = False


@dataclass(frozen=True, slots=True)
class StatePage:
    """Part of a `GossipState` too large for one frame; the next one follows."""

    serial: int
    index: int
    count: int
    part: GossipState


@dataclass(frozen=True, slots=True)
class GossipDelta:
    """Changes since a version of the receiver: the one with the digest ``base``.

    ``version`` has only the grown counts; ``seen`` belongs to the resulting version.
    """

    cluster_id: int
    base: bytes
    members: tuple[Member, ...]
    tombstones: tuple[tuple[UniqueAddress, float], ...]
    rows: tuple[tuple[UniqueAddress, int, tuple[UniqueAddress, ...]], ...]
    up_numbers_given: int
    version: tuple[tuple[int, int], ...]
    seen: bytes
    terms_given: int = 0


@dataclass(frozen=True, slots=True)
class GossipSeen:
    """Note that the sender has seen the version of this digest, and knows that these have too."""

    cluster_id: int
    version: bytes
    seen: bytes


@dataclass(frozen=True, slots=True)
class GossipDigest:
    """Digest of 16 bytes over the sender's whole knowledge, for a peer expected to know the same."""

    cluster_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class GossipVersions:
    """Progress of the sender: its version of the membership, who has seen it, and the versions of its tables.

    Each table by name, with the version of each part by its number: of a slot, the incarnation of its owner.
    """

    cluster_id: int
    version: tuple[tuple[int, int], ...]
    seen: bytes
    tables: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class ServingRequest:
    """Request to serve: to do exclusive work, for one node alone, for a time from now."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ServingGrant:
    """Grant of the sender, as far as it is concerned; answers the request of this number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class StandingQuestion:
    """Question whether these members, said to be going or up, stay in the receiver's view; of none: are you there?"""

    cluster_id: int
    token: int
    nodes: tuple[UniqueAddress, ...]


@dataclass(frozen=True, slots=True)
class StandingAnswer:
    """The members in the question of this token, up here, or joining and heard."""

    cluster_id: int
    token: int
    staying: tuple[UniqueAddress, ...]


@dataclass(frozen=True, slots=True)
class ExitingConfirmed:
    """Word of an exiting node that it has finished and is to be removed."""


@dataclass(frozen=True, slots=True)
class JoinWithdrawn:
    """Word of a joiner that it has ended before its welcome and is to be removed."""


PageMessage = RegistrySlots | TableRows
"""News of a table, each kind of tables with its own: a node without that kind ignores and counts it."""

AntiEntropyMessage = GossipDigest | GossipVersions | PageMessage
"""Messages that compare and repair, and change no membership."""

TopologyMessage = (
    JoinProbe
    | JoinAnswer
    | Join
    | GossipState
    | GossipDelta
    | GossipSeen
    | ServingRequest
    | ServingGrant
    | StandingQuestion
    | StandingAnswer
    | ExitingConfirmed
    | JoinWithdrawn
)

ControlMessage = TopologyMessage | AntiEntropyMessage | StatePage | WatchMessage | LivenessMessage
