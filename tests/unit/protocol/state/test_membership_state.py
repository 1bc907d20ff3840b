"""The replicated state: any two versions merge, and only a local change makes a new one."""

from __future__ import annotations

import pytest

from casty.protocol.state import membership_state as gossip
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import TOMBSTONE_AGE_MAX, Gossip, Relation
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

A, B, C = (run_of(name) for name in "abc")
ABC = gossip_of(member("a", up_number=1), member("b", up_number=2), member("c", up_number=3))


def accusing(state: Gossip, observer: str, subject: str) -> Gossip:
    by = run_of(observer)
    return state.with_row(by, state.rows.get(by, ObserverRow()).accusing(run_of(subject)))


def test_change_is_seen_by_its_author_alone() -> None:
    changed = ABC.with_member(B, ABC.members[C].moved_to(MemberStatus.leaving))
    assert changed.seen == {B}
    assert changed.version.version_of(B.incarnation) == 1
    assert ABC.relation_of(changed) is Relation.newer
    assert changed.relation_of(ABC) is Relation.older


def test_seeing_makes_no_version() -> None:
    changed = ABC.with_member(B, ABC.members[C].moved_to(MemberStatus.leaving))
    assert changed.seen_by(A).relation_of(changed) is Relation.same
    assert changed.seen_by(B) is changed


def test_a_stranger_sees_nothing() -> None:
    assert run_of("z") not in ABC.seen_by(run_of("z")).seen


def test_two_changes_at_one_time_are_concurrent_and_merge_into_both() -> None:
    left = ABC.with_member(A, ABC.members[B].moved_to(MemberStatus.leaving))
    right = ABC.with_member(C, ABC.members[A].moved_to(MemberStatus.leaving))
    assert left.relation_of(right) is Relation.concurrent
    merged = left.merge(right)
    assert [m.status.name for m in merged.ordered] == ["leaving", "leaving", "up"]
    assert left.relation_of(merged) is Relation.newer
    assert merged.seen == frozenset()


def test_merging_an_older_version_keeps_who_has_seen_the_newer() -> None:
    newer = ABC.with_member(A, ABC.members[B].moved_to(MemberStatus.leaving)).seen_by(C)
    assert newer.merge(ABC) == ABC.merge(newer) == newer


def test_removal_wins_over_every_status() -> None:
    removed = ABC.without_members(A, frozenset({C}), now=5.0)
    for status in ("leaving", "down"):
        other = ABC.with_member(B, ABC.members[C].moved_to(MemberStatus[status]))
        merged = removed.merge(other)
        assert C not in merged.members
        assert C in merged.tombstones


def test_removed_member_leaves_no_trace_in_rows_and_seen() -> None:
    accused = accusing(accusing(ABC, "c", "a"), "b", "c").seen_by(C)
    removed = accused.without_members(A, frozenset({C}), now=5.0)
    assert removed.seen == {A}
    assert dict(removed.rows) == {B: ObserverRow(1)}


def test_tombstone_takes_the_larger_age() -> None:
    early, late = (ABC.without_members(A, frozenset({C}), removed_at) for removed_at in (5.0, 6.0))
    assert dict(early.merge(late).tombstones) == dict(late.merge(early).tombstones) == {C: 5.0}


def test_tombstones_go_after_a_day_with_their_clock_entry() -> None:
    state = accusing(ABC, "c", "b").without_members(A, frozenset({C}), now=0.0)
    assert state.without_old_tombstones(A, TOMBSTONE_AGE_MAX) is state
    pruned = state.without_old_tombstones(A, TOMBSTONE_AGE_MAX + 1.0)
    assert not pruned.tombstones
    assert pruned.version.version_of(C.incarnation) == 0
    assert pruned.version.version_of(A.incarnation) == state.version.version_of(A.incarnation) + 1


def test_oldest_tombstones_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "TOMBSTONES_MAX", 1)
    state = ABC.without_members(A, frozenset({C}), now=1.0).without_members(A, frozenset({B}), now=2.0)
    assert dict(state.without_old_tombstones(A, now=3.0).tombstones) == {B: 2.0}


def test_pruned_version_is_newer_than_the_one_with_the_tombstone() -> None:
    full = accusing(ABC, "c", "b").without_members(A, frozenset({C}), now=0.0)
    pruned = full.without_old_tombstones(A, TOMBSTONE_AGE_MAX + 1.0)
    assert full.relation_of(pruned) is Relation.newer
    assert pruned.relation_of(full) is Relation.older


def test_change_beside_a_pruning_is_concurrent_with_it() -> None:
    full = accusing(ABC, "c", "b").without_members(A, frozenset({C}), now=0.0)
    pruned = full.without_old_tombstones(A, TOMBSTONE_AGE_MAX + 1.0)
    beside = accusing(full, "b", "a")
    assert beside.relation_of(pruned) is Relation.concurrent
    assert pruned.relation_of(beside) is Relation.concurrent


