"""Seeds that are found once a node runs: it joins by them, and begins no cluster for them."""

from __future__ import annotations

import pytest

from casty.testing.simulation.invariants.invariants import Watch, check_events
from casty.testing.simulation.model.model import ModelCluster


def clusters(cluster: ModelCluster) -> set[int]:
    return {run.topology.state.cluster_id for run in cluster.living if run.topology.state is not None}


def formed(seed: int = 1) -> tuple[ModelCluster, Watch]:
    cluster = ModelCluster(seed=seed)
    cluster.form("abc")
    assert cluster.all_up(3)
    return cluster, Watch(cluster)


def test_node_whose_seeds_are_gone_joins_by_what_is_found() -> None:
    cluster, watch = formed()
    cluster.start("d", seeds=("x", "y"))
    cluster.run_for(60.0, until=watch.check)
    assert cluster.runs["d"].topology.state is None
    cluster.find_seeds("d", "x", "b", "d")
    cluster.run_for(10.0, until=lambda: watch.check() or cluster.all_up(4))
    assert cluster.all_up(4)


@pytest.mark.parametrize("seed", range(10))
def test_nodes_that_find_each_other_begin_no_cluster_without_their_seeds(seed: int) -> None:
    cluster = ModelCluster(seed=seed)
    for name in "abc":
        cluster.start(name, seeds=("x", "y", "z"))
    for name in "abc":
        cluster.find_seeds(name, "a", "b", "c")
    cluster.run_for(120.0)
    assert clusters(cluster) == set()
    for name in "xy":
        cluster.start(name, seeds=("x", "y", "z"))
    cluster.run_for(30.0, until=lambda: cluster.all_up(5))
    assert cluster.all_up(5)
    assert len(clusters(cluster)) == 1


def test_what_is_found_early_is_asked_from_the_start() -> None:
    cluster, watch = formed()
    cluster.crash("a")
    cluster.run_for(30.0, until=lambda: watch.check() or cluster.all_up(2))
    cluster.start("d", seeds=("a",))
    cluster.find_seeds("d", "c")
    cluster.run_for(10.0, until=lambda: watch.check() or cluster.all_up(3))
    assert cluster.all_up(3)


def test_a_cluster_of_one_gives_way_to_a_larger_one_that_it_finds() -> None:
    cluster, _ = formed()
    cluster.start("d", seeds=("d",))
    cluster.run_for(20.0)
    assert len(clusters(cluster)) == 2
    cluster.find_seeds("d", "b")
    cluster.run_for(15.0)
    assert not cluster.runs["d"].alive
    assert len(clusters(cluster)) == 1
    check_events(cluster.runs["d"])
