"""A census: each node tells the others how many actors it runs. An extension, by the public names of casty alone."""

from __future__ import annotations

from dataclasses import dataclass

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ConfigError, Metric, TopologySnapshot, UniqueAddress

KNOWN = Metric("nodes", "Nodes whose number of actors is known here.")


@dataclass(frozen=True)
class CensusSettings:
    """The table ``[census]``."""

    interval: float = 5.0
    """Seconds between two counts."""

    def __post_init__(self) -> None:
        if not self.interval > 0:
            raise ConfigError(f"CensusSettings.interval must be above 0, got {self.interval!r}")


@dataclass(frozen=True)
class Counted:
    """Between nodes: I run so many actors."""

    actors: int


@dataclass(frozen=True)
class Moving:
    """Between nodes: I leave, count me no more."""


@casty.message("example.census.GetCensus")
@dataclass(frozen=True)
class GetCensus:
    """To the actor of any node: how many actors run where?"""

    reply_to: ActorRef[dict[str, int]]


@dataclass(frozen=True)
class Heard:
    """Within a node: what another one has said."""

    peer: UniqueAddress
    actors: int | None


@dataclass(frozen=True)
class Tick:
    """Within a node: count."""


CensusMessage = GetCensus | Heard | Tick | TopologySnapshot


class Census(casty.ClusterExtension):
    """The census of one node."""

    name = "census"
    capability = b"1"
    settings_type = CensusSettings

    def __init__(self, settings: CensusSettings | None = None) -> None:
        self._settings = settings or CensusSettings()
        self._known: dict[UniqueAddress, int] = {}

    def attach(self, node: casty.ExtensionNode) -> None:
        self._node = node
        node.add_control(Counted, "example.census.counted", self._counted)
        node.add_control(Moving, "example.census.moving", self._moving)

    def start(self, node: casty.ExtensionNode) -> None:
        behavior = Behaviors.setup(self._begin)
        self._actor: ActorRef[CensusMessage] = node.spawn(behavior, "_census", accepts=[GetCensus])
        node.subscribe(self._actor)

    async def leave(self) -> None:
        for peer in self._node.peers:
            self._node.send(peer.unique, Moving())

    def collect(self, metrics: casty.Metrics) -> None:
        metrics.gauge(KNOWN, len(self._known))

    def _counted(self, peer: UniqueAddress, message: Counted, size: int) -> None:
        self._actor.tell(Heard(peer, message.actors))

    def _moving(self, peer: UniqueAddress, message: Moving, size: int) -> None:
        self._actor.tell(Heard(peer, None))

    async def _begin(self, ctx: ActorContext[CensusMessage]) -> Behavior[CensusMessage]:
        ctx.schedule_with_fixed_delay(Tick(), self._settings.interval)
        return Behaviors.receive(self._take)

    async def _take(self, ctx: ActorContext[CensusMessage], message: CensusMessage) -> Behavior[CensusMessage]:
        match message:
            case Tick():
                self._count()
            case Heard(peer, None):
                self._known.pop(peer, None)
            case Heard(peer, int(actors)):
                self._known[peer] = actors
            case TopologySnapshot(members):
                present = {member.unique for member in members}
                self._known = {node: actors for node, actors in self._known.items() if node in present}
            case GetCensus(reply_to):
                reply_to.tell({str(node.address): actors for node, actors in self._known.items()})
        return Behaviors.same()

    def _count(self) -> None:
        actors = self._node.system.statistics().actors
        self._known[self._node.self_node] = actors
        for peer in self._node.peers:
            self._node.send(peer.unique, Counted(actors))
