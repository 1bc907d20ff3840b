"""However nodes start and list each other, there is one cluster."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from helpers.systems import regressions

from casty.config import ClusterSettings
from casty.protocol.membership.inputs import TopologySettings
from casty.testing.samples import address
from casty.testing.simulation import Cut, Heal, Restart, Scenario
from casty.testing.simulation.invariants.invariants import Watch, check_events
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import Run
from casty.testing.simulation.search.player import play

ABC = ("a", "b", "c")
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "all list all": dict.fromkeys(ABC, ABC),
    "all list all, the last first": dict.fromkeys(ABC, ("c", "b", "a")),
    "sole seed": dict.fromkeys(ABC, ("a",)),
    "sole seed with the highest address": dict.fromkeys(ABC, ("c",)),
    "seed without seeds": {"a": (), "b": ("a",), "c": ("a",)},
    "two seeds": dict.fromkeys(ABC, ("b", "c")),
    "each lists the others": {"a": ("b", "c"), "b": ("a", "c"), "c": ("a", "b")},
    "two list each other, the third both": {"a": ("b",), "b": ("a",), "c": ("a", "b")},
    "chain": {"a": (), "b": ("a",), "c": ("b",)},
}


def started(cluster: ModelCluster, layout: dict[str, tuple[str, ...]], at: dict[str, float]) -> Watch:
    """Start each node at its time, under watch."""
    watch = Watch(cluster)
    for name in sorted(at, key=lambda name: at[name]):
        cluster.run_for(at[name] - cluster.now, until=watch.check)
        cluster.start(name, seeds=layout[name])
    return watch


def come_up(cluster: ModelCluster, watch: Watch, seconds: float, count: int) -> None:
    """Let the nodes come up in time, as one cluster, and stay so."""
    cluster.run_for(seconds, until=lambda: watch.check() or cluster.all_up(count))
    assert cluster.all_up(count), {run.name: run.statuses for run in cluster.living}
    cluster.run_for(2.0, until=watch.check)
    assert cluster.all_up(count)
    for run in cluster.living:
        check_events(run)


@pytest.mark.parametrize("gap", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_order_of_starting_forms_one_cluster(layout: str, gap: float) -> None:
    for number, order in enumerate(permutations(ABC)):
        cluster = ModelCluster(seed=number)
        watch = started(cluster, LAYOUTS[layout], {name: place * gap for place, name in enumerate(order)})
        come_up(cluster, watch, 12.0, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_node_that_starts_late_joins(layout: str) -> None:
    for number, late in enumerate(ABC):
        cluster = ModelCluster(seed=number)
        watch = started(cluster, LAYOUTS[layout], {name: 20.0 if name == late else 0.0 for name in ABC})
        come_up(cluster, watch, 12.0, 3)


@pytest.mark.parametrize("listed", ["in order", "last first", "own first"])
@pytest.mark.parametrize("gap", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_up_to_four_seeds_form_one_cluster_in_every_order_of_starting(count: int, gap: float, listed: str) -> None:
    names = ("a", "b", "c", "d")[:count]
    lists = {
        "in order": dict.fromkeys(names, names),
        "last first": dict.fromkeys(names, names[::-1]),
        "own first": {name: (name, *(other for other in names if other != name)) for name in names},
    }[listed]
    for number, order in enumerate(permutations(names)):
        cluster = ModelCluster(seed=number)
        watch = started(cluster, lists, {name: place * gap for place, name in enumerate(order)})
        come_up(cluster, watch, 12.0, count)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_two_nodes_that_list_each_other_form_one_cluster(order: str) -> None:
    for gap in (0.0, 0.0005, 0.04, 3.0, 30.0):
        cluster = ModelCluster(seed=1)
        watch = started(cluster, {"a": ("b",), "b": ("a",)}, {order[0]: 0.0, order[1]: gap})
        come_up(cluster, watch, 3.0, 2)


@pytest.mark.parametrize("first", ABC)
def test_silent_first_seed_holds_the_others_up_for_five_seconds(first: str) -> None:
    seeds = (first, *(name for name in ABC if name != first))
    others = [name for name in ABC if name != first]
    cluster = ModelCluster(seed=2)
    watch = started(cluster, dict.fromkeys(ABC, seeds), dict.fromkeys(others, 0.0))
    cluster.run_for(4.9, until=watch.check)
    assert not any(run.statuses for run in cluster.living)
    come_up(cluster, watch, 2.0, 2)
    cluster.start(first, seeds=seeds)
    come_up(cluster, watch, 2.0, 3)


@pytest.mark.parametrize("seeds", ["ab", "ba", "abc", "bac"])
def test_no_seed_forms_alone_before_more_than_half_of_them_are_there(seeds: str) -> None:
    cluster = ModelCluster(seed=4)
    watch = started(cluster, dict.fromkeys(ABC, tuple(seeds)), {"a": 0.0})
    cluster.run_for(60.0, until=watch.check)
    assert not cluster.runs["a"].statuses
    cluster.start("b", seeds=seeds)
    come_up(cluster, watch, 6.0, 2)


def test_a_seed_that_is_let_forms_alone_and_the_others_join_it() -> None:
    free = TopologySettings(allow_new_cluster=True)
    cluster = ModelCluster(seed=3, settings=free)
    watch = started(cluster, dict.fromkeys(ABC, ("a", "b", "c")), {"b": 0.0})
    cluster.settings = TopologySettings()
    cluster.run_for(4.9, until=watch.check)
    assert not cluster.runs["b"].statuses
    come_up(cluster, watch, 2.0, 1)
    for name in ("a", "c"):
        cluster.start(name, seeds=("a", "b", "c"))
    come_up(cluster, watch, 2.0, 3)


@pytest.mark.parametrize("late", ABC)
def test_candidate_that_wakes_as_the_others_form_makes_no_second_cluster(late: str) -> None:
    for number, offset in enumerate(range(-12, 13, 2)):
        for order in (ABC, ("b", "a", "c"), ("c", "b", "a")):
            # The others form at one of their probes after 5 s; these are about a second apart.
            cluster = ModelCluster(seed=number, delay=0.02)
            watch = started(cluster, dict.fromkeys(ABC, order), {**dict.fromkeys(ABC, 0.0), late: 5.4 + offset / 20})
            come_up(cluster, watch, 15.0, 3)


def random_start(seed: int) -> None:
    """Start up to five seeds at random times over a lossy network, some just when others form."""
    rng = random.Random(seed)
    count = rng.choice((2, 3, 4, 5))
    names = "abcde"[:count]
    cluster = ModelCluster(seed=seed, delay=rng.choice((0.001, 0.05)))
    cluster.jitter, cluster.loss = rng.choice((0, 0.2)), rng.choice((0, 0.1, 0.1))
    seeds = tuple(rng.sample(names, count))
    at = {name: rng.choice((0.0, rng.uniform(0, 7), rng.uniform(5, 6.2))) for name in names}
    watch = started(cluster, dict.fromkeys(names, seeds), at)
    cluster.run_for(6.0, until=watch.check)
    cluster.loss = 0.0
    come_up(cluster, watch, 20.0, count)


@pytest.mark.parametrize("seed", range(60))
def test_random_starts_with_loss_and_delay_form_one_cluster(seed: int) -> None:
    random_start(seed)


@pytest.mark.parametrize("seed", regressions("forming"))
def test_start_that_once_made_two_clusters_makes_one(seed: int) -> None:
    random_start(seed)


def test_candidate_that_dies_before_it_forms_does_not_stop_the_others() -> None:
    cluster = ModelCluster(seed=5)
    watch = started(cluster, dict.fromkeys(ABC, (*ABC, "d")), dict.fromkeys(ABC, 0.0))
    cluster.run_for(3.0, until=watch.check)
    cluster.crash("a")
    cluster.start("d", seeds=(*ABC, "d"))
    come_up(cluster, watch, 12.0, 3)


def test_three_nodes_are_up_within_a_second() -> None:
    cluster = ModelCluster(seed=6)
    for name in ABC:
        cluster.start(name, seeds=ABC)
    cluster.run_for(1.0)
    assert cluster.all_up(3)


def test_joins_of_up_to_ten_nodes_are_seen_by_all_in_a_fifth_of_a_second() -> None:
    cluster = ModelCluster(seed=7, delay=0.005)
    cluster.form("a")
    for count, name in enumerate("bcdefghij", start=2):
        cluster.start(name, seeds=("a",))
        cluster.run_for(0.2)
        assert cluster.all_up(count)


def test_nobody_is_up_before_the_required_number_has_joined() -> None:
    from_three = ModelCluster(seed=8, settings=three_at_least())
    for name in "ab":
        from_three.start(name, seeds=("a",))
    from_three.run_for(20.0)
    assert set(from_three.runs["b"].statuses.values()) == {"joining"}
    from_three.start("c", seeds=("a",))
    from_three.run_for(1.0)
    assert from_three.all_up(3)


def test_nobody_is_up_before_there_are_enough_of_each_role() -> None:
    settings = TopologySettings(min_members=3, min_members_per_role=(("db", 2), ("web", 1)))
    cluster = ModelCluster(seed=11, settings=settings)
    for name, role in (("a", "web"), ("b", "db"), ("c", "web"), ("d", "web")):
        cluster.start(name, seeds=("a",), roles=(role,))
    cluster.run_for(20.0)
    assert {status for run in cluster.living for status in run.statuses.values()} == {"joining"}
    cluster.start("e", seeds=("a",), roles=("db",))
    cluster.run_for(1.0)
    assert cluster.all_up(5)


def test_minimum_for_each_role_must_be_the_same_at_both() -> None:
    cluster = ModelCluster(seed=12, settings=TopologySettings(min_members_per_role=(("db", 1),)))
    cluster.start("a", roles=("db",))
    cluster.run_for(1.0)
    cluster.settings = TopologySettings(min_members_per_role=(("db", 2),))
    joiner = cluster.start("b", seeds=("a",), roles=("db",))
    cluster.run_for(1.0)
    assert "expected min_members_per_role {'db': 1}, as the cluster has it, found {'db': 2} at b:2551" in joiner.outcome
    assert joiner.outcome.partition("settings")[2] in cluster.runs["a"].notes[-1]


def test_joiner_is_seen_as_joining_while_somebody_is_unreachable_and_comes_up_after() -> None:
    cluster = ModelCluster(seed=13, settings=TopologySettings(downing=None))
    cluster.form("abcd")
    watch = Watch(cluster)
    cluster.cut("d", "abc")
    cluster.run_for(8.0, until=watch.check)
    cluster.start("e", seeds=("a",))
    cluster.run_for(20.0, until=watch.check)
    for name in "abce":
        snapshot = cluster.runs[name].topology.view.snapshot
        assert snapshot is not None
        assert {member.id: member.status.name for member in snapshot.members}["e"] == "joining"
        assert [lost.host for lost in snapshot.unreachable] == ["d"]
    cluster.heal()
    come_up(cluster, watch, 15.0, 5)


ALONE = Cut(("a",), ("b", "c", "d", "e"))


@pytest.mark.parametrize("min_members", [1, 3])
def test_a_first_seed_that_restarts_cut_off_forms_nothing_and_joins_after_the_heal(
    min_members: int,
) -> None:
    scenario = Scenario(
        seed=1,
        nodes=("a", "b", "c", "d", "e"),
        faults=((0.0, ALONE), (20.0, Restart("a")), (40.0, Heal())),
        settings=ClusterSettings(min_members=min_members),
    )
    play(scenario, exclusive=True)


@pytest.mark.parametrize("others", ["", "x", "Ax"])
def test_a_cluster_in_which_nobody_was_ever_up_gives_way_to_one_that_has_begun(others: str) -> None:
    cluster = ModelCluster(seed=4, settings=TopologySettings(min_members=5))
    cluster.form("bcdez")
    assert cluster.all_up(5)
    lone = ["a", *others]
    cluster.cut(lone, "bcdez")
    cluster.settings = TopologySettings(min_members=5, allow_new_cluster=True)
    cluster.start("a", seeds=("a", "b", "c"))
    cluster.settings = TopologySettings(min_members=5)
    for name in others:
        cluster.start(name, seeds=("a", "b", "c"))
    cluster.run_for(20.0)
    assert {run: cluster.runs[run].statuses for run in lone} == dict.fromkeys(
        lone, {address(name): "joining" for name in sorted(lone)}
    )
    cluster.heal()
    cluster.run_for(25.0)
    assert [cluster.runs[name].outcome for name in lone] == ["downed"] * len(lone)
    assert cluster.all_up(5)
    for name in lone:
        cluster.start(name, seeds=("a", "b", "c"))
    cluster.run_for(5.0)
    assert cluster.all_up(5 + len(lone))


def test_of_two_clusters_in_which_nobody_was_ever_up_one_is_left() -> None:
    cluster = ModelCluster(seed=5, settings=TopologySettings(min_members=4, allow_new_cluster=True))
    cluster.cut("ab", "cd")
    for name in "acbd":
        cluster.start(name, seeds=("a", "c"))
        cluster.run_for(6.0)
    assert len({run.topology.state.cluster_id for run in cluster.living if run.topology.state}) == 2
    cluster.heal()
    cluster.run_for(25.0)
    assert {run.name: run.outcome for run in cluster.runs.values()} == {"a": "", "b": "", "c": "downed", "d": "downed"}
    for name in "cd":
        cluster.start(name, seeds=("a", "c"))
    cluster.run_for(5.0)
    assert cluster.all_up(4)


def test_a_cut_just_before_the_first_members_are_up_makes_no_second_cluster() -> None:
    for number, at in enumerate(range(0, 400, 4)):
        cluster = ModelCluster(seed=number, delay=0.02)
        for name in ABC:
            cluster.start(name, seeds=ABC)
        cluster.run_for(at / 1000)
        cluster.cut("a", "bc")
        cluster.run_for(12.0)
        in_one = {name: run.topology.state.cluster_id for name, run in cluster.runs.items() if run.topology.state}
        assert len({cluster_id for name, cluster_id in in_one.items() if any_up(cluster.runs[name])}) <= 1, at


def any_up(run: Run) -> bool:
    return "up" in run.statuses.values()


def test_nodes_that_were_all_downed_at_one_time_come_back_by_themselves() -> None:
    cluster = ModelCluster(seed=6)
    cluster.form(ABC)
    watch = Watch(cluster)
    for one, other in (("a", "bc"), ("b", "c")):
        cluster.cut(one, other)
    cluster.run_for(30.0, until=watch.check)
    assert [run.outcome for run in cluster.runs.values()] == ["downed"] * 3
    for name in ABC:
        cluster.start(name, seeds=ABC, remembers=True)
    cluster.run_for(30.0)
    assert not cluster.living[0].statuses
    cluster.heal()
    cluster.run_for(10.0, until=lambda: cluster.all_up(3))
    assert cluster.all_up(3)


def test_seeds_that_were_downed_and_remember_form_no_cluster_beside_the_one_that_goes_on() -> None:
    cluster = ModelCluster(seed=7)
    cluster.form("abcde")
    cluster.cut("ab", "cde")
    cluster.run_for(30.0)
    assert sorted(run.name for run in cluster.living) == ["c", "d", "e"]
    for name in "ab":
        cluster.start(name, seeds="abc", remembers=True)
    cluster.run_for(60.0)
    assert not any(cluster.runs[name].statuses for name in "ab")
    cluster.heal()
    cluster.run_for(10.0, until=lambda: cluster.all_up(5))
    assert cluster.all_up(5)


def three_at_least() -> TopologySettings:
    return TopologySettings(min_members=3)


def test_node_that_learns_of_a_lower_seed_is_never_up_alone_and_merged() -> None:
    cluster = ModelCluster(seed=9)
    watch = started(cluster, dict.fromkeys(ABC, ABC), dict.fromkeys(ABC, 0.0))
    come_up(cluster, watch, 12.0, 3)
    assert {name: watch.path(name, cluster.runs[name].node) for name in "bc"} == dict.fromkeys("bc", ["joining", "up"])


@pytest.mark.parametrize("same", ["node_id", "settings"])
def test_joiner_that_does_not_fit_is_refused_with_the_reason(same: str) -> None:
    cluster = ModelCluster(seed=10)
    cluster.form("ab")
    if same == "settings":
        cluster.settings = three_at_least()
    run = cluster.start("c", seeds=("a",), node_id="b" if same == "node_id" else "c")
    cluster.run_for(1.0)
    assert not run.alive
    assert (
        "node_id 'b' belongs to b" if same == "node_id" else "expected min_members 1, as the cluster has it, found 3"
    ) in run.outcome
    assert cluster.all_up(2)
