"""Locations of shards, as snapshots of the cluster show them."""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import NodeAddress
from casty.schema.names import message


@message("casty.ShardAllocation")
@dataclass(frozen=True, slots=True)
class ShardAllocation:
    """The node serving a shard and the nodes with copies of it."""

    primary: NodeAddress
    """Node serving the shard."""
    replicas: tuple[NodeAddress, ...] = ()
    """Nodes with copies of it; none in this version, in which entities live in the memory of one node."""


@dataclass(frozen=True, slots=True)
class Allocations:
    """Shards of all keys with a node serving them, and a number to grow with every change."""

    by_key: dict[str, dict[int, ShardAllocation]] = field(default_factory=dict[str, dict[int, ShardAllocation]])
    epoch: int = 0


NO_ALLOCATIONS = Allocations()


@dataclass(frozen=True, slots=True)
class ShardsAllocated:
    """Effect of the placement, for snapshots of the membership: shards have these places now."""

    allocations: Allocations
