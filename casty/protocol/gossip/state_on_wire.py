"""Conversion of the membership state to messages, and back.

Owns the translation in both directions and the checks of values from a peer. It does not know which message a peer is
sent (`anti_entropy`) or what follows from an arriving one (`receive`).

A difference between two versions is sent to nodes with the older one. It can be merged into every version containing
the older one, and gives the result of merging the whole newer state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from casty.address import UniqueAddress, by_place
from casty.errors import DecodeError
from casty.protocol.messages.membership import GossipDelta, GossipSeen, GossipState
from casty.protocol.messages.shard_rows import NUMBER_MAX
from casty.protocol.state.member import MemberStatus, in_order
from casty.protocol.state.membership_state import MEMBERS_MAX, TOMBSTONES_MAX, Gossip
from casty.protocol.state.reachability import ObserverRow, Rows
from casty.protocol.state.runs import COUNT_MAX, check_runs
from casty.protocol.state.vector_clock import VectorClock

AGE_MAX = 10 * 365 * 24 * 3600.0
CHANGES_MAX = 64
"""Members, tombstones and accusations of a difference; with more the whole state goes, as it can be cut into pages."""

K = TypeVar("K")
V = TypeVar("V")
Row = tuple[UniqueAddress, int, tuple[UniqueAddress, ...]]


def clock_entries(version: VectorClock[int]) -> tuple[tuple[int, int], ...]:
    """Return a clock as it travels, sorted."""
    return tuple(sorted(version.versions.items()))


def clock_from(entries: tuple[tuple[int, int], ...]) -> VectorClock[int]:
    """Return the clock received as ``entries``. DecodeError for an impossible count."""
    if len(entries) > MEMBERS_MAX + 2 * TOMBSTONES_MAX or any(not 1 <= count <= COUNT_MAX for _, count in entries):
        raise DecodeError(f"gossip version: too many entries, or a count below 1 or above {COUNT_MAX}")
    return VectorClock(dict(entries))


def seen_on_wire(state: Gossip) -> GossipSeen:
    """Return the nodes known to have seen this version."""
    return GossipSeen(state.cluster_id, state.version_digest, state.seen_bits)


def to_wire(state: Gossip, now: float, *, welcome: bool = False) -> GossipState:
    """Return the state as it travels: tombstones with their age instead of a local time."""
    return GossipState(
        state.cluster_id,
        state.ordered,
        _ages(state.tombstones, now),
        _rows(state.rows),
        state.up_numbers_given,
        clock_entries(state.version),
        state.seen_bits,
        state.terms_given,
        welcome,
    )


def from_wire(message: GossipState, now: float) -> Gossip:
    """Return the received state. DecodeError when it contradicts itself or exceeds a bound."""
    state = _content(message, clock_from(message.version), now)
    if state.members.keys() & state.tombstones.keys() or not state.rows.keys() <= state.members.keys():
        raise DecodeError("gossip: a member is removed and present, or an observer is no member")
    return state.seen_by_all(state.named_by(message.seen))


def difference(base: Gossip, state: Gossip, now: float) -> GossipDelta | None:
    """Return the changes from ``base`` to ``state``; None where the whole state is to be sent instead.

    None stands for too many changes, or for dropped tombstones: a difference can only add.
    """
    clock = state.version.versions
    if base.tombstones.keys() - state.tombstones.keys() or base.version.versions.keys() - clock.keys():
        return None
    members = _changed(base.members, state.members)
    tombstones, rows = _changed(base.tombstones, state.tombstones), _changed(base.rows, state.rows)
    if len(members) + len(tombstones) + sum(1 + len(row.accused) for row in rows.values()) > CHANGES_MAX:
        return None
    return GossipDelta(
        state.cluster_id,
        base.version_digest,
        tuple(members.values()),
        _ages(tombstones, now),
        _rows(rows),
        state.up_numbers_given,
        tuple(sorted(_changed(base.version.versions, clock).items())),
        state.seen_bits,
        state.terms_given,
    )


def changes_from(message: GossipDelta, base: Gossip, now: float) -> Gossip:
    """Return the received changes, to be merged into a state that contains ``base``; seen by nobody.

    DecodeError when they contradict themselves or exceed a bound.
    """
    return _content(message, base.version.merge(clock_from(message.version)), now)


def _content(message: GossipState | GossipDelta, version: VectorClock[int], now: float) -> Gossip:
    check_runs([member.unique for member in message.members], MEMBERS_MAX, "members")
    check_runs([node for node, _ in message.tombstones], 2 * TOMBSTONES_MAX, "tombstones")
    check_runs([node for node, _, _ in message.rows], MEMBERS_MAX, "observers")
    for _, count, accused in message.rows:
        check_runs(accused, MEMBERS_MAX, "accused")
        if not 0 <= count <= COUNT_MAX:
            raise DecodeError(f"gossip: the version of a row must be from 0 to {COUNT_MAX}, got {count}")
    numbers = [message.up_numbers_given, *(member.up_number for member in message.members)]
    if not all(0 <= number <= COUNT_MAX for number in numbers):
        raise DecodeError(f"gossip: up numbers must be from 0 to {COUNT_MAX}")
    if not 0 <= message.terms_given <= NUMBER_MAX:
        raise DecodeError(f"gossip: terms must be numbered from 0 to {NUMBER_MAX}")
    if any(member.status is MemberStatus.removed for member in message.members):
        raise DecodeError("gossip: a removed run is no member")
    if not all(0 <= age <= AGE_MAX for _, age in message.tombstones):
        raise DecodeError("gossip: the age of a tombstone must be a number of seconds, not negative")
    members = in_order({member.unique: member for member in message.members})
    tombstones = {unique: now - age for unique, age in message.tombstones}
    rows = {node: ObserverRow(count, frozenset(accused)) for node, count, accused in message.rows}
    given, terms = message.up_numbers_given, message.terms_given
    return Gossip(message.cluster_id, members, tombstones, rows, given, version, terms_given=terms)


def _ages(tombstones: Mapping[UniqueAddress, float], now: float) -> tuple[tuple[UniqueAddress, float], ...]:
    return tuple((node, max(now - tombstones[node], 0.0)) for node in sorted(tombstones, key=by_place))


def _rows(rows: Rows) -> tuple[Row, ...]:
    return tuple(
        (node, rows[node].version, tuple(sorted(rows[node].accused))) for node in sorted(rows, key=by_place)
    )  # fmt: skip


def _changed(before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, V]:
    """Return the entries of ``after`` new to ``before`` or other than there."""
    if before is after:
        return {}
    return {key: value for key, value in after.items() if before.get(key) is not value and before.get(key) != value}
