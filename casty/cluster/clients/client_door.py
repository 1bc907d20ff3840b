"""Door of one node for its clients: paths open to all of them, and the takers of messages there.

Owns the one list of all allowed: keys made with ``clients=True`` and used on this node. It does not know the askers.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol, cast

from casty.address import (
    ENTITY_PREFIX,
    FOLLOWED_PREFIX,
    PUBLISHED_PREFIX,
    SERVICE_PREFIX,
    entity_of_path,
)
from casty.cluster.clients.client_commands import FindService, TopicCommand
from casty.cluster.receptionist.receptionist import ReceptionistExtension
from casty.refs import ActorRef, ServiceKey, Topic
from casty.runtime.hooks import OpenKey
from casty.runtime.messaging.entity_ref import SINGLETON_ID
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.system.group_messaging import GroupPort
from casty.runtime.system.kernel import Kernel

INSTANCES_MAX: Final = 512
"""Instances of a service told to a client at one time: half of the refs that it may hold."""


class TopicFollower(Protocol):
    """Session of a client, for its topics."""

    def command(self, topic: Topic[Any], command: TopicCommand) -> None:
        """Subscribe, or subscribe no more."""
        ...


class ClientDoor:
    """Door for clients on one node.

    Parameters:
        kernel: The node's kernel, with the keys used there.
        receptionist: Finder of services.
    """

    def __init__(self, kernel: Kernel, receptionist: ReceptionistExtension) -> None:
        self._kernel = kernel
        self._receptionist = receptionist

    def type_at(self, path: str) -> object | None:
        """Return the type of the messages taken at a path on the wire; None where nothing is open."""
        if path.startswith(FOLLOWED_PREFIX):
            is_open = self._open(PUBLISHED_PREFIX + path.removeprefix(FOLLOWED_PREFIX)) is not None
            return TopicCommand if is_open else None
        found = self._open(path)
        if found is None:
            return None
        message_type = found.key.message_type
        return cast("Any", FindService)[message_type] if path.startswith(SERVICE_PREFIX) else message_type

    def taker(self, path: str, follower: TopicFollower) -> ActorRef[Any] | None:
        """Return the taker of messages to a path, that of an entity with its id; None where nothing is open."""
        if path.startswith(ENTITY_PREFIX):
            return self._entity(path)
        is_followed = path.startswith(FOLLOWED_PREFIX)
        found = self._open(PUBLISHED_PREFIX + path.removeprefix(FOLLOWED_PREFIX) if is_followed else path)
        if found is None:
            return None
        if isinstance(found.key, ServiceKey):
            return self._inline(path, partial(self._find, found.key))
        assert isinstance(found.key, Topic)
        if is_followed:
            return self._inline(path, partial(follower.command, found.key))
        groups = cast("GroupPort | None", self._kernel.hooks.groups)
        return None if groups is None else self._inline(path, partial(groups.publish, found.key))

    def _entity(self, path: str) -> ActorRef[Any] | None:
        named = entity_of_path(path)
        make = self._kernel.hooks.entity_ref
        if named is None or make is None:
            return None
        key, entity_id = named
        found = self._open(ENTITY_PREFIX + key)
        if found is None or (found.is_singleton and entity_id != SINGLETON_ID):
            return None
        return make(cast("Any", found.key), entity_id)

    def _open(self, path: str) -> OpenKey | None:
        return self._kernel.hooks.open_keys.get(path)

    def _inline(self, path: str, take: Any) -> InlineRef[Any]:
        return InlineRef(self._kernel, path, 0, take)

    def _find(self, key: ServiceKey[Any], command: FindService[Any]) -> None:
        command.reply_to.tell(self._receptionist.instances(key, INSTANCES_MAX))

    def __repr__(self) -> str:
        return f"<ClientDoor {len(self._kernel.hooks.open_keys)} keys>"
