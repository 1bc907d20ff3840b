"""Plays a scenario with the protocol alone, and holds it to the rules.

Owns the order of a play: the nodes come up, the faults happen while services come and go and every
event is checked, the faults end, whoever lives agrees, the rest is started again, and there is one
cluster. It does not know what a rule is (`invariants`) or how a failing scenario shrinks (`shrinking`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from casty.protocol.assembly import availability_of, topology_settings
from casty.testing.simulation.exclusive import OneOwner
from casty.testing.simulation.faults import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Wake,
)
from casty.testing.simulation.invariants import InvariantBroken, Watch, check_events, check_snapshots
from casty.testing.simulation.model import ModelCluster
from casty.testing.simulation.returning import ReturnHeard
from casty.testing.simulation.run import Run
from casty.testing.simulation.scenario import Scenario
from casty.testing.simulation.silence import SilenceNoticed
from casty.testing.simulation.trace import Show, Trace

FORM_WITHIN = 10.0
AGREE_WITHIN = 45.0
"""After the last fault: a silence is noticed, downing decides twice at worst, the leader removes."""
REJOIN_WITHIN = 60.0
RESTART_EVERY = 5.0
DELAY = 0.001
CLOCK_SPREAD = 1000.0
OFFER_EVERY = 1.0
SERVICES = ("cart", "stock", "mail", "search")


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a scenario in which everything held."""

    seconds: float
    """Virtual time."""
    messages: int
    """Messages that were sent."""
    digest: str
    """The same for the same scenario, everywhere; another for a scenario that goes another way."""


def play(scenario: Scenario, *, exclusive: bool = False, show: Show | None = None) -> Played:
    """Play a scenario once, with the protocol alone.

    Parameters:
        scenario: What to play.
        exclusive: Whether every node wants to do work that only one node may do, so that `OneOwner` is a rule too.
        show: Function that is told each thing that happens; None shows nothing.

    Returns:
        What came of it.

    Raises:
        InvariantBroken: A rule does not hold.

    >>> from casty.testing.simulation import Crash, Scenario
    >>> scenario = Scenario(seed=7, nodes=("a", "b", "c"), faults=((1.5, Crash("b")),))
    >>> play(scenario) == play(scenario)
    True
    """
    stage = _Stage(scenario, Trace(show), exclusive=exclusive)
    stage.form()
    stage.suffer()
    stage.recover()
    cluster = stage.cluster
    for run in [*cluster.past, *cluster.runs.values()]:
        check_events(run)
        check_snapshots(run)
    return Played(cluster.now, cluster.sent, stage.trace.digest)


