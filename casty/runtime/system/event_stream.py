"""The event stream: who wants to be told which events.

Its ref, ``/_event_stream``, works at once and in the caller's task: what is published after a
subscription was told reaches the subscriber, and an idle stream costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import reduce
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast

import trio

from casty.refs import ActorRef
from casty.runtime.events import (
    EventStreamCmd,
    EventStreamSubscribe,
    EventStreamUnsubscribe,
    Publish,
    check_event_type,
)
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.messaging.ref import tell_or_drop

if TYPE_CHECKING:
    from casty.runtime.system.kernel import Kernel

E = TypeVar("E")

logger = logging.getLogger("casty.runtime")

EVENTS_BUFFERED_MAX = 1_024
"""Events that wait for a reader of ``system.events()`` before new ones are dropped and counted."""


class EventStream:
    """Subscriptions by event type; a base class subscribes to its subclasses too."""

    __slots__ = ("_handlers", "_receivers", "publishing")

    def __init__(self) -> None:
        self._handlers: dict[type[object], dict[ActorRef[Never], None]] = {}
        self._receivers: dict[type[object], tuple[ActorRef[Never], ...]] = {}
        self.publishing = False
        """Whether an event is being handed out: a dead letter of that is counted, not published."""

    def handle(self, command: EventStreamCmd) -> None:
        """Take a command at once."""
        match command:
            case EventStreamSubscribe(event_type, handler):
                self._handlers.setdefault(event_type, {})[handler] = None
                self._receivers.clear()
            case EventStreamUnsubscribe(event_type, handler):
                self._remove(event_type, handler)
            case Publish(event):
                self.publish(event)
            case _:  # pyright: ignore[reportUnnecessaryComparison]  # the ref may have been untyped
                raise TypeError(
                    f"the event stream takes EventStreamSubscribe, EventStreamUnsubscribe or Publish, got {command!r}"
                )

    def wants(self, event_type: type[object]) -> bool:
        """Return whether anybody is told events of exactly this type."""
        return bool(self._handlers) and bool(self._receivers_of(event_type))

    def publish(self, event: object) -> None:
        """Tell everybody who subscribed, in order of subscription; never raises."""
        if not self._handlers:
            return
        outer, self.publishing = self.publishing, True
        try:
            for handler in self._receivers_of(type(event)):
                try:
                    tell_or_drop(cast("ActorRef[object]", handler), event)
                except Exception:  # what a subscriber cannot be told must not hurt who published
                    logger.exception("event %s could not be told to %s", type(event).__name__, handler.path)
        finally:
            self.publishing = outer

    def forget(self, handler: ActorRef[Never]) -> None:
        """End every subscription of an actor that has stopped."""
        if self._handlers:
            for event_type in [kind for kind, handlers in self._handlers.items() if handler in handlers]:
                self._remove(event_type, handler)

    def _remove(self, event_type: type[object], handler: ActorRef[Never]) -> None:
        handlers = self._handlers.get(event_type)
        if handlers is not None and handler in handlers:
            del handlers[handler]
            if not handlers:
                del self._handlers[event_type]
            self._receivers.clear()

    def _receivers_of(self, event_type: type[object]) -> tuple[ActorRef[Never], ...]:
        receivers = self._receivers.get(event_type)
        if receivers is None:
            found: dict[ActorRef[Never], None] = {}
            for kind, handlers in self._handlers.items():
                if issubclass(event_type, kind):
                    found.update(handlers)
            receivers = self._receivers[event_type] = tuple(found)
        return receivers


class Events(Generic[E]):
    """The events of some types as they happen: ``async with system.events(T) as events``.

    ``dropped`` counts events that came while the buffer was full. The iteration ends with the system.
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
    """Return what an event of any of these types is an instance of."""
    if not event_types:
        raise TypeError("events needs a class of events, such as DeadLetter, got none")
    for event_type in event_types:
        check_event_type(event_type, "events")
    return reduce(lambda one, other: cast("type[E]", one | other), event_types)
