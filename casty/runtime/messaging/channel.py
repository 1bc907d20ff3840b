"""An in-memory channel with one receiver: the two ends of a bounded queue, with Trio's interface.

Owns the closing of an end, and the error for it. The queue between the ends is
`casty.runtime.messaging.queueing.channel_queue`. Must not know actors: the additions of a mailbox (policies, withdrawn
requests, stashes, notices, queues of other nodes) are `casty.runtime.messaging.mailbox`, a layer on the queue, and the
ends of an actor are `Inbox` and `ActorSendChannel`.

It differs from `trio.open_memory_channel` as the contract suite says: one task receives at a time, there are no clones,
there is room for at least one message, and a message for a sleeping task waits in the queue until it runs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Self, TypeVar, cast

import trio

from casty.runtime.messaging.queueing.channel_queue import NO_MESSAGES, ChannelQueue
from casty.schema.names import message

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


@message("casty.ChannelStatistics")
@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """State of a channel at one moment, with the names of Trio's `MemoryChannelStatistics`."""

    current_buffer_used: int
    """Messages waiting."""
    max_buffer_size: int | float
    """Bound of those; infinity where nothing waits at all."""
    open_send_channels: int
    """Sending ends known to be open, 0 or 1."""
    open_receive_channels: int
    """1 while somebody receives or may, else 0."""
    tasks_waiting_send: int
    """Tasks waiting for room."""
    tasks_waiting_receive: int
    """Tasks waiting for a message, 0 or 1."""


class SendHandle(trio.abc.SendChannel[T_contra]):
    """Sending end: any number of tasks send by it, until it is closed. A subclass says where the messages go."""

    __slots__ = ("_waiting", "is_closed")

    def __init__(self) -> None:
        self._waiting: dict[trio.CancelScope, None] = {}
        """Sends waiting for room."""
        self.is_closed: bool = False
        """Whether the end was closed. The queue behind it may be open all the same."""

    @trio.lowlevel.enable_ki_protection
    def send_nowait(self, value: T_contra) -> None:
        """Hand over a message if there is room.

        Parameters:
            value: The message.

        Raises:
            trio.WouldBlock: There is no room; the message was not taken.
            trio.BrokenResourceError: Nobody will ever receive it.
            trio.ClosedResourceError: This end was closed.
        """
        if self.is_closed:
            raise trio.ClosedResourceError("this end of the channel was closed")
        self._put_nowait(value)

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: T_contra) -> None:
        """Hand over a message, waiting for room; a checkpoint. Cancelled, nothing was sent.

        Parameters:
            value: The message.

        Raises:
            trio.BrokenResourceError: Nobody will ever receive it.
            trio.ClosedResourceError: This end was closed, before or meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.send_nowait(value)
        except trio.WouldBlock:
            pass
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with trio.CancelScope() as scope:
            self._waiting[scope] = None
            try:
                await self._put(value)
            finally:
                del self._waiting[scope]
        if scope.cancelled_caught:
            raise trio.ClosedResourceError("this end of the channel was closed while a task waited for room")

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Close this end, and no other; a send waiting by it ends with an error. Closing twice does nothing."""
        self.is_closed = True
        for scope in self._waiting:
            scope.cancel()

    async def aclose(self) -> None:
        """Close this end as `close` does; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _put_nowait(self, message: T_contra) -> None:
        """Hand over a message; raises WouldBlock where there is no room, BrokenResourceError where nobody is."""

    @abstractmethod
    async def _put(self, message: T_contra) -> None:
        """Hand over a message, waiting for room; cancelled, it was not handed over. Raises BrokenResourceError."""


class ReceiveHandle(trio.abc.ReceiveChannel[T_co]):
    """A receiving end, for one task at a time. Where the messages come from is a subclass's."""

    __slots__ = ()

    @abstractmethod
    def receive_nowait(self) -> T_co:
        """Return the next message if there is one.

        Raises:
            trio.WouldBlock: There is none.
            trio.EndOfChannel: None will ever come.
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: Another task waits for a message.
        """

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> T_co:
        """Return the next message, waiting for one; a checkpoint. Cancelled, no message was taken.

        Returns:
            The message.

        Raises:
            trio.EndOfChannel: None will ever come.
            trio.ClosedResourceError: This end was closed, before or meanwhile.
            trio.BusyResourceError: Another task waits for a message.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        has_slept = False
        while True:
            try:
                message = self.receive_nowait()
            except trio.WouldBlock:
                await self._sleep()
                has_slept = True
                continue
            except trio.EndOfChannel:
                await trio.lowlevel.checkpoint()
                raise
            if not has_slept:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return message

    @abstractmethod
    def close(self) -> None:
        """Close this end. Closing twice does nothing."""

    async def aclose(self) -> None:
        """Close this end as ``close`` does; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    async def _sleep(self) -> None:
        """Sleep until there may be something to receive, or this end was closed."""


