"""A census: each node tells the others how many actors it runs. An extension, by the public names of casty alone."""

from __future__ import annotations

from dataclasses import dataclass

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusterTable, ConfigError, Metric, UniqueAddress

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
class Recount:
    """Between nodes: I leave, and what I ran may start at yours, so count now."""


@casty.message("example.census.GetCensus")
@dataclass(frozen=True)
class GetCensus:
    """To the actor of any node: how many actors run where?"""

    reply_to: ActorRef[dict[str, int]]


@dataclass(frozen=True)
class Tick:
    """Within a node: count."""


CensusMessage = GetCensus | Tick


class Census(casty.ClusterExtension):
    """The census of one node."""

    name = "census"
    capability = b"1"
    settings_type = CensusSettings

    def __init__(self, settings: CensusSettings | None = None) -> None:
        self._settings = settings or CensusSettings()
        self._counts = ClusterTable("counts", int, bytes_max=1_024)
        self.tables = (self._counts,)

    def attach(self, node: casty.ExtensionNode) -> None:
        self._node = node
        node.add_control(Recount, "example.census.recount", self._recount)

    def start(self, node: casty.ExtensionNode) -> None:
        behavior = Behaviors.setup(self._begin)
        self._actor: ActorRef[CensusMessage] = node.spawn(behavior, "_census", accepts=[GetCensus])

    async def leave(self) -> None:
        self._counts.remove("actors")
        for peer in self._node.peers:
            self._node.send(peer.unique, Recount())

    def collect(self, metrics: casty.Metrics) -> None:
        metrics.gauge(KNOWN, len(self._counts.rows))

    def _recount(self, peer: UniqueAddress, message: Recount, size: int) -> None:
        self._actor.tell(Tick())

    async def _begin(self, ctx: ActorContext[CensusMessage]) -> Behavior[CensusMessage]:
        ctx.schedule_with_fixed_delay(Tick(), self._settings.interval)
        return Behaviors.receive(self._take)

    async def _take(self, ctx: ActorContext[CensusMessage], message: CensusMessage) -> Behavior[CensusMessage]:
        match message:
            case Tick():
                self._counts.set("actors", self._node.system.statistics().actors)
            case GetCensus(reply_to):
                counts = {str(node.address): rows["actors"] for node, rows in self._counts.rows.items()}
                reply_to.tell(counts)
        return Behaviors.same()
