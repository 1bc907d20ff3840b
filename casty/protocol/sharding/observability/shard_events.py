"""Published events about the shards of all nodes, as one node sees them."""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.schema.names import message


@message("casty.ShardOpened")
@dataclass(frozen=True, slots=True)
class ShardOpened:
    """Published on every node: a shard is open on a node, and was on no other one as far as this node knows."""

    key: str
    """Name of the `EntityKey`."""
    shard: int
    """Number of the shard, from 0."""
    node: UniqueAddress
    """Run of the node that has opened it."""
    epoch: int
    """Number of this opening, above those of all earlier ones."""


@message("casty.ShardMoved")
@dataclass(frozen=True, slots=True)
class ShardMoved:
    """Published on every node: a shard is open on another node than before, by a planned move or a loss."""

    key: str
    """Name of the `EntityKey`."""
    shard: int
    """Number of the shard, from 0."""
    moved_from: UniqueAddress
    """Run of the node that had it before."""
    node: UniqueAddress
    """Run of the node that has opened it."""
    epoch: int
    """Number of this opening, above those of all earlier ones."""


@message("casty.ShardSuspended")
@dataclass(frozen=True, slots=True)
class ShardSuspended:
    """Published by the node concerned: it has no serving lease, and the entities of these shards handle nothing."""

    key: str
    """Name of the `EntityKey`."""
    shards: tuple[int, ...]
    """Numbers of the shards open on this node."""


@message("casty.ShardResumed")
@dataclass(frozen=True, slots=True)
class ShardResumed:
    """Published by the node concerned: it has the serving lease again, and its shards of the key go on."""

    key: str
    """Name of the `EntityKey`."""
