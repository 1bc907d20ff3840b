"""Topics followed by one client, by way of its session at a node.

Owns the subscribers of this node in place of the client. Messages go on to the session, and are dropped there where the
client does not read fast enough: they come at most once, and hold up no reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol, assert_never, cast

import trio

from casty.address import FOLLOWED_PREFIX
from casty.cluster.clients.client_commands import FollowTopic, TopicCommand, UnfollowTopic
from casty.errors import CastyError, ClusterTimeoutError
from casty.refs import ActorRef, Topic
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.system.group_messaging import GroupPort
from casty.runtime.system.kernel import Kernel

FOLLOWED_MAX: Final = 256
"""Topics of one client."""
KNOWN_WAITS_MAX: Final = 16
"""Waits of one client for other nodes to know of its subscriptions, at one time."""
KNOWN_WITHIN_MAX: Final = 60.0
"""Seconds of such a wait, at most."""


class TopicTaker(Protocol):
    """Session of the client."""

    def take_published(self, topic: Topic[Any], message: object) -> None:
        """Hand a message of a topic on to the client."""
        ...

    def start(self, run: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task as long as the session."""
        ...


class FollowedTopics:
    """Topics of one session."""

    def __init__(self, kernel: Kernel, taker: TopicTaker) -> None:
        self._kernel = kernel
        self._taker = taker
        self._followed: dict[Topic[Any], InlineRef[Any]] = {}
        self._waits = 0

    def command(self, topic: Topic[Any], command: TopicCommand) -> None:
        """Subscribe, or subscribe no more."""
        match command:
            case FollowTopic(within, reply_to):
                fault = self._follow(topic)
                if fault or not 0 < within < float("inf"):
                    reply_to.tell(fault)
                elif self._waits >= KNOWN_WAITS_MAX:
                    reply_to.tell(f"{self._waits} waits of this client for what other nodes know are under way")
                else:
                    self._waits += 1
                    self._taker.start(self._tell_known, topic, min(within, KNOWN_WITHIN_MAX), reply_to)
            case UnfollowTopic():
                self._unfollow(topic)
            case _ as never:
                assert_never(never)

    def close(self) -> None:
        """End all subscriptions."""
        for topic in tuple(self._followed):
            self._unfollow(topic)

    def _follow(self, topic: Topic[Any]) -> str:
        groups = self._groups()
        if topic in self._followed:
            return ""
        if groups is None:
            return "the node is leaving"
        if len(self._followed) >= FOLLOWED_MAX:
            return f"a client follows at most {FOLLOWED_MAX} topics"
        take = partial(self._taker.take_published, topic)
        ref: InlineRef[Any] = InlineRef(self._kernel, FOLLOWED_PREFIX + topic.name, self._kernel.next_uid(), take)
        try:
            groups.subscribe(topic, ref)
        except (CastyError, ValueError, TypeError) as error:
            return str(error)
        self._followed[topic] = ref
        return ""

    def _unfollow(self, topic: Topic[Any]) -> None:
        groups, ref = self._groups(), self._followed.pop(topic, None)
        if groups is not None and ref is not None:
            groups.unsubscribe(topic, ref)

    @trio.lowlevel.enable_ki_protection
    async def _tell_known(self, topic: Topic[Any], within: float, reply_to: ActorRef[str]) -> None:
        groups, fault = self._groups(), ""
        try:
            if groups is None or topic not in self._followed:
                fault = f"{topic!r} is not subscribed to any more"
            else:
                await groups.known(topic, within)
        except ClusterTimeoutError as error:
            fault = str(error)
        finally:
            self._waits -= 1
        reply_to.tell(fault)

    def _groups(self) -> GroupPort | None:
        return cast("GroupPort | None", self._kernel.hooks.groups)

    def __repr__(self) -> str:
        return f"<FollowedTopics {len(self._followed)}>"
