"""Placement beside the real membership: each node of the model has the machine, and the rules hold after each event.

Owns the joint between the machine and its node: what it hears of the membership, and how its shards close. Hosts come
and go while faults happen, entities take numbered messages, and at the end every shard is open once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from placement_rules import PlacementRules
from placement_senders import Senders, draw_entities

from casty.address import UniqueAddress
from casty.protocol.effects import Rng
from casty.protocol.gossip.handover import StatePublished, TableChanged
from casty.protocol.membership.inputs import GiveTerm
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
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
    NodesDrained,
    OpenShard,
    PlacementCame,
    PlacementEffect,
    PlacementEvent,
    RegionEnded,
    RegionStarted,
    SendMarker,
    ServesUntil,
    ShardTableChanged,
    TermBegun,
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
        if self.world is not None and isinstance(event, MembersSeen):
            self.world.senders.saw(str(self.self_node), event.state)
        if self.world is not None and self.at is not None and isinstance(event, NodesDrained):
            self.world.node(self.at).drained = event.runs
        effects = ShardPlacement.handle(self, event, now)
        if self.world is not None and self.at is not None:
            self.world.rules.check(self.world.node(self.at), effects)
            if isinstance(event, ServesUntil):
                self.world.senders.shard(str(self.self_node), event)
        return effects


@dataclass(slots=True)
class ModelledNode:
    """One run of the model, for the rules."""

    cluster: ModelCluster
    of: Run
    machine: ShardPlacement
    drained: frozenset[UniqueAddress] = frozenset()

    @property
    def run(self) -> UniqueAddress:
        return self.of.node

    @property
    def alive(self) -> bool:
        return self.of.alive

    @property
    def paused(self) -> bool:
        return self.of.paused

    @property
    def runs_now(self) -> bool:
        return self.of.alive and not self.of.paused

    @property
    def local_now(self) -> float:
        return self.of.clock_offset + self.of.clock_rate * self.cluster.now

    @property
    def rate(self) -> float:
        return self.of.clock_rate

    @property
    def cluster_id(self) -> int:
        state = self.of.topology.state
        return 0 if state is None else state.cluster_id

    @property
    def serves(self) -> bool:
        return self.of.alive and self.local_now < self.of.serving_until


class Clock:
    """What stands for a run that neither ends nor stands still, for doings of no run."""

    alive, paused = True, False


@dataclass
class PlacementWorld:
    """Placement on each node of a cluster, and entities. Nodes that offer the service `HOST` host the key."""

    chance: random.Random
    seed: int = 0
    closed: int = 0
    key: str = KEY
    cluster: ModelCluster | None = None
    nodes: dict[str, ModelledNode] = field(default_factory=dict)
    names: dict[UniqueAddress, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._nodes: dict[UniqueAddress, ModelledNode] = {}
        self._drains = random.Random(f"{self.seed} drains")
        self._drained: frozenset[UniqueAddress] = frozenset()
        self._closes_within = self.chance.choice(CLOSES_WITHIN)
        self.rules = PlacementRules(self._nodes.values)
        self.machine = self._machine()
        self.senders = Senders(self, passes=self._passes, chance=self.chance)
        draw_entities(self.senders, self.chance)
        self.senders.travels = lambda: 0.1 * self.chance.random() ** 3

    @property
    def now(self) -> float:
        assert self.cluster is not None
        return self.cluster.now

    @property
    def closes_after(self) -> float:
        self.closed += 1
        return self._closes_within * self.chance.random()

    def later(self, delay: float, act: Callable[[], None]) -> None:
        assert self.cluster is not None
        self.cluster.call_later(delay, cast(Run, CLOCK), act)

    def tell(self, name: str, event: PlacementEvent) -> None:
        assert self.cluster is not None
        self.cluster.hand(self.nodes[name].of, PLACEMENT, event)

    def _passes(self, sender: str, to: str) -> bool:
        assert self.cluster is not None
        return not self.cluster.is_cut(self.nodes[sender].of.name, self.nodes[to].of.name)

    def use(self, cluster: ModelCluster, draws: random.Random) -> None:
        """Let hosts change, and each node tell entities something."""
        self.change_hosts(cluster, draws)
        self.drain(cluster)
        for run in cluster.living:
            for _ in range(draws.randrange(4)):
                delay, shard = draws.random(), draws.randrange(SHARDS)
                cluster.call_later(delay, run, self.senders.send, str(run.node), shard)

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

    def drain(self, cluster: ModelCluster) -> None:
        """Drain a node now and then, or undrain one, and let all hear of it after a while."""
        if cluster.living and self._drains.random() < 0.15:
            self._drained ^= {self._drains.choice(cluster.living).node}
            for run in cluster.living:
                cluster.call_later(self._drains.random(), run, self._tell_drained, run)

    def _tell_drained(self, run: Run) -> None:
        assert self.cluster is not None
        self.cluster.hand(run, PLACEMENT, NodesDrained(self._drained))

    def _make(self, cluster: ModelCluster, run: Run, rng: Rng) -> ShardPlacement:
        machine = Watched(run.node, rng, world=self, at=run)
        self.cluster = cluster
        self._nodes[run.node] = self.nodes[str(run.node)] = ModelledNode(cluster, run, machine)
        self.names[run.node] = str(run.node)
        cluster.call_later(self._drains.random(), run, self._tell_drained, run)
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
                OpenShard: self._tell_entities,
                CloseShard: self._tell_entities,
                ShardTableChanged: lambda _, task, effect: self.senders.changed(str(task.run.node), effect),
                TermBegun: lambda cluster, task, effect: cluster.hand(task.run, "topology", GiveTerm(effect.number)),
                SendMarker: lambda _, task, effect: self.senders.mark(str(task.run.node), effect),
                # in a step of its own, as its task gets to it: the membership is in the middle of one
                HandedOver: lambda cluster, task, _: cluster.call_later(0.0, task.run, cluster.finish_work, task.run),
            },
            idle=(TableDigest, TablePlaces),
            late=(Enlist, Enlisted, Opened, Yielded, Retired),
            sender="anyone",
        )

    def _tell_entities(self, cluster: ModelCluster, task: ModelTask, effect: OpenShard | CloseShard) -> None:
        self.senders.shard(str(task.run.node), effect)


CLOCK = Clock()


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
    _ended: int = field(init=False, default=0)
    """Ended runs taken note of."""

    def look(self) -> None:
        ended = self.cluster.ended
        for run in ended[self._ended :] if len(ended) > self._ended else ():
            self.world.senders.crashed(str(run.node))
        self._ended = len(ended)
        self.world.senders.look()

    def is_settled(self) -> bool:
        if not self.world.senders.is_accounted():
            return False
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
        self.world.senders.accounted()


def play_placement(scenario: Scenario) -> PlacementWorld:
    """Play a scenario with placement on each node, under all rules of the membership too."""
    world = PlacementWorld(random.Random(scenario.seed), scenario.seed)
    play(
        scenario,
        machines=[world.machine],
        invariants=[lambda cluster: ShardsPlaced(cluster, world=world)],
        workload=world.use,
    )
    return world
