"""Refs to entities: by their kind and id, wherever an entity lives at the time.

Owns the names of entities: on the wire, in addresses, and the number by which an id finds its shard. It does not know
nodes or shards: messages go to the routing of the kind, which the cluster provides.
"""

from __future__ import annotations

from typing import Any, Final, Never, Protocol, TypeVar, cast

from casty.address import ActorAddress, WireRef
from casty.config.validation import NAME_LENGTH_MAX
from casty.protocol.sharding.shard_hash import check_entity_id, number_of
from casty.refs import EntityKey, EntityRef
from casty.runtime.hooks import KernelHooks
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, UnsentRequest

SINGLETON_ID: Final = "singleton"
"""Id of the one entity of a singleton's key."""

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)

ENTITY_PREFIX: Final = "/_entity/"
"""Beginning of an entity's path on the wire; the length of the kind's name, that name, and the id follow."""


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
    """Ref with the routing of its kind."""

    __slots__ = ("_id", "_routing", "number")

    def __init__(self, routing: EntityRouting, entity_id: str) -> None:
        self._routing = routing
        self._id = entity_id
        self.number = number_of(entity_id)
        """Number of 64 bits made of the id: the same in every process. Its remainder is the shard."""

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
        return self._routing.system_name, wire_path(self.key.name, self._id), None, None, 0, 0

    def tell(self, message: M_contra) -> None:
        self._routing.tell(self, message)

    async def send(self, message: M_contra) -> None:
        await self._routing.send(self, message)

    def request(self, request: Request) -> UnsentRequest | None:
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
    """Return the ref of an entity. RuntimeError without a cluster; TypeError or ValueError for no key or id."""
    return _used(kernel, key, check_entity_id(entity_id), is_singleton=False)


def singleton_ref(kernel: HasHooks, key: EntityKey[M]) -> EntityRef[M]:
    """Return the ref of a singleton. RuntimeError without a cluster; TypeError for no key."""
    return _used(kernel, key, SINGLETON_ID, is_singleton=True)


def _used(kernel: HasHooks, key: EntityKey[M], entity_id: str, *, is_singleton: bool) -> EntityRef[M]:
    if not isinstance(cast("object", key), EntityKey):
        raise TypeError(f"an entity is of a kind, such as EntityKey[Message]('carts'), got {key!r}")
    make = kernel.hooks.entity_used
    if make is None:
        raise RuntimeError(
            f"entities live in a cluster, and {kernel.name!r} is no node of one: use ClusteredActorSystem"
        )
    return cast("EntityRef[M]", make(key, entity_id, is_singleton))


def wire_path(key: str, entity_id: str) -> str:
    """Return the path of an entity on the wire.

    >>> wire_path("carts", "a/b"), parsed_path("/_entity/5/carts/a/b")
    ('/_entity/5/carts/a/b', ('carts', 'a/b'))
    """
    return f"{ENTITY_PREFIX}{len(key)}/{key}/{entity_id}"


def parsed_path(path: str) -> tuple[str, str] | None:
    """Return the kind and the id in a path; None where it is none of an entity."""
    digits, _, rest = path[len(ENTITY_PREFIX) :].partition("/")
    if not path.startswith(ENTITY_PREFIX) or not digits.isascii() or not digits.isdigit() or len(digits) > 3:
        return None
    length = int(digits)
    key, separator, entity_id = rest[:length], rest[length : length + 1], rest[length + 1 :]
    is_entity = separator == "/" and 0 < length <= NAME_LENGTH_MAX and 0 < len(entity_id) <= NAME_LENGTH_MAX
    return (key, entity_id) if is_entity else None