class _Stage:
    """One play of a scenario."""

    def __init__(self, scenario: Scenario, trace: Trace, *, exclusive: bool) -> None:
        self.scenario = scenario
        self.trace = trace
        self.cluster = ModelCluster(scenario.seed, settings=topology_settings(scenario.settings), delay=DELAY)
        self.cluster.clock_spread = CLOCK_SPREAD
        self.cluster.availability = partial(availability_of, settings=scenario.settings)
        self.cluster.trace = self.trace
        restarts = any(isinstance(fault, Restart) for _, fault in scenario.faults)
        # Nodes that start anew may found a cluster which never begins, or begin one after the last one has ended.
        watch = Watch(self.cluster, one_cluster=not restarts)
        owner = [OneOwner(self.cluster).check] if exclusive else []
        self.checks: list[Callable[[], bool]] = [
            watch.check,
            SilenceNoticed(self.cluster).check,
            ReturnHeard(self.cluster).check,
            *owner,
        ]
        self.offered: dict[str, tuple[str, ...]] = {}
        self._rng = random.Random(scenario.seed)

    def form(self) -> None:
        """Start all nodes and let them come up."""
        for name in self.scenario.nodes:
            self._start(name, self.scenario.nodes)
        self._pass(FORM_WITHIN, until=lambda: self.cluster.all_up(len(self.scenario.nodes)))
        if not self.cluster.all_up(len(self.scenario.nodes)):
            self._fail("nodes without faults come up", FORM_WITHIN)

    def suffer(self) -> None:
        """Let the faults happen at their times, while services come and go."""
        began, offer_at = self.cluster.now, 0.0
        for at, fault in self.scenario.faults:
            while offer_at < at:
                self._pass(began + offer_at - self.cluster.now)
                self._offer_something()
                offer_at += OFFER_EVERY * (0.5 + self._rng.random())
            self._pass(began + at - self.cluster.now)
            self._apply(fault)

    def recover(self) -> None:
        """End the faults; the living must agree, and with everybody started again there is one cluster."""
        cluster = self.cluster
        self._end_faults()
        self._pass(AGREE_WITHIN, until=self._is_agreed)
        if not self._is_agreed():
            self._fail("the living agree after the faults", AGREE_WITHIN)
        deadline = cluster.now + REJOIN_WITHIN
        while not self._is_whole() and cluster.now < deadline:
            members = [run.name for run in cluster.living if run.topology.state is not None]
            for name in self.scenario.nodes:
                if not cluster.runs[name].alive:
                    self._start(name, tuple(dict.fromkeys((*members, *self.scenario.nodes))))
            self._pass(RESTART_EVERY, until=self._is_whole)
        if not self._is_whole():
            self._fail("everybody comes back into one cluster", REJOIN_WITHIN)

    def _start(self, name: str, seeds: tuple[str, ...]) -> None:
        self.cluster.start(name, seeds=seeds)
        self.offered[name] = ()

    def _offer_something(self) -> None:
        name = self._rng.choice(sorted(self.cluster.runs))
        keys = tuple(key for key in SERVICES if self._rng.random() < 0.5)
        if self.cluster.runs[name].alive:
            self.offered[name] = keys
            self.cluster.offer(name, *keys)

    def _apply(self, fault: Fault) -> None:
        cluster = self.cluster
        self.trace.add(cluster.now, repr(fault))
        match fault:
            case Crash(node):
                cluster.crash(node)
            case Restart(node):
                self._start(node, self.scenario.nodes)
            case Pause(node):
                if cluster.runs[node].alive:
                    cluster.pause(node)
            case Wake(node):
                cluster.resume(node)
            case Leave(node):
                cluster.leave(node)
            case Cut(one, other, one_way=one_way):
                cluster.cut(one, other, one_way=one_way)
            case Heal():
                cluster.heal()
            case Loss(share):
                cluster.loss = share
            case Delay(seconds, jitter=jitter):
                cluster.delay, cluster.jitter = max(seconds, DELAY), jitter
            case Reorder(share, by=by):
                cluster.held_up, cluster.held_up_for = share, by
            case Duplicate(share):
                cluster.duplicated = share
            case ClockSkew(node, rate):
                cluster.skew(node, rate)
            case _ as never:
                assert_never(never)
        self._check()

    def _end_faults(self) -> None:
        cluster = self.cluster
        cluster.heal()
        cluster.delay, cluster.jitter = DELAY, 0.0
        cluster.loss = cluster.held_up = cluster.duplicated = 0.0
        for name in cluster.runs:
            cluster.resume(name)
            cluster.skew(name, 1.0)

    def _pass(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        self.cluster.run_for(max(seconds, 0.0), until=lambda: self._check() or until())

    def _check(self) -> bool:
        for check in self.checks:
            check()
        return False

    def _is_agreed(self) -> bool:
        """Return whether whoever lives is in one cluster that has nobody else; true when no member is left."""
        living = self.cluster.living
        members = [run for run in living if run.topology.state is not None]
        return not members or (self._are_one(members) and len(living) == len(members))

    def _is_whole(self) -> bool:
        living = self.cluster.living
        return {run.name for run in living} >= {*self.scenario.nodes} and self._are_one(living)

    def _are_one(self, runs: list[Run]) -> bool:
        if not self.cluster.all_up(len(runs)):
            return False
        states = [run.topology.state for run in runs]
        snapshots = [run.topology.view.snapshot for run in runs]
        offered = {(run.name, key) for run in runs for key in self.offered[run.name]}
        return len({state.digest for state in states if state is not None}) == 1 and all(
            snapshot is not None and {(entry.node.host, entry.key) for entry in snapshot.registry} == offered
            for snapshot in snapshots
        )

    def _fail(self, rule: str, seconds: float) -> None:
        views = "; ".join(
            f"{run.name} {run.outcome or ('paused' if run.paused else 'alive')} sees {_in_words(run)}"
            for run in self.cluster.runs.values()
        )
        raise InvariantBroken(rule, f"not so after {seconds:g} s, at {self.cluster.now:.4f}: {views}")


def _in_words(run: Run) -> str:
    return ", ".join(f"{address.host} {status}" for address, status in run.statuses.items()) or "nobody"
