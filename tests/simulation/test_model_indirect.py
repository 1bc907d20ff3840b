"""Two members that cannot reach each other, though gossip finds a way round: both go, or one if the rest needs it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest

from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.split_brain.strategies import (
    DownAll,
    KeepMajority,
    KeepOldest,
    LeaseMajority,
    StaticQuorum,
    Strategy,
)
from casty.protocol.state.member import by_age
from casty.testing.simulation.invariants.invariants import Watch, check_events
from casty.testing.simulation.model.model import ModelCluster

FIVE = "abcde"
BY_MAJORITY = KeepMajority()
NOTICED_AND_DECIDED = 6.0 + 7.0 + 2.0


def formed(strategy: Strategy | None = BY_MAJORITY, names: str = FIVE, seed: int = 1) -> tuple[ModelCluster, Watch]:
    cluster = ModelCluster(seed, settings=TopologySettings(downing=strategy))
    cluster.form(names)
    assert cluster.all_up(len(names))
    watch = Watch(cluster)
    watch.check()
    return cluster, watch


def outcomes(cluster: ModelCluster) -> dict[str, str]:
    for run in cluster.runs.values():
        check_events(run)
    return {run.name: run.outcome for run in cluster.runs.values() if run.outcome}


def downed(names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, "downed")


@pytest.mark.parametrize("strategy", [KeepMajority(), StaticQuorum(3), KeepOldest(), LeaseMajority("one")], ids=str)
@pytest.mark.parametrize("pair", ["de", "bd", "ce"])
@pytest.mark.parametrize("one_way", [False, True])
def test_both_ends_of_a_bad_link_go_down_and_the_rest_goes_on(strategy: Strategy, pair: str, one_way: bool) -> None:
    cluster, watch = formed(strategy)
    cluster.cut(pair[0], pair[1], one_way=one_way)
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed(pair)
    assert cluster.all_up(3)


@pytest.mark.parametrize("strategy", [KeepMajority(), StaticQuorum(3), LeaseMajority("one")], ids=str)
@pytest.mark.parametrize("other", "bcde")
def test_the_leader_is_no_exception(strategy: Strategy, other: str) -> None:
    cluster, watch = formed(strategy)
    cluster.cut("a", other)
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed("a" + other)


@pytest.mark.parametrize(
    ("strategy", "names", "pair", "going"),
    [
        (KeepMajority(), "abc", "bc", 1),  # one of three is no majority
        (KeepMajority(), "abc", "ab", 1),
        (KeepMajority(), "abcd", "ad", 1),
        (StaticQuorum(4), FIVE, "de", 1),
        (KeepOldest(), FIVE, "ab", 1),  # the oldest is an end
        (LeaseMajority("one"), "abc", "bc", 2),  # the lease keeps somebody
    ],
    ids=str,
)
@pytest.mark.parametrize("one_way", [False, True])
def test_the_younger_end_goes_alone_where_the_rest_is_no_side_without_the_other(
    strategy: Strategy, names: str, pair: str, going: int, one_way: bool
) -> None:
    cluster, watch = formed(strategy, names)
    state = cluster.runs["a"].topology.state
    assert state is not None
    younger = [member.id for member in sorted(state.ordered, key=by_age, reverse=True) if member.id in pair]
    goes = "".join(sorted(younger[:going]))
    cluster.cut(pair[0], pair[1], one_way=one_way)
    cluster.run_for(NOTICED_AND_DECIDED + 2.0, until=watch.check)
    assert outcomes(cluster) == downed(goes)
    assert cluster.all_up(len(names) - len(goes))


def test_all_go_where_no_side_is_left_by_the_strategy() -> None:
    cluster, watch = formed(DownAll())
    cluster.cut("d", "e")
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed(FIVE)


def test_the_rest_gives_up_when_the_end_that_has_to_go_does_not() -> None:
    cluster, watch = formed(names="abc")
    cluster.cut("a", "b")
    cluster.run_for(11.0, until=watch.check)
    cluster.skew("b", 0.2)  # its time passes too slowly
    cluster.run_for(2.0, until=watch.check)
    assert outcomes(cluster) == {}
    cluster.run_for(7.0, until=watch.check)
    assert outcomes(cluster) == downed("abc")


def test_nobody_decides_without_a_strategy_and_the_members_return_when_the_link_heals() -> None:
    cluster, watch = formed(None)
    cluster.cut("a", "b")
    cluster.run_for(60.0, until=watch.check)
    assert not cluster.all_up(5)
    cluster.heal()
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(5)
    assert outcomes(cluster) == {}


def test_link_that_heals_in_time_costs_nobody() -> None:
    cluster, watch = formed()
    cluster.cut("d", "e")
    cluster.run_for(9.0, until=watch.check)
    cluster.heal()
    cluster.run_for(20.0, until=watch.check)
    assert cluster.all_up(5)
    assert outcomes(cluster) == {}


def age(cluster: ModelCluster, name: str) -> int:
    """Return the place of a member in the order in which they came up."""
    state = cluster.runs["c"].topology.state
    return 0 if state is None else state.members[cluster.runs[name].node].up_number


@pytest.mark.parametrize("seed", range(8))
def test_of_two_sides_that_one_node_bridges_the_younger_one_goes(seed: int) -> None:
    cluster, watch = formed(seed=seed)
    cluster.jitter = 0.05
    cluster.cut("ab", "de")
    youngest = max("abde", key=partial(age, cluster))
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed("ab" if youngest in "ab" else "de")
    assert cluster.all_up(3)


@pytest.mark.parametrize("seed", range(8))
def test_of_two_bad_links_each_costs_one_end(seed: int) -> None:
    cluster, watch = formed(StaticQuorum(3), seed=seed)
    cluster.jitter = 0.05
    cluster.cut("a", "d")
    cluster.cut("b", "e")
    goes = [max(pair, key=partial(age, cluster)) for pair in ("ad", "be")]
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed(goes)
    assert cluster.all_up(3)


def test_a_node_with_bad_links_to_many_goes_alone() -> None:
    cluster, watch = formed()
    cluster.cut("b", "ade")
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed("b")
    assert cluster.all_up(4)


def test_one_bad_link_beside_a_partition_costs_its_ends_and_the_minority() -> None:
    names = "abcdefghi"
    cluster, watch = formed(names=names)
    cluster.cut("hi", names[:-2])
    cluster.cut("b", "c")
    cluster.run_for(30.0, until=watch.check)
    assert outcomes(cluster) == downed("bchi")
    assert cluster.all_up(5)


def test_sides_that_only_hear_of_earlier_accusations_are_a_partition_and_nobody_is_at_odds() -> None:
    cluster, watch = formed()
    for _ in range(2):
        cluster.cut("abc", "de")
        cluster.run_for(5.0, until=watch.check)
        cluster.heal()
        cluster.run_for(2.0, until=watch.check)
    cluster.cut("abc", "de")
    cluster.run_for(NOTICED_AND_DECIDED, until=watch.check)
    assert outcomes(cluster) == downed("de")
    assert cluster.all_up(3)
