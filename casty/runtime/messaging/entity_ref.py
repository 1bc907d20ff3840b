"""Refs to entities: by their kind and id, wherever an entity lives at the time.

Owns the names of entities: on the wire, in addresses, and the number by which an id finds its shard. It does not know
nodes or shards: messages go to the routing of the kind, which the cluster provides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Never, Protocol, TypeVar, cast

from casty.address import ActorAddress, WireRef, entity_path
from casty.protocol.sharding.shard_hash import check_entity_id, number_of
from casty.refs import EntityKey, EntityRef
from casty.runtime.hooks import KernelHooks, no_cluster
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, UnsentRequest

SINGLETON_ID: Final = "singleton"
"""Id of the one entity of a singleton's key."""

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


NO_WAY: Final = object()
"""Way of a ref that was never used: to no shard."""


class EntityRouting(Protocol):
    """Way of messages to the entities of one kind, from one node."""

    @property
    def key(self) -> EntityKey[Any]:
        """Kind of the entities."""
        ...

    @property
    def system_name(self) -> str:
        """Name of the system."""
        ...

    @property
    def ways(self) -> Sequence[object]:
        """Way to each shard, the same object as long as it leads there; never empty."""
        ...

    def tell(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, or hold it until its entity can be reached; a dead letter where there is no room."""
        ...

    async def send(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, waiting for room."""
        ...

    def request(self, ref: RoutedEntityRef[Never], request: Request) -> UnsentRequest | None:
        """Hand over a request, or hold it until its entity can be reached, at most until its deadline."""
        ...


class RoutedEntityRef(EntityRef[M_contra], AskableRef[M_contra]):
    """Ref with the routing of its kind, and with the way its last message went: the next one goes it at once."""

    __slots__ = ("_id", "_routing", "_shard", "_target", "_way", "number")

    def __init__(self, routing: EntityRouting, entity_id: str) -> None:
        self._routing = routing
        self._id = entity_id
        self.number = number_of(entity_id)
        """Number of 64 bits made of the id: the same in every process. Its remainder is the shard."""
        self._shard = 0
        self._way: object = NO_WAY
        self._target = cast("AskableRef[M_contra]", None)  # unused as long as it has no way; itself would be a circle

    def lead(self, shard: int, way: object, target: AskableRef[M_contra]) -> None:
        """Go to ``target`` at once, as long as ``way`` is that of the shard."""
        self._shard, self._way, self._target = shard, way, target

    @property
    def id(self) -> str:
        return self._id

    @property
    def key(self) -> EntityKey[Any]:
        return self._routing.key

    @property
    def address(self) -> ActorAddress:
        return ActorAddress(self._routing.system_name, f"/{self.key.name}/{self._id}")

    @property
    def place(self) -> WireRef:
        """The ref on the wire."""
        return self._routing.system_name, entity_path(self.key.name, self._id), None, None, 0, 0

    def tell(self, message: M_contra) -> None:
        if self._routing.ways[self._shard] is self._way:
            self._target.tell(message)
        else:
            self._routing.tell(self, message)

    async def send(self, message: M_contra) -> None:
        if self._routing.ways[self._shard] is self._way:
            await self._target.send(message)
        else:
            await self._routing.send(self, message)

    def request(self, request: Request) -> UnsentRequest | None:
        if self._routing.ways[self._shard] is self._way:
            return self._target.request(request)
        return self._routing.request(self, request)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RoutedEntityRef):
            return False
        return self.number == other.number and self._id == other.id and self.key == other.key

    def __hash__(self) -> int:
        return self.number


class HasHooks(Protocol):
    """The kernel, for the making of refs."""

    @property
    def name(self) -> str:
        """Name of the system."""
        ...

    @property
    def hooks(self) -> KernelHooks:
        """Hooks of the cluster."""
        ...


def entity_ref(kernel: HasHooks, key: EntityKey[M], entity_id: str) -> EntityRef[M]:
    """Return the ref of an entity. RuntimeError or ActorStoppedError without a cluster; TypeError, ValueError."""
    return _used(kernel, key, check_entity_id(entity_id), is_singleton=False)


def singleton_ref(kernel: HasHooks, key: EntityKey[M]) -> EntityRef[M]:
    """Return the ref of a singleton. RuntimeError, or ActorStoppedError, without a cluster; TypeError for no key."""
    return _used(kernel, key, SINGLETON_ID, is_singleton=True)


def _used(kernel: HasHooks, key: EntityKey[M], entity_id: str, *, is_singleton: bool) -> EntityRef[M]:
    if not isinstance(cast("object", key), EntityKey):
        raise TypeError(f"an entity is of a kind, such as EntityKey[Message]('carts'), got {key!r}")
    make = kernel.hooks.entity_used
    if make is None:
        raise no_cluster(kernel.name, kernel.hooks, "entities live in")
    return cast("EntityRef[M]", make(key, entity_id, is_singleton))
