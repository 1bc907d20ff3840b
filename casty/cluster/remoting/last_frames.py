"""Arrival of the last messages of a leaving node, before the others hear that it has gone.

Owns the question behind them and its answers. Messages between actors have links of their own: word of the leave would
overtake them, and nobody takes the messages of a removed run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from casty.address import UniqueAddress
from casty.cluster.control_registry import ControlRegistry
from casty.wire.frame import Lane


@dataclass(frozen=True, slots=True)
class LastFrame:
    """Question behind all messages of a leaving node to actors of the receiver: has this one come?"""


@dataclass(frozen=True, slots=True)
class LastFrameTaken:
    """Answer: it has, and everything before it."""


class LastFrames:
    """The questions of one node, and its answers to others: two messages more in its registry."""

    def __init__(self, control: ControlRegistry, send: Callable[[UniqueAddress, object], bool]) -> None:
        self._send = send
        self._waiting: set[UniqueAddress] = set()
        self._changed = trio.Event()
        control.add(LastFrame, "casty.last_frame", Lane.ordinary, self._asked)
        control.add(LastFrameTaken, "casty.last_frame.ack", Lane.control, self._answered)

    async def wait_taken(self, peers: Iterable[UniqueAddress]) -> None:
        """Return when these nodes have taken everything sent to them before. Bound it: one may be silent."""
        self._waiting = {peer for peer in peers if self._send(peer, LastFrame())}
        while self._waiting:
            await self._changed.wait()

    def _asked(self, peer: UniqueAddress, message: LastFrame, size: int) -> None:
        self._send(peer, LastFrameTaken())

    def _answered(self, peer: UniqueAddress, message: LastFrameTaken, size: int) -> None:
        self._waiting.discard(peer)
        self._changed.set()
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<LastFrames waiting={len(self._waiting)}>"