def test_accusations_by_a_down_observer_are_void() -> None:
    accused = accusing(ABC, "b", "c")
    assert accused.unreachable == {C}
    assert accused.with_member(A, accused.members[B].moved_to(MemberStatus.down)).unreachable == frozenset()


def test_converged_when_every_reachable_voter_has_seen() -> None:
    changed = ABC.with_member(A, member("d", "joining"))
    assert not changed.seen_by(B).is_converged(A)
    assert changed.seen_by(B, C).is_converged(A)


@pytest.mark.parametrize(
    ("status", "converged"), [("up", False), ("leaving", False), ("exiting", True), ("down", True)]
)
def test_an_unreachable_member_blocks_convergence_unless_it_is_on_its_way_out(status: str, converged: bool) -> None:
    state = accusing(gossip_of(member("a"), member("b"), member("c", status)), "b", "c").seen_by(A, B)
    assert state.is_converged(A) is converged


def test_joining_member_need_not_have_seen() -> None:
    assert gossip_of(member("a"), member("b", "joining"), seen=["a"]).is_converged(A)


def test_a_node_counts_itself_as_reachable() -> None:
    state = accusing(ABC, "b", "a").seen_by(A, C)
    assert state.is_converged(A)
    assert not state.is_converged(B)


def test_digest_differs_when_version_seen_or_content_differ() -> None:
    changed = ABC.with_member(A, ABC.members[B].moved_to(MemberStatus.leaving))
    digests = {state.digest for state in (ABC, changed, changed.seen_by(B), accusing(changed, "a", "c"))}
    assert len(digests) == 4
    assert {len(digest) for digest in digests} == {16}
    assert changed.digest == ABC.with_member(A, ABC.members[B].moved_to(MemberStatus.leaving)).digest


def test_members_stay_in_the_order_of_their_addresses_however_they_come() -> None:
    left = gossip_of(member("d")).with_member(run_of("d"), member("b"))
    right = gossip_of(member("c")).with_member(run_of("c"), member("a"))
    for state in (left.merge(right), right.merge(left), left.merge(right).without_members(A, frozenset({B}), 1.0)):
        assert [m.id for m in state.ordered] == sorted(m.id for m in state.ordered)


def test_whoever_has_seen_a_version_changes_nothing_else_that_is_known_of_it() -> None:
    state = accusing(ABC, "a", "c")
    assert state.unreachable == {C}
    seen = state.seen_by(B)
    assert seen.unreachable is state.unreachable
    assert (seen.digest, seen.voters) == (accusing(ABC, "a", "c").seen_by(B).digest, {A, B, C})


def test_nobody_is_lost_where_nobody_is_accused() -> None:
    assert ABC.lost_to(A) == frozenset()


def test_a_member_is_lost_to_others_when_one_whom_they_hear_accuses_it_but_never_to_itself() -> None:
    state = accusing(ABC, "b", "c")
    assert (state.lost_to(A), state.lost_to(B), state.lost_to(C)) == ({C}, {C}, frozenset())


def test_whoever_is_accused_by_oneself_accuses_nobody_any_more() -> None:
    # c heard nobody, accused both, and then ended or went deaf: nobody else may be lost because of that.
    state = accusing(accusing(accusing(ABC, "c", "a"), "c", "b"), "a", "c")
    assert state.lost_to(A) == {C}
    assert state.lost_to(B) == {A, C}
    state = accusing(state, "b", "c")
    assert state.lost_to(B) == {C}
    assert state.lost_to(C) == {A, B}
    assert state.unreachable == {A, B, C}


def test_whom_an_observer_that_is_lost_accuses_may_agree() -> None:
    state = accusing(accusing(accusing(ABC, "c", "b"), "a", "c"), "b", "c")
    down = state.with_moved(A, {C}, MemberStatus.down)
    assert not down.seen_by(A).is_converged(A)
    assert down.seen_by(B).is_converged(A)


def test_accusations_of_who_joins_count_for_itself_alone_once_somebody_is_up() -> None:
    row = ObserverRow().accusing(A, B)
    state = gossip_of(member("a"), member("b"), member("c", "joining")).with_row(C, row)
    assert (state.unreachable, state.lost_to(A)) == (frozenset(), frozenset())
    assert state.lost_to(C) == {A, B}
    assert state.with_moved(A, {C}, MemberStatus.up).lost_to(A) == {B}
    begins = gossip_of(*(member(name, "joining") for name in "abc")).with_row(C, row)
    assert begins.lost_to(A) == {B}