class QueueSendChannel(SendHandle[T]):
    """The sending end of a queue."""

    __slots__ = ("_queue",)

    def __init__(self, queue: ChannelQueue[T]) -> None:
        super().__init__()
        self._queue = queue

    def close(self) -> None:
        super().close()
        self._queue.wake()

    def statistics(self) -> ChannelStatistics:
        """Return the state of the channel."""
        return statistics_of(self._queue, is_open=not self.is_closed)

    def _put_nowait(self, message: T) -> None:
        if self._queue.offer(message):
            return
        if self._queue.closed:
            raise trio.BrokenResourceError("the other end of the channel was closed")
        raise trio.WouldBlock

    async def _put(self, message: T) -> None:
        if not await self._queue.put(message):
            raise trio.BrokenResourceError("the other end of the channel was closed while a task waited for room")


class QueueReceiveChannel(ReceiveHandle[T]):
    """The receiving end of a queue, whose messages end with the sending end."""

    __slots__ = ("_queue", "_sender")

    def __init__(self, queue: ChannelQueue[T], sender: SendHandle[T]) -> None:
        self._queue = queue
        self._sender = sender

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(self) -> T:
        queue = self._queue
        if queue.closed:
            raise trio.ClosedResourceError("this end of the channel was closed")
        if queue.parked:
            raise trio.BusyResourceError("another task waits for a message of this channel, which has one receiver")
        if not queue.messages:
            raise trio.EndOfChannel if self._sender.is_closed else trio.WouldBlock
        message = queue.messages.popleft()
        queue.let_in()
        return message

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        queue = self._queue
        queue.shut()
        queue.messages = cast("deque[T]", NO_MESSAGES)
        queue.wake()

    def statistics(self) -> ChannelStatistics:
        """Return the state of the channel."""
        return statistics_of(self._queue, is_open=not self._sender.is_closed)

    async def _sleep(self) -> None:
        await self._queue.sleep()


def open_channel(queue: ChannelQueue[T]) -> tuple[QueueSendChannel[T], QueueReceiveChannel[T]]:
    """Return the two ends of a queue. Raises ValueError where it has room for nothing."""
    if queue.capacity < 1:
        raise ValueError(f"the capacity of a channel must be at least 1, got {queue.capacity!r}")
    sender = QueueSendChannel(queue)
    return sender, QueueReceiveChannel(queue, sender)


def statistics_of(queue: ChannelQueue[T], *, is_open: bool) -> ChannelStatistics:
    """Return the state of a queue, whose sending end is open or not."""
    return ChannelStatistics(
        current_buffer_used=len(queue.messages),
        max_buffer_size=queue.capacity,
        open_send_channels=int(is_open),
        open_receive_channels=int(not queue.closed),
        tasks_waiting_send=len(queue.senders or ()),
        tasks_waiting_receive=int(queue.parked),
    )
