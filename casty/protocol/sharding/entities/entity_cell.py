"""Entries of the table of entities: one for each entity, and one for each shard.

Owns their shape alone. A million entities are a million entries, so what hardly any of them needs is in an object of
its own, and a list of cells, not of ids, stands wherever they are in an order.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from casty.protocol.sharding.entities.entity_events import EntityMessage

GONE_MEMBERS_MAX: Final = 16
"""Cells without an entity in the list of a shard, beyond as many as there are with one."""


def is_no_ask(_: object) -> bool:
    """Return False: of messages without an asker."""
    return False


class EntityPhase(Enum):
    """Phase of an entity's life."""

    queued = auto()
    starting = auto()
    active = auto()
    stopping = auto()
    pausing = auto()


@dataclass(slots=True)
class EntityTroubles:
    """Failures of an entity, or messages left without having been handled."""

    failures: int = 0
    """Failures in a row: since an activation has lasted long enough, or ended well."""
    first: EntityMessage | None = None
    """First message of the activation, if the one before has left it."""
    started_at: float = math.inf
    retry_at: float = math.inf
    """Time of its next start after a failure."""
    cause: BaseException | None = None
    """Failure of its starts, where it fails again and again before the same message: asks are told of it at once."""
    is_over_at: float = math.inf
    """Time at which it is forgotten where no message came: as long after its pause as that lasted."""


@dataclass(slots=True, eq=False)
class EntityCell:
    """One entity, as long as it has an activation or messages."""

    entity_id: str
    shard: int
    epoch: int
    last_used: float
    phase: EntityPhase = EntityPhase.queued
    activation: int = 0
    waiting: deque[EntityMessage] | None = None
    """Made for the first message that waits, and let go with the last: empty, it is a tenth of an entity."""
    troubles: EntityTroubles | None = None
    idle_at: float | None = None
    """Time by which it is in the order of the idle ones, at most its last use; None while it is not among them."""
    model: object = None
    """Of an entity of pure functions these; it has no actor."""
    state: object = None
    """State of such an entity while nothing else has it."""
    seq: int = 0
    saved: int = 0
    """Numbers of its last event, and of the last one in a snapshot."""

    def __lt__(self, other: EntityCell) -> bool:
        return (self.listed_at, self.entity_id) < (other.listed_at, other.entity_id)

    @property
    def listed_at(self) -> float:
        """Its place in the order of the idle ones."""
        return -math.inf if self.idle_at is None else self.idle_at

    def has_left(self, left: tuple[EntityMessage, ...]) -> bool:
        """Whether an activation has left the message again that the one before has left."""
        first = None if self.troubles is None else self.troubles.first
        return first is not None and bool(left) and left[0].message is first.message

    @property
    def failed_to_start_again(self) -> bool:
        """Whether it has ended before it took messages, and has failed before."""
        return self.phase is EntityPhase.starting and self.troubles is not None and self.troubles.failures > 0

    def refusal(self, now: float) -> BaseException | None:
        """Return the failure of its starts while it pauses after them; None without one."""
        if self.phase is not EntityPhase.pausing or self.troubles is None or self.may_retry(now):
            return None
        return self.troubles.cause

    def begins_with(self, message: EntityMessage, now: float) -> bool:
        """Note the first message since all asks before were refused; return whether it starts at once."""
        troubles = self.troubles
        if self.phase is not EntityPhase.pausing or self.waiting or troubles is None or troubles.cause is None:
            return False
        troubles.first = message
        return self.may_retry(now)

    def take_waiting(self, is_wanted: Callable[[object], bool]) -> list[EntityMessage]:
        """Take some of the waiting messages out."""
        waiting = self.waiting or ()
        self.waiting = deque(one for one in waiting if not is_wanted(one.message)) or None
        return [one for one in waiting if is_wanted(one.message)]

    def may_retry(self, now: float) -> bool:
        """Whether its pause after a failure is over."""
        return self.troubles is not None and self.troubles.retry_at <= now


@dataclass(slots=True)
class OpenedShard:
    """One shard, open here or closing."""

    epoch: int
    members: list[EntityCell] = field(default_factory=list[EntityCell])
    """Cells in the order of their making, some of them without an entity by now."""
    count: int = 0
    """Its entities."""
    is_closing: bool = False
    closes_by: float = math.inf
    is_cancelled: bool = False
