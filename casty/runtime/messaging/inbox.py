"""Inbox of a task-style actor: the receiving end of its mailbox, and the askers of the taken requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol, TypeVar, cast

import trio

from casty.runtime.events import ACTOR_STOPPED
from casty.runtime.messaging.channel import ChannelStatistics, ReceiveHandle, statistics_of
from casty.runtime.messaging.mailbox import BATCH_MESSAGES, BATCH_SECONDS, NOTHING, MessageQueue, Request
from casty.runtime.messaging.queueing.notices import TerminatedNotice
from casty.runtime.messaging.requests import TakenRequests, open_request
from casty.runtime.messaging.signals import PILL, STOP
from casty.runtime.ports import Recipient

M = TypeVar("M")

SKIPPED: Final = object()
"""Mark for a request without anybody waiting for it any more, and for a place among the messages."""


class InboxOwner(Recipient, Protocol):
    """Actor, as seen by the inbox of its main."""

    @property
    def control(self) -> deque[object] | None:
        """Signals waiting."""
        ...

    @property
    def is_failing(self) -> bool:
        """Whether the present life has failed already and only has to end."""
        ...

    def is_read_by(self, inbox: object) -> bool:
        """Return whether an inbox is the one of the present life."""
        ...

    def take_signal(self) -> object:
        """Return the next message among the signals, NOTHING for none, STOP; raise a task's failure."""
        ...

    def open_end(self, notice: TerminatedNotice) -> object:
        """Return the Terminated to be handled now; NOTHING when the watch was given up."""
        ...

    def begin_wait(self) -> None:
        """Take note of main's waiting for a message."""
        ...


