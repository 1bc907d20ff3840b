"""What a peer's state may change, whatever it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.gossip.hearsay import (
    STEP_MAX,
    TERMS_JUMP_MAX,
    check_known,
    checked,
    has_word,
    newer,
    speaks_for_itself,
)
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.registry import Registry
from casty.protocol.state.runs import COUNT_MAX, JUMP_MAX
from casty.protocol.state.slots import PageSource, Slot
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.samples import gossip_of, member, run_of, service_of

A, B, C, Z = (run_of(name) for name in "abcz")
STATE = gossip_of(*(member(name, up_number=place) for place, name in enumerate("abc", 1))).with_member(
    A, member("z", "joining")
)


def counted(state: Gossip, count: int) -> Gossip:
    return replace(state, version=VectorClock({**state.version.versions, C.incarnation: count}))


def test_who_was_up_is_heeded_and_so_is_everybody_where_nobody_was() -> None:
    assert [has_word(STATE, node) for node in (A, B, Z, run_of("x"))] == [True, True, False, False]
    left = STATE.with_moved(A, {B}, MemberStatus.leaving).with_moved(A, {Z}, MemberStatus.leaving)
    assert [has_word(left, node) for node in (B, Z)] == [True, False]
    assert has_word(left.with_moved(A, {B}, MemberStatus.exiting), B), "its last words"
    assert not has_word(STATE.with_moved(A, {B}, MemberStatus.down), B)
    assert has_word(gossip_of(member("a", "joining"), member("z", "joining")), Z)


def test_no_count_is_far_ahead_of_the_known_one_unless_its_owner_says_so() -> None:
    checked(STATE, counted(STATE, JUMP_MAX), B)
    with pytest.raises(DecodeError, match="changes count up to"):
        checked(STATE, counted(STATE, JUMP_MAX + 1), B)
    checked(STATE, counted(STATE, COUNT_MAX), C)
    row = STATE.with_row(C, ObserverRow(JUMP_MAX + 1))
    with pytest.raises(DecodeError, match="versions of a row"):
        checked(STATE, row, B)
    checked(STATE, row, C)
    with pytest.raises(DecodeError, match="up numbers"):
        checked(STATE, replace(STATE, up_numbers_given=JUMP_MAX + 4), B)
    checked(STATE, STATE.with_term(B, TERMS_JUMP_MAX), B)
    with pytest.raises(DecodeError, match="terms count up to"):
        checked(STATE, STATE.with_term(B, TERMS_JUMP_MAX + 1), B)
    with pytest.raises(DecodeError, match="up number 9 of 3"):
        checked(STATE, STATE.changed(B, members={**STATE.members, C: member("c", up_number=9)}), B)


def test_who_is_not_up_counts_its_own_changes_in_small_steps() -> None:
    checked(STATE, STATE.with_row(Z, ObserverRow(STEP_MAX)), Z)
    with pytest.raises(DecodeError, match="versions of a row"):
        checked(STATE, STATE.with_row(Z, ObserverRow(STEP_MAX + 1)), Z)


def test_what_a_run_is_stays_as_it_is_known() -> None:
    other = replace(STATE.members[B], roles=frozenset({"x"}), id="x", version="9", status=MemberStatus.leaving)
    told = checked(STATE, STATE.changed(C, members={**STATE.members, B: other}), C)
    assert told.members[B] == replace(STATE.members[B], status=MemberStatus.leaving)


def test_changes_of_who_is_neither_member_nor_removed_are_not_counted() -> None:
    check_known(STATE.without_members(A, frozenset({C}), 1.0))
    with pytest.raises(DecodeError, match="of no member"):
        check_known(replace(STATE, version=VectorClock({5: 1})))


def test_a_newer_state_takes_nothing_back() -> None:
    mine = STATE.with_moved(B, {B}, MemberStatus.leaving).with_row(B, ObserverRow(3, frozenset({C})))
    honest = mine.changed(A)
    assert newer(mine, honest, B) is honest
    told = replace(STATE, version=mine.version).changed(A)
    kept = newer(mine, told, B)
    assert kept.members[B].status is MemberStatus.leaving
    assert kept.rows[B] == mine.rows[B]
    assert told.relation_of(kept).value == "newer", "the others have to hear of it"
    gone = STATE.without_members(A, frozenset({C}), 1.0)
    with pytest.raises(DecodeError, match="a removed run"):
        newer(gone, replace(STATE, version=gone.version).changed(A), B)


def test_who_is_not_up_speaks_for_itself() -> None:
    own = [
        STATE.with_row(Z, ObserverRow(1, frozenset({A}))),
        STATE.with_moved(Z, {Z}, MemberStatus.leaving),
        STATE.with_moved(Z, {Z}, MemberStatus.down),
    ]
    assert all(speaks_for_itself(STATE, told, Z) for told in own)
    others = [
        STATE.with_row(B, ObserverRow(1, frozenset({A}))),
        STATE.with_moved(Z, {B}, MemberStatus.leaving),
        STATE.with_moved(Z, {Z}, MemberStatus.up),
        STATE.with_member(Z, member("y", "joining")),
        STATE.with_member(Z, replace(STATE.members[Z], up_number=1)),
        STATE.without_members(Z, frozenset({B}), 1.0),
        replace(STATE, up_numbers_given=9),
        STATE.with_term(Z, 9),
        counted(STATE, 2),
    ]
    assert not any(speaks_for_itself(STATE, told, Z) for told in others)


def test_the_owner_of_a_slot_goes_beyond_what_others_ascribe_to_it() -> None:
    own = Registry().with_own(B, frozenset({service_of(B, "one"), service_of(B, "two")}))
    lied = Registry({B: Slot(1_000, 0, {service_of(B, "lie"): 1_000})})
    beyond = own.beyond(B, 1_000)
    assert beyond.versions == {B.incarnation: 1_002}
    assert own.beyond(B, 2) is own
    assert own.beyond(B, COUNT_MAX).versions == {B.incarnation: JUMP_MAX + 4}, "one word is one step"
    (page,) = (page for pages in beyond.pages_after(lied.versions) for page in pages)
    assert lied.taking([page], ()).entries({B}) == own.entries({B})


def told_by(teller: UniqueAddress, source: Registry, reader: Registry) -> Registry:
    """Return what a reader knows once a member has sent it all it lacks, as it does in a round of gossip."""
    origin = PageSource(teller, A, has_word=True)
    for pages in source.pages_after(reader.versions):
        reader = reader.taking_from(origin, pages)
    return reader


def test_a_slot_that_was_driven_far_ahead_is_taken_from_its_owner_by_a_newcomer() -> None:
    own = Registry().with_own(B, frozenset({service_of(B, "one")}))
    reader = told_by(B, own, Registry())
    driven = own.beyond(B, JUMP_MAX)
    assert driven.versions[B.incarnation] > JUMP_MAX
    assert told_by(B, driven, reader) == driven
    other = Registry().with_own(C, frozenset({service_of(C, "two")}))
    newcomer = told_by(C, other.with_slot(B, driven.slot_of(B)), Registry())
    assert newcomer == other, "a relay is not believed so far, and what else it tells is"
    assert told_by(B, driven, newcomer).entries({B, C}) == {service_of(B, "one"), service_of(C, "two")}


def test_an_owner_outruns_a_slot_that_was_driven_ahead_several_times_in_some_rounds() -> None:
    own = Registry().with_own(B, frozenset({service_of(B, "one")}))
    reader = told_by(B, own, Registry())
    for _ in range(3):
        version = reader.versions[B.incarnation]
        lie = Registry({B: Slot(version + JUMP_MAX, version, {service_of(B, "lie"): version + JUMP_MAX})})
        reader = told_by(C, lie, reader)
    rounds = 0
    while own.versions != reader.versions:
        rounds += 1
        assert rounds <= 4
        own = own.beyond(B, reader.versions[B.incarnation])
        reader = told_by(B, own, reader)
    assert reader.entries({B}) == {service_of(B, "one")}


def test_who_leaves_speaks_for_itself_whenever_others_were_removed() -> None:
    """When that was, each node says by its own clock."""
    mine = replace(STATE, tombstones={run_of("gone"): 10.0})
    told = replace(mine, tombstones={run_of("gone"): 10.25}).with_moved(Z, {Z}, MemberStatus.leaving)
    assert speaks_for_itself(mine, told, Z)
    assert not speaks_for_itself(mine, replace(told, tombstones={}), Z)
