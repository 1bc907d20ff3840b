"""Placement beside the real membership: each node of the model has the machine, and the rules hold after each event.

Owns the joint between the machine and its node: what it hears of the membership, and how its shards close. Hosts come
and go while faults happen, and at the end every shard is open once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from placement_rules import PlacementRules

from casty.address import UniqueAddress
from casty.protocol.effects import Rng, Send
from casty.protocol.gossip.handover import StatePublished, TableChanged
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    Marker,
    Opened,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    Yielded,
)
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.placement_events import (
    CloseShard,
    HandedOver,
    HostsSeen,
    MembersSeen,
    OpenShard,
    PlacementCame,
    PlacementEffect,
    PlacementEvent,
    RegionEnded,
    RegionStarted,
    SendMarker,
    ServesUntil,
    ShardClosed,
    ShardTableChanged,
    WorkIsFree,
)
from casty.protocol.split_brain.serving_lease import Serving, WorkFree
from casty.protocol.state.registry import Registry
from casty.testing.simulation import InvariantBroken, ModelCluster, Rule, Scenario, play
from casty.testing.simulation.model.machine import ModelMachine
from casty.testing.simulation.model.run import ModelTask, Run

PLACEMENT = "placement"
KEY = "carts"
HOST = "cart"
SHARDS = 6
CLOSES_WITHIN = (0.0, 0.05, 4.0)
"""Seconds that the entities of a shard take to stop, at most; one of these in each scenario."""


@dataclass(slots=True)
class Watched(ShardPlacement):
    """The machine, with all rules held after each of its steps."""

    world: PlacementWorld | None = field(default=None, kw_only=True)
    at: Run | None = field(default=None, kw_only=True)

    def handle(self, event: PlacementEvent, now: float) -> Sequence[PlacementEffect]:
        effects = ShardPlacement.handle(self, event, now)
        if self.world is not None and self.at is not None:
            self.world.rules.check(self.world.node(self.at), effects)
        return effects


@dataclass(frozen=True, slots=True)
class ModelledNode:
    """One run of the model, for the rules."""

    cluster: ModelCluster
    of: Run
    machine: ShardPlacement

    @property
    def run(self) -> UniqueAddress:
        return self.of.node

    @property
    def runs_now(self) -> bool:
        return self.of.alive and not self.of.paused

    @property
    def local_now(self) -> float:
        return self.of.clock(self.cluster.now)

    @property
    def cluster_id(self) -> int:
        state = self.of.topology.state
        return 0 if state is None else state.cluster_id

    @property
    def serves(self) -> bool:
        return self.local_now < self.of.serving_until


@dataclass
class PlacementWorld:
    """Placement on each node of a cluster. Nodes that offer the service `HOST` host the key."""

    chance: random.Random
    closed: int = 0

    def __post_init__(self) -> None:
        self._nodes: dict[UniqueAddress, ModelledNode] = {}
        self._closes_within = self.chance.choice(CLOSES_WITHIN)
        self.rules = PlacementRules(self._nodes.values)
        self.machine = self._machine()

    def node(self, run: Run) -> ModelledNode:
        """Return the node of a run."""
        return self._nodes[run.node]

    def machine_of(self, run: UniqueAddress) -> ShardPlacement:
        """Return the machine of a run."""
        return self._nodes[run].machine

    @property
    def announced(self) -> frozenset[UniqueAddress]:
        """Living runs that announce to host the key."""
        return frozenset(node.run for node in self._nodes.values() if node.of.alive and HOST in node.of.offered)

    def change_hosts(self, cluster: ModelCluster, draws: random.Random) -> None:
        """Let a region fail now and then, and start again after a while."""
        run = draws.choice(cluster.living) if cluster.living else None
        if run is not None and draws.random() < 0.3:
            cluster.hand(run, PLACEMENT, RegionEnded(KEY))
            cluster.hand_later(draws.uniform(0.0, 3.0), run, PLACEMENT, RegionStarted(KEY))

    def _make(self, cluster: ModelCluster, run: Run, rng: Rng) -> ShardPlacement:
        machine = Watched(run.node, rng, world=self, at=run)
        self._nodes[run.node] = ModelledNode(cluster, run, machine)
        return machine

    def _machine(self) -> ModelMachine[Any]:
        return ModelMachine[Any](
            name=PLACEMENT,
            make=self._make,
            starts_with=(RegionStarted(KEY),),
            receives=dict.fromkeys(
                get_args(PlacementMessage), lambda sender, message, _: PlacementCame(sender, message)
            ),
            hears={
                StatePublished: lambda effect: MembersSeen(effect.state),
                Serving: lambda effect: ServesUntil(effect.until),
                WorkFree: lambda effect: WorkIsFree(effect.node, effect.at),
                TableChanged: hosts_in,
            },
            performs={
                OpenShard: _nothing,
                ShardTableChanged: _nothing,
                CloseShard: self._close,
                SendMarker: _mark,
                # in a step of its own, as its task gets to it: the membership is in the middle of one
                HandedOver: lambda cluster, task, _: cluster.call_later(0.0, task.run, cluster.finish_work, task.run),
            },
            lanes={Marker: "ordinary"},
            idle=(TableDigest, TablePlaces),
            late=(Enlist, Enlisted, Opened, Yielded, Retired),
            sender="anyone",
        )

    def _close(self, cluster: ModelCluster, task: ModelTask, effect: CloseShard) -> None:
        closed = ShardClosed(effect.key, effect.shard, effect.epoch)
        self.closed += 1
        cluster.hand_later(self._closes_within * self.chance.random(), task.run, PLACEMENT, closed)


def _nothing(cluster: ModelCluster, task: ModelTask, effect: object) -> None:
    """Leave an effect to nobody."""


def _mark(cluster: ModelCluster, task: ModelTask, effect: SendMarker) -> None:
    cluster.perform(task, (Send(effect.to, Marker(effect.key, effect.shard, effect.move)),))


def hosts_in(effect: TableChanged) -> HostsSeen:
    """Return the hosts that the registry names."""
    registry = effect.table
    assert isinstance(registry, Registry)
    entries = registry.entries(registry.slots.keys())
    hosts = frozenset(UniqueAddress(one.node, one.incarnation) for one in entries if one.key == HOST)
    return HostsSeen(KEY, SHARDS, hosts)


@dataclass(slots=True)
class ShardsPlaced(Rule):
    """The rules of placement; at the end every shard is open once, and the loads are even."""

    settle_within = 40.0
    world: PlacementWorld = field(kw_only=True)

    def is_settled(self) -> bool:
        announced = (self.world.machine_of(run) for run in self.world.announced)
        if not all(KEY in machine.region.regions for machine in announced):
            return False  # one has failed, and starts again soon
        try:
            self.at_rest()
        except InvariantBroken:
            return False
        return True

    def at_rest(self) -> None:
        self.world.rules.settled({KEY: SHARDS}, announced=self.world.announced)
        self.world.rules.rows_are_true()


def play_placement(scenario: Scenario) -> PlacementWorld:
    """Play a scenario with placement on each node, under all rules of the membership too."""
    world = PlacementWorld(random.Random(scenario.seed))
    play(
        scenario,
        machines=[world.machine],
        invariants=[lambda cluster: ShardsPlaced(cluster, world=world)],
        workload=world.change_hosts,
    )
    return world
