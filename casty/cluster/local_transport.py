"""The receiving end of delivery: envelopes that arrive for actors of this node."""

from __future__ import annotations

from casty.cluster.commands import ResolveNode, SubscribeTopology, UnsubscribeTopology
from casty.runtime.system import ActorSystem, kernel_of

OPEN_PATHS: dict[str, tuple[type, ...]] = {"/_cluster": (ResolveNode, SubscribeTopology, UnsubscribeTopology)}
"""Actors of the library that other nodes may send to, and what; the tree under ``/_`` is closed else.

Anything else would be a bug of this node if it came from here, and would end it.
"""
ASK_PREFIX = "/_ask/"


class LocalTransport:
    """Delivers what other nodes send to the actors of one system.

    Actors of the library are not reachable by path from outside, except the cluster actor and the
    slots of pending asks.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self.delivered = 0
        self.refused = 0

    def deliver(self, path: str, uid: int, message: object) -> bool:
        """Hand a message to the actor at ``path``; False when there is none that may get it."""
        hidden = path.startswith("/_") and not path.startswith(ASK_PREFIX)
        if hidden and not isinstance(message, OPEN_PATHS.get(path, ())):
            self.refused += 1
            return False
        if not kernel_of(self._system).deliver(path, uid, message):
            self.refused += 1
            return False
        self.delivered += 1
        return True

    def __repr__(self) -> str:
        return f"<LocalTransport {self._system.name} delivered={self.delivered} refused={self.refused}>"
