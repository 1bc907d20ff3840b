"""Which side of a partition goes on, and when that is decided."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from helpers.states import split

from casty.address import UniqueAddress
from casty.protocol.split_brain.downing import Downing, stable_after
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import StaticQuorum
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.samples import gossip_of, member, run_of

A, B, C, D, E = (run_of(name) for name in "abcde")


def members(names: str, status: str = "up") -> tuple[Member, ...]:
    return tuple(member(name, status) for name in names)


FIVE = gossip_of(*members("abcde"))


def test_nothing_is_due_while_everybody_is_reachable() -> None:
    downing = Downing()
    assert downing.observe(FIVE, A, 1.0) is None
    assert downing.decide(FIVE, A, 100.0) == frozenset()


def test_minority_is_downed_when_the_view_was_stable_for_long_enough() -> None:
    downing, state = Downing(), split(FIVE, "a", "de")
    assert downing.observe(state, A, 1.0) == 7.0
    assert downing.decide(state, A, 7.9) == frozenset()
    assert downing.decide(state, A, 8.0) == {D, E}


def test_a_lost_member_that_is_heard_again_is_not_downed_until_it_should_have_been_taken_back() -> None:
    downing, state = Downing(), split(FIVE, "a", "de")
    downing.observe(state, A, 1.0)
    downing.hold(D, 9.0)
    assert downing.decide(state, A, 8.0) == {E}
    assert downing.decide(state, A, 9.0) == {D, E}


def test_minority_downs_itself_by_the_same_clock() -> None:
    downing, state = Downing(), split(FIVE, "d", "abc")
    downing.observe(state, D, 1.0)
    assert downing.decide(state, D, 8.0) == {D, E}


def test_change_of_reachability_or_members_starts_the_time_again() -> None:
    downing, state = Downing(), split(FIVE, "a", "e")
    downing.observe(state, A, 1.0)
    for changed in (split(state, "b", "d"), state.with_member(A, state.members[B].moved_to(MemberStatus.leaving))):
        assert copy.copy(downing).observe(changed, A, 4.0) == 7.0


def test_joining_member_does_not_start_the_time_again() -> None:
    downing, state = Downing(), split(FIVE, "a", "e")
    downing.observe(state, A, 1.0)
    joined = state.with_member(A, member("f", "joining"))
    assert downing.observe(joined, A, 4.0) == pytest.approx(4.0 + stable_after(6) - stable_after(5))


def test_time_starts_again_after_the_link_healed() -> None:
    downing, state = Downing(), split(FIVE, "a", "e")
    downing.observe(state, A, 1.0)
    downing.observe(FIVE, A, 7.0)
    assert downing.observe(state, A, 7.5) == 7.0


def test_view_that_never_settles_downs_everybody() -> None:
    downing = Downing(stable_after=4.0)
    one, other = split(FIVE, "a", "e"), split(FIVE, "a", "d")
    now = 0.0
    while now < 7.0:
        assert downing.decide(one if int(now) % 2 else other, A, now) == frozenset()
        now += 1.0
    assert downing.decide(one, A, 7.0) == {A, B, C, D, E}


@pytest.mark.parametrize(
    ("node", "second_at", "early"),
    [(B, 4.5, 7.5), (A, 3.5, 7.4)],
    ids=["after a stable time", "one shortly after the other"],
)
def test_two_losses_are_no_instability(node: UniqueAddress, second_at: float, early: float) -> None:
    downing = Downing(stable_after=4.0)
    one, other = split(FIVE, "a", "e"), split(FIVE, "a", "de")
    downing.observe(one, node, 0.0)
    downing.observe(other, node, second_at)
    assert downing.decide(other, node, early) == frozenset()
    assert downing.decide(other, node, second_at + 4.0) == {D, E}


@pytest.mark.parametrize("early", [0.0, 1e-9])
def test_a_timer_that_was_rounded_decides_all_the_same(early: float) -> None:
    downing, state = Downing(), split(FIVE, "a", "de")
    downing.observe(state, A, 1.0)
    assert downing.decide(state, A, 8.0 - early) == {D, E}


def test_disabled_downing_never_decides() -> None:
    downing, state = Downing(strategy=None), split(FIVE, "a", "bcde")
    assert downing.observe(state, A, 1.0) is None
    assert downing.decide(state, A, 1000.0) == frozenset()


def test_larger_clusters_wait_longer() -> None:
    waits = [stable_after(count) for count in (1, 5, 10, 20, 50, 100, 1_000, 5_000)]
    assert waits == sorted(waits)
    assert waits[:3] == [7.0, 7.0, 10.0]


def why(state: Gossip, own: str, *, observed: float, decided: float) -> str:
    downing = Downing()
    downing.observe(state, run_of(own), observed)
    assert run_of(own) in downing.decide(state, run_of(own), decided)
    return downing.why(state, run_of(own), decided)


def test_a_side_without_a_majority_is_told_how_many_it_saw() -> None:
    text = why(split(FIVE, "d", "abc"), "d", observed=1.0, decided=8.5)
    assert text == "for 8 s it could not reach a majority (saw 2 of 5)"


def test_the_half_without_the_lowest_address_is_told_the_rule() -> None:
    text = why(split(gossip_of(*members("ab")), "b", "a"), "b", observed=1.0, decided=8.0)
    assert text == (
        "for 7 s it could not reach a majority (saw 1 of 2), and of two halves the one with the lowest address goes on"
    )


def test_a_majority_that_may_be_none_is_counted_at_worst() -> None:
    state = split(gossip_of(*members("abc"), *members("de"), *members("fg", "joining")), "a", "defg")
    text = why(state, "a", observed=1.0, decided=10.0)
    assert text == "for 9 s it could not reach a majority (saw 3 of 7 at worst)"


def test_a_side_that_never_settled_is_told_so() -> None:
    downing = Downing(stable_after=4.0)
    one, other = split(FIVE, "a", "e"), split(FIVE, "a", "d")
    for second in range(8):
        downing.decide(one if second % 2 else other, A, second)
    assert downing.why(one, A, 7.0) == "whom it can reach has kept changing for 7 s"


AT_ODDS = split(split(FIVE, "b", "d"), "d", "b")


def decided(state: Gossip, at: UniqueAddress, *later: Gossip) -> frozenset[UniqueAddress]:
    downing = Downing()
    for second, step in enumerate((state, *later)):
        downing.observe(step, at, float(second))
    return downing.decide((state, *later)[-1], at, 20.0)


@pytest.mark.parametrize("at", [A, B, C, D, E])
def test_two_that_accuse_each_other_and_know_it_are_lost_to_all_and_to_themselves(at: UniqueAddress) -> None:
    assert decided(AT_ODDS.seen_by(A, B, C, D, E), at) == {B, D}
    assert decided(AT_ODDS.seen_by(A, D), at, AT_ODDS.seen_by(B, D)) == {B, D}


def test_accusation_by_who_does_not_know_of_the_other_one_is_no_sign_of_life() -> None:
    assert decided(replace(AT_ODDS, seen=frozenset({A, B, C, E})), B) == {D}


def test_what_was_seen_of_an_earlier_view_is_no_sign_of_life() -> None:
    worse = split(AT_ODDS, "b", "de")
    assert decided(AT_ODDS.seen_by(A, B, C, D, E), B, worse.seen_by(A, B, C)) == {D, E}


def test_accusation_by_a_member_that_is_down_is_void() -> None:
    state = AT_ODDS.with_moved(A, {D}, MemberStatus.down).seen_by(A, B, C, D, E)
    assert decided(state, A) == frozenset()


THREE_AT_ODDS = split(split(gossip_of(*members("abc")), "a", "b"), "b", "a").seen_by(A, B, C)


def test_those_who_are_on_no_side_go_down_with_the_side_that_is_given_up() -> None:
    for node in (A, B, C):
        downing = Downing(StaticQuorum(3))
        downing.observe(THREE_AT_ODDS, node, 0.0)
        assert downing.decide(THREE_AT_ODDS, node, 7.0) == {A, B, C}


def test_the_younger_end_goes_by_itself_where_the_rest_is_a_side_with_the_other_one() -> None:
    assert decided(THREE_AT_ODDS, B) == {B}
    downing = Downing()
    downing.observe(THREE_AT_ODDS, B, 0.0)
    assert downing.why(THREE_AT_ODDS, B, 7.0).startswith("for 7 s it could not reach a:2551, and the other way round")


@pytest.mark.parametrize("node", [A, C])
def test_the_others_wait_for_the_end_that_has_to_go_and_then_give_up(node: UniqueAddress) -> None:
    downing = Downing()
    downing.observe(THREE_AT_ODDS, node, 0.0)
    assert downing.decide(THREE_AT_ODDS, node, 12.0) == frozenset()
    assert downing.decide(THREE_AT_ODDS, node, 12.25) == {A, B, C}
    assert downing.why(THREE_AT_ODDS, node, 12.25) == "for 12 s it could not reach a majority (saw 1 of 3)"


def test_an_end_that_goes_does_not_start_the_time_again_for_the_others() -> None:
    everybody = {A, B, C, D, E}
    two_links = FIVE
    for one, other in ("ad", "da", "be", "eb"):
        two_links = split(two_links, one, other)
    seen_tracker = SeenTracker()
    downing = Downing(StaticQuorum(3), seen_tracker=seen_tracker)
    downing.observe(two_links.seen_by(*everybody), E, 0.0)
    one_gone = two_links.with_moved(D, {D}, MemberStatus.down).seen_by(D, E)
    seen_tracker.observe(one_gone, 6.9)
    assert downing.observe(one_gone, E, 6.9) == pytest.approx(0.1)
    assert downing.decide(one_gone, E, 7.0) == {E}, "what all have known of the link before counts still"


def in_secret(*knowing: UniqueAddress) -> frozenset[UniqueAddress]:
    """Return what a decides that has downed d and e, and then lost c, when ``knowing`` are known to know it."""
    seen_tracker = SeenTracker()
    downing = Downing(seen_tracker=seen_tracker)
    downed = FIVE.with_moved(A, {D, E}, MemberStatus.down).seen_by(*knowing)
    seen_tracker.observe(downed, 0.0)
    lost = split(downed, "a", "c")
    downing.observe(lost, A, 1.0)
    return downing.decide(lost, A, 8.0)


def test_who_was_downed_counts_until_a_side_knows_it() -> None:
    assert in_secret(A, B) == {A, B}
    assert in_secret(A, B, C) >= {C}
    assert A not in in_secret(A, B, C)


def test_end_of_a_bad_link_says_why_it_gives_itself_up() -> None:
    downing, state = Downing(), AT_ODDS.seen_by(A, B, C, D, E)
    downing.observe(state, B, 0.0)
    assert (
        downing.why(state, B, 8.0)
        == "for 8 s it could not reach d:2551, and the other way round, though others reach both"
    )
