"""A mailbox: one bounded Trio memory channel, and what happens beyond the bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from casty.config import Mailbox, MailboxOverflowStrategy

BATCH_MESSAGES: Final = 64
"""Messages of one actor between two checkpoints: more is faster, and makes other actors wait longer."""
BATCH_SECONDS: Final = 0.0005
"""The same in time, looked at every eighth message."""


class Wake:
    """The type of `WAKE`, which carries nothing: it makes a parked receiver look at its signals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<WAKE>"


WAKE: Final = Wake()


class MailboxChannel:
    """Both ends of an actor's channel. Only the actor receives; it parks only on an empty buffer."""

    __slots__ = ("_stashed", "front", "overflow", "parked", "receiver", "sender")

    def __init__(self, settings: Mailbox) -> None:
        self.sender, self.receiver = trio.open_memory_channel[object](settings.capacity)
        self.overflow = settings.overflow
        self.parked = False
        """Whether the actor waits for a message; it may have been handed one already."""
        self.front: deque[object] | None = None
        """What was put back, to be taken before what is in the channel; None where nothing ever was."""
        self._stashed: dict[object, deque[object]] | None = None

    @property
    def stashed(self) -> dict[object, deque[object]]:
        """The messages in the actor's stashes, by stash; only those with messages are in it."""
        if self._stashed is None:
            self._stashed = {}
        return self._stashed

    @property
    def is_waited_on(self) -> bool:
        """Whether the actor waits for a message, and has not been handed one."""
        return self.parked and self.receiver.statistics().tasks_waiting_receive > 0

    def wake(self) -> None:
        """Make the actor look at its signals, if it is not about to do so anyway.

        A receiver that waits means an empty buffer, so there is room for WAKE at any capacity. One
        that was handed a message already gets none: WAKE would take the place of a message.
        """
        if self.is_waited_on:
            self.sender.send_nowait(WAKE)

    def push_out_oldest(self, message: object) -> object:
        """Put ``message`` into a full buffer and return the oldest one, which made room for it."""
        oldest = self.receiver.receive_nowait()
        self.sender.send_nowait(message)
        return oldest

    def source(self) -> Callable[[], object]:
        """Return what gives the next message, or raises WouldBlock; valid until something is put back."""
        return self._take_front if self.front else self.receiver.receive_nowait

    def put_back(self, messages: list[object]) -> None:
        """Have ``messages`` taken next, in this order, whatever the bound."""
        if self.front is None:
            self.front = deque()
        self.front.extendleft(reversed(messages))

    def empty_stashes(self) -> list[object]:
        """Take every message out of the stashes."""
        stashes = list((self._stashed or {}).values())
        messages = [message for stash in stashes for message in stash]
        for stash in stashes:
            stash.clear()
        self._stashed = None
        return messages

    def close(self, held: object) -> list[object]:
        """Refuse messages from now on and return those that wait: stashed, held, put back, in the channel."""
        waiting = self.empty_stashes()
        if held is not WAKE:
            waiting.append(held)
        if self.front is not None:
            waiting += self.front
            self.front = None
        while True:
            try:
                message = self.receiver.receive_nowait()
            except trio.WouldBlock:
                break
            if message is not WAKE:
                waiting.append(message)
        self.receiver.close()
        return waiting

    @property
    def waits_for_room(self) -> bool:
        """Whether a message may wait for room: beside drop_oldest it must not, it always finds room."""
        return self.overflow is not MailboxOverflowStrategy.drop_oldest

    def __len__(self) -> int:
        stashed = sum(map(len, (self._stashed or {}).values()))
        return self.receiver.statistics().current_buffer_used + len(self.front or ()) + stashed

    def _take_front(self) -> object:
        return self.front.popleft() if self.front else self.receiver.receive_nowait()
