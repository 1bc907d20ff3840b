"""What the cluster machines of two nodes say to each other.

Owns the values that travel on the control lane. It does not know how a state becomes such values, and they become a
state (`state_on_wire`). The sender of a message is the run that said hello on the link, never a field of the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casty.address import UniqueAddress
from casty.protocol.messages.liveness import LivenessMessage
from casty.protocol.messages.watching import WatchMessage
from casty.protocol.state.member import Member
from casty.protocol.state.registry import SlotPage

TEXT_MAX = 64
TOKEN_BITS = 63


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """Settings that must be the same on all nodes of a cluster."""

    min_members: int
    downing: str
    min_members_per_role: tuple[tuple[str, int], ...] = ()
    """Sorted by role."""

    def difference(self, theirs: JoinSettings) -> str | None:
        """Return the first setting that differs, with what this node expects and what it found, or None."""
        if self.min_members != theirs.min_members:
            return _differ("min_members", self.min_members, theirs.min_members)
        if self.min_members_per_role != theirs.min_members_per_role:
            return _differ("min_members_per_role", dict(self.min_members_per_role), dict(theirs.min_members_per_role))
        if self.downing != theirs.downing:
            return _differ("downing", self.downing, theirs.downing)
        return None


def _differ(setting: str, expected: object, found: object) -> str:
    return f"expected {setting} {repr(expected)[:TEXT_MAX]}, as the cluster has it, found {repr(found)[:TEXT_MAX]}"


@dataclass(frozen=True, slots=True)
class JoinProbe:
    """May I join you, and are you in a cluster at all?

    Only who got the probe knows ``token``, and answers with it.
    """

    joiner: Member
    settings: JoinSettings
    token: int
    is_to_seed: bool = True
    """Whether the joiner lists who is asked as a seed; it may also have known it as a member."""


class JoinState(Enum):
    """What a probed node answers."""

    in_cluster = "in_cluster"
    not_in_cluster = "not_in_cluster"
    waiting = "waiting"
    """In no cluster, and not to be counted by who would found one: it was a member, and that cluster may go on."""
    retry = "retry"
    refused = "refused"


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """The answer to the probe of that token; ``reason`` says why not now (retry) or why never (refused)."""

    token: int
    state: JoinState
    reason: str = ""
    cluster_id: int = 0
    """With ``in_cluster``: which one, of how many members. Else the one that the last run of the node was in, or 0."""
    members: int = 0
    has_begun: bool = False
    """Whether a member of that cluster was ever moved up."""
    former: UniqueAddress | None = None
    """The last run of a node that was in a cluster and is in none now."""


@dataclass(frozen=True, slots=True)
class Join:
    """Make me a member; ``token`` is that of my probe."""

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
    welcome: bool = False


@dataclass(frozen=True, slots=True)
class StatePage:
    """A part of a `GossipState` that is too large for one frame; the next one follows."""

    serial: int
    index: int
    count: int
    part: GossipState


@dataclass(frozen=True, slots=True)
class GossipDelta:
    """What has changed since a version that you have: the one whose digest is ``base``.

    ``version`` has only the counts that have grown; ``seen`` is that of the version which comes of it.
    """

    cluster_id: int
    base: bytes
    members: tuple[Member, ...]
    tombstones: tuple[tuple[UniqueAddress, float], ...]
    rows: tuple[tuple[UniqueAddress, int, tuple[UniqueAddress, ...]], ...]
    up_numbers_given: int
    version: tuple[tuple[int, int], ...]
    seen: bytes


@dataclass(frozen=True, slots=True)
class GossipSeen:
    """I have seen the version of this digest, and know that these have too."""

    cluster_id: int
    version: bytes
    seen: bytes


@dataclass(frozen=True, slots=True)
class GossipDigest:
    """16 bytes over all that I know, sent to a peer that should know the same."""

    cluster_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class GossipVersions:
    """How far I am: the version of the membership, who has seen it, and the version of each service slot.

    The slots are named by the incarnation of their owner.
    """

    cluster_id: int
    version: tuple[tuple[int, int], ...]
    seen: bytes
    slots: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RegistrySlots:
    """What you lack of service slots, or a page of it."""

    cluster_id: int
    pages: tuple[SlotPage, ...]


@dataclass(frozen=True, slots=True)
class ServingRequest:
    """Let me serve: do the work that only one node may do, for a time from now."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ServingGrant:
    """You may, as far as I am concerned: answers the request of that number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class StandingQuestion:
    """I was told that these members go, or are up; do you hold them for such that stay? Of none: are you there?"""

    cluster_id: int
    token: int
    nodes: tuple[UniqueAddress, ...]


@dataclass(frozen=True, slots=True)
class StandingAnswer:
    """Of those that your question of this token names, these are up here, or joining and were heard."""

    cluster_id: int
    token: int
    staying: tuple[UniqueAddress, ...]


@dataclass(frozen=True, slots=True)
class ExitingConfirmed:
    """I know that I am exiting and have finished: remove me."""


@dataclass(frozen=True, slots=True)
class JoinWithdrawn:
    """I asked to be let in, and have ended before I was welcomed: remove me."""


TopologyMessage = (
    JoinProbe
    | JoinAnswer
    | Join
    | GossipState
    | GossipDelta
    | GossipSeen
    | GossipDigest
    | GossipVersions
    | RegistrySlots
    | ServingRequest
    | ServingGrant
    | StandingQuestion
    | StandingAnswer
    | ExitingConfirmed
    | JoinWithdrawn
)

ControlMessage = TopologyMessage | StatePage | WatchMessage | LivenessMessage
