"""A mailbox: one bounded Trio memory channel, and what happens beyond the bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from casty.config import Mailbox, MailboxOverflowStrategy

if TYPE_CHECKING:
    from casty.runtime.cell import Cell
    from casty.runtime.events import DeadLetterReason, Terminated

BATCH_MESSAGES: Final = 64
"""Messages of one actor between two checkpoints: more is faster, and makes other actors wait longer."""
BATCH_SECONDS: Final = 0.0005
"""The same in time, looked at every eighth message."""


WITHDRAWN_MAX: Final = 256
"""Withdrawn requests that stay in a mailbox until the actor comes to them, as long as they are fewer than half."""


class Wake:
    """The type of `WAKE`, which carries nothing: it makes a parked receiver look at its signals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<WAKE>"


WAKE: Final = Wake()


class Request:
    """A message whose sender waits for a reply, for as long as it waits in a mailbox itself."""

    __slots__ = ("cell", "deadline", "message", "waits")

    def __init__(self, message: object, deadline: float) -> None:
        self.message = message
        """WAKE once it was withdrawn."""
        self.deadline = deadline
        """When the sender gives up, on the clock of this system; infinity if it never does."""
        self.cell: Cell | None = None
        self.waits = False

    def __repr__(self) -> str:
        return f"<Request {self.message!r}>"

    def queue(self, cell: Cell) -> None:
        """Take note that it waits in the mailbox, or in a stash, of ``cell``."""
        self.cell = cell
        self.waits = True

    def take(self) -> object:
        """Return the message, which cannot be withdrawn any more; WAKE if it was."""
        if self.message is WAKE and self.cell is not None:
            self.cell.mailbox.withdrawn -= 1
        self.waits = False
        return self.message

    def withdraw(self, reason: DeadLetterReason) -> None:
        """Make a dead letter of the message if nobody has taken it."""
        if self.waits and self.cell is not None:
            self.waits = False
            message, self.message = self.message, WAKE
            self.cell.mailbox.note_withdrawn()
            self.cell.kernel.dead_letter(message, self.cell.ref, reason)


class EndNotice:
    """The end of a watched actor, in its place among the messages."""

    __slots__ = ("terminated",)

    def __init__(self, terminated: Terminated) -> None:
        self.terminated = terminated

    def __repr__(self) -> str:
        return f"<EndNotice {self.terminated!r}>"


def payload(message: object) -> object:
    """Return what a handler sees of what is in a mailbox."""
    if isinstance(message, Request):
        return message.message
    return message.terminated if isinstance(message, EndNotice) else message


class MailboxChannel:
    """Both ends of an actor's channel. Only the actor receives; it parks only on an empty buffer."""

    __slots__ = ("_stashed", "front", "notices", "overflow", "parked", "receiver", "sender", "withdrawn")

    def __init__(self, settings: Mailbox) -> None:
        self.sender, self.receiver = trio.open_memory_channel[object](settings.capacity)
        self.overflow = settings.overflow
        self.parked = False
        """Whether the actor waits for a message; it may have been handed one already."""
        self.front: deque[object] | None = None
        """What was put back, to be taken before what is in the channel; None where nothing ever was."""
        self._stashed: dict[object, deque[object]] | None = None
        self.notices = 0
        """Ends of watched actors among the messages."""
        self.withdrawn = 0
        """Requests among the messages that nobody waits for any more."""

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
        return [message for message in waiting if not isinstance(message, EndNotice)]

    @property
    def waits_for_room(self) -> bool:
        """Whether a message may wait for room: beside drop_oldest it must not, it always finds room."""
        return self.overflow is not MailboxOverflowStrategy.drop_oldest

    def __len__(self) -> int:
        stashed = sum(map(len, (self._stashed or {}).values()))
        waiting = self.receiver.statistics().current_buffer_used + len(self.front or ()) + stashed
        return max(0, waiting - self.withdrawn - self.notices)  # one of those may be on its way to the actor

    def note_withdrawn(self) -> None:
        """Count a request that was withdrawn where it waits, and make room when there are many."""
        self.withdrawn += 1
        if self.withdrawn > WITHDRAWN_MAX and self.withdrawn * 2 > self.receiver.statistics().current_buffer_used:
            self.make_room()

    def make_room(self) -> bool:
        """Take withdrawn requests out of the channel; False when that made no room.

        While senders wait, it is left as it is: each message taken out would let one of them in, ahead of
        those that were there before.
        """
        used = self.receiver.statistics()
        if not self.withdrawn or used.tasks_waiting_send:
            return False
        waiting = [self.receiver.receive_nowait() for _ in range(used.current_buffer_used)]
        for message in waiting:
            if isinstance(message, Request) and message.message is WAKE:
                message.take()
            else:
                self.sender.send_nowait(message)
        return self.receiver.statistics().current_buffer_used < used.current_buffer_used

    def _take_front(self) -> object:
        return self.front.popleft() if self.front else self.receiver.receive_nowait()
