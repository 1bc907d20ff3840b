"""Behaviour of the actor with the entities of one kind on its node: made by ``Behaviors.sharded``.

Owns its options, as a value. It does not know how entities are placed or started: `Sharding` takes its actor over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from casty.config.validation import NAME_LENGTH_MAX, check_callable
from casty.errors import ConfigError
from casty.protocol.messages.shard_bounds import NUM_SHARDS_MAX
from casty.protocol.sharding.allocation import Allocation
from casty.protocol.sharding.shard_hash import check_entity_id
from casty.refs import EntityKey
from casty.runtime.behavior.behavior import Behavior, Composed, setup
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import kernel_of
from casty.schema.names import message

M = TypeVar("M")


@message("casty.ShardEnvelope")
@dataclass(frozen=True)
class ShardEnvelope(Generic[M]):
    """Message for one entity, told to an actor with entities of its kind; the entity's ref is the shorter way.

    Raises:
        ValueError: The id is no text, of another length than 1 to 255, or with a lone surrogate.
    """

    entity_id: str
    """Id of the entity."""
    message: M
    """Message for it."""

    def __post_init__(self) -> None:
        check_entity_id(self.entity_id)


class RegionHost(Protocol):
    """Taker of the actors that host entities: the placement of the cluster."""

    async def host(self, ctx: ActorContext[Any], region: EntityRegionBehavior[Any]) -> Behavior[Any]:
        """Begin to host a kind with the actor of this context; return its behaviour."""
        ...


@dataclass(frozen=True, eq=False)
class EntityRegionBehavior(Composed[ShardEnvelope[M]]):
    """Host entities of one kind on the node of the actor: made by ``Behaviors.sharded``."""

    factory: Callable[[str], Behavior[M]]
    """Function of an id that makes the entity's behaviour."""
    key: EntityKey[M]
    """Kind of the entities."""
    num_shards: int
    """Shards of the kind, the same on all nodes."""
    role: str | None
    """Role needed by a node to host them; None: none."""
    passivate_after: float
    """Seconds without a message after which an entity ends."""
    entities_max: int
    """Entities of the kind on one node, above which the least recently used ones end."""
    allocation: Allocation
    """Strategy of placement."""
    is_singleton: bool = False
    """Whether the kind has one entity, which needs no message to start."""

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.key), EntityKey):
            raise TypeError(f"sharded needs an EntityKey, such as EntityKey[Message]('carts'), got {self.key!r}")
        where = f"sharded of {self.key!r}"
        check_callable(where, self.factory, "a function of the id that returns a behaviour")
        _check_count(where, "num_shards", self.num_shards, NUM_SHARDS_MAX)
        _check_count(where, "entities_max", self.entities_max, 2**31)
        for method in ("place", "moves"):
            check_callable(
                f"{where}: allocation.{method}", getattr(self.allocation, method, None), "a method of an Allocation"
            )
        seconds = cast("object", self.passivate_after)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
            raise ConfigError(f"{where}: passivate_after must be seconds above 0, got {seconds!r}")
        check_role(where, self.role)

    def message_type(self) -> object | None:
        envelope: Any = ShardEnvelope
        return cast("object", envelope[self.key.message_type])

    def compose(self) -> Behavior[Any]:
        """Make the behaviour that has the placement of the cluster take the actor over. For the library.

        Returns:
            The behaviour of the actor.
        """
        return setup(self._start)

    async def _start(self, ctx: ActorContext[Any]) -> Behavior[Any]:
        host = kernel_of(ctx.system).hooks.entity_host
        if host is None:
            raise RuntimeError(
                f"{ctx.self.path} hosts entities of {self.key!r}, which live on the nodes of a cluster: "
                "use ClusteredActorSystem"
            )
        return await cast("RegionHost", host).host(ctx, self)


def check_role(where: str, role: object) -> None:
    """Raise ConfigError unless a role is None or can be the name of one."""
    if role is not None and not (isinstance(role, str) and 0 < len(role) <= NAME_LENGTH_MAX):
        raise ConfigError(f"{where}: role must be the name of a role or None, got {role!r}")


def _check_count(where: str, name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"{where}: {name} must be an integer from 1 to {most}, got {value!r}")
