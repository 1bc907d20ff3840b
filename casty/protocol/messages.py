"""What the cluster machines of two nodes say to each other.

Owns the values that travel on the control lane and their checked translation to and from machine
state. The sender of a message is the run that said hello on the link, never a field of the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from casty.address import UniqueAddress, by_place
from casty.errors import DecodeError
from casty.protocol.gossip import MEMBERS_MAX, TOMBSTONES_MAX, Gossip, in_order
from casty.protocol.liveness_messages import LIVENESS_MESSAGES, LivenessMessage
from casty.protocol.membership import Member, MemberStatus
from casty.protocol.reachability import ObserverRow
from casty.protocol.registry import COUNT_MAX, SlotPage
from casty.protocol.vector_clock import VectorClock
from casty.protocol.watch_messages import WATCH_MESSAGES, WatchMessage

AGE_MAX = 10 * 365 * 24 * 3600.0
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
        """Return the first setting that differs, with both values, or None."""
        if self.min_members != theirs.min_members:
            return f"min_members is {self.min_members} here and {theirs.min_members} at the joiner"
        if self.min_members_per_role != theirs.min_members_per_role:
            mine, other = (str(dict(one.min_members_per_role))[:TEXT_MAX] for one in (self, theirs))
            return f"min_members_per_role is {mine} here and {other} at the joiner"
        if self.downing != theirs.downing:
            return f"downing is {self.downing!r} here and {theirs.downing[:TEXT_MAX]!r} at the joiner"
        return None


@dataclass(frozen=True, slots=True)
class JoinProbe:
    """May I join you, and are you in a cluster at all?

    Only who got the probe knows ``token``, and answers with it.
    """

    joiner: Member
    settings: JoinSettings
    token: int


class JoinState(Enum):
    """What a probed node answers."""

    in_cluster = "in_cluster"
    not_in_cluster = "not_in_cluster"
    retry = "retry"
    refused = "refused"


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """The answer to the probe of that token; ``reason`` says why not now (retry) or why never (refused)."""

    token: int
    state: JoinState
    reason: str = ""
    cluster_id: int = 0
    """With ``in_cluster``: which one, of how many members."""
    members: int = 0


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
    seen: tuple[UniqueAddress, ...]
    welcome: bool = False


@dataclass(frozen=True, slots=True)
class StatePage:
    """A part of a `GossipState` that is too large for one frame; the next one follows."""

    serial: int
    index: int
    count: int
    part: GossipState


@dataclass(frozen=True, slots=True)
class GossipSeen:
    """I have seen this version, and know that these have too."""

    cluster_id: int
    version: tuple[tuple[int, int], ...]
    seen: tuple[UniqueAddress, ...]


@dataclass(frozen=True, slots=True)
class GossipDigest:
    """16 bytes over all that I know, sent to a peer that should know the same."""

    cluster_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class RegistryVersions:
    """The version of each service slot that I have."""

    cluster_id: int
    versions: tuple[tuple[UniqueAddress, int], ...]


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
    | GossipSeen
    | GossipDigest
    | RegistryVersions
    | RegistrySlots
    | ServingRequest
    | ServingGrant
    | ExitingConfirmed
    | JoinWithdrawn
)

ControlMessage = TopologyMessage | StatePage | WatchMessage | LivenessMessage

CONTROL_MESSAGES: tuple[type, ...] = (
    *LIVENESS_MESSAGES,
    JoinProbe,
    JoinAnswer,
    Join,
    GossipState,
    StatePage,
    GossipSeen,
    GossipDigest,
    RegistryVersions,
    RegistrySlots,
    ServingRequest,
    ServingGrant,
    ExitingConfirmed,
    JoinWithdrawn,
    *WATCH_MESSAGES,
)


def clock_entries(version: VectorClock[int]) -> tuple[tuple[int, int], ...]:
    """Return a clock as it travels, sorted."""
    return tuple(sorted(version.versions.items()))


def clock_from(entries: tuple[tuple[int, int], ...]) -> VectorClock[int]:
    """Return the clock that travelled as ``entries``. DecodeError for a count that cannot be."""
    if len(entries) > MEMBERS_MAX + 2 * TOMBSTONES_MAX or any(not 1 <= count <= COUNT_MAX for _, count in entries):
        raise DecodeError(f"gossip version: too many entries, or a count below 1 or above {COUNT_MAX}")
    return VectorClock(dict(entries))


def check_runs(nodes: Sequence[UniqueAddress], most: int, what: str) -> None:
    """Raise DecodeError unless there are at most ``most`` runs, no incarnation twice.

    To be called before they become keys: runs of one incarnation share one hash, and a table of
    thousands of them would hold the loop for seconds.
    """
    if len(nodes) > most or len({node.incarnation for node in nodes}) != len(nodes):
        raise DecodeError(f"gossip: {what} must be distinct runs, at most {most}, got {len(nodes)}")


def seen_on_wire(state: Gossip) -> GossipSeen:
    """Return who is known to have seen this version."""
    return GossipSeen(state.cluster_id, clock_entries(state.version), tuple(sorted(state.seen, key=by_place)))


def to_wire(state: Gossip, now: float, *, welcome: bool = False) -> GossipState:
    """Return the state as it travels: tombstones with their age instead of a local time."""
    return GossipState(
        state.cluster_id,
        state.ordered,
        tuple((node, max(now - state.tombstones[node], 0.0)) for node in sorted(state.tombstones, key=by_place)),
        tuple(
            (node, state.rows[node].version, tuple(sorted(state.rows[node].accused)))
            for node in sorted(state.rows, key=by_place)
        ),
        state.up_numbers_given,
        clock_entries(state.version),
        tuple(sorted(state.seen, key=by_place)),
        welcome,
    )


def from_wire(message: GossipState, now: float) -> Gossip:
    """Return the state that travelled. DecodeError when it contradicts itself or exceeds a bound."""
    check_runs([member.unique for member in message.members], MEMBERS_MAX, "members")
    check_runs([node for node, _ in message.tombstones], 2 * TOMBSTONES_MAX, "tombstones")
    check_runs([node for node, _, _ in message.rows], MEMBERS_MAX, "observers")
    check_runs(message.seen, MEMBERS_MAX, "seen")
    for _, version, accused in message.rows:
        check_runs(accused, MEMBERS_MAX, "accused")
        if not 0 <= version <= COUNT_MAX:
            raise DecodeError(f"gossip: the version of a row must be from 0 to {COUNT_MAX}, got {version}")
    numbers = [message.up_numbers_given, *(member.up_number for member in message.members)]
    if not all(0 <= number <= COUNT_MAX for number in numbers):
        raise DecodeError(f"gossip: up numbers must be from 0 to {COUNT_MAX}")
    if any(member.status is MemberStatus.removed for member in message.members):
        raise DecodeError("gossip: a removed run is no member")
    if not all(0 <= age <= AGE_MAX for _, age in message.tombstones):
        raise DecodeError("gossip: the age of a tombstone must be a number of seconds, not negative")
    members = in_order({member.unique: member for member in message.members})
    tombstones = {unique: now - age for unique, age in message.tombstones}
    rows = {node: ObserverRow(version, frozenset(accused)) for node, version, accused in message.rows}
    if members.keys() & tombstones.keys() or not rows.keys() <= members.keys():
        raise DecodeError("gossip: a member is removed and present, or an observer is no member")
    seen = frozenset(message.seen) & members.keys()
    clock = clock_from(message.version)
    return Gossip(message.cluster_id, members, tombstones, rows, message.up_numbers_given, clock, seen)
