"""Partitions: at most one side goes on, whatever falls apart and whenever it heals."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from helpers.systems import check_all, regressions

from casty import PartitionView
from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.split_brain.downing import UNSTABLE_SHARE, stable_after
from casty.protocol.split_brain.strategies import (
    CustomStrategy,
    DownAll,
    KeepMajority,
    KeepOldest,
    LeaseMajority,
    StaticQuorum,
    Strategy,
)
from casty.testing.simulation.invariants.invariants import Watch
from casty.testing.simulation.model.model import ModelCluster

NINE = "abcdefghi"
SEEN_BY_ALL = 7.0
"""A cut is seen by all of a side in this time, a gossip round for the slowest included."""


def sides_of(rng: random.Random, names: str) -> list[str]:
    """Return two sides, or sometimes three, none of them empty."""
    count = 3 if len(names) > 3 and rng.random() < 0.25 else 2
    shuffled = rng.sample(names, len(names))
    cuts = sorted(rng.sample(range(1, len(names)), count - 1))
    bounds = zip([0, *cuts], [*cuts, len(names)], strict=True)
    return ["".join(sorted(shuffled[start:end])) for start, end in bounds]


def expected(sides: list[str], names: str) -> str:
    """Return the side that keeps the majority; of two halves the one with the lowest address; or none."""
    for side in sides:
        others = len(names) - len(side)
        if len(side) > others or (len(side) == others and names[0] in side):
            return side
    return ""


def cut_apart(cluster: ModelCluster, sides: list[str]) -> None:
    for place, side in enumerate(sides):
        for other in sides[place + 1 :]:
            cluster.cut(side, other)


def alive(cluster: ModelCluster) -> str:
    return "".join(sorted(run.name for run in cluster.living))


def formed(names: str, seed: int) -> tuple[ModelCluster, Watch]:
    cluster = ModelCluster(seed=seed)
    cluster.form(names)
    assert cluster.all_up(len(names))
    return cluster, Watch(cluster)


def rejoin(cluster: ModelCluster, watch: Watch, names: str) -> None:
    """Start what stopped again, with a seed that still runs, and let everything become one cluster."""
    seeds = (alive(cluster)[0], *names[:3])
    for name in names:
        if not cluster.runs[name].alive:
            cluster.start(name, seeds=seeds)
    cluster.run_for(25.0, until=lambda: watch.check() or cluster.all_up(len(names)))
    assert cluster.all_up(len(names)), {run.name: run.statuses for run in cluster.living}
    assert len({run.topology.state.cluster_id for run in cluster.living if run.topology.state}) == 1


def lasting_partition(seed: int) -> None:
    """Cut a quiet cluster apart for good: exactly the expected side goes on, and its members stay up."""
    rng = random.Random(seed)
    names = NINE[: (3, 5, 9)[seed % 3]]
    cluster, watch = formed(names, seed)
    cluster.run_for(rng.uniform(0.0, 3.0), until=watch.check)
    sides = sides_of(rng, names)
    cut_apart(cluster, sides)
    stays = expected(sides, names)
    keeper_ends: list[str] = []

    def keeps() -> bool:
        keeper_ends.extend(run.name for run in cluster.runs.values() if run.name in stays and not run.alive)
        return watch.check()

    cluster.run_for(SEEN_BY_ALL + stable_after(len(names)) + 1.0, until=keeps)
    assert (alive(cluster), keeper_ends) == (stays, [])
    cluster.run_for(5.0, until=watch.check)
    assert cluster.all_up(len(stays))
    cluster.heal()
    if stays:
        rejoin(cluster, watch, names)
    check_all(cluster)


def passing_partition(seed: int) -> None:
    """Cut at a bad moment, heal at a random one: at most one side goes on, as one cluster."""
    rng = random.Random(seed)
    names = NINE[: (3, 5, 9)[seed % 3]]
    cluster, watch = formed(names, seed)
    cluster.jitter, cluster.loss = rng.choice((0.0, 0.1)), rng.choice((0.0, 0.05))
    trouble = rng.choice(("none", "leave", "join", "crash"))
    victim = rng.choice(names)
    if trouble == "leave":
        cluster.leave(victim)
    elif trouble == "crash":
        cluster.crash(victim)
    elif trouble == "join":
        cluster.start("z", seeds=names[:3])
    cluster.run_for(rng.choice((0.0, 0.002, rng.uniform(0.0, 4.0))), until=watch.check)
    everybody = "".join(sorted(cluster.runs))
    sides = sides_of(rng, everybody)
    cut_apart(cluster, sides)
    patience = stable_after(len(everybody))
    longest = SEEN_BY_ALL + patience * (1 + UNSTABLE_SHARE) + 1.0
    healed_after = rng.uniform(0.5, longest)
    cluster.run_for(healed_after, until=watch.check)
    if seed % 2:
        cluster.heal()
    # Whoever hears after the heal that it was removed stops; the rest is one side.
    cluster.run_for(longest - healed_after, until=watch.check)
    cluster.run_for(2 * patience + SEEN_BY_ALL, until=lambda: watch.check() or cluster.all_up(len(cluster.living)))
    members = [run for run in cluster.living if run.topology.state is not None]
    if not seed % 2:
        assert sum(bool(set(side) & {run.name for run in members}) for side in sides) <= 1
    cluster.heal()
    cluster.loss = 0.0
    cluster.run_for(10.0, until=watch.check)
    members = [run for run in cluster.living if run.topology.state is not None]
    assert all(len(run.statuses) == len(members) for run in members), {run.name: run.statuses for run in members}
    assert not members or cluster.all_up(len(members))
    if members:
        rejoin(cluster, watch, everybody)
    check_all(cluster)


@pytest.mark.parametrize("seed", range(30))
def test_only_the_majority_survives_a_lasting_partition(seed: int) -> None:
    lasting_partition(seed)


@pytest.mark.parametrize("seed", range(30))
def test_at_most_one_side_survives_a_partition_at_a_bad_moment(seed: int) -> None:
    passing_partition(seed)


def test_partitions_that_once_failed() -> None:
    for seed in regressions("lasting"):
        lasting_partition(seed)
    for seed in regressions("passing"):
        passing_partition(seed)


@pytest.mark.parametrize("one_way", [False, True])
def test_of_two_nodes_the_lower_address_survives(one_way: bool) -> None:
    for sender, receiver in ("ab", "ba"):
        cluster, watch = formed("ab", seed=1)
        cluster.cut(sender, receiver, one_way=one_way)
        cluster.run_for(15.0, until=watch.check)
        assert alive(cluster) == "a"
        assert cluster.all_up(1)
        assert cluster.runs["b"].outcome == "downed"
        cluster.heal()
        rejoin(cluster, watch, "ab")


def test_node_that_nobody_hears_goes_though_it_hears_everybody() -> None:
    cluster, watch = formed("abcde", seed=2)
    cluster.cut("a", "bcde", one_way=True)
    cluster.run_for(20.0, until=watch.check)
    assert alive(cluster) == "bcde"
    assert cluster.all_up(4)


@pytest.mark.parametrize("names", ["abc", "abcde", NINE])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_node_that_hears_nobody_goes_alone_though_everybody_hears_it(names: str, place: int) -> None:
    cluster, watch = formed(names, seed=3)
    others = names.replace(names[place], "")
    cluster.cut(others, names[place], one_way=True)
    cluster.run_for(30.0, until=watch.check)
    assert alive(cluster) == others
    assert cluster.all_up(len(others))


STRATEGIES = [
    KeepMajority(),
    StaticQuorum(3),
    KeepOldest(),
    KeepOldest(down_if_alone=False),
    LeaseMajority("lease"),
    DownAll(),
]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_by_every_strategy_at_most_one_side_goes_on(strategy: Strategy, seed: int) -> None:
    rng = random.Random(seed)
    cluster = ModelCluster(seed=seed, settings=TopologySettings(downing=strategy))
    cluster.form("abcde")
    watch = Watch(cluster)
    if seed % 3 == 1:
        cluster.leave(rng.choice("abcde"))
    elif seed % 3 == 2:
        cluster.start("z", seeds="abc")
    cluster.run_for(rng.choice((0.0, 0.002, rng.uniform(0.0, 2.0))), until=watch.check)
    sides = sides_of(rng, "".join(sorted(cluster.runs)))
    cut_apart(cluster, sides)
    cluster.run_for(SEEN_BY_ALL + 10.0 * (1 + UNSTABLE_SHARE) + 2.0, until=watch.check)
    members = {run.name for run in cluster.living if run.topology.state is not None}
    going_on = [side for side in sides if members & set(side)]
    assert len(going_on) <= 1
    if seed % 3 == 0:
        # With a lease somebody always goes on; of three sides without a majority whoever asks first.
        assert going_on == kept_by(strategy, sides) or (isinstance(strategy, LeaseMajority) and len(sides) == 3)
    check_all(cluster)


def kept_by(strategy: Strategy, sides: list[str]) -> list[str]:
    """Return the side of a quiet cluster of five that a strategy keeps, if any."""
    match strategy:
        case KeepMajority() | LeaseMajority():
            side = expected(sides, "abcde")
            return [side] if side else []
        case StaticQuorum(size):
            return [side for side in sides if len(side) >= size]
        case KeepOldest(down_if_alone):
            oldest = [side for side in sides if "a" in side]
            others = [side for side in sides if "a" not in side]
            if down_if_alone and oldest == ["a"]:
                return others if len(others) == 1 else []  # of three sides, each of the others misses the oldest
            return oldest
        case _:
            return []


@pytest.mark.parametrize("alone", [1, 2])
def test_side_of_few_among_twenty_sees_all_whom_it_has_lost(alone: int) -> None:
    names = [f"n{number:02}" for number in range(20)]
    cluster = ModelCluster(seed=1)
    cluster.form(names)
    watch = Watch(cluster)
    cluster.cut(names[:alone], names[alone:])
    cluster.run_for(45.0, until=watch.check)
    assert [cluster.runs[name].outcome for name in names[:alone]] == ["downed"] * alone
    assert len(cluster.living) == 20 - alone


def test_without_downing_both_sides_wait_for_the_heal() -> None:
    cluster = ModelCluster(seed=3, settings=TopologySettings(downing=None))
    cluster.form("abcde")
    watch = Watch(cluster)
    cluster.cut("ab", "cde")
    cluster.run_for(120.0, until=watch.check)
    assert alive(cluster) == "abcde"
    assert set(cluster.runs["a"].statuses.values()) == {"up"}
    cluster.heal()
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(5)
    check_all(cluster)


def test_services_of_the_lost_side_go_with_it() -> None:
    cluster, watch = formed("abc", seed=4)
    cluster.offer("a", "cart")
    cluster.offer("b", "cart")
    cluster.run_for(1.0, until=watch.check)
    cluster.cut("a", "bc")
    cluster.run_for(16.0, until=watch.check)
    for name in "bc":
        snapshot = cluster.runs[name].topology.view.snapshot
        assert snapshot is not None
        assert {entry.node.host for entry in snapshot.registry} == {"b"}


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_that_restarts_while_it_is_cut_off_waits_and_joins_after_the_heal(seed: int) -> None:
    cluster, watch = formed("abc", seed=seed)
    cluster.cut("a", "bc")
    cluster.run_for(16.0, until=watch.check)
    assert cluster.runs["a"].outcome == "downed"
    cluster.start("a", seeds="abc")
    cluster.run_for(30.0, until=watch.check)
    assert not cluster.runs["a"].statuses  # it hears nobody, and one of three seeds forms no cluster
    cluster.heal()
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(3)
    check_all(cluster)


def test_side_that_promoted_a_voter_as_it_was_cut_off_is_alone_no_reason_for_the_other_to_go_on() -> None:
    cluster = ModelCluster(seed=3, settings=TopologySettings(downing=KeepMajority("db")))
    for name, roles in (("a", ()), ("c", ("db",))):
        cluster.start(name, seeds=("a", "c"), roles=roles)
    cluster.run_for(20.0, until=lambda: cluster.all_up(2))
    watch = Watch(cluster)
    cluster.start("b", seeds=("a", "c"), roles=("db",))

    def seen_by(name: str) -> dict[str, str]:
        return {address.host: status for address, status in cluster.runs[name].statuses.items()}

    cluster.run_for(20.0, until=lambda: watch.check() or seen_by("c").get("b") == "joining")
    cluster.cut("ab", "c")  # what c has seen is on its way to the leader, which moves b up
    cluster.run_for(1.0, until=watch.check)
    assert (seen_by("a")["b"], seen_by("c")["b"]) == ("up", "joining")
    cluster.run_for(SEEN_BY_ALL + 2 * stable_after(3) + 5.0, until=watch.check)
    assert alive(cluster) == "ab"
    check_all(cluster)


@dataclass(frozen=True)
class Weighed:
    """A strategy of a user's: members of the role count three times; an equal share is none."""

    role: str

    def against(self, partition: PartitionView) -> str:
        for votes in partition.votes():
            mine, theirs = (
                sum(3 if self.role in one.roles else 1 for one in side) for side in (votes.mine, votes.theirs)
            )
            if mine <= theirs:
                return f"has {mine} of {mine + theirs} votes"
        return ""


@pytest.mark.parametrize("seed", range(12))
def test_strategy_of_a_user_decides(seed: int) -> None:
    rng = random.Random(seed)
    heavy = set(rng.sample("abcde", 2))
    strategy = CustomStrategy(Weighed("heavy"))
    cluster = ModelCluster(seed=seed, settings=TopologySettings(downing=strategy))
    for name in "abcde":
        cluster.start(name, seeds=("a", "b", "c"), roles=("heavy",) if name in heavy else ())
    cluster.run_for(30.0, until=lambda: cluster.all_up(5))
    watch = Watch(cluster)
    sides = sides_of(rng, "abcde")
    cut_apart(cluster, sides)
    weights = {side: sum(3 if name in heavy else 1 for name in side) for side in sides}
    stays = next((side for side in sides if weights[side] > 9 - weights[side]), "")
    cluster.run_for(SEEN_BY_ALL + 2 * stable_after(5) + 5.0, until=watch.check)
    assert alive(cluster) == stays
    check_all(cluster)
