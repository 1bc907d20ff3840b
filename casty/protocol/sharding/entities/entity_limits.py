"""Bounds of the entities of one key at one node, as its host has chosen them."""

from __future__ import annotations

from dataclasses import dataclass

ASKS_REFUSED_AFTER = 4
"""Failures in a row, before the same message, after which asks are told: a third of a second for what passes."""
STEADY_AFTER = 10.0
"""Seconds after which the failure of an activation is the first in a row."""


@dataclass(frozen=True, slots=True)
class EntityLimits:
    """Bounds of the entities of one key at one node."""

    passivate_after: float = 120.0
    """Seconds without a message after which an entity ends."""
    entities_max: int = 100_000
    """Above it the least recently used ones end."""
    entity_waiting_max: int = 1_000
    """Messages waiting for one entity to start."""
    waiting_max: int = 10_000
    """Messages waiting for any entity to start."""
    starts_max: int = 64
    """Entities starting at one time."""
    stop_timeout: float = 10.0
    """Seconds for the entities of a closing shard."""
    kept: str = ""
    """Id of the one entity that starts with its shard, and again after a failure, without a message; empty: none."""
