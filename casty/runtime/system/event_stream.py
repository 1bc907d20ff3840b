"""Event stream: subscriptions to events, and their publication.

Its ref, ``/_event_stream``, works at once and in the caller's task: events published after a subscription was told
reach the subscriber, and an idle stream costs nothing.
"""

from __future__ import annotations

import logging
from typing import Never, cast

from casty.refs import ActorRef
from casty.runtime.events import (
    EventStreamCmd,
    EventStreamSubscribe,
    EventStreamUnsubscribe,
    Publish,
)
from casty.runtime.messaging.ref import tell_or_drop

logger = logging.getLogger("casty.runtime")


class EventStream:
    """Subscriptions by event type; a base class subscribes to its subclasses too."""

    __slots__ = ("_handlers", "_receivers", "publishing")

    def __init__(self) -> None:
        self._handlers: dict[type[object], dict[ActorRef[Never], None]] = {}
        self._receivers: dict[type[object], tuple[ActorRef[Never], ...]] = {}
        self.publishing = False
        """Whether an event is being handed out: a dead letter of it is counted, not published."""

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

    def subscriptions(self) -> dict[type[object], tuple[ActorRef[Never], ...]]:
        """Return the subscribers of each type, in order of subscription."""
        return {event_type: tuple(handlers) for event_type, handlers in self._handlers.items()}

    def publish(self, event: object) -> None:
        """Tell all subscribers, in order of subscription; never raises."""
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
        """End every subscription of a stopped actor."""
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