class Inbox(ReceiveHandle[M]):
    """The messages of one actor, signals first; ends when the actor is to stop.

    A ``trio.abc.ReceiveChannel``, for one task at a time. `receive` is a checkpoint, as every call of Trio's is;
    ``async for message in inbox`` is one only where it waits, and once in a batch of at most 64 messages or half a
    millisecond. After the end, the actor's ``main`` has ``stop_timeout`` seconds to return.

    Taken requests without a reply are remembered: when ``main`` fails or is cancelled, all askers are told at once. One
    handed on by ``ctx.forward`` is the other actor's.

    Made by casty for ``main``.
    """

    __slots__ = (
        "_cell",
        "_count",
        "_ended",
        "_is_closed",
        "_mailbox",
        "_started",
        "in_hand",
        "request",
        "requests",
        "used",
    )

    def __init__(self, cell: InboxOwner, mailbox: MessageQueue) -> None:
        self._cell = cell
        self._mailbox = mailbox
        self.in_hand: object = NOTHING
        """Message taken last by main."""
        self.request: Request | None = None
        """Request with the message, if its sender waits for a reply."""
        self._count = 0
        self._started = 0.0
        self._ended = False
        self._is_closed = False
        self.requests: TakenRequests | None = None
        """Requests still without a reply; None where there never was one."""
        self.used: bool = False
        """Whether the inbox was read; a task that never did is cancelled at once when it is to stop."""

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "ended" if self._ended else f"queued={len(self._mailbox)}"
        return f"<{type(self).__name__} of {self._cell.path} {state}>"

    def __aiter__(self) -> Inbox[M]:
        return self

    async def __anext__(self) -> M:
        count = self._count
        if not count & 7 and count and self._is_batch_over():
            await self._end_batch()
        while True:
            try:
                message = self._next()
            except trio.EndOfChannel:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration from None
            if message is not NOTHING and message is not SKIPPED:
                return cast("M", message)
            if message is NOTHING:
                await self._park()
            elif self._is_batch_over():
                await self._end_batch()

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(self) -> M:
        """Return the next message if there is one. No checkpoint: whoever calls it in a loop has others wait.

        Returns:
            The message, or a timer's, or a ``Terminated``.

        Raises:
            trio.WouldBlock: There is none.
            trio.EndOfChannel: The actor is to stop.
            trio.ClosedResourceError: The inbox was closed.
            trio.BusyResourceError: Another task waits for a message.
            RuntimeError: The actor has interceptors, able to wait: use `receive`.
        """
        if self._is_batch_over():
            self._begin_batch()
        for _ in range(BATCH_MESSAGES):
            message = self._next()
            if message is NOTHING:
                break
            if message is not SKIPPED:
                return cast("M", message)
        raise trio.WouldBlock

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Stop the actor; it takes no more messages, and the waiting ones become dead letters.

        ``main`` goes on, and has ``stop_timeout`` seconds to return. So leaving ``async with inbox`` by an error stops
        an actor for good, where its supervision would restart it.
        """
        cell = self._cell
        self._is_closed = self._ended = True
        if cell.is_read_by(self) and not self._mailbox.closed:
            self.used = True
            self._mailbox.shut()
            cell.stop()
            self._mailbox.wake()

    async def take_ready(self) -> object:
        """Take a waiting message; wait for interceptors alone. For the library.

        Returns:
            The message; a mark where there is none, or none will ever come.
        """
        if self._is_batch_over():
            await self._end_batch()
        message: object = SKIPPED
        while message is SKIPPED:
            try:
                message = self._next()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return NOTHING
        return message

    def _drop(self, messages: Iterable[object]) -> None:
        """Make dead letters of taken messages never read. For layers between an inbox and its main."""
        cell = self._cell
        for message in messages:
            cell.kernel.dead_letter(message, cell.ref, ACTOR_STOPPED)

    def statistics(self) -> ChannelStatistics:
        """Return the numbers of messages in the mailbox, and of tasks waiting for them.

        Returns:
            The figures, with the names of Trio's memory channels.
        """
        mailbox = self._mailbox
        return replace(statistics_of(mailbox, is_open=not mailbox.closed), current_buffer_used=len(mailbox))

    def _next(self) -> object:
        """Return the next signal or message; NOTHING for none, SKIPPED in place of one not to be handled."""
        cell, mailbox = self._cell, self._mailbox
        if mailbox.parked:
            raise trio.BusyResourceError(f"two tasks read the inbox of {cell.path} at once; let one read and hand out")
        self.used = True
        self.request = None
        while not self._ended:
            message: object = NOTHING
            if cell.control:  # main, if it is failing, is cancelled where it waits for more, or has shielded itself
                message = STOP if cell.is_failing else cell.take_signal()
                if message is STOP:
                    break
                if message is not NOTHING:
                    cell.kernel.counters.signals += 1
            if message is NOTHING:
                source = mailbox.front or mailbox.messages
                if source and not mailbox.senders:  # not by `take`: a call less for each message, 3 % of a tell
                    message = source.popleft()
                else:
                    message = mailbox.take()
                    if message is NOTHING:
                        return NOTHING
                if type(message) is Request:
                    message = self._opened(message)
                elif type(message) is TerminatedNotice:
                    message = cell.open_end(message)
                elif message is PILL:
                    if mailbox.flows and mailbox.put_before(PILL):
                        continue
                    cell.kernel.counters.delivered += 1
                    break
            if not self._count:
                self._started = cell.kernel.now()
            self._count += 1
            if message is NOTHING:
                return SKIPPED
            self.in_hand = message
            cell.kernel.counters.delivered += 1
            return message
        self._ended = True
        self.in_hand = NOTHING
        if self._is_closed:
            raise trio.ClosedResourceError(f"the inbox of {cell.path} was closed")
        raise trio.EndOfChannel

    def _opened(self, request: Request) -> object:
        """Return the message of a request, remembered until it has a reply; NOTHING for a request past its end."""
        message = open_request(self._cell, request)
        if message is not NOTHING:
            self.request = request
            if request.ask:
                taken = self.requests
                if taken is None:
                    taken = self.requests = TakenRequests(self._cell)
                taken.add(request)
        return message

    async def _sleep(self) -> None:
        if self._cell.control or self._mailbox.has_next:  # more requests are over than are passed over at once
            self.in_hand = NOTHING
            await trio.lowlevel.checkpoint()
        else:
            await self._park()

    async def _park(self) -> None:
        """Sleep until there is something, after the mailbox was found empty."""
        cell, mailbox = self._cell, self._mailbox
        self.in_hand = NOTHING
        self._count = 0
        if self.requests:
            self.requests.step()
        cell.begin_wait()
        try:  # not by `ChannelQueue.sleep`: a coroutine less for each message that is waited for
            await trio.lowlevel.wait_task_rescheduled(mailbox.park(trio.lowlevel.current_task()))
        finally:
            mailbox.parked = False

    def _is_batch_over(self) -> bool:
        count = self._count
        if count & 7 or not count:
            return False
        return count >= BATCH_MESSAGES or self._cell.kernel.now() - self._started > BATCH_SECONDS

    async def _end_batch(self) -> None:
        self.in_hand = NOTHING
        await trio.lowlevel.checkpoint()
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._count = 0
        self._mailbox.next_turn()  # it may be another's turn
