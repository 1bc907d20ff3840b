"""Whatever is cut while nodes start, stop and come back, two clusters never begin beside each other."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.state.leader import has_begun
from casty.testing.simulation.invariants.split_brain.exclusive import OneOwner
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import Run
from casty.testing.simulation.scenario.generating import sides_of

NAMES = "abcde"
STEPS_MAX = 6
COMES_BACK_WITHIN = 150.0
"""Two verdicts, one after the other, and the pauses of those that start again."""
LOOK_EVERY = 5.0


@dataclass(eq=False)
class Story:
    """Nodes that start at drawn times while cuts come, move and heal; two clusters must never begin.

    With ``remembers`` a node that was downed starts again as ``casty node`` does, at any time; without, it does once
    the paths are whole, and all are seeds: who has forgotten everything cannot know of members that no seed knows.
    Who has crashed starts again with nothing then.
    """

    seed: int
    remembers: bool
    rng: random.Random = field(init=False)
    names: str = field(init=False)
    seeds: tuple[str, ...] = field(init=False)
    cluster: ModelCluster = field(init=False)
    owner: OneOwner = field(init=False)
    begun: dict[int, str] = field(init=False, default_factory=dict[int, str])
    """Which clusters have begun, and in whose view first."""

    def __post_init__(self) -> None:
        rng = self.rng = random.Random(self.seed)
        count = rng.choice((3, 3, 4, 5))
        self.names = NAMES[:count]
        self.seeds = tuple(rng.sample(self.names, rng.choice((2, 3, count, count)) if self.remembers else count))
        settings = TopologySettings(min_members=rng.choice((1, 1, 2, 3)))
        self.cluster = ModelCluster(seed=self.seed, delay=rng.choice((0.001, 0.05)), settings=settings)
        self.cluster.jitter, self.cluster.loss = rng.choice((0, 0.2)), rng.choice((0, 0.1))
        self.cluster.clock_spread = 1000.0
        self.owner = OneOwner(self.cluster)

    def play(self) -> None:
        """Let it happen, and everybody come back as one cluster."""
        rng, cluster = self.rng, self.cluster
        order = sorted((rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 12))), name) for name in self.names)
        cuts = sorted(rng.choice((rng.uniform(0, 2), rng.uniform(0, 15))) for _ in range(rng.randint(1, STEPS_MAX)))
        steps: list[tuple[float, str]] = sorted([*order, *((at, "") for at in cuts)])
        for at, name in steps:
            self.run_until(at)
            if name:
                cluster.start(name, seeds=self.seeds)
            else:
                self.change()
        for _ in range(rng.randint(0, STEPS_MAX)):
            self.run_until(cluster.now + rng.choice((rng.uniform(0, 3), rng.uniform(0, 30))))
            self.change()
        self.run_until(cluster.now + rng.uniform(0, 30))
        self.recover()

    def change(self) -> None:
        """Cut other paths than before, heal them, or crash somebody."""
        rng, cluster = self.rng, self.cluster
        crashed = [run.name for run in cluster.runs.values() if run.outcome == "crashed"]
        drawn = rng.random()
        if drawn < 0.2:
            cluster.heal()
        elif drawn < 0.3 and not crashed and cluster.living:
            cluster.crash(rng.choice(cluster.living).name)
        else:
            if rng.random() < 0.7:
                cluster.heal()
            sides = sides_of(rng, self.names)
            one_way = rng.random() < 0.1
            for place, side in enumerate(sides):
                for other in sides[place + 1 :]:
                    cluster.cut(side, other, one_way=one_way)

    def recover(self) -> None:
        cluster = self.cluster
        cluster.heal()
        cluster.loss = cluster.jitter = 0
        deadline = cluster.now + COMES_BACK_WITHIN
        while cluster.now < deadline and not self.is_whole():
            for name in self.names:
                run = cluster.runs[name]
                if not run.alive:
                    cluster.start(name, seeds=self.seeds, remembers=self.remembers and run.outcome == "downed")
            self.run_until(cluster.now + LOOK_EVERY)
        assert self.is_whole(), {run.name: run.outcome or run.statuses for run in cluster.runs.values()}

    def is_whole(self) -> bool:
        return len(self.cluster.living) == len(self.names) and self.cluster.all_up(len(self.names))

    def run_until(self, at: float) -> None:
        """Let time pass; who remembers starts again a second after it was downed."""
        cluster = self.cluster
        while cluster.now < at:
            ended = [run.name for run in cluster.runs.values() if run.outcome == "downed"] if self.remembers else []
            for name in ended:
                cluster.start(name, seeds=self.seeds, remembers=True)
            cluster.run_for(min(1.0, at - cluster.now), until=self.check)

    def check(self) -> bool:
        self.owner.check()
        for run in self.cluster.living:
            self._look_at(run)
        return False

    def _look_at(self, run: Run) -> None:
        state = run.topology.state
        if state is None or state.cluster_id in self.begun or not has_begun(state):
            return
        self.begun[state.cluster_id] = run.name
        others = [
            other
            for other in self.cluster.living
            if (theirs := other.topology.state) is not None
            and theirs.cluster_id in self.begun
            and theirs.cluster_id != state.cluster_id
            and theirs.members[other.node].status.name == "up"
        ]
        assert not others, f"{run.name} begins a cluster beside that of {others[0].name}, at {self.cluster.now:.4f}"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("remembers", [False, True])
def test_two_clusters_never_begin_and_everybody_comes_back(seed: int, remembers: bool) -> None:
    Story(seed, remembers).play()


@pytest.mark.parametrize("seed", [102, 114, 221])
def test_those_who_remember_come_back_though_one_of_them_has_forgotten(seed: int) -> None:
    Story(seed, remembers=True).play()
