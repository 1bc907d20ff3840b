"""Events and effects of the entities of one key at one node (`entity_table`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.sharding.placement_events import CloseShard, OpenShard, ServesUntil, ShardClosed
from casty.schema.names import message

ENTITIES_DUE = "entities-due"
"""Name of the timer of an `EntityTable`, its key behind a dot."""


@dataclass(frozen=True, slots=True)
class EntityMessage:
    """Event: a message for an entity came, sent under an epoch of its shard; ``message`` is opaque."""

    entity_id: str
    shard: int
    epoch: int
    message: object


@dataclass(frozen=True, slots=True)
class EntityStarted:
    """Event: this activation takes messages now."""

    entity_id: str
    activation: int


@dataclass(frozen=True, slots=True)
class EntityEnded:
    """Event: the last task of this activation has ended; ``left`` was delivered to it, and not handled."""

    entity_id: str
    activation: int
    has_failed: bool = False
    left: tuple[EntityMessage, ...] = ()
    cause: BaseException | None = None
    """Its failure."""


@dataclass(frozen=True, slots=True)
class StartEntity:
    """Effect: start an activation, and say `EntityStarted` then, or `EntityEnded`."""

    entity_id: str
    activation: int
    epoch: int


@dataclass(frozen=True, slots=True)
class DeliverToEntity:
    """Effect: hand a message to a started activation, behind all before."""

    activation: int
    message: EntityMessage


@dataclass(frozen=True, slots=True)
class StopEntity:
    """Effect: end an activation once it has handled everything delivered, and say `EntityEnded` then."""

    entity_id: str
    activation: int


@dataclass(frozen=True, slots=True)
class CancelEntity:
    """Effect: end an activation at once, and say `EntityEnded` when its last task has ended."""

    entity_id: str
    activation: int


class RefusalReason(Enum):
    """Reason for a message that was certainly not handled."""

    moved = "shard moved"
    full = "shard buffer full"
    expired = "not sent in time"


@dataclass(frozen=True, slots=True)
class RefuseMessage:
    """Effect: tell the sender that this message was not handled."""

    message: EntityMessage
    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class RefuseAsk:
    """Effect: tell the asker of this message that its entity cannot start, and why."""

    message: EntityMessage
    cause: BaseException


@message("casty.EntityFailed")
@dataclass(frozen=True, slots=True)
class EntityFailed:
    """Published by the node concerned: an entity has failed, and starts again after a pause, if it has messages.

    One that ends by itself twice before the same message has failed, too.
    """

    key: str
    """Name of the `EntityKey`."""
    entity_id: str
    """Id of the entity."""
    pause: float
    """Seconds, doubled at each failure in a row; 0.0 where its shard closes."""


EntityEvent = (
    OpenShard | CloseShard | ServesUntil | EntityMessage | EntityStarted | EntityEnded | TimerFired
)  # fmt: skip
EntityEffect = (
    StartEntity
    | DeliverToEntity
    | StopEntity
    | CancelEntity
    | RefuseMessage
    | RefuseAsk
    | ShardClosed
    | PublishEvent
    | StartTimer
)  # fmt: skip
