"""Nodes without shards although they stay: ordered by anybody, told by each node of itself.

Owns the order to a node, and the table in which it tells all others. It does not know shards: the placement takes the
nodes drained as an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.cluster.extension_tables import ClusterTable
from casty.cluster.node import ClusterNode
from casty.wire.frame import Lane

ROW: Final = "drained"
AGAIN_AFTER: Final = 0.5
"""Seconds until an order without an effect is given again."""


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Order to a node: have no shards from now on, or have some again."""

    is_drained: bool


class Draining:
    """The drained nodes, as one node knows them. ``changed`` takes them at each change."""

    def __init__(self, changed: Callable[[frozenset[UniqueAddress]], None]) -> None:
        self.table: ClusterTable[bool] = ClusterTable("drained", bool, changed=self._rows_changed)
        """One row of each drained node, its own: it goes with the run of the node."""
        self.runs: frozenset[UniqueAddress] = frozenset()
        self._told = changed
        self._node: ClusterNode | None = None
        self._changed = trio.Event()

    def attach(self, node: ClusterNode) -> None:
        """Take orders on this node."""
        self._node = node
        node.control.add(DrainNode, "casty.sharding.drain", Lane.control, self._ordered)

    async def order(self, address: NodeAddress, *, is_drained: bool) -> None:
        """Order the node at an address, and return when its word about it has come here, or it has gone."""
        while (run := self._run_at(address)) is not None and (run in self.runs) is not is_drained:
            self._give(run, DrainNode(is_drained))
            with trio.move_on_after(AGAIN_AFTER):
                await self._changed.wait()
        await trio.lowlevel.checkpoint()

    def _run_at(self, address: NodeAddress) -> UniqueAddress | None:
        node = self._node
        members = () if node is None else node.board.members
        return next((member.unique for member in members if member.address == address), None)

    def _give(self, run: UniqueAddress, order: DrainNode) -> None:
        node = self._node
        if node is not None and run == node.self_node:
            self._ordered(run, order, 0)
        elif node is not None:
            node.send_control(run, order)

    def _ordered(self, peer: UniqueAddress, order: DrainNode, size: int) -> None:
        if order.is_drained:
            self.table.set(ROW, True)
        else:
            self.table.remove(ROW)

    def _rows_changed(self, member: UniqueAddress, rows: Mapping[str, bool]) -> None:
        runs = self.runs | {member} if rows.get(ROW) else self.runs - {member}
        if runs != self.runs:
            self.runs = runs
            self._told(runs)
            self._changed.set()
            self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<Draining drained={len(self.runs)}>"
