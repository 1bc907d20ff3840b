"""Questions and orders of a user about shards: where they are, which node is to have none, which kind is to be even.

Owns the checks of a key and of a time-out, and the words for each failure. It does not know how an order is carried
out: `Draining` gives it to a member, and the coordinator evens a kind out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import trio

from casty.address import NodeAddress
from casty.cluster.node import ClusterNode
from casty.cluster.sharding.sharding import Sharding
from casty.errors import ClusterTimeoutError
from casty.protocol.sharding.observability.shard_listing import ShardListing, listing_of
from casty.refs import EntityKey


class ShardOrders:
    """Questions and orders at one node. ``running`` returns it, or raises RuntimeError before the start."""

    def __init__(self, sharding: Sharding, running: Callable[[], ClusterNode]) -> None:
        self._sharding = sharding
        self._running = running

    async def listing(self, key: EntityKey[Any]) -> ShardListing:
        """Return where the shards of a kind are, as this node knows it."""
        node, name = self._running(), _checked_name(key)
        await trio.lowlevel.checkpoint()
        found = [listing_of(report) for report in node.kernel.hooks.shard_reports(name).reports]
        return found[0] if found else ShardListing(name, 0, (), None, 0, 0, ())

    async def drain(self, member: NodeAddress, timeout: float, *, is_drained: bool) -> None:
        """Order a member to have no shards, or some again. ClusterTimeoutError without its word in time."""
        with trio.move_on_after(timeout) as scope:
            await self._sharding.draining.order(member, is_drained=is_drained)
        if scope.cancelled_caught:
            order = "drain" if is_drained else "undrain"
            raise ClusterTimeoutError(f"{member} did not answer the order to {order} within {timeout:g} s")

    async def even_out(self, key: EntityKey[Any]) -> None:
        """Order the loads of a kind to be made even; return before anything has moved."""
        self._running()
        self._sharding.even_out(_checked_name(key))
        await trio.lowlevel.checkpoint()

    def __repr__(self) -> str:
        return f"<ShardOrders drained={len(self._sharding.draining.runs)}>"


def _checked_name(key: EntityKey[Any]) -> str:
    """Return the name of a key. TypeError for anything else."""
    if not isinstance(cast("object", key), EntityKey):
        raise TypeError(f"shards are of a kind of entities, such as EntityKey[Message]('carts'), got {key!r}")
    return key.name
