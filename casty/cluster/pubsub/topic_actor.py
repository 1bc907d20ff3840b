"""Subscribers of one topic on one node, and the actor for messages of other nodes.

Owns the subscribers and their ends. It does not know other nodes: the actor is found like that of a service.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Never, cast

import trio

from casty.address import UniqueAddress
from casty.errors import CastyError
from casty.protocol.receptionist.listings import Names
from casty.refs import OWN_SERVICES, ActorRef, Topic
from casty.runtime.actor.cell import Cell
from casty.runtime.behavior.behavior import SAME, Behavior, Composed, receive
from casty.runtime.events import NO_SUBSCRIBER, Terminated
from casty.runtime.messaging.named_refs import AdapterRef
from casty.runtime.messaging.ref import OwnRef, tell_or_drop
from casty.runtime.system.kernel import Kernel

TOPICS: Final = f"{OWN_SERVICES}topic/"
"""Beginning of the names under which the actors of topics are found."""

logger = logging.getLogger("casty.cluster")


def service_of(topic: Topic[Any]) -> str:
    """Return the name under which the actors of a topic are found: none that a key of a user can have."""
    return f"{TOPICS}{topic.name}"


def topic_of(service: str) -> str:
    """Return the name of the topic behind that of a service."""
    return service.removeprefix(TOPICS)


@dataclass(slots=True, eq=False)
class _Watch:
    """Watch of a subscriber's end."""

    local: LocalTopic
    ref: ActorRef[Never]
    cell: Cell | None
    uid: int

    def signal(self, signal: object) -> None:
        """Take the end of the actor."""
        if isinstance(signal, Terminated):
            self.local.forget(self.ref)


@dataclass(slots=True, eq=False)
class LocalTopic:
    """A topic with subscribers on this node."""

    kernel: Kernel
    topic: Topic[Any]
    names: Names
    """Wire names of its messages."""
    emptied: Callable[[LocalTopic], None]
    """Called when the last subscriber is gone."""
    subscribers: dict[ActorRef[Never], _Watch] = field(default_factory=dict[ActorRef[Never], _Watch])
    known_by: set[UniqueAddress] = field(default_factory=set[UniqueAddress])
    """Members known to know of it."""
    changed: trio.Event = field(default_factory=trio.Event)
    """Set and replaced when another member has said so."""

    def add(self, ref: OwnRef[Never]) -> None:
        """Add a subscriber."""
        if ref in self.subscribers:
            return
        owner = ref.owner()
        cell = owner if isinstance(owner, Cell) else None
        watch = self.subscribers[ref] = _Watch(self, ref, cell, self.kernel.next_uid())
        if cell is not None:
            cell.add_watcher(watch.uid, watch)

    def remove(self, ref: ActorRef[Never]) -> None:
        """Remove a subscriber, if it is one."""
        watch = self.subscribers.get(ref)
        if watch is not None and watch.cell is not None:
            watch.cell.remove_watcher(watch.uid)
        self.forget(ref)

    def forget(self, ref: ActorRef[Never]) -> None:
        """Drop a subscriber with an ended actor."""
        if self.subscribers.pop(ref, None) is not None and not self.subscribers:
            self.emptied(self)

    def hand_out(self, message: object) -> None:
        """Tell all subscribers; without any it is a dead letter."""
        if not self.subscribers:
            self.kernel.dead_letter(message, self.kernel.ref_for(f"/_topic/{self.topic.name}", 0), NO_SUBSCRIBER)
        for ref in tuple(self.subscribers):
            if isinstance(ref, AdapterRef) and self.kernel.target(ref.path, ref.uid) is None:
                self.remove(ref)  # of a life before the actor's restart
                continue
            try:
                tell_or_drop(cast("ActorRef[Any]", ref), message)
            except CastyError as error:  # one subscriber's failure to take it is no other's loss
                logger.error("%s got no message of %r: %s", ref.path, self.topic, error)

    def note_known(self, member: UniqueAddress) -> None:
        """Take note of a member with knowledge of it."""
        self.known_by.add(member)
        self.changed.set()
        self.changed = trio.Event()


@dataclass(frozen=True, eq=False)
class TopicActor(Composed[Any]):
    """Behaviour of the actor for messages published on other nodes."""

    local: LocalTopic

    def message_type(self) -> object | None:
        return self.local.topic.message_type

    def compose(self) -> Behavior[Any]:
        """Make the behaviour."""
        return receive(self._handle)

    async def _handle(self, ctx: object, message: object) -> Behavior[object]:
        self.local.hand_out(message)
        return SAME
