"""Bounds of the changes by a told state, whoever told it.

Owns the bounds of a step and the facts out of reach of any step. It does not know which questions precede the belief in
a step (`confirmation`), or what follows from it (`receive`).

How it works: a peer's state is held against the knowledge of this node. No count is ahead of the known one by more than
`JUMP_MAX`, unless its owner says so, and for a node not up by more than `STEP_MAX`: the owner of a count has room to go
beyond the word of others on it. A removed run does not come back, and nobody counts changes of a run neither member nor
removed. The facts told by a run at its admission stay as they are known here. A newer state takes nothing back either:
where it would, it is no newer one, and the merge of both here is a version of its own. And a node not up speaks for
itself alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.state.member import Member, MemberStatus, furthest, was_up
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow, kept_rows, merge_rows
from casty.protocol.state.runs import COUNT_MAX, JUMP_MAX

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

TERMS_JUMP_MAX = 2**20
"""Lead allowed to the number of a term over the known one: that of 4,096 members coming up, which all were coordinator.
There are 2**31 numbers."""
STEP_MAX = 1_024
"""Lead allowed to the count of a node not up over the known one."""
OWN_MOVES = frozenset({MemberStatus.leaving, MemberStatus.down})
"""Statuses allowed to a member not up in its word on itself."""


def has_word(state: Gossip, node: UniqueAddress) -> bool:
    """Whether others go by a member's word on others: it was up, or nobody ever was."""
    member = state.members.get(node)
    if member is None or member.status is MemberStatus.down:
        return False
    return was_up(member) or not state.voters


def checked(mine: Gossip, told: Gossip, teller: UniqueAddress) -> Gossip:
    """Return the state or the changes told by ``teller``, with the members as they are known here.

    DecodeError where a count is too far ahead of the known one.
    """
    own_max = COUNT_MAX if has_word(mine, teller) else STEP_MAX
    _check_jumps("changes", told.version.versions, mine.version.versions, {teller.incarnation: own_max})
    _check_jumps("up numbers", {0: told.up_numbers_given}, {0: mine.up_numbers_given}, {})
    _check_jumps("terms", {0: told.terms_given}, {0: mine.terms_given}, {0: TERMS_JUMP_MAX})
    numbers = {node: member.up_number for node, member in told.members.items() if member.up_number}
    if numbers and max(numbers.values()) > told.up_numbers_given:
        raise DecodeError(f"gossip: a member has up number {max(numbers.values())} of {told.up_numbers_given}")
    rows, known_rows = ({node: row.version for node, row in one.rows.items()} for one in (told, mine))
    _check_jumps("the versions of a row", rows, known_rows, {teller: own_max})
    if told.members is mine.members:
        return told
    known = {node: _as_known(mine.members.get(node), member) for node, member in told.members.items()}
    return replace(told, members=known)


def check_known(state: Gossip) -> None:
    """Raise DecodeError for counted changes of a run neither member nor removed."""
    nodes = {node.incarnation for runs in (state.members, state.tombstones) for node in runs}
    if not state.version.versions.keys() <= nodes:
        raise DecodeError("gossip version: an entry is of no member, and of none that was removed")


def newer(mine: Gossip, theirs: Gossip, self_node: UniqueAddress) -> Gossip:
    """Return a newer state without its withdrawals: a version of this node where there are any."""
    if theirs.members.keys() & mine.tombstones.keys():
        raise DecodeError("gossip: a removed run is a member in a newer state")
    members = {
        node: member if node not in mine.members else furthest(member, mine.members[node])
        for node, member in theirs.members.items()
    }
    kept = kept_rows(mine.rows, members.keys())
    known = {node: ObserverRow(row.version, row.accused & members.keys()) for node, row in kept.items()}
    rows = merge_rows(theirs.rows, known)
    given, terms = max(theirs.up_numbers_given, mine.up_numbers_given), max(theirs.terms_given, mine.terms_given)
    is_less = any(members[node] is not member for node, member in theirs.members.items())
    is_less = is_less or (given, terms) != (theirs.up_numbers_given, theirs.terms_given)
    if (not is_less and rows == theirs.rows) or self_node not in members:
        return theirs
    return theirs.changed(self_node, members=members, rows=rows, up_numbers_given=given, terms_given=terms)


def speaks_for_itself(mine: Gossip, told: Gossip, teller: UniqueAddress) -> bool:
    """Whether ``told`` differs from ``mine`` in nothing but the word of ``teller`` on itself."""
    own = mine.members[teller]
    moved = told.members.get(teller)
    if moved is None or not (
        moved == own or (moved.status in OWN_MOVES and moved == replace(own, status=moved.status))
    ):
        return False
    return (
        _is_equal_but(mine.members, told.members, teller)
        and _is_equal_but(mine.rows, told.rows, teller)
        and _is_equal_but(mine.version.versions, told.version.versions, teller.incarnation)
        and mine.tombstones.keys() == told.tombstones.keys()
        and mine.up_numbers_given == told.up_numbers_given
        and mine.terms_given == told.terms_given
    )


def _as_known(known: Member | None, member: Member) -> Member:
    if known is None or known is member:
        return member
    if known.status is member.status and known.up_number == member.up_number:
        return known
    return replace(known, status=member.status, up_number=member.up_number)


def _check_jumps(what: str, told: Mapping[K, int], known: Mapping[K, int], own: Mapping[K, int]) -> None:
    for key, count in told.items():
        most = known.get(key, 0) + own.get(key, JUMP_MAX)
        if count > most:
            raise DecodeError(f"gossip: {what} count up to {count}, and by what is known here to {most} at most")


def _is_equal_but(one: Mapping[K, V], other: Mapping[K, V], key: K) -> bool:
    if one is other:
        return True
    return len(one.keys() - {key}) == len(other.keys() - {key}) and all(
        other.get(each) == value for each, value in one.items() if each != key
    )
