"""Entities in the eyes of a behaviour under test: refs, whose messages are effects.

Owns the refs. It does not know what an entity answers: of an ask of one, nothing comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never, TypeVar, cast

from casty.address import ActorAddress
from casty.refs import ActorRef, EntityKey, EntityRef
from casty.runtime.hooks import KernelHooks

M_contra = TypeVar("M_contra", contravariant=True)


class KitEntityRef(EntityRef[M_contra]):
    """A ref to an entity without a cluster: messages told to it go to a function. Equal by kind and id."""

    __slots__ = ("_id", "_key", "_take")

    def __init__(self, key: EntityKey[Any], entity_id: str, take: Callable[[ActorRef[Never], object], None]) -> None:
        self._key = key
        self._id = entity_id
        self._take = take

    @property
    def id(self) -> str:
        return self._id

    @property
    def key(self) -> EntityKey[Any]:
        return self._key

    @property
    def address(self) -> ActorAddress:
        return ActorAddress("kit", f"/{self._key.name}/{self._id}")

    def tell(self, message: M_contra) -> None:
        self._take(cast("ActorRef[Never]", self), message)

    async def send(self, message: M_contra) -> None:
        self.tell(message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KitEntityRef) and (self._key, self._id) == (other.key, other.id)

    def __hash__(self) -> int:
        return hash((self._key, self._id))


class KitCluster:
    """In the place of the kernel: the refs of entities, made as on a node."""

    def __init__(self, take: Callable[[ActorRef[Never], object], None]) -> None:
        def make(key: EntityKey[Any], entity_id: str, is_singleton: bool) -> EntityRef[Any]:
            return KitEntityRef[Any](key, entity_id, take)

        self.name = "kit"
        self.hooks = KernelHooks(entity_used=make)
