"""Each change is told exactly once, whole and in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.protocol.effects import PublishEvent
from casty.protocol.membership.view import Forget, MembersChanged, SnapshotChanged, View
from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.registry import Registry
from casty.protocol.state.shard_allocation import Allocations, ShardAllocation
from casty.testing.samples import address, gossip_of, member, run_of, service_of

A, B, C = (run_of(name) for name in "abc")
STATE = gossip_of(member("a", up_number=2), member("b", up_number=1), member("c", "joining"))


def told(view: View, state: Gossip) -> list[object]:
    return [effect.event for effect in view.update(state, Registry()) if isinstance(effect, PublishEvent)]


def test_members_that_are_up_are_told_in_the_order_in_which_they_became_so() -> None:
    assert told(View(A), STATE) == [MemberUp(STATE.members[B]), MemberUp(STATE.members[A])]


def test_nothing_is_told_twice() -> None:
    view = View(A)
    view.update(STATE, Registry())
    assert not view.update(STATE, Registry())
    assert list(view.update(STATE.seen_by(A).with_row(A, ObserverRow()), Registry())) == []


def test_snapshot_and_members_come_with_a_change() -> None:
    view = View(A)
    first, *_, last = view.update(STATE, Registry())
    assert first == MembersChanged(STATE.ordered)
    assert isinstance(last, SnapshotChanged)
    assert last.snapshot is view.snapshot
    assert last.snapshot.leader == address("a")


def test_change_of_services_makes_a_snapshot_and_no_event() -> None:
    view, registry = View(A), Registry().with_own(B, frozenset({service_of(B, "cart")}))
    view.update(STATE, Registry())
    (effect,) = view.update(STATE, registry)
    assert isinstance(effect, SnapshotChanged)
    assert [entry.key for entry in effect.snapshot.registry] == ["cart"]


def test_services_of_a_removed_run_leave_the_snapshot_with_it() -> None:
    view, registry = View(A), Registry().with_own(B, frozenset({service_of(B, "cart")}))
    view.update(STATE, registry)
    view.update(STATE.without_members(A, frozenset({B}), now=1.0), registry)
    assert view.snapshot is not None
    assert view.snapshot.registry == frozenset()


def test_member_first_seen_while_leaving_was_up() -> None:
    state = gossip_of(member("a", up_number=1), member("b", "leaving", up_number=2))
    assert [type(event) for event in told(View(A), state)] == [MemberUp, MemberUp]


def test_removal_is_told_if_the_member_was_up() -> None:
    view = View(A)
    view.update(STATE, Registry())
    effects = view.update(STATE.without_members(A, frozenset({B, C}), now=1.0), Registry())
    removed = replace(STATE.members[B], status=MemberStatus.removed)
    assert [e for e in effects if isinstance(e, PublishEvent)] == [PublishEvent(MemberLeft(removed))]
    assert [e for e in effects if isinstance(e, Forget)] == [Forget(B), Forget(C)]


def test_reachability_is_told_on_each_edge() -> None:
    view = View(A)
    view.update(STATE, Registry())
    accused = STATE.with_row(A, ObserverRow().accusing(B))
    twice = accused.with_row(C, ObserverRow().accusing(B))
    one_back = twice.with_row(C, twice.rows[C].absolving(B))
    assert told(view, accused) == [UnreachableMember(STATE.members[B])]
    assert told(view, twice) == told(view, one_back) == []
    assert told(view, one_back.with_row(A, one_back.rows[A].absolving(B))) == [ReachableMember(STATE.members[B])]


def test_removed_member_does_not_become_reachable() -> None:
    view = View(A)
    accused = STATE.with_row(A, ObserverRow().accusing(B))
    view.update(accused, Registry())
    assert [type(e) for e in told(view, accused.without_members(A, frozenset({B}), now=1.0))] == [MemberLeft]


def test_member_whose_accuser_is_lost_becomes_reachable_once_this_node_hears_it() -> None:
    view, accused = View(A), STATE.with_row(B, ObserverRow().accusing(C))
    lost = accused.with_row(A, ObserverRow().accusing(B))
    view.update(accused, Registry())
    view.doubt([C])
    assert told(view, lost) == [UnreachableMember(STATE.members[B])]
    assert view.snapshot is not None
    assert view.snapshot.unreachable == {address("b"), address("c")}
    view.trust(C)
    assert told(view, lost) == [ReachableMember(STATE.members[C])]
    assert view.snapshot.unreachable == {address("b")}


def test_member_that_is_heard_becomes_reachable_as_its_accuser_is_lost() -> None:
    view, accused = View(A), STATE.with_row(B, ObserverRow().accusing(C))
    view.update(accused, Registry())
    lost = accused.with_row(A, ObserverRow().accusing(B))
    assert told(view, lost) == [UnreachableMember(STATE.members[B]), ReachableMember(STATE.members[C])]


def test_member_that_is_accused_no_more_becomes_reachable_though_its_next_answer_is_overdue() -> None:
    view, accused = View(A), STATE.with_row(B, ObserverRow().accusing(C))
    view.update(accused, Registry())
    view.doubt([C])
    assert told(view, accused.with_row(B, accused.rows[B].absolving(C))) == [ReachableMember(STATE.members[C])]


@pytest.mark.parametrize("end", ["downed", "removed"])
def test_nobody_becomes_reachable_because_the_node_that_accused_them_has_ended(end: str) -> None:
    view, accused = View(A), STATE.with_row(A, ObserverRow().accusing(B).accusing(C))
    view.update(STATE, Registry())
    view.update(accused, Registry())
    downed = accused.with_moved(A, {A}, MemberStatus.down)
    ended = downed if end == "downed" else accused.without_members(B, frozenset({A}), now=1.0)
    assert [kind for kind in map(type, told(view, ended)) if kind is not MemberLeft] == []
    assert view.snapshot is not None
    assert view.snapshot.unreachable == {address("b"), address("c")}


def test_a_node_that_is_down_names_no_leader_that_it_cannot_reach() -> None:
    state = gossip_of(member("a"), member("b"), member("c"))
    view, accused = View(C), state.with_row(C, ObserverRow().accusing(A).accusing(B))
    view.update(state, Registry())
    assert view.snapshot is not None
    assert view.snapshot.leader == address("a")
    view.update(accused, Registry())
    assert view.snapshot.leader == address("c")
    view.update(accused.with_moved(C, {C}, MemberStatus.down), Registry())
    assert view.snapshot.leader is None


def test_members_that_accused_each_other_and_were_downed_do_not_become_reachable() -> None:
    view, state = View(A), STATE.with_moved(A, {C}, MemberStatus.up)
    at_odds = state.with_row(B, ObserverRow().accusing(C)).with_row(C, ObserverRow().accusing(B))
    view.update(state, Registry())
    assert [type(event) for event in told(view, at_odds)] == [UnreachableMember, UnreachableMember]
    downed = at_odds.with_moved(A, {B, C}, MemberStatus.down)
    assert told(view, downed) == []
    assert view.snapshot is not None
    assert view.snapshot.unreachable == {address("b"), address("c")}
    assert [type(event) for event in told(view, downed.without_members(A, frozenset({B, C}), 1.0))] == [MemberLeft]


def test_a_node_is_never_unreachable_in_its_own_view() -> None:
    view = View(B)
    view.update(STATE, Registry())
    assert told(view, STATE.with_row(A, ObserverRow().accusing(B))) == []
    assert view.snapshot is not None
    assert view.snapshot.unreachable == frozenset()


def test_places_of_shards_make_a_snapshot_and_stay_in_the_next_one() -> None:
    view, places = View(A), {"carts": {0: ShardAllocation(address("b"))}}
    assert view.allocate(Allocations(places, 7)) == ()
    view.update(STATE, Registry())
    assert view.snapshot is not None
    assert (view.snapshot.shard_allocations, view.snapshot.allocation_epoch) == (places, 7)
    (effect,) = view.allocate(Allocations({}, 8))
    assert isinstance(effect, SnapshotChanged)
    assert (effect.snapshot.shard_allocations, effect.snapshot.allocation_epoch) == ({}, 8)
    assert view.allocate(Allocations(places, 7)) == (), "the number never shrinks"
    *_, changed = view.update(STATE.with_row(A, ObserverRow().accusing(C)), Registry())
    assert isinstance(changed, SnapshotChanged)
    assert changed.snapshot.allocation_epoch == 8
