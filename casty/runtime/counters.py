"""Events of one system, in numbers.

Owns the counters of a kernel. Whoever causes an event counts it here, by plain addition: a call for each message is
2 % of a tell. How they balance is said by `casty.runtime.system.statistics.SystemStatistics`.
"""

from __future__ import annotations

from casty.runtime.events import DeadLetterReason


class Counters:
    """Totals since the start of a system, except for ``actors``."""

    __slots__ = (
        "actors",
        "asks",
        "asks_timed_out",
        "dead_letters",
        "delivered",
        "listener_failures",
        "rejected",
        "restarts",
        "signals",
    )

    def __init__(self) -> None:
        self.actors = 0
        """Actors alive now."""
        self.delivered = 0
        """Messages and signals handed to handlers and inboxes."""
        self.signals = 0
        """Those of them that were timers and ends of watched actors."""
        self.rejected = 0
        """Messages refused with MailboxFull."""
        self.restarts = 0
        self.listener_failures = 0
        """Errors raised by lifecycle listeners."""
        self.asks = 0
        """Asks begun; also the serial number of the latest."""
        self.asks_timed_out = 0
        self.dead_letters: dict[DeadLetterReason, int] = {}

    def note_dead_letter(self, reason: DeadLetterReason) -> None:
        """Count a message that nobody will handle."""
        self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1

    def __repr__(self) -> str:
        return f"<Counters actors={self.actors} delivered={self.delivered}>"
