"""Each observer owns its accusations; one is enough, and only its owner takes it back."""

from __future__ import annotations

from casty.protocol.state.reachability import ObserverRow, accusing_each_other, kept_rows, merge_rows, unreachable_in
from casty.testing.samples import run_of

A, B, C, D = (run_of(name) for name in "abcd")
MEMBERS = {A, B, C}


def test_accusing_and_absolving_each_make_a_version() -> None:
    row = ObserverRow().accusing(B)
    assert row == ObserverRow(1, frozenset({B}))
    assert row.absolving(B) == ObserverRow(2)


def test_what_changes_nothing_makes_no_version() -> None:
    row = ObserverRow().accusing(B)
    assert row.accusing(B) is row
    assert row.absolving(C) is row


def test_newer_row_of_an_observer_wins_whatever_it_says() -> None:
    accused = ObserverRow().accusing(C)
    absolved = accused.absolving(C)
    assert merge_rows({A: accused}, {A: absolved}) == merge_rows({A: absolved}, {A: accused}) == {A: absolved}


def test_one_accuser_is_enough() -> None:
    assert unreachable_in({A: ObserverRow().accusing(C), B: ObserverRow()}, MEMBERS, ()) == {C}


def test_all_accusers_must_retract() -> None:
    both = {A: ObserverRow().accusing(C), B: ObserverRow().accusing(C)}
    one = {**both, A: both[A].absolving(C)}
    none = {**one, B: one[B].absolving(C)}
    assert unreachable_in(one, MEMBERS, ()) == {C}
    assert unreachable_in(none, MEMBERS, ()) == frozenset()


def test_accusations_by_a_void_observer_do_not_count() -> None:
    assert unreachable_in({A: ObserverRow().accusing(C)}, MEMBERS, {A}) == frozenset()


def test_accusations_of_an_absent_subject_do_not_count() -> None:
    assert unreachable_in({A: ObserverRow().accusing(D)}, MEMBERS, ()) == frozenset()


def test_rows_of_absent_observers_go() -> None:
    assert kept_rows({A: ObserverRow(), D: ObserverRow().accusing(A)}, MEMBERS) == {A: ObserverRow()}


def test_two_are_at_odds_when_each_accuses_the_other_and_both_count() -> None:
    rows = {A: ObserverRow().accusing(B).accusing(C), B: ObserverRow().accusing(A), C: ObserverRow().accusing(B)}
    assert accusing_each_other(rows, MEMBERS) == {A, B}
    assert accusing_each_other(rows, {B, C}) == accusing_each_other(rows, {A, C}) == frozenset()
