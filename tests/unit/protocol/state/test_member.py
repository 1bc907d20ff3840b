"""A member moves from joining to removed, and never back."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from casty.protocol.state.member import MemberStatus, by_age, furthest, member_called
from casty.testing.samples import member, run_of

ALLOWED = {
    ("joining", "up"),
    ("up", "leaving"),
    ("leaving", "exiting"),
    ("exiting", "removed"),
    ("joining", "leaving"),
    ("joining", "down"),
    ("up", "down"),
    ("leaving", "down"),
    ("exiting", "down"),
    ("down", "removed"),
}
NAMES = [status.name for status in MemberStatus]


@pytest.mark.parametrize(("before", "after"), sorted(ALLOWED))
def test_move_of_the_life_cycle_is_made(before: str, after: str) -> None:
    assert member("a", before).moved_to(MemberStatus[after]).status.name == after


@pytest.mark.parametrize(("before", "after"), sorted(set(product(NAMES, NAMES)) - ALLOWED))
def test_any_other_move_is_a_programmer_error(before: str, after: str) -> None:
    with pytest.raises(ValueError, match=f"member a cannot go from {before} to {after}"):
        member("a", before).moved_to(MemberStatus[after])


def test_up_number_stays_when_a_member_moves_on() -> None:
    up = member("a", "joining").moved_to(MemberStatus.up, up_number=3)
    assert up.moved_to(MemberStatus.leaving).up_number == 3


def test_every_move_leads_to_a_higher_rank() -> None:
    assert all(MemberStatus[before].rank < MemberStatus[after].rank for before, after in ALLOWED)


def test_member_is_identified_by_address_and_incarnation() -> None:
    assert member("a", incarnation=7).unique == run_of("a", 7)
    assert member("a", incarnation=7).unique != member("a", incarnation=8).unique


def test_furthest_status_wins() -> None:
    up, leaving = member("a", "up", up_number=2), member("a", "leaving", up_number=2)
    assert furthest(up, leaving) == furthest(leaving, up) == leaving


def test_up_number_survives_a_copy_that_went_down_without_one() -> None:
    up, down = member("a", "up", up_number=2), member("a", "down")
    assert furthest(up, down) == furthest(down, up) == replace(down, up_number=2)


def test_higher_of_two_up_numbers_stays() -> None:
    assert furthest(member("a", up_number=5), member("a", up_number=3)).up_number == 5
    assert furthest(member("a", up_number=3), member("a", up_number=5)).up_number == 5


def test_the_oldest_came_up_first_and_of_one_number_has_the_lowest_address_and_incarnation() -> None:
    oldest_first = [
        member("z", up_number=1),
        member("a", up_number=2, incarnation=7),
        member("a", up_number=2, incarnation=8),
        member("b", up_number=2),
        member("a", "joining"),
        member("b", "joining"),
    ]
    assert sorted(reversed(oldest_first), key=by_age) == oldest_first
    for place, older in enumerate(oldest_first):
        assert not older.is_older_than(older)
        assert all(older.is_older_than(one) and not one.is_older_than(older) for one in oldest_first[place + 1 :])


def test_a_name_is_that_of_a_member_which_stays() -> None:
    gone, settled, newcomer = member("a", "down", id="x"), member("c", "up", id="x"), member("b", "joining", id="x")
    assert member_called([gone, newcomer, settled], "x") == settled
    assert member_called([gone, newcomer], "x") == newcomer
    assert member_called([gone], "x") is None
    assert member_called([settled], "y") is None
