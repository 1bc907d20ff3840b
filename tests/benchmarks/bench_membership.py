"""How fast membership spreads and how little an idle cluster says, in the model simulation: one table.

Every row has its target, and whether it was reached. Times of the cluster are virtual, with links of 1 ms: the
machine that runs this has no part in them, and the same seed gives the same figure. A change is a node that announces
its leave; it is seen once every node has it, and provable once the leader has moved the node on. Of several leaves the
slowest counts. Bytes are those of frames, with their headers. Only processor times measure the machine: seconds of
this process.
``--nodes`` leaves out what is larger, for a quick look. Exits with 1 when a target was missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.cluster.node import CONTROL_ELEMENTS_MAX
from casty.config import TransportLimits
from casty.protocol.state.member import MemberStatus
from casty.testing.samples import control_registry
from casty.testing.simulation import ModelCluster, Run
from casty.wire.codec.codec import Codec

SPREAD = {10: (2.5, 3.6), 50: (3.7, 6.1), 100: (4.3, 6.9), 400: (4.8, 7.9)}
"""Members: seconds until all have seen a change, and until the leader can prove it."""
JOIN = 0.2
JOINS = 10
IDLE = {5: 5_000.0, 20: 5_000.0, 100: 6_000.0}
"""Members: bytes per second of one node."""
IDLE_SECONDS = 20.0
SPEED_NODES, SPEED_SECONDS, SPEED = 100, 60.0, 5.0
LARGEST = 1_000
FORMED_WITHIN = 60.0
STEP = 0.1
QUIET = 15.0
"""Seconds after which nothing is left to say about how the cluster came to be."""


@dataclass(frozen=True)
class Figure:
    """One row: ``most`` is the target, None where there is none."""

    what: str
    nodes: int
    value: float
    most: float | None
    unit: str

    @property
    def digits(self) -> int:
        """Decimals that say something."""
        return 3 if self.unit == "s" else 1

    @property
    def is_reached(self) -> bool:
        """Whether the target was met."""
        return self.most is None or self.value <= self.most

    def __str__(self) -> str:
        target = "" if self.most is None else f"{self.most:,.1f}"
        reached = "" if self.most is None else "yes" if self.is_reached else "NO"
        return f"{self.what:<48} {self.nodes:>6} {self.value:>12,.{self.digits}f} {target:>9} {self.unit:<6} {reached}"


def no_refs(*_: object) -> object:
    """Fail: no message between the nodes themselves holds a ref."""
    raise AssertionError("a control message holds a ref")


class Scale:
    """Weighs what is sent, as the wire would write it."""

    def __init__(self) -> None:
        limits = TransportLimits(elements_max=CONTROL_ELEMENTS_MAX)
        self._codec = Codec(export_ref=no_refs, import_ref=no_refs, limits=limits)  # type: ignore[arg-type]  # never called
        for entry in control_registry():
            self._codec.register(entry.cls, name=entry.wire_name)
        self.by_type: Counter[str] = Counter()
        self.count: Counter[str] = Counter()
        self._last: tuple[object, int] = (None, 0)

    def __call__(self, run: Run, to: UniqueAddress, message: object) -> None:
        """Add a message; the same one to several peers is written once."""
        if message is not self._last[0]:
            self._last = message, len(self._codec.frame_control(message))
        self.by_type[type(message).__name__] += self._last[1]
        self.count[type(message).__name__] += 1

    @property
    def total(self) -> int:
        """All bytes."""
        return self.by_type.total()


def formed(nodes: int) -> ModelCluster:
    """Return a cluster of so many nodes, all up."""
    cluster = ModelCluster(seed=nodes)
    cluster.form([f"n{number:04}" for number in range(nodes)], within=FORMED_WITHIN)
    if not cluster.all_up(nodes):
        raise SystemExit(f"{nodes} nodes have not come up in {FORMED_WITHIN} virtual seconds")
    return cluster


def until(cluster: ModelCluster, holds: Callable[[], bool]) -> float:
    """Let time pass until something holds, and return how much that was."""
    began = cluster.now
    cluster.run_for(FORMED_WITHIN, until=holds)
    return cluster.now - began


def knows(run: Run, node: UniqueAddress, status: MemberStatus) -> bool:
    """Return whether a run has a member at least in this status."""
    state = run.topology.state
    member = None if state is None else state.members.get(node)
    return member is None or member.status.rank >= status.rank


def one_leave(cluster: ModelCluster, run: Run) -> tuple[float, float]:
    """Return how long the leave of a run takes to be seen by all, and to be proven by the leader."""
    leader = min(cluster.living, key=lambda other: other.node)
    cluster.leave(run.name)
    waiting = [other for other in cluster.living if other is not run]
    proven_at, began = 0.0, cluster.now

    def all_know() -> bool:
        nonlocal proven_at
        if not proven_at and knows(leader, run.node, MemberStatus.exiting):
            proven_at = cluster.now
        while waiting and knows(waiting[-1], run.node, MemberStatus.leaving):
            waiting.pop()
        return not waiting

    seen = until(cluster, all_know)
    if not proven_at:
        until(cluster, lambda: knows(leader, run.node, MemberStatus.exiting))
        proven_at = cluster.now
    return seen, proven_at - began


def spread(nodes: int) -> Iterator[Figure]:
    """Measure how a change spreads."""
    cluster = formed(nodes)
    found: list[tuple[float, float]] = []
    for _ in range(3 if nodes >= SPEED_NODES else 5):
        cluster.run_for(QUIET)
        others = sorted(cluster.living, key=lambda run: run.node)[1:]
        found.append(one_leave(cluster, cluster.rng.sample(others, 1)[0]))
    seen, proven = SPREAD[nodes]
    yield Figure("change seen by all", nodes, max(time for time, _ in found), seen, "s")
    yield Figure("change provable by the leader", nodes, max(time for _, time in found), proven, "s")


def joins(nodes: int) -> Iterator[Figure]:
    """Measure how long a join takes until all see the node up, while the cluster is small."""
    cluster = formed(1)
    slowest = 0.0
    for count in range(2, nodes + 1):
        cluster.start(f"n{count:04}", seeds=("n0000",))
        slowest = max(slowest, until(cluster, lambda count=count: cluster.all_up(count)))
    yield Figure("join, to up at all", nodes, slowest, JOIN, "s")


def idle(nodes: int) -> Iterator[Figure]:
    """Measure what an idle node sends, and what it took to form the cluster."""
    cluster = ModelCluster(seed=nodes)
    cluster.taps.sent[:] = [forming := Scale()]
    cluster.form([f"n{number:04}" for number in range(nodes)], within=FORMED_WITHIN)
    cluster.run_for(QUIET)
    cluster.taps.sent[:] = [scale := Scale()]
    cluster.run_for(IDLE_SECONDS)
    gossip = scale.by_type["GossipDigest"]
    others = scale.by_type.keys() - {"Heartbeat", "HeartbeatAck", "GossipDigest"}
    if others:
        raise SystemExit(f"an idle cluster says {sorted(others)}")
    yield Figure("idle, all that a node sends", nodes, scale.total / IDLE_SECONDS / nodes, IDLE[nodes], "B/s")
    yield Figure("idle, of that gossip", nodes, gossip / IDLE_SECONDS / nodes, None, "B/s")
    cluster.taps.sent[:] = [change := Scale()]
    one_leave(cluster, cluster.runs[f"n{nodes - 1:04}"])
    cluster.run_for(QUIET)
    for name, weighed in (("forming", forming), ("one leave", change)):
        said = sum(size for kind, size in weighed.by_type.items() if not kind.startswith("Heartbeat"))
        yield Figure(f"{name}, all but heartbeats, for each node", nodes, said / nodes / 1_000, None, "kB")


def speed() -> Iterator[Figure]:
    """Measure the simulation itself: a cluster that forms and lives for a minute."""
    began = time.process_time()
    cluster = formed(SPEED_NODES)
    cluster.run_for(SPEED_SECONDS - cluster.now)
    spent = time.process_time() - began
    yield Figure(f"processor time of {SPEED_SECONDS:.0f} virtual seconds", SPEED_NODES, spent, SPEED, "s")


def largest(nodes: int) -> Iterator[Figure]:
    """Measure the largest cluster: it comes up, and comes to one version that all have seen."""
    began = time.process_time()
    cluster = formed(nodes)
    yield Figure("formed, all up at all", nodes, cluster.now, FORMED_WITHIN, "s")
    while len({run.topology.state and run.topology.state.digest for run in cluster.living}) > 1:
        cluster.run_for(STEP)  # to ask all of them before each event would take longer than the events
        if cluster.now > FORMED_WITHIN:
            raise SystemExit(f"{nodes} nodes have not come to one version in {FORMED_WITHIN} virtual seconds")
    yield Figure("formed, one version, seen by all at all", nodes, cluster.now, FORMED_WITHIN, "s")
    yield Figure("processor time of that", nodes, time.process_time() - began, None, "s")


def figures(nodes_max: int) -> Iterator[Figure]:
    """Measure row by row."""
    for nodes in SPREAD:
        if nodes <= nodes_max:
            yield from spread(nodes)
    yield from joins(JOINS)
    for nodes in IDLE:
        if nodes <= nodes_max:
            yield from idle(nodes)
    if nodes_max >= SPEED_NODES:
        yield from speed()
    if nodes_max >= LARGEST:
        yield from largest(LARGEST)


def main(nodes_max: int) -> bool:
    """Print the table as it comes, and return whether all targets were reached."""
    print(f"{'what':<48} {'nodes':>6} {'measured':>12} {'at most':>9} {'unit':<6} reached")
    missed = 0
    for figure in figures(nodes_max):
        print(figure, flush=True)
        missed += not figure.is_reached
    return not missed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, default=LARGEST, help="leave out clusters of more nodes")
    sys.exit(not main(parser.parse_args().nodes))
