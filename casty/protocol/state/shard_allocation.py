"""Location of a shard: the form for snapshots to come; nothing is sharded in this version."""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import NodeAddress
from casty.schema.names import message


@message("casty.ShardAllocation")
@dataclass(frozen=True, slots=True)
class ShardAllocation:
    """The node serving a shard and the nodes with copies of it."""

    primary: NodeAddress
    """Node serving the shard."""
    replicas: tuple[NodeAddress, ...] = ()
    """Nodes with copies of it."""
