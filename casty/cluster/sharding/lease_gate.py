"""Gate of the replies to asks of entities, by the serving lease of this node.

Owns the replies that came while the node did not serve. They are given once it serves again: until then another node
may have the entity, and the state that was told of may be lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Never

from casty.cluster.leases.serving import ServingLease
from casty.refs import ActorRef
from casty.runtime.events import SHARD_MOVED
from casty.runtime.ports import KernelPort

HELD_REPLIES_MAX: Final = 10_000
"""Replies waiting for the lease; more are dead letters."""


class LeaseGate:
    """Gate of one node with entities."""

    def __init__(self, kernel: KernelPort, serving: ServingLease) -> None:
        self._kernel = kernel
        self._serving = serving
        self._is_closed = False
        self._held: deque[tuple[Callable[[], None], object, ActorRef[Never]]] = deque()

    @property
    def is_open(self) -> bool:
        """Whether a reply may be given now: this node serves, and none waits before it."""
        if self._held or self._is_closed:
            return False
        return self._serving.serves_at(self._kernel.now())

    def hold(self, give: Callable[[], None], reply: object, ref: ActorRef[Never]) -> None:
        """Keep a reply until this node serves; a dead letter where too many wait."""
        if not self._is_closed and len(self._held) < HELD_REPLIES_MAX:
            self._held.append((give, reply, ref))
            self.look()
        else:
            self._kernel.dead_letter(reply, ref, SHARD_MOVED)

    def look(self) -> None:
        """Give what waits, as long as this node serves."""
        while self._held and self._serving.is_serving:
            give, _, _ = self._held.popleft()
            give()

    def close(self) -> None:
        """Make dead letters of what waits: this node never serves again."""
        self._is_closed = True
        while self._held:
            _, reply, ref = self._held.popleft()
            self._kernel.dead_letter(reply, ref, SHARD_MOVED)

    def __repr__(self) -> str:
        return f"<LeaseGate {'open' if self.is_open else 'shut'} held={len(self._held)}>"
