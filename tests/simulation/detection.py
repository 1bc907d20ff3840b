"""What a failure detector goes through, in virtual time: silences that are none, and losses that are real.

`stalls` is the weather in which nobody may be accused; the others are what has to be seen, and how fast. Used by the
tests here and by `bench_detection.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from casty.protocol.state.events import UnreachableMember
from casty.testing.simulation import ModelCluster, Run

STALL = 3.0
LOSS = 0.1
JITTER = 0.2
SETTLED = 20.0, 50.0
"""Seconds after which clusters are disturbed: the first answers come less regularly."""
PATIENCE = 60.0
"""Virtual seconds after which something is not seen at all."""


@dataclass(frozen=True)
class Weather:
    """What came of a time in which everybody was alive, and of the crash at its end."""

    accused: tuple[tuple[float, str, str], ...]
    """When, at whose and whom, of those who were alive."""
    crash_seen_by_all: float
    """Seconds."""


@dataclass(frozen=True)
class Seen:
    """After how many seconds of a loss one node has shown it, and all have."""

    by_first: float
    by_all: float


def formed(seed: int, nodes: int, *, settled: float = 0.0) -> ModelCluster:
    """Return a cluster of so many nodes that have been up for a while; their names are in the order of addresses."""
    cluster = ModelCluster(seed)
    cluster.form([f"n{number:03}" for number in range(nodes)])
    if not cluster.all_up(nodes):
        raise AssertionError(f"{nodes} nodes are not all up after 10 s, seed {seed}")
    cluster.run_for(settled)
    return cluster


def stalls(seed: int, *, nodes: int = 20, minutes: int = 60) -> Weather:
    """Let each node stand still for 3 s once a minute, with loss and jitter; at last, let one of them crash."""
    cluster = formed(seed, nodes)
    rng = random.Random(seed)
    cluster.loss, cluster.jitter = LOSS, JITTER
    began = cluster.now
    for at, name, wakes in sorted(_moments(rng, list(cluster.runs), minutes)):
        cluster.run_for(began + at - cluster.now)
        (cluster.resume if wakes else cluster.pause)(name)
    accused = [
        (at - began, run.name, event.member.id)
        for run in cluster.runs.values()
        for at, event in run.events
        if isinstance(event, UnreachableMember)
    ]
    victim = rng.choice([run.name for run in cluster.living])
    cluster.crash(victim)
    return Weather(tuple(sorted(accused)), _seen(cluster, [victim]).by_all)


def _moments(rng: random.Random, names: Sequence[str], minutes: int) -> Iterator[tuple[float, str, bool]]:
    for minute in range(minutes):
        for name in names:
            at = 60.0 * minute + rng.uniform(0.0, 60.0 - STALL)
            yield at, name, False
            yield at + STALL, name, True


def crash(seed: int, nodes: int) -> Seen:
    """End the process of one node at a random moment, and close its connections."""
    cluster, victim = _any_node(seed, nodes)
    cluster.crash(victim)
    return _seen(cluster, [victim])


def silence(seed: int, nodes: int) -> Seen:
    """Cut one node off from all others at a random moment."""
    cluster, victim = _any_node(seed, nodes)
    cluster.cut([victim], _others(cluster, victim))
    return _seen(cluster, [victim])


def bad_link(seed: int, nodes: int, *, settled: tuple[float, float] = SETTLED) -> Seen:
    """Cut the link between a node and one that it monitors, at a random moment."""
    cluster, one = _any_node(seed, nodes, settled)
    other = random.Random(seed).choice(cluster.runs[one].availability.monitored).address.host
    cluster.cut([one], [other])
    mutual = cluster.runs[one].node in cluster.runs[other].availability.monitored
    return _seen(cluster, [one, other] if mutual else [other])


def takeover(seed: int, nodes: int, *, cut: bool) -> float:
    """Return how many seconds after the loss of a node another one may do its exclusive work."""
    cluster, victim = _any_node(seed, nodes)
    lost, began = cluster.runs[victim].node, cluster.now
    if cut:
        cluster.cut([victim], _others(cluster, victim))
    else:
        cluster.crash(victim)

    def is_free(run: Run) -> bool:
        state = run.topology.state
        removed = state is not None and lost in state.tombstones
        return removed and run.clock(cluster.now) >= run.work_free_at.get(lost, 0.0)

    return _until(cluster, began, lambda: any(is_free(run) for run in cluster.living if run.name != victim))


def young_bad_link(seed: int, nodes: int) -> Seen:
    """Do so in the first seconds of a cluster."""
    return bad_link(seed, nodes, settled=(0.0, 5.0))


def _any_node(seed: int, nodes: int, settled: tuple[float, float] = SETTLED) -> tuple[ModelCluster, str]:
    rng = random.Random(seed)
    cluster = formed(seed, nodes, settled=rng.uniform(*settled))
    return cluster, rng.choice(list(cluster.runs))


def _others(cluster: ModelCluster, name: str) -> list[str]:
    return [other for other in cluster.runs if other != name]


def _seen(cluster: ModelCluster, lost: Sequence[str]) -> Seen:
    """Let time pass until every node that lives shows all of the ``lost`` but itself as unreachable."""
    began = cluster.now
    # Whoever is cut off from everybody cannot show anything to anybody.
    watching = [run for run in cluster.living if lost != [run.name]]
    gone = {run.name: [cluster.runs[name].node for name in lost if name != run.name] for run in watching}

    def shows(run: Run, enough: Callable[[Iterator[bool]], bool]) -> bool:
        state = run.topology.state
        assert state is not None
        unreachable = state.lost_to(run.node)
        return enough(node not in state.members or node in unreachable for node in gone[run.name])

    first = _until(cluster, began, lambda: any(shows(run, any) for run in watching))
    return Seen(first, _until(cluster, began, lambda: all(shows(run, all) for run in watching)))


def _until(cluster: ModelCluster, began: float, holds: Callable[[], bool]) -> float:
    cluster.run_for(PATIENCE, until=holds)
    if not holds():
        raise AssertionError(f"not seen within {PATIENCE} virtual seconds")
    return cluster.now - began
