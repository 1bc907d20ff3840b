"""Messages of a topic for code outside of actors: ``system.subscription()``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar, cast

import trio

from casty.config.validation import check_at_least
from casty.refs import ActorRef, Topic, check_topic
from casty.runtime.events import MAILBOX_FULL
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.system.group_messaging import GroupPort
from casty.runtime.system.kernel import Kernel

M = TypeVar("M")

SUBSCRIPTION_CAPACITY: Final = 1_024
"""Messages waiting for a reader of ``system.subscription()`` before new ones are dropped and counted."""


class TopicSubscription(Generic[M]):
    """Messages of a topic as they come: ``async with system.subscription(topic) as inbox``.

    Made by `casty.ActorSystem.subscription`. The iteration ends with the system. Too slow a reader loses the newest
    messages, each a dead letter, and holds up nobody else.
    """

    def __init__(self, kernel: Kernel, groups: GroupPort, topic: Topic[M], capacity: int) -> None:
        kernel.check_thread("subscription")
        check_topic(topic, "subscription")
        check_at_least("capacity", capacity, 1)
        self._kernel = kernel
        self._groups = groups
        self._topic = topic
        self._sender, self._receiver = trio.open_memory_channel[M](capacity)
        self._ref: ActorRef[M] = InlineRef(kernel, f"/_subscription/{topic.name}", kernel.next_uid(), self._take)
        self._is_open = False
        self._dropped = 0

    def __repr__(self) -> str:
        waiting = self._receiver.statistics().current_buffer_used
        state = "open" if self._is_open else "not entered"
        return f"<TopicSubscription {self._topic.name} {state} waiting={waiting} dropped={self._dropped}>"

    @property
    def dropped(self) -> int:
        """Number of messages that came while the buffer was full."""
        return self._dropped

    async def known(self, *, timeout: float = 5.0) -> None:
        """Wait until every other node knows of the subscription: what it publishes from then on comes.

        Nodes that are unreachable, or join later, are not waited for.

        Parameters:
            timeout: Seconds to wait.

        Raises:
            ClusterTimeoutError: A node had not said so within ``timeout``; the message names it.
            RuntimeError: The block of the subscription has not been entered.
        """
        if not self._is_open:
            raise RuntimeError("not subscribed: write `async with system.subscription(...) as inbox`, and wait inside")
        await self._groups.known(self._topic, timeout)

    def _take(self, message: M) -> None:
        try:
            self._sender.send_nowait(message)
        except trio.WouldBlock:
            self._dropped += 1
            self._kernel.dead_letter(message, cast("ActorRef[object]", self._ref), MAILBOX_FULL)
        except trio.ClosedResourceError:
            pass  # the system has stopped: the iteration ends

    async def __aenter__(self) -> TopicSubscription[M]:
        self._groups.subscribe(self._topic, self._ref)
        self._is_open = True
        self._kernel.readers[self._ref.address.uid] = self._sender.close
        if self._kernel.closed:
            self._sender.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        self._groups.unsubscribe(self._topic, self._ref)
        self._kernel.readers.pop(self._ref.address.uid, None)
        self._sender.close()
        self._receiver.close()

    def __aiter__(self) -> AsyncIterator[M]:
        return self

    async def __anext__(self) -> M:
        if not self._is_open:  # nothing would ever come
            raise RuntimeError("not subscribed: write `async with system.subscription(...) as inbox`, iterate inside")
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
