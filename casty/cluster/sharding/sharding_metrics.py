"""Figures of the placement and of the entities of one node, read when somebody collects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from casty.cluster.sharding.entity_router import EntityRouter
from casty.protocol.sharding.observability.shard_observer import ShardObserver
from casty.runtime.system.metrics import Metric, Metrics

OWNED: Final = Metric("shards", "Shards that are open on this node.", ("key",))
MOVES: Final = Metric("moves", "Moves of shards between nodes that this node has seen.", ("key",))
HELD: Final = Metric(
    "held_messages", "Messages of this node that wait for the node of an entity, or for room to it.", ("key",)
)
ENTITIES: Final = Metric("entities", "Entities on this node that are alive, or have messages waiting.", ("key",))
WAITING: Final = Metric("waiting_messages", "Messages on this node that wait for an entity to start.", ("key",))
STARTS: Final = Metric("entity_starts", "Starts of entities on this node.", ("key",))
PASSIVATIONS: Final = Metric(
    "passivations", "Entities ended because they were idle, or the least recently used of too many.", ("key",)
)
REFUSED: Final = Metric(
    "refused_messages", "Messages for entities that were certainly not handled, by the reason.", ("key", "reason")
)
WORDS: Final = Metric("refused_words", "Words of members on the placement of shards that cannot be true.")

SHARDING_METRICS: Final = (OWNED, MOVES, HELD, ENTITIES, WAITING, STARTS, PASSIVATIONS, REFUSED, WORDS)
"""Figures of each kind of entities used on a node; ``sharding_`` stands before the name of each."""


def collect_sharding(
    metrics: Metrics, routers: Iterable[EntityRouter], observer: ShardObserver, words_refused: int
) -> None:
    """Hand over the figures of the placement, and of each kind of entities."""
    if words_refused:
        metrics.counter(WORDS, words_refused)
    for router in routers:
        key = router.key.name
        metrics.gauge(OWNED, len(observer.owned(key)), key)
        metrics.counter(MOVES, observer.moves[key], key)
        metrics.gauge(HELD, router.held, key)
        table = None if router.hosting is None else router.hosting.table
        if table is not None:
            metrics.gauge(ENTITIES, len(table.cells), key)
            metrics.gauge(WAITING, table.waiting, key)
            metrics.counter(STARTS, table.starts, key)
            metrics.counter(PASSIVATIONS, table.passivations, key)
        for reason, count in router.refused.items():
            metrics.counter(REFUSED, count, key, reason.value)
