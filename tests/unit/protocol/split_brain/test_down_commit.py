"""Who is down counts until it is agreed that it is."""

from __future__ import annotations

import pytest

from casty.protocol.split_brain.down_commit import still_counting
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import KeepMajority, KeepOldest, LeaseMajority, StaticQuorum, Strategy
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.samples import gossip_of, member, run_of

A = run_of("a")
FIVE = gossip_of(*(member(name, up_number=place) for place, name in enumerate("abcde", 1)))


def counting(strategy: Strategy | None, down: str, knowing: str, state: Gossip = FIVE) -> str:
    seen_tracker = SeenTracker()
    downed = state.with_moved(A, set(map(run_of, down)), MemberStatus.down).seen_by(*map(run_of, knowing))
    seen_tracker.observe(downed, 1.0)
    return "".join(member.id for member in still_counting(downed, strategy, seen_tracker))


@pytest.mark.parametrize(
    ("strategy", "down", "enough", "too_few"),
    [
        (KeepMajority(), "de", "abc", "ab"),
        (KeepMajority(), "e", "abc", "ab"),
        (StaticQuorum(4), "e", "abcd", "abc"),
        (KeepOldest(), "de", "ab", "a"),
    ],
    ids=str,
)
def test_a_verdict_stands_once_those_who_know_of_it_are_a_side(
    strategy: Strategy, down: str, enough: str, too_few: str
) -> None:
    assert counting(strategy, down, enough) == ""
    assert counting(strategy, down, too_few) == down


def test_they_count_as_what_they_were() -> None:
    state = FIVE.with_member(A, member("f", "joining"))
    seen_tracker = SeenTracker()
    downed = state.with_moved(A, {run_of("e"), run_of("f")}, MemberStatus.down)
    seen_tracker.observe(downed, 1.0)
    found = still_counting(downed, KeepMajority(), seen_tracker)
    assert [(member.id, member.status.name) for member in found] == [("e", "up"), ("f", "joining")]


def test_what_was_known_of_one_is_not_known_of_another() -> None:
    seen_tracker = SeenTracker()
    one = FIVE.with_moved(A, {run_of("d")}, MemberStatus.down).seen_by(*map(run_of, "abc"))
    seen_tracker.observe(one, 1.0)
    both = one.with_moved(A, {run_of("e")}, MemberStatus.down)
    seen_tracker.observe(both, 2.0)
    assert [member.id for member in still_counting(both, KeepMajority(), seen_tracker)] == ["e"]


@pytest.mark.parametrize("strategy", [None, LeaseMajority("one")], ids=str)
def test_without_votes_nobody_counts_who_is_down(strategy: Strategy | None) -> None:
    assert counting(strategy, "de", "a") == ""
