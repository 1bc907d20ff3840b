"""Arrival of the last messages of a leaving node, before the others hear that it has gone.

Owns the question behind them and its answers. Messages between actors have links of their own: word of the leave would
overtake them, and nobody takes the messages of a removed run.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty.address import UniqueAddress
from casty.cluster.node import ClusterNode
from casty.wire.frame import Lane


@dataclass(frozen=True, slots=True)
class LastFrame:
    """Question behind all messages of a leaving node to actors of the receiver: has this one come?"""


@dataclass(frozen=True, slots=True)
class LastFrameTaken:
    """Answer: it has, and everything before it."""


class LastFrames:
    """The questions of one node, and its answers to others: two messages more in its registry."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node
        self._waiting: set[UniqueAddress] = set()
        self._changed = trio.Event()
        node.control.add(LastFrame, "casty.last_frame", Lane.ordinary, self._asked)
        node.control.add(LastFrameTaken, "casty.last_frame.ack", Lane.control, self._answered)

    async def wait_taken(self) -> None:
        """Return when all nodes in reach have taken everything sent to them before. Bound it: one may be silent."""
        if self._node.paused_sends is not None:
            await self._node.paused_sends.wait_empty()
        self._waiting = {peer for peer in self._linked if self._node.send_control(peer, LastFrame())}
        while self._waiting:
            await self._changed.wait()

    @property
    def _linked(self) -> list[UniqueAddress]:
        """The members in reach that messages between actors have gone to."""
        snapshot, transport = self._node.board.snapshot, self._node.transport
        if snapshot is None or transport is None:
            return []
        runs = [member.unique for member in snapshot.members if member.address not in snapshot.unreachable]
        return [run for run in sorted(runs) if run != self._node.self_node and transport.is_up(run, Lane.ordinary)]

    def _asked(self, peer: UniqueAddress, message: LastFrame, size: int) -> None:
        self._node.send_control(peer, LastFrameTaken())

    def _answered(self, peer: UniqueAddress, message: LastFrameTaken, size: int) -> None:
        self._waiting.discard(peer)
        self._changed.set()
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<LastFrames waiting={len(self._waiting)}>"
