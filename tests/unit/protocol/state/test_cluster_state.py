"""What applications see: whole values that merge."""

from __future__ import annotations

from casty.protocol.state.cluster_state import ClusterState, project_snapshot, project_state
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.registry import Registry
from casty.protocol.state.shard_allocation import ShardAllocation
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.samples import address, gossip_of, member, run_of, service_of

A, B = run_of("a"), run_of("b")
GOSSIP = gossip_of(member("a", up_number=1), member("b", up_number=2)).with_row(A, ObserverRow().accusing(B))
CART = Registry().with_own(B, frozenset({service_of(B, "cart")}))


def placed(name: str) -> dict[str, dict[int, ShardAllocation]]:
    return {"cart": {0: ShardAllocation(address(name))}}


def test_projection_shows_members_services_and_who_is_missing() -> None:
    state = project_state(GOSSIP, CART, GOSSIP.lost_to(A))
    assert {one.id for one in state.members} == {"a", "b"}
    assert state.unreachable == {address("b")}
    assert state.seen == {address("a")}
    assert {entry.key for entry in state.registry} == {"cart"}
    assert state.leader == address("a")


def test_snapshot_names_the_leader_or_nobody() -> None:
    assert project_snapshot(frozenset(), frozenset(), frozenset(), A).leader == address("a")
    assert project_snapshot(frozenset(), frozenset(), frozenset(), None).leader is None
    assert ClusterState().leader is None


def test_converged_when_all_have_seen_and_nobody_is_missing() -> None:
    both = frozenset({member("a"), member("b")})
    assert ClusterState(both, seen=frozenset({address("a"), address("b")})).is_converged
    assert not ClusterState(both, seen=frozenset({address("a")})).is_converged
    assert not ClusterState(both, frozenset({address("b")}), seen=frozenset({address("a"), address("b")})).is_converged


def test_missing_member_that_is_down_does_not_count() -> None:
    members = frozenset({member("a"), member("b", "down")})
    assert ClusterState(members, frozenset({address("b")}), seen=frozenset({address("a")})).is_converged


def test_furthest_copy_of_a_member_wins_a_merge() -> None:
    up, leaving = ClusterState(frozenset({member("a")})), ClusterState(frozenset({member("a", "leaving")}))
    assert up.merge(leaving).members == leaving.merge(up).members == leaving.members


def test_two_runs_of_a_node_stay_apart() -> None:
    old, new = member("a", "down", incarnation=1), member("a", "joining", incarnation=2)
    assert ClusterState(frozenset({old})).merge(ClusterState(frozenset({new}))).members == {old, new}


def test_whoever_has_seen_the_newer_version_has_seen_the_merged_one() -> None:
    first = VectorClock[int]().increment(1)
    older = ClusterState(version=first, seen=frozenset({address("a")}))
    newer = ClusterState(version=first.increment(2), seen=frozenset({address("b")}))
    beside = ClusterState(version=first.increment(3), seen=frozenset({address("c")}))
    assert older.merge(newer).seen == newer.merge(older).seen == {address("b")}
    assert newer.merge(beside).seen == frozenset()


def test_allocations_of_the_larger_epoch_win_whole() -> None:
    old = ClusterState(shard_allocations=placed("a"), allocation_epoch=1)
    new = ClusterState(shard_allocations=placed("b"), allocation_epoch=2)
    assert old.merge(new).shard_allocations == new.merge(old).shard_allocations == placed("b")
    assert old.merge(new).allocation_epoch == 2
