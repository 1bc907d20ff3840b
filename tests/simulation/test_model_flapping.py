"""Links that come and go: a member is held, and lost where that is decided; a network holds nobody."""

from __future__ import annotations

import pytest

from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.split_brain.strategies import KeepMajority, KeepOldest, LeaseMajority, StaticQuorum, Strategy
from casty.protocol.state.events import ReachableMember, UnreachableMember
from casty.testing.simulation.invariants.invariants import Watch, check_events
from casty.testing.simulation.model.model import ModelCluster

FIVE = "abcde"
SILENT, STEADY = 6.0, 4.0


def formed(settings: TopologySettings) -> tuple[ModelCluster, Watch]:
    cluster = ModelCluster(1, settings=settings)
    cluster.form(FIVE)
    watch = Watch(cluster)
    cluster.run_for(10.0, until=watch.check)
    return cluster, watch


def flap(cluster: ModelCluster, watch: Watch, one: str, other: str, times: int) -> float:
    """Cut and heal; return when it healed last."""
    for _ in range(times):
        cluster.cut(one, other)
        cluster.run_for(SILENT, until=watch.check)
        cluster.heal()
        healed_at = cluster.now
        cluster.run_for(STEADY, until=watch.check)
    return healed_at


def edges(cluster: ModelCluster, at: str, subject: str) -> list[tuple[float, str]]:
    check_events(cluster.runs[at])
    return [
        (when, type(event).__name__)
        for when, event in cluster.runs[at].events
        if isinstance(event, UnreachableMember | ReachableMember) and event.member.id == subject
    ]


def test_member_that_flaps_is_unreachable_until_it_has_been_steady() -> None:
    cluster, watch = formed(TopologySettings(downing=None))
    healed_at = flap(cluster, watch, "c", "abde", times=4)
    cluster.run_for(30.0, until=watch.check)
    assert cluster.all_up(5)
    for name in "abde":
        found = edges(cluster, name, "c")
        assert [kind for _, kind in found] == ["UnreachableMember", "ReachableMember"] * 3
        assert healed_at + 7.0 < found[-1][0] < healed_at + 10.0


@pytest.mark.parametrize("strategy", [KeepMajority(), StaticQuorum(3), KeepOldest(), LeaseMajority("one")], ids=str)
@pytest.mark.parametrize("flaps", ["c", "a", "e"])
def test_member_that_is_steady_after_it_flapped_is_not_lost(strategy: Strategy, flaps: str) -> None:
    cluster, watch = formed(TopologySettings(downing=strategy))
    others = FIVE.replace(flaps, "")
    healed_at = flap(cluster, watch, flaps, others, times=3)
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(5)
    for name in others:
        assert healed_at + 7.0 < edges(cluster, name, flaps)[-1][0] < healed_at + 8.0


def test_member_that_flaps_on_and_on_is_lost_where_that_is_decided() -> None:
    cluster, watch = formed(TopologySettings(downing=KeepMajority()))
    flap(cluster, watch, "c", "abde", times=4)
    cluster.run_for(10.0, until=watch.check)
    assert {run.name: run.outcome for run in cluster.runs.values() if run.outcome} == {"c": "downed"}
    assert cluster.all_up(4)


@pytest.mark.parametrize("side", ["de", "abc"])
def test_network_that_flaps_costs_nobody(side: str) -> None:
    cluster, watch = formed(TopologySettings(downing=KeepMajority()))
    flap(cluster, watch, side, "".join(sorted({*FIVE} - {*side})), times=6)
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(5)
