"""Counters of a system, and their balance."""

from __future__ import annotations

from dataclasses import dataclass

from casty.schema.names import message


@message("casty.SystemStatistics")
@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """Counters of one system; totals count from its start.

    While no actor runs, every message told to an actor is in exactly one of them: delivered (less the signals), a dead
    letter, rejected, or in a mailbox. An actor in the midst of a batch of at most 64 messages adds them at its end.
    """

    actors: int
    """Living actors, those of the library included."""
    messages_delivered: int
    """Messages and signals handed to handlers and inboxes, in total."""
    dead_letters: dict[str, int]
    """Dead letters by reason, in total. The reasons are a fixed set, whatever peers do."""
    asks_pending: int
    """Asks waiting for their reply."""
    timers: int
    """Deadlines kept: timers, schedules, buckets of asks, bounds of stops."""
    signals_delivered: int
    """Those delivered that were signals: timers, and the ends of watched actors."""
    messages_rejected: int
    """Messages refused with MailboxFull, in total."""
    asks: int
    """Asks begun, in total."""
    asks_timed_out: int
    """Those of them without a reply in time, in total."""
    restarts: int
    """Restarts of actors, after a failure or by their own choice, in total."""
    listener_failures: int
    """Errors raised by lifecycle listeners, in total."""
    mailboxes: dict[str, int]
    """Waiting messages by the path of the actor, its stashes included; nobody with none is in it."""

    @property
    def mailbox_size(self) -> int:
        """Number of messages that wait in all mailboxes together."""
        return sum(self.mailboxes.values())
