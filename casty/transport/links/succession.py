"""Succession of two connections of a link, after the peer has lost its end of the first.

Owns how long the old one is read. Frames written there by the peer before it dialled anew are on their way or have
come, their end behind them, and would be lost uncounted if the old connection ended with the first hello of the new
one. So they are acknowledged at once, and frames of the new one wait.
"""

from __future__ import annotations

from typing import Protocol

import trio

REPLACED = "replaced by a newer connection"
"""Reason for ending a connection that does not end by itself in this time."""

SILENCE_MAX = 0.5
"""Seconds without anything new on the old connection: then its end was lost on the way."""

READ_OUT_MAX = 3.0
"""Seconds for which it is read at most: the new one carries heartbeats too."""


class Connected(Protocol):
    """View of a session here."""

    used: float
    """Time of the last bytes, in or out."""
    is_held_up: bool
    """Whether the last frames wait for their turn, or for more to be read: then nothing new can come."""
    over: trio.Event

    def end(self, reason: str, *, graceful: bool) -> None:
        """Let it be over now."""
        ...


async def read_out(old: Connected) -> None:
    """Return when an old connection is over; it is ended when it need not be waited for any longer."""
    silent_since = trio.current_time()
    with trio.move_on_after(READ_OUT_MAX):
        while not old.over.is_set() and trio.current_time() < silent_since + SILENCE_MAX:
            with trio.move_on_at(silent_since + SILENCE_MAX):
                await old.over.wait()
            silent_since = trio.current_time() if old.is_held_up else max(silent_since, old.used)
    old.end(REPLACED, graceful=False)
