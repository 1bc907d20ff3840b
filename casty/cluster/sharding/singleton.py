"""Behaviour of the actors that may run a singleton on their nodes: made by ``Behaviors.singleton``.

Owns the translation into a kind of entities with one shard and one id. It does not know how one is placed or started.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from casty.cluster.sharding.hosted_keys import mixed_use
from casty.cluster.sharding.region_behavior import EntityRegionBehavior, check_role
from casty.config.validation import check_callable
from casty.protocol.sharding.allocation import OLDEST
from casty.refs import EntityKey
from casty.runtime.behavior.behavior import Behavior, Composed, receive
from casty.runtime.messaging.entity_ref import SINGLETON_ID

M = TypeVar("M")

ENTITIES_MAX = 16
"""Entities under the key on one node: the singleton, and whatever callers take for one by mistake."""


@dataclass(frozen=True, eq=False)
class SingletonBehavior(Composed[M]):
    """Run one actor in the whole cluster: made by ``Behaviors.singleton``."""

    factory: Callable[[], Behavior[M]]
    """Function that makes its behaviour."""
    key: EntityKey[M]
    """Name and message type."""
    role: str | None
    """Role needed by a node to run it; None: none."""
    region: EntityRegionBehavior[M] = field(init=False)
    """Its kind of entities, of which there is one."""

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.key), EntityKey):
            raise TypeError(f"singleton needs an EntityKey, such as EntityKey[Message]('billing'), got {self.key!r}")
        where = f"singleton of {self.key!r}"
        check_callable(where, self.factory, "a function without parameters that returns a behaviour")
        check_role(where, self.role)
        region = EntityRegionBehavior(
            self._make, self.key, 1, self.role, math.inf, ENTITIES_MAX, OLDEST, is_singleton=True
        )
        object.__setattr__(self, "region", region)

    def message_type(self) -> object | None:
        return self.key.message_type

    def compose(self) -> Behavior[Any]:
        """Make the behaviour that has the placement of the cluster take the actor over. For the library.

        Returns:
            The behaviour of the actor.
        """
        return self.region.compose()

    def _make(self, entity_id: str) -> Behavior[M]:
        return self.factory() if entity_id == SINGLETON_ID else self._refusing()

    def _refusing(self) -> Behavior[M]:
        """Return a behaviour for another id: its sender took the key for one of entities, not knowing better."""

        async def refuse(ctx: object, message: M) -> Behavior[M]:
            raise mixed_use(self.key, True, "")

        return receive(refuse)
