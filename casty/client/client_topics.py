"""Topics of one client: its own subscribers, and the subscription of its connection at a node.

Owns the subscribers, as a node does, and one task for each topic with some, to subscribe anew after each change of the
node. Messages published in between do not come: at most once, as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import trio

from casty.address import FOLLOWED_PREFIX, PUBLISHED_PREFIX, NodeAddress
from casty.client.client_link import ClientLink
from casty.client.open_ref import OpenRef
from casty.cluster.clients.client_commands import FollowTopic, TopicCommand, UnfollowTopic
from casty.cluster.pubsub.topic_actor import LocalTopic
from casty.errors import AskFailed, AskTimeoutError, ClusterTimeoutError, ConfigError
from casty.refs import ActorRef, EntityRef, ServiceKey, Topic, check_ref, check_topic
from casty.runtime.events import ILL_TYPED, MessageSummary
from casty.runtime.messaging.ask import ask
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.group_messaging import Broadcast
from casty.runtime.system.kernel import Kernel
from casty.wire.envelope import Envelope

FOLLOW_TIMEOUT: Final = 5.0
AGAIN_AFTER: Final = 1.0
"""Seconds from one attempt to subscribe to the next."""

logger = logging.getLogger("casty.client")


class _Followed:
    """A topic with subscribers in this program, and the task behind its subscription."""

    def __init__(
        self, kernel: Kernel, link: ClientLink, topic: Topic[Any], emptied: Callable[[LocalTopic], None]
    ) -> None:
        self.local = LocalTopic(kernel, topic, link.codec.names_of(topic.message_type), emptied)
        self.scope = trio.CancelScope()
        self.way = link.way_to(PUBLISHED_PREFIX + topic.name)
        self.ref: OpenRef[TopicCommand] = OpenRef(link, self.way, FOLLOWED_PREFIX + topic.name, TopicCommand)
        self._kernel = kernel

    async def follow(self, known_within: float = 0.0, timeout: float = FOLLOW_TIMEOUT) -> str:
        """Subscribe by the connection that its way leads by; return the fault, or ""."""
        make = partial(FollowTopic, known_within)
        fault: str = await ask(self._kernel, self.ref, make, timeout)
        return fault

    @trio.lowlevel.enable_ki_protection
    async def keep(self) -> None:
        """Keep it subscribed."""
        is_told = False
        with self.scope:
            while True:
                before = self.way.connection
                try:
                    fault = await self.follow()
                except (AskFailed, AskTimeoutError) as error:
                    fault = str(error)
                if fault:
                    if not is_told:
                        logger.warning("%r is not subscribed to, and tried again: %s", self.local.topic, fault)
                    is_told = True
                    await trio.sleep(AGAIN_AFTER)
                elif before is not None and before is self.way.connection:
                    is_told = False
                    await before.unusable.wait()


class ClientTopics:
    """Messages to many, as a client has them: topics, and no broadcasts."""

    def __init__(self, kernel: Kernel, link: ClientLink) -> None:
        self._kernel = kernel
        self._link = link
        self._followed: dict[str, _Followed] = {}
        link.on_published = self._take

    def subscribe(self, topic: Topic[Any], ref: ActorRef[Any]) -> None:
        """Add a subscriber of this program to a topic."""
        self._check(topic, "subscribe")
        check_ref(ref, "subscribe")
        if isinstance(ref, EntityRef) or not isinstance(ref, OwnRef):
            raise ValueError(f"{ref!r} is no actor of this client: subscribe one of its own to {topic!r}")
        if ref.owner() is None and not isinstance(ref, InlineRef):
            return  # it has ended already
        followed = self._followed.get(topic.name)
        if followed is None:
            self._link.codec.register(topic.message_type)
            followed = self._followed[topic.name] = _Followed(self._kernel, self._link, topic, self._emptied)
            self._link.start(followed.keep)
        elif followed.local.names != self._link.codec.names_of(topic.message_type):
            raise ConfigError(f"{topic!r} is subscribed to as {followed.local.topic!r} here: a topic has one type")
        followed.local.add(ref)

    def unsubscribe(self, topic: Topic[Any], ref: ActorRef[Any]) -> None:
        """Remove a subscriber, if it is one."""
        check_topic(topic, "unsubscribe")
        check_ref(ref, "unsubscribe")
        self._kernel.check_thread("unsubscribe")
        followed = self._followed.get(topic.name)
        if followed is not None:
            followed.local.remove(ref)

    def publish(self, topic: Topic[Any], message: object) -> int:
        """Hand a message to a node, to be published; return 1, or 0 where it is a dead letter."""
        self._check(topic, "publish")
        path = PUBLISHED_PREFIX + topic.name
        ref: OpenRef[Any] = OpenRef(self._link, self._link.way_to(path), path, topic.message_type)
        return int(ref.hand_over(message))

    async def known(self, topic: Topic[Any], timeout: float) -> None:
        """Wait until a node has subscribed this client, and all others know of it."""
        followed = self._followed[topic.name]
        began = trio.current_time()
        fault = f"no node has subscribed this client to {topic!r} within {timeout:g} s"
        while (left := timeout - (trio.current_time() - began)) > 0:
            try:
                fault = await followed.follow(left, left)
            except AskFailed as error:
                fault = str(error)
            except AskTimeoutError:
                break
            if not fault:
                return
            with trio.move_on_after(min(left, AGAIN_AFTER)):
                await trio.sleep_forever()
        raise ClusterTimeoutError(fault)

    def broadcast(self, key: ServiceKey[Any]) -> Broadcast[Any]:
        """Refuse: broadcasts are between nodes."""
        raise ConfigError(f"{key!r}: a client has no broadcasts; find the services, or publish under a topic")

    async def ask_all(
        self, key: ServiceKey[Any], factory: Callable[[ActorRef[Any]], Any], timeout: float
    ) -> Mapping[NodeAddress, object]:
        """Refuse: broadcasts are between nodes."""
        await trio.lowlevel.checkpoint()
        raise ConfigError(f"{key!r}: a client has no broadcasts; find the services, and ask each")

    def _take(self, envelope: Envelope) -> None:
        followed = self._followed.get(envelope.path.removeprefix(PUBLISHED_PREFIX))
        if followed is None:
            return  # of one that it follows no more
        if envelope.name in followed.local.names:
            followed.local.hand_out(envelope.message)
        else:
            ref, shown = self._kernel.ref_for(envelope.path, 0), MessageSummary(envelope.name, 0)
            self._kernel.dead_letter(
                None, ref, ILL_TYPED, f"{followed.local.topic!r} takes no such message", shown=shown
            )

    def _emptied(self, local: LocalTopic) -> None:
        followed = self._followed.pop(local.topic.name)
        followed.scope.cancel()
        if followed.way.connection is not None:
            followed.ref.tell(UnfollowTopic())

    def _check(self, topic: Topic[Any], what: str) -> None:
        check_topic(topic, what)
        self._kernel.check_thread(what)
        if not topic.clients:
            raise ConfigError(f"{topic!r} is not open to clients: make it with clients=True, on the nodes too")

    def __repr__(self) -> str:
        return f"<ClientTopics {len(self._followed)}>"
