"""An actor as the receiving end of a channel: for code with channels and without actors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from casty.refs import ActorRef, check_ref
from casty.runtime.messaging.channel import ChannelStatistics, SendHandle
from casty.runtime.messaging.ref import AskableRef, tell_nowait

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)

NOTHING_WAITS = ChannelStatistics(
    current_buffer_used=0,
    max_buffer_size=math.inf,
    open_send_channels=1,
    open_receive_channels=1,
    tasks_waiting_send=0,
    tasks_waiting_receive=0,
)


class ActorSendChannel(SendHandle[M_contra]):
    """The sending end of a channel to one actor, local or on another node: made by `channel_of`.

    A message without room is refused, or waits, under every policy of the actor's mailbox: by this way nothing becomes
    a dead letter for lack of room, and no other message is pushed out. Of an actor on another node it knows the own
    queue to that node, and nothing of the mailbox there.

    Closing it closes this handle: neither the actor, nor other handles to it, nor refs.

    Parameters:
        ref: The actor.
    """

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[M_contra]) -> None:
        super().__init__()
        self._ref = ref

    def __repr__(self) -> str:
        return f"<ActorSendChannel {self._ref.address} {'closed' if self.is_closed else 'open'}>"

    def statistics(self) -> ChannelStatistics:
        """Return how much waits: in the mailbox, or in the own queue to the actor's node.

        Returns:
            The figures, with the names of Trio's memory channels. The one sending end in the count is this.
        """
        ref = self._ref
        found = ref.channel_statistics() if isinstance(ref, AskableRef) else None
        return replace(found or NOTHING_WAITS, open_send_channels=int(not self.is_closed))

    def _put_nowait(self, message: M_contra) -> None:
        ref = self._ref
        if isinstance(ref, AskableRef):
            ref.put_nowait(message)
        else:
            tell_nowait(ref, message)

    async def _put(self, message: M_contra) -> None:
        ref = self._ref
        if isinstance(ref, AskableRef):
            await ref.put_wait(message)
        else:
            await ref.send(message)


def channel_of(ref: ActorRef[M]) -> ActorSendChannel[M]:
    """Return a ``trio.abc.SendChannel`` to an actor, local or on another node.

    For code written for channels: it sends to an actor as it would to a task. Each call makes another handle, closed by
    itself.

    >>> from casty import Behaviors, channel_of
    >>> ref = system.spawn(Behaviors.ignore(), "sink")
    >>> async with channel_of(ref) as channel:
    ...     await channel.send("hello")

    Parameters:
        ref: The actor; the channel takes its messages.

    Returns:
        The channel. ``send_nowait`` raises WouldBlock where there is no room, under every policy of the mailbox;
        ``send`` waits. Both raise BrokenResourceError once the actor has stopped or its node is gone, as far as it is
        known here.

    Raises:
        TypeError: ``ref`` is no ref.
    """
    check_ref(ref, "channel_of")
    return ActorSendChannel(ref)
