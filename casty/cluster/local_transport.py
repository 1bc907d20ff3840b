"""The receiving end of delivery: envelopes that arrive for actors of this node."""

from __future__ import annotations

from casty.runtime.system import ActorSystem, kernel_of

OPEN_PATHS = frozenset({"/_cluster"})
"""Actors of the library that other nodes may send to; the rest of the tree under ``/_`` is closed."""
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
        hidden = path.startswith("/_") and path not in OPEN_PATHS and not path.startswith(ASK_PREFIX)
        if hidden or not kernel_of(self._system).deliver(path, uid, message):
            self.refused += 1
            return False
        self.delivered += 1
        return True

    def __repr__(self) -> str:
        return f"<LocalTransport {self._system.name} delivered={self.delivered} refused={self.refused}>"
