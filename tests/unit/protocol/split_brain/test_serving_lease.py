"""Who may do exclusive work, and whose work may be taken over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from casty.protocol.effects import Send, SendIfUp, StartTimer
from casty.protocol.messages.membership import ServingGrant, ServingRequest
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.serving_lease import (
    ALONE_AFTER,
    ASK_EVERY,
    ASK_EVERY_MAX,
    ASKED_PER_SECOND_MAX,
    LOOK_AFTER,
    SERVING,
    SERVING_TIME,
    SPARE,
    Serving,
    ServingLeaseMachine,
    WorkFree,
)
from casty.protocol.split_brain.strategies import (
    DownAll,
    KeepMajority,
    KeepOldest,
    LeaseMajority,
    StaticQuorum,
    Strategy,
)
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

A, B, C = (run_of(name) for name in "abc")
FIVE = gossip_of(*(member(name, up_number=number) for number, name in enumerate("abcde", 1)))


def lease(strategy: Strategy | None, *, state: Gossip = FIVE, own: str = "a") -> ServingLeaseMachine:
    machine = ServingLeaseMachine(run_of(own), strategy, SeenTracker())
    machine.observe(state, 0.0)
    return machine


def serving_until(strategy: Strategy | None, granters: str, *, state: Gossip = FIVE, own: str = "a") -> float:
    """Return until when a node serves that asked at 10.0 and was granted by these."""
    machine = lease(strategy, state=state, own=own)
    machine.want(state, 10.0)
    for name in granters:
        machine.granted(state, run_of(name), ServingGrant(1))
    return machine.until


def test_it_asks_all_others_once_a_second_from_the_time_it_is_wanted() -> None:
    machine = lease(KeepMajority())
    assert machine.ask(FIVE, 1.0) == []
    effects = machine.want(FIVE, 10.0)
    assert [e.to.address.host for e in effects if isinstance(e, SendIfUp)] == ["b", "c", "d", "e"]
    assert StartTimer(SERVING, ASK_EVERY) in effects
    assert machine.want(FIVE, 10.5) == [Serving(machine.until)]


MANY = gossip_of(*(member(f"n{number:02}", up_number=number + 1) for number in range(60)))
ENOUGH = 29 + SPARE
"""Others asked of sixty: with the asker half of them, the one with the lowest address among them; and the spare ones.
"""


def asked(effects: Sequence[object]) -> list[str]:
    return [effect.to.address.host for effect in effects if isinstance(effect, SendIfUp)]


def test_of_many_it_asks_as_many_as_are_enough_and_less_often() -> None:
    machine = lease(KeepMajority(), state=MANY, own="n07")
    effects = machine.want(MANY, 10.0)
    names = asked(effects)
    assert len(names) == ENOUGH
    assert {"n00", "n08"} <= set(names)
    assert "n07" not in names
    assert StartTimer(SERVING, LOOK_AFTER) in effects
    for name in names:
        machine.granted(MANY, run_of(name), ServingGrant(1))
    assert machine.until == 14.0
    pause = ENOUGH / ASKED_PER_SECOND_MAX
    assert machine.tick(MANY, 10.5) == [StartTimer(SERVING, pause - LOOK_AFTER)]
    assert asked(machine.tick(MANY, 10.0 + pause)) == names


def test_of_many_it_asks_all_as_soon_as_the_answers_are_not_enough() -> None:
    machine = lease(KeepMajority(), state=MANY, own="n07")
    for name in asked(machine.want(MANY, 10.0))[: -SPARE - 1]:
        machine.granted(MANY, run_of(name), ServingGrant(1))
    assert machine.until == -math.inf
    everybody = asked(machine.tick(MANY, 10.5))
    assert len(everybody) == 59
    for name in everybody:
        machine.granted(MANY, run_of(name), ServingGrant(2))
    assert machine.until == 14.5


@pytest.mark.parametrize(
    ("strategy", "count"),
    [
        (KeepOldest(), 1 + SPARE),
        (StaticQuorum(31), 30 + SPARE),
        (LeaseMajority("lease"), 59),
        (DownAll(), 59),
        (None, 59),
    ],
    ids=str,
)
def test_whom_it_asks_of_many_follows_from_the_strategy(strategy: Strategy | None, count: int) -> None:
    machine = lease(strategy, state=MANY, own="n07")
    assert len(asked(machine.want(MANY, 10.0))) == count


def test_it_asks_no_more_often_than_once_a_second_and_no_less_than_a_grant_holds() -> None:
    two_hundred = gossip_of(*(member(f"n{number:03}", up_number=number + 1) for number in range(200)))
    machine = lease(KeepMajority(), state=two_hundred, own="n007")
    for name in asked(machine.want(two_hundred, 10.0)):
        machine.granted(two_hundred, run_of(name), ServingGrant(1))
    assert machine.tick(two_hundred, 10.5) == [StartTimer(SERVING, ASK_EVERY_MAX - LOOK_AFTER)]


def test_unreachable_members_are_asked_last() -> None:
    lost = [run_of(f"n{number:02}") for number in range(8, 20)]
    state = MANY.with_row(run_of("n30"), ObserverRow().accusing(*lost))
    machine = lease(KeepMajority(), state=state, own="n07")
    assert not {run.address.host for run in lost} & set(asked(machine.want(state, 10.0)))


def test_members_on_their_way_out_are_not_asked() -> None:
    state = FIVE.with_moved(A, {B}, MemberStatus.down)
    machine = lease(KeepMajority(), state=state)
    asked = [e.to.address.host for e in machine.want(state, 10.0) if isinstance(e, SendIfUp)]
    assert asked == ["c", "d", "e"]


def test_it_serves_for_four_seconds_from_asking_once_a_majority_has_granted() -> None:
    machine = lease(KeepMajority())
    machine.want(FIVE, 10.0)
    assert machine.granted(FIVE, B, ServingGrant(1)) == []
    assert machine.granted(FIVE, C, ServingGrant(1)) == [Serving(14.0)]


def test_grants_of_several_rounds_hold_until_the_oldest_of_them_ends() -> None:
    machine = lease(KeepMajority())
    machine.want(FIVE, 10.0)
    machine.granted(FIVE, B, ServingGrant(1))
    machine.ask(FIVE, 11.0)
    assert machine.granted(FIVE, C, ServingGrant(2)) == [Serving(14.0)]
    assert machine.granted(FIVE, B, ServingGrant(2)) == [Serving(15.0)]


def test_members_whose_grants_are_needed_from_now_on_are_asked_at_once() -> None:
    alone = gossip_of(member("a", up_number=1))
    machine = lease(KeepMajority(), state=alone)
    machine.want(alone, 10.0)
    assert machine.until == 14.0
    effects = machine.observe(FIVE, 10.3)
    assert Serving(-math.inf) in effects
    assert [e.to.address.host for e in effects if isinstance(e, SendIfUp)] == ["b", "c", "d", "e"]
    assert machine.observe(FIVE.with_moved(A, {B}, MemberStatus.leaving), 10.4) == [], "asked and not answered yet"
    machine.granted(FIVE, B, ServingGrant(2))
    assert machine.granted(FIVE, C, ServingGrant(2)) == [Serving(14.3)]


def test_who_wanted_before_it_was_a_member_serves_alone_at_once() -> None:
    machine = ServingLeaseMachine(A, KeepMajority(), SeenTracker())
    assert machine.want(None, 1.0) == []
    assert Serving(14.0) in machine.observe(gossip_of(member("a", up_number=1)), 10.0)
    assert machine.until == 14.0


def test_who_stood_still_alone_serves_once_other_clusters_have_had_time_to_answer() -> None:
    alone = gossip_of(member("a", up_number=1))
    machine = lease(KeepMajority(), state=alone)
    assert Serving(14.0) in machine.want(alone, 10.0)
    assert Serving(18.0) in machine.ask(alone, 14.0)  # late, but what it had holds
    assert not machine.is_waiting(14.0)
    assert Serving(-math.inf) in machine.ask(alone, 18.5)
    for at in (19.5, 20.5):
        assert machine.is_waiting(at)
        assert not [effect for effect in machine.ask(alone, at) if isinstance(effect, Serving)]
    assert not machine.is_waiting(18.5 + ALONE_AFTER)
    assert Serving(22.5 + SERVING_TIME - 1.0) in machine.ask(alone, 21.5)


def test_who_stood_still_and_is_granted_by_others_serves_at_once() -> None:
    machine = lease(KeepMajority())
    machine.want(FIVE, 10.0)
    machine.ask(FIVE, 60.0)
    machine.granted(FIVE, B, ServingGrant(2))
    assert machine.granted(FIVE, C, ServingGrant(2)) == [Serving(64.0)]


def test_answers_to_what_was_never_asked_count_for_nothing() -> None:
    machine = lease(KeepMajority())
    machine.want(FIVE, 10.0)
    for sender, number in ((B, 2), (C, 99), (run_of("z"), 1)):
        assert machine.granted(FIVE, sender, ServingGrant(number)) == []


@pytest.mark.parametrize(
    ("strategy", "enough", "too_few"),
    [
        (KeepMajority(), "bc", "b"),
        (StaticQuorum(4), "bcd", "bc"),
        (StaticQuorum(2), "bcde", "bcd"),  # five voters may be two quorums of two
        (KeepOldest(), "b", ""),
        (KeepOldest(down_if_alone=False), "", None),
        (LeaseMajority("lease"), "bcde", "bcd"),
        (DownAll(), "bcde", "bcd"),
        (None, "bcde", "bcd"),
    ],
    ids=str,
)
def test_as_many_must_grant_as_rule_out_every_other_side(
    strategy: Strategy | None, enough: str, too_few: str | None
) -> None:
    assert serving_until(strategy, enough) == 14.0
    if too_few is not None:
        assert serving_until(strategy, too_few) == -math.inf


def test_who_is_not_the_oldest_needs_the_oldest_or_all_others() -> None:
    assert serving_until(KeepOldest(), "a", own="b") == 14.0
    assert serving_until(KeepOldest(), "cde", own="b") == 14.0
    assert serving_until(KeepOldest(), "cd", own="b") == -math.inf


def test_a_node_alone_serves() -> None:
    assert serving_until(None, "", state=gossip_of(member("a", up_number=1))) == 14.0


@pytest.mark.parametrize("status", ["joining", "down"])
def test_who_is_not_up_or_is_down_does_not_serve(status: str) -> None:
    state = gossip_of(member("a", status), *map(member, "bc"))
    assert serving_until(KeepMajority(), "bc", state=state) == -math.inf


@pytest.mark.parametrize("status", ["leaving", "exiting"])
def test_who_leaves_serves_until_it_has_handed_over(status: str) -> None:
    state = gossip_of(member("a", status), *map(member, "bc"))
    assert serving_until(KeepMajority(), "bc", state=state) == 14.0


def test_a_cluster_that_grows_needs_more_grants_at_once() -> None:
    two = gossip_of(*map(member, "ab"))
    machine = lease(KeepMajority(), state=two)
    machine.want(two, 10.0)
    machine.granted(two, B, ServingGrant(1))
    grown = two
    for name in "cde":
        grown = grown.with_member(A, member(name))
    assert Serving(-math.inf) in machine.observe(grown, 11.0)


@pytest.mark.parametrize(("knowing", "until"), [("b", -math.inf), ("bc", 14.0)])
def test_who_was_downed_is_needed_until_a_side_knows_that_it_is_down(knowing: str, until: float) -> None:
    seen_tracker = SeenTracker()
    downed = FIVE.with_moved(A, {*map(run_of, "de")}, MemberStatus.down).seen_by(*map(run_of, knowing))
    seen_tracker.observe(downed, 9.0)
    machine = ServingLeaseMachine(A, KeepMajority(), seen_tracker)
    machine.observe(downed, 9.0)
    machine.want(downed, 10.0)
    machine.granted(downed, B, ServingGrant(1))
    assert machine.until == until


def answers(state: Gossip, asker: str) -> Sequence[object]:
    return lease(KeepMajority(), state=state, own="b").asked(state, run_of(asker), ServingRequest(7))


def test_a_member_grants_to_a_member() -> None:
    assert answers(FIVE, "a") == [Send(A, ServingGrant(7))]


def test_nobody_grants_to_who_is_accused_down_joining_or_no_member() -> None:
    assert answers(FIVE.with_row(C, ObserverRow().accusing(A)), "a") == []
    assert answers(FIVE.with_moved(C, {A}, MemberStatus.down), "a") == []
    assert answers(FIVE.with_member(C, member("z", "joining")), "z") == []
    assert answers(FIVE, "z") == []


def test_who_is_down_itself_grants_nothing() -> None:
    assert answers(FIVE.with_moved(C, {B}, MemberStatus.down), "a") == []


def removing(state: Gossip, now: float) -> Gossip:
    return state.with_moved(B, {A}, MemberStatus.down).without_members(B, frozenset({A}), now)


def test_work_of_who_was_accused_is_free_when_all_of_this_side_have_known_for_long_enough() -> None:
    seen_tracker = SeenTracker()
    machine = ServingLeaseMachine(B, KeepMajority(), seen_tracker)
    accused = gossip_of(*map(member, "abc")).with_row(B, ObserverRow().accusing(A))
    for state, now in ((accused, 10.0), (accused.seen_by(C), 12.0)):
        seen_tracker.observe(state, now)
        machine.observe(state, now)
    removed = removing(accused, 13.0)
    seen_tracker.observe(removed, 13.0)
    assert machine.observe(removed, 13.0) == [WorkFree(A, 16.4)]


def test_work_is_not_free_by_what_a_side_knew_without_those_who_removed_the_run() -> None:
    """B had lost A and C; C, which has granted to A meanwhile, has it removed and is back."""
    seen_tracker = SeenTracker()
    machine = ServingLeaseMachine(B, KeepMajority(), seen_tracker)
    alone = gossip_of(*map(member, "abc"), seen="b").with_row(B, ObserverRow().accusing(A, C))
    back = gossip_of(*map(member, "abc")).with_row(B, ObserverRow(2, frozenset({A})))
    removed = removing(back, 20.0)
    for state, now in ((alone, 10.0), (removed, 20.5)):
        seen_tracker.observe(state, now)
        effects = machine.observe(state, now)
    assert effects == [WorkFree(A, 24.4)]


def test_who_is_lost_too_by_then_has_known_as_early_as_the_others() -> None:
    """A is lost first and C a moment before A is removed: all three have known of A before."""
    seen_tracker = SeenTracker()
    machine = ServingLeaseMachine(B, KeepMajority(), seen_tracker)
    first = gossip_of(*map(member, "abcde"), seen="bcde").with_row(B, ObserverRow().accusing(A))
    first = first.seen_by_all(frozenset({B, C, run_of("d"), run_of("e")}))
    second = first.with_row(B, first.rows[B].accusing(C))
    for state, now in ((first, 10.0), (second, 16.0)):
        seen_tracker.observe(state, now)
        machine.observe(state, now)
    removed = removing(second, 17.0)
    seen_tracker.observe(removed, 17.0)
    assert machine.observe(removed, 17.0) == []  # free since 14.4


def test_what_a_node_that_joins_had_known_of_an_earlier_accusation_counts_for_nothing() -> None:
    """A was accused, taken back, granted to, and removed by an operator, while Z heard of nothing."""
    z = run_of("z")
    seen_tracker = SeenTracker()
    machine = ServingLeaseMachine(z, KeepMajority(), seen_tracker)
    known = gossip_of(*map(member, "abc"), member("z", "joining"), seen="abcz").with_row(B, ObserverRow().accusing(A))
    known = known.seen_by_all(frozenset({A, B, C, z}))
    for state, now in ((known, 10.0), (removing(known, 19.9), 20.0)):
        seen_tracker.observe(state, now)
        effects = machine.observe(state, now)
    assert [effect for effect in effects if isinstance(effect, WorkFree)] == [WorkFree(A, 19.9 + 4.4)]


def test_work_that_has_been_free_for_long_is_not_announced() -> None:
    machine = lease(KeepMajority(), state=gossip_of(*map(member, "abc")), own="b")
    assert machine.observe(removing(gossip_of(*map(member, "abc")), 13.0), 17.4) == []


def test_work_of_who_was_removed_without_a_known_accusation_is_free_a_while_after_the_removal() -> None:
    before = gossip_of(*map(member, "abc"))
    machine = lease(KeepMajority(), state=before, own="b")
    assert machine.observe(removing(before, 13.0), 13.5) == [WorkFree(A, 17.4)]


def test_a_newcomer_learns_of_recent_removals_by_the_age_of_the_tombstones() -> None:
    machine = ServingLeaseMachine(B, KeepMajority(), SeenTracker())
    assert machine.observe(removing(gossip_of(*map(member, "abc")), 13.0), 14.0) == [WorkFree(A, 17.4)]
