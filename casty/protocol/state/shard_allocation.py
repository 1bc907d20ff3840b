"""Where a shard lives: the form in which snapshots will tell it; nothing is sharded in this version."""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import NodeAddress
from casty.schema.names import message


@message("casty.ShardAllocation")
@dataclass(frozen=True, slots=True)
class ShardAllocation:
    """The node that serves a shard and the nodes that hold copies of it."""

    primary: NodeAddress
    """Node that serves the shard."""
    replicas: tuple[NodeAddress, ...] = ()
    """Nodes that hold copies of it."""
