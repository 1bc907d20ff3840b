"""Since when it is known that somebody knows of an accusation."""

from __future__ import annotations

from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

A, B, C = (run_of(name) for name in "abc")
THREE = gossip_of(*map(member, "abc"))


def accusing(state: Gossip, observer: str, subject: str) -> Gossip:
    by = run_of(observer)
    before = state.rows.get(by)
    row = ObserverRow() if before is None else before
    return state.with_row(by, row.accusing(run_of(subject)))


def absolving(state: Gossip, observer: str, subject: str) -> Gossip:
    by = run_of(observer)
    return state.with_row(by, state.rows[by].absolving(run_of(subject)))


def test_whoever_has_seen_the_accusation_knows_of_it_from_then_on() -> None:
    notes, state = SeenTracker(), accusing(THREE, "b", "a")
    notes.observe(state, 1.0)
    assert notes.known_since(A, [B]) == 1.0
    assert notes.known_since(A, [B, C]) is None
    notes.observe(state.seen_by(C), 3.0)
    assert notes.known_since(A, [B, C]) == 3.0
    notes.observe(state.with_member(B, member("d", "joining")), 5.0)  # a version that c has not seen
    assert notes.known_since(A, [B, C]) == 3.0


def test_nothing_is_known_of_who_is_not_accused() -> None:
    notes = SeenTracker()
    notes.observe(THREE, 1.0)
    assert notes.known_since(A, [B]) is None


def test_a_retracted_accusation_is_forgotten() -> None:
    notes, state = SeenTracker(), accusing(THREE, "b", "a").seen_by(C)
    notes.observe(state, 1.0)
    notes.observe(absolving(state, "b", "a"), 2.0)
    notes.observe(accusing(absolving(state, "b", "a"), "b", "a"), 3.0)
    assert notes.known_since(A, [B]) == 3.0
    assert notes.known_since(A, [B, C]) is None


def test_an_accusation_that_may_have_been_retracted_meanwhile_counts_anew() -> None:
    notes, state = SeenTracker(), accusing(THREE, "b", "a").seen_by(C)
    notes.observe(state, 1.0)
    notes.observe(accusing(absolving(state, "b", "a"), "b", "a"), 3.0)  # the state between never came here
    assert notes.known_since(A, [B]) == 3.0
    assert notes.known_since(A, [B, C]) is None


def test_another_accusation_by_the_same_observer_is_no_gap() -> None:
    notes, state = SeenTracker(), accusing(THREE, "b", "a").seen_by(C)
    notes.observe(state, 1.0)
    notes.observe(accusing(state, "b", "c"), 3.0)
    assert notes.known_since(A, [B, C]) == 1.0


def test_the_word_of_an_observer_that_is_down_does_not_count() -> None:
    notes, state = SeenTracker(), accusing(THREE, "b", "a").seen_by(C)
    notes.observe(state, 1.0)
    notes.observe(state.with_moved(C, {B}, MemberStatus.down), 2.0)
    assert notes.known_since(A, [C]) is None


def test_who_is_down_stays_down_whatever_becomes_of_the_accusations() -> None:
    notes, state = SeenTracker(), THREE.with_moved(C, {A}, MemberStatus.down).seen_by(B)
    notes.observe(state, 1.0)
    notes.observe(accusing(state, "b", "a"), 2.0)
    notes.observe(absolving(accusing(state, "b", "a"), "b", "a"), 3.0)
    assert notes.known_since(A, [B, C]) == 1.0
