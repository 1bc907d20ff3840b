"""The first reachable voter leads, and moves members once everybody agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.protocol.state.leader import LeaderActions, leader_among, leader_of
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

A, B, C = (run_of(name) for name in "abc")


def accused(state: Gossip, observer: str, subject: str) -> Gossip:
    seen = state.seen
    return state.with_row(run_of(observer), ObserverRow().accusing(run_of(subject))).seen_by(*sorted(seen))


def test_nobody_comes_up_before_there_are_enough_of_each_role() -> None:
    actions = LeaderActions(1, (("db", 1), ("web", 2)))
    web = [replace(member(name, "joining"), roles=frozenset({"web"})) for name in "ab"]
    db = replace(member("c", "joining"), roles=frozenset({"db", "web"}))
    few, enough = gossip_of(*web), gossip_of(*web, db)
    assert {m.status.name for m in actions.apply(few, A, (), now=9.0).ordered} == {"joining"}
    assert {m.status.name for m in actions.apply(enough, A, (), now=9.0).ordered} == {"up"}


def applied(state: Gossip, *, min_members: int = 1, confirmed: frozenset[str] = frozenset()) -> dict[str, str]:
    after = LeaderActions(min_members).apply(state, A, {run_of(name) for name in confirmed}, now=9.0)
    return {m.id: m.status.name for m in after.ordered}


@pytest.mark.parametrize(
    ("members", "leader"),
    [
        ([member("c", "up"), member("b", "leaving", up_number=2), member("a", "joining")], "b"),
        ([member("c", "joining"), member("b", "exiting", up_number=2), member("a", "down")], "b"),
        ([member("c", "joining"), member("b", "joining"), member("a", "down")], "b"),
    ],
)
def test_leader_is_the_first_voter_else_exiting_else_joining(members: list[Member], leader: str) -> None:
    found = leader_among(members, ())
    assert found is not None
    assert found.id == leader


def test_nobody_leads_when_nobody_is_left() -> None:
    assert leader_among([member("a", "down")], ()) is None
    assert leader_among([member("a", "up")], {A}) is None


def test_unreachable_member_leads_only_in_its_own_eyes() -> None:
    state = accused(gossip_of(member("a"), member("b"), member("c")), "b", "a")
    assert (leader_of(state, A), leader_of(state, B), leader_of(state, C)) == (A, B, B)


def test_joining_members_become_up_in_order_of_address() -> None:
    state = gossip_of(member("a", up_number=4), member("c", "joining"), member("b", "joining"), seen=["a"])
    after = LeaderActions().apply(state, A, (), now=9.0)
    assert [(m.id, m.up_number) for m in after.ordered] == [("a", 4), ("b", 5), ("c", 6)]
    assert after.up_numbers_given == 6


def test_up_number_of_a_removed_member_is_not_given_again() -> None:
    state = gossip_of(member("a", up_number=1), member("b", "down", up_number=2))
    state = LeaderActions().apply(state, A, (), now=9.0)
    state = state.with_member(A, member("c", "joining"))
    assert LeaderActions().apply(state, A, (), now=9.0).members[C].up_number == 3


def test_nobody_becomes_up_before_enough_have_joined() -> None:
    two = [member("a", "joining"), member("b", "joining")]
    assert applied(gossip_of(*two), min_members=3) == {"a": "joining", "b": "joining"}
    assert set(applied(gossip_of(*two, member("c", "joining")), min_members=3).values()) == {"up"}


def test_later_joiner_becomes_up_though_members_have_left_since() -> None:
    assert applied(gossip_of(member("a"), member("b", "joining")), min_members=3) == {"a": "up", "b": "up"}


def test_leaving_becomes_exiting_and_down_is_removed() -> None:
    state = gossip_of(member("a"), member("b", "leaving", up_number=2), member("c", "down"))
    assert applied(state) == {"a": "up", "b": "exiting"}
    assert dict(LeaderActions().apply(state, A, (), now=9.0).tombstones) == {C: 9.0}


def test_exiting_member_is_removed_when_it_has_confirmed_or_is_gone() -> None:
    state = gossip_of(member("a"), member("b", "exiting", up_number=2))
    assert applied(state) == {"a": "up", "b": "exiting"}
    assert applied(state, confirmed=frozenset("b")) == {"a": "up"}
    assert applied(accused(state, "a", "b")) == {"a": "up"}


def test_a_leaving_leader_lets_itself_exit_but_does_not_remove_itself() -> None:
    assert applied(gossip_of(member("a", "leaving", up_number=1), member("b"))) == {"a": "exiting", "b": "up"}
    assert applied(gossip_of(member("a", "exiting", up_number=1), member("b", "exiting", up_number=2))) == {
        "a": "exiting",
        "b": "exiting",
    }


def test_nothing_moves_without_convergence_or_at_another_leader() -> None:
    unseen = gossip_of(member("a"), member("b"), member("c", "joining"), seen=["a"])
    assert LeaderActions().apply(unseen, A, (), now=9.0) is unseen
    seen = unseen.seen_by(B)
    assert LeaderActions().apply(seen, B, (), now=9.0) is seen
    lost = accused(seen, "a", "b")
    assert LeaderActions().apply(lost, A, (), now=9.0) is lost


def test_of_two_joiners_with_one_name_the_larger_address_goes_down() -> None:
    state = gossip_of(member("a"), member("b", "joining", id="web"), member("c", "joining", id="web"))
    assert {m.address.host: m.status.name for m in LeaderActions().apply(state, A, (), now=9.0).ordered} == {
        "a": "up",
        "b": "up",
        "c": "down",
    }


def test_of_two_joiners_at_one_address_the_larger_incarnation_goes_down() -> None:
    state = gossip_of(member("a"), member("b", "joining", incarnation=5), member("b", "joining", incarnation=6, id="x"))
    after = LeaderActions().apply(state, A, (), now=9.0)
    assert [(m.incarnation, m.status.name) for m in after.ordered if m.address.host == "b"] == [(5, "up"), (6, "down")]


def test_joiner_waits_while_an_earlier_run_holds_its_address() -> None:
    state = gossip_of(member("a"), member("b", "up", incarnation=5), member("b", "joining", incarnation=6))
    assert LeaderActions().apply(state, A, (), now=9.0) is state


def test_who_joins_is_not_up_while_it_accuses_one_that_stays() -> None:
    state = gossip_of(member("a", up_number=1), member("b", up_number=2), member("c", "joining"))
    accusing = state.with_row(C, ObserverRow().accusing(B)).seen_by(A, B)
    assert LeaderActions().apply(accusing, A, (), now=9.0) is accusing
    taken_back = accusing.with_row(C, ObserverRow(2)).seen_by(A, B)
    assert LeaderActions().apply(taken_back, A, (), now=9.0).members[C].status is MemberStatus.up


def test_nobody_is_up_whom_its_leader_did_not_hear() -> None:
    state = gossip_of(member("a", up_number=1), member("b", "joining"), member("c", "joining"))
    assert LeaderActions().apply(state, A, (), now=9.0, heard=()) is state
    after = LeaderActions().apply(state, A, (), now=9.0, heard={C})
    assert [after.members[node].status.name for node in (B, C)] == ["joining", "up"]
    first = LeaderActions().apply(gossip_of(member("a", "joining")), A, (), now=9.0, heard=())
    assert first.members[A].status is MemberStatus.up


def test_a_joiner_that_leaves_again_neither_leads_nor_votes() -> None:
    state = gossip_of(member("a", "leaving"), member("b", up_number=1), member("c", up_number=2))
    assert (leader_of(state, A), leader_of(state, B)) == (B, B)
    assert state.voters == {B, C}
    assert LeaderActions().apply(state, B, (), now=9.0).members[A].status is MemberStatus.exiting


@pytest.mark.parametrize("status", ["joining", "leaving", "exiting"])
def test_accusations_of_who_was_never_up_count_for_itself_alone(status: str) -> None:
    state = gossip_of(member("a", status), member("b", up_number=1), member("c", up_number=2))
    state = accused(state, "a", "b")
    assert (state.unreachable, state.lost_to(C), state.lost_to(A)) == (frozenset(), frozenset(), {B})
    gone = gossip_of(member("a", status, up_number=3), member("b", up_number=1), member("c", up_number=2))
    assert accused(gone, "a", "b").unreachable == {B} or status == "joining"


def test_joiners_that_accuse_one_another_come_up_and_one_that_misses_a_voter_does_not() -> None:
    state = gossip_of(member("a", up_number=1), member("b", "joining"), member("c", "joining"))
    each_other = accused(accused(state, "b", "c"), "c", "b")
    assert LeaderActions().apply(each_other, A, (), now=9.0).members[B].status is MemberStatus.up
    assert LeaderActions().apply(accused(state, "b", "a"), A, (), now=9.0).members[B].status is MemberStatus.joining
