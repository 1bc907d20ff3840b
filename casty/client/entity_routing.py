"""Way of a client's messages to the entities of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from typing import Any, Never, cast

from casty.address import ENTITY_PREFIX
from casty.client.client_link import ClientLink
from casty.refs import ActorRef, EntityKey
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import UnsentRequest, refuse_thread


class ClientRouting:
    """Routing of one kind at a client: by a node, with knowledge of the places of entities.

    Parameters:
        link: Way to the cluster.
        key: Kind of the entities.
        system_name: Name of the cluster's system.
    """

    def __init__(self, link: ClientLink, key: EntityKey[Any], system_name: str) -> None:
        link.codec.register(key.message_type)
        self._link = link
        self._way = link.way_to(ENTITY_PREFIX + key.name)
        self._key = key
        self._system_name = system_name
        self._ways: Sequence[object] = [None]
        self._thread = get_ident()

    @property
    def key(self) -> EntityKey[Any]:
        """Kind of the entities."""
        return self._key

    @property
    def system_name(self) -> str:
        """Name of the cluster's system."""
        return self._system_name

    @property
    def ways(self) -> Sequence[object]:
        """Way to each shard: none that a ref could remember."""
        return self._ways

    def tell(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, or hold it until there is a connection; a dead letter where there is no room."""
        self._check_thread(ref)
        self._link.post(self._way, cast("ActorRef[Any]", ref), message)

    async def send(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, waiting for room."""
        self._check_thread(ref)
        await self._link.send(self._way, cast("ActorRef[Any]", ref), message)

    def request(self, ref: RoutedEntityRef[Never], request: Request) -> UnsentRequest | None:
        """Hand over a request, or hold it until there is a connection, at most until its deadline."""
        self._check_thread(ref)
        return self._link.post(self._way, cast("ActorRef[Any]", ref), request)

    def _check_thread(self, ref: RoutedEntityRef[Never]) -> None:
        if get_ident() != self._thread:
            refuse_thread(cast("ActorRef[Never]", ref))

    def __repr__(self) -> str:
        return f"<ClientRouting {self._key.name}>"
