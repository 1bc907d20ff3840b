"""Events for code outside of actors: ``system.events()``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import reduce
from typing import Generic, TypeVar, cast

import trio

from casty.refs import ActorRef
from casty.runtime.events import EventStreamSubscribe, EventStreamUnsubscribe, check_event_type
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.system.kernel import Kernel

E = TypeVar("E")

EVENTS_BUFFERED_MAX = 1_024
"""Events waiting for a reader of ``system.events()`` before new ones are dropped and counted."""


class Events(Generic[E]):
    """The events of some types as they happen: ``async with system.events(T) as events``.

    ``dropped`` counts events arriving while the buffer was full. The iteration ends with the system.
    """

    def __init__(self, kernel: Kernel, event_types: tuple[type[E], ...], capacity: int) -> None:
        kernel.check_thread("events")
        event_type = _union_of(event_types)
        if capacity < 1:
            raise ValueError(f"the capacity of events must be at least 1, got {capacity!r}")
        self._kernel = kernel
        self._event_type = event_type
        self._sender, self._receiver = trio.open_memory_channel[E](capacity)
        self._ref: ActorRef[E] = InlineRef(kernel, "/_events", kernel.next_uid(), self._take)
        self._subscription = EventStreamSubscribe(event_type, self._ref)
        self._subscribed = False
        self.dropped = 0

    def __repr__(self) -> str:
        kind = getattr(self._event_type, "__name__", repr(self._event_type))
        waiting = self._receiver.statistics().current_buffer_used
        state = "open" if self._subscribed else "not entered"
        return f"<Events {kind} {state} waiting={waiting} dropped={self.dropped}>"

    def _take(self, event: E) -> None:
        try:
            self._sender.send_nowait(event)
        except trio.WouldBlock:
            self.dropped += 1
        except trio.ClosedResourceError:
            pass  # the system has stopped: the iteration ends

    async def __aenter__(self) -> Events[E]:
        self._subscribed = True
        self._kernel.event_stream.handle(self._subscription)
        self._kernel.readers[self._ref.address.uid] = self._sender.close
        if self._kernel.closed:
            self._sender.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._kernel.event_stream.handle(EventStreamUnsubscribe(self._event_type, self._ref))
        self._kernel.readers.pop(self._ref.address.uid, None)
        self._sender.close()
        self._receiver.close()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        if not self._subscribed:  # nothing would ever come
            raise RuntimeError("not subscribed: write `async with system.events(...) as events`, and iterate inside")
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


def _union_of(event_types: tuple[type[E], ...]) -> type[E]:
    """Return the common type of events of any of these types."""
    if not event_types:
        raise TypeError("events needs a class of events, such as DeadLetter, got none")
    for event_type in event_types:
        check_event_type(event_type, "events")
    return reduce(lambda one, other: cast("type[E]", one | other), event_types)
