"""Slots for strangers: connections without a hello yet, or with one under check.

When all slots are taken, a new connection gets the slot of the oldest one. So nobody can keep others out by saying
nothing, or by naming silent addresses; it takes hundreds of connections a second.
"""

from __future__ import annotations

from collections.abc import Collection

import trio

SILENCE_GRANTED = 0.1
"""Seconds in which nobody is shown out for others. A hello comes right behind the connection, however long its way."""


class HandshakeSlot:
    """One connection at the door. ``scope`` is cancelled when it has to make room."""

    __slots__ = ("host", "scope", "since")

    def __init__(self, host: str, since: float) -> None:
        self.host = host
        self.since = since
        self.scope = trio.CancelScope()


class HandshakeSlots:
    """Counts connections before their hello, in all and per remote host.

    >>> gate = HandshakeSlots(total_max=2, per_host_max=1)
    >>> first, second, third = [gate.enter("10.0.0.9", at) for at in (0.0, 0.05, 0.1)]
    >>> first.scope.cancel_called, second, third is None, gate.inside
    (True, None, False, 1)
    """

    __slots__ = ("_at", "_per_host_max", "_total_max", "inside")

    def __init__(self, *, total_max: int, per_host_max: int) -> None:
        self.inside = 0
        self._total_max = total_max
        self._per_host_max = per_host_max
        self._at: dict[str, dict[HandshakeSlot, None]] = {}

    def enter(self, host: str, now: float) -> HandshakeSlot | None:
        """Return a slot; None when all are taken, and nobody has stood there for long enough to be shown out."""
        there = self._at.get(host, {})
        if len(there) >= self._per_host_max:
            candidates: Collection[HandshakeSlot] = there
        elif self.inside >= self._total_max:
            candidates = max(self._at.values(), key=len)
        else:
            candidates = ()
        if candidates:
            first = next(iter(candidates))
            if now - first.since < SILENCE_GRANTED:
                return None
            self.leave(first)
            first.scope.cancel()
        place = HandshakeSlot(host, now)
        self.inside += 1
        self._at.setdefault(host, {})[place] = None
        return place

    def leave(self, place: HandshakeSlot) -> None:
        """Give a place back; again changes nothing."""
        there = self._at.get(place.host, {})
        if place not in there:
            return
        self.inside -= 1
        del there[place]
        if not there:
            del self._at[place.host]

    def __repr__(self) -> str:
        return f"<HandshakeSlots inside={self.inside}>"
