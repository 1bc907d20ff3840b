"""Memory held by the connections of strangers, all of them together.

Owns the choice of the one to go when that is too much: the largest holder of the host that holds the most. So a quiet
peer is let alone, however many frames those of other hosts, or its neighbours, have begun and do not end.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from casty.transport.links.session import Session

LINK_COST_BYTES: Final = 16 * 1024
"""Cost of an idle link: its tasks, stream and queue. 1,024 of them took 10 KiB each."""

REASON: Final = "strangers hold more than they may together, and it holds the most"


class Holdings:
    """Bytes held by the sessions of strangers, each with its cost; ``bytes_max`` bounds them together."""

    __slots__ = ("_held", "bytes", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes = 0
        self.bytes_max = bytes_max
        self._held: dict[Session, int] = {}

    def note(self, session: Session) -> None:
        """Take note of the bytes held by a session now, and end sessions until all together keep the bound."""
        if session.is_over:
            return
        held = LINK_COST_BYTES + session.held_bytes
        self.bytes += held - self._held.get(session, 0)
        self._held[session] = held
        while self.bytes > self.bytes_max:
            self._largest().end(REASON, graceful=True)  # whoever is told of it releases it here

    def release(self, session: Session) -> None:
        """Forget a session that is over, or one with a stranger no more."""
        self.bytes -= self._held.pop(session, 0)

    def review(self) -> None:
        """Look at all of them again: written bytes are held no more."""
        for session in list(self._held):
            if session in self._held:
                self.note(session)

    def _largest(self) -> Session:
        by_host: Counter[str] = Counter()
        for session, held in self._held.items():
            by_host[session.remote] += held
        host = max(by_host, key=by_host.__getitem__)
        there = [session for session in self._held if session.remote == host]
        return max(there, key=self._held.__getitem__)

    def __repr__(self) -> str:
        return f"<Holdings sessions={len(self._held)} bytes={self.bytes}>"
