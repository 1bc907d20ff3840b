"""Entities of one key at one node: each starts with its first message, and ends when it is idle or its shard closes.

Owns the activations of each entity, and the messages waiting for one. It does not know behaviours and tasks, or the
reason of a shard's opening or closing (`shard_region`). The way of a message to a running entity need not lead through
it: what it owns is every other case.

How it works: an entity is queued, starting, active, stopping or pausing after a failure; it has one activation at most,
each with a number of its own. A stop is ordered behind the messages delivered, so nothing is lost by it: what comes
meanwhile waits, and starts the entity again. One that ends by itself twice before the same message has failed. One that
fails again and again before the same message cannot start: asks that wait, or come in its pause, are refused with its
failure; other messages wait. A closing shard takes no message; it lets its entities handle what they have and what
waits, for `stop_timeout`, then cancels them, and is closed when the last one has ended. There a failed one starts again
at once, and if it has failed twice before the same message it gives up the rest. Nothing is started or delivered
without the serving lease: it waits.

Source: passivation as in Akka Cluster Sharding; virtual actors as in Bykov et al. 2011 (Orleans). Deviation from both:
a message during a passivation is held here, not by the sender.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from casty.errors import ActorStoppedError
from casty.protocol.backoff import backoff_delay
from casty.protocol.effects import PublishEvent, Rng, StartTimer, TimerFired
from casty.protocol.sharding.entities.entity_cell import (
    GONE_MEMBERS_MAX,
    EntityCell,
    EntityPhase,
    EntityTroubles,
    OpenedShard,
    is_no_ask,
)
from casty.protocol.sharding.entities.entity_events import (
    ENTITIES_DUE,
    CancelEntity,
    DeliverToEntity,
    EntityEffect,
    EntityEnded,
    EntityEvent,
    EntityFailed,
    EntityMessage,
    EntityStarted,
    RefusalReason,
    RefuseAsk,
    RefuseMessage,
    StartEntity,
    StopEntity,
)
from casty.protocol.sharding.entities.entity_limits import ASKS_REFUSED_AFTER, STEADY_AFTER, EntityLimits
from casty.protocol.sharding.entities.idle_order import IdleOrder
from casty.protocol.sharding.placement_events import CloseShard, OpenShard, ServesUntil, ShardClosed

RESTART_AFTER, RESTART_AFTER_MAX = 0.05, 10.0
"""Pause of a failed entity, doubled each time."""


@dataclass(slots=True)
class EntityTable:
    """The machine of one key; feed it `EntityEvent` values."""

    key: str
    rng: Rng
    limits: EntityLimits = EntityLimits()
    is_ask: Callable[[object], bool] = is_no_ask
    """Whether somebody waits for the reply to a message."""
    cells: dict[str, EntityCell] = field(init=False, default_factory=dict[str, EntityCell])
    shards: dict[int, OpenedShard] = field(init=False, default_factory=dict[int, OpenedShard])
    waiting: int = field(init=False, default=0)
    """Waiting messages, of all entities."""
    serves_until: float = field(init=False, default=-math.inf)
    """End of the serving lease, as far as it is known here."""
    passivations: int = field(init=False, default=0)
    """Entities ended for being idle, or one too many."""
    _held: dict[str, None] = field(init=False, default_factory=dict[str, None])
    """Entities with messages waiting, and some without any since the lease was extended last."""
    _activations: int = field(init=False, default=0)
    _starting: int = field(init=False, default=0)
    _queue: dict[str, None] = field(init=False, default_factory=dict[str, None])
    idle: IdleOrder = field(init=False)
    _agenda: list[tuple[float, str, int]] = field(init=False, default_factory=list[tuple[float, str, int]])
    """Heap of pauses (by entity) and of closing shards (by number, with no entity)."""
    _due_at: float = field(init=False, default=math.inf)

    def __post_init__(self) -> None:
        self.idle = IdleOrder(self.cells)

    @property
    def starts(self) -> int:
        """Activations so far."""
        return self._activations

    def handle(self, event: EntityEvent, now: float) -> Sequence[EntityEffect]:
        """Return the effects of one event."""
        effects = [*self._take(event, now), *self._start_queued(now)]
        due = self._next_due()
        if due < self._due_at:
            self._due_at = due
            effects.append(StartTimer(f"{ENTITIES_DUE}.{self.key}", max(0.0, due - now)))
        return effects

    def _take(self, event: EntityEvent, now: float) -> Iterator[EntityEffect]:
        match event:
            case EntityMessage():
                yield from self._accept(event, now)
            case EntityStarted(entity_id, activation):
                cell = self._cell_of(entity_id, activation)
                if cell is not None and cell.phase is EntityPhase.starting:
                    self._starting -= 1
                    cell.phase = EntityPhase.active
                    if cell.troubles is not None:
                        cell.troubles.started_at = now
                    if cell.entity_id != self.limits.kept:  # nothing passivates it
                        self.idle.add(cell, now)
                    yield from self._settle(cell, now)
            case EntityEnded():
                yield from self._ended(event, now)
            case OpenShard(_, shard, epoch):
                self.shards[shard] = OpenedShard(epoch)
                if self.limits.kept:
                    self._add(self.limits.kept, shard, now)
            case CloseShard(_, shard, epoch):
                yield from self._close(shard, epoch, now)
            case ServesUntil(until):
                self.serves_until = until
                held, self._held = self._held, {}
                for cell in [self.cells[entity_id] for entity_id in held if entity_id in self.cells]:
                    yield from self._settle(cell, now)
                    if cell.waiting:
                        self._held[cell.entity_id] = None
            case TimerFired():
                self._due_at = math.inf
                yield from self._take_due(now)
            case _ as never:
                assert_never(never)

    def _accept(self, message: EntityMessage, now: float) -> Iterator[EntityEffect]:
        shard = self.shards.get(message.shard)
        if shard is None or shard.is_closing or shard.epoch != message.epoch:
            yield RefuseMessage(message, RefusalReason.moved)
            return
        cell = self.cells.get(message.entity_id)
        if cell is not None and cell.phase is EntityPhase.active and not cell.waiting and now < self.serves_until:
            cell.last_used = now
            yield DeliverToEntity(cell.activation, message)
            return
        cause = None if cell is None else cell.refusal(now)
        if cause is not None and self.is_ask(message.message):
            yield RefuseAsk(message, cause)
            return
        waiting = 0 if cell is None else len(cell.waiting or ())
        if waiting >= self.limits.entity_waiting_max or self.waiting >= self.limits.waiting_max:
            yield RefuseMessage(message, RefusalReason.full)
            return
        if cell is None:
            cell = self._add(message.entity_id, message.shard, now)
        elif cell.begins_with(message, now):
            self._enqueue(cell)
        cell.last_used = now
        if cell.waiting is None:
            cell.waiting = deque()
        cell.waiting.append(message)
        self.waiting += 1
        self._held[cell.entity_id] = None
        if len(self.cells) > self.limits.entities_max:
            yield from self._passivate_oldest()

    def _enqueue(self, cell: EntityCell) -> None:
        cell.phase = EntityPhase.queued
        self._queue[cell.entity_id] = None

    def _add(self, entity_id: str, number: int, now: float) -> EntityCell:
        shard = self.shards[number]
        cell = self.cells[entity_id] = EntityCell(entity_id, number, shard.epoch, now)
        shard.members.append(cell)
        shard.count += 1
        self._queue[entity_id] = None
        return cell

    def members(self, number: int) -> list[EntityCell]:
        """Return the entities of a shard, in the order in which they came."""
        shard = self.shards.get(number)
        return [] if shard is None else [cell for cell in shard.members if self.cells.get(cell.entity_id) is cell]

    def _start_queued(self, now: float) -> Iterator[EntityEffect]:
        while self._queue and self._starting < self.limits.starts_max and now < self.serves_until:
            entity_id = next(iter(self._queue))
            del self._queue[entity_id]
            cell = self.cells[entity_id]
            cell.phase = EntityPhase.starting
            self._starting += 1
            self._activations += 1
            cell.activation = self._activations
            yield StartEntity(entity_id, cell.activation, cell.epoch)

    def _settle(self, cell: EntityCell, now: float) -> Iterator[EntityEffect]:
        """Deliver what waits for an active entity, and stop it if its shard closes."""
        if cell.phase is not EntityPhase.active:
            return
        while cell.waiting and now < self.serves_until:
            self.waiting -= 1
            message = cell.waiting.popleft()
            cell.waiting = cell.waiting or None
            yield DeliverToEntity(cell.activation, message)
        if not cell.waiting and self.shards[cell.shard].is_closing:
            yield self._stop(cell)

    def _stop(self, cell: EntityCell) -> StopEntity:
        cell.phase = EntityPhase.stopping
        return StopEntity(cell.entity_id, cell.activation)

    def _ended(self, event: EntityEnded, now: float) -> Iterator[EntityEffect]:
        cell = self._cell_of(event.entity_id, event.activation)
        if cell is None:
            return
        if cell.phase is EntityPhase.starting:
            self._starting -= 1
        if event.left:
            cell.waiting = deque([*event.left, *(cell.waiting or ())])
            self._held[cell.entity_id] = None
        self.waiting += len(event.left)
        shard = self.shards[cell.shard]
        if shard.is_cancelled:
            yield from self._refuse_waiting(cell)
        troubles = cell.troubles
        failures = 0 if troubles is None or now >= troubles.started_at + STEADY_AFTER else troubles.failures
        has_failed, cause = event.has_failed or self._has_taken_nothing(cell, event), None
        if has_failed and (cell.has_left(event.left) or cell.failed_to_start_again):
            if shard.is_closing:
                yield from self._refuse_waiting(cell)
            elif failures + 1 >= ASKS_REFUSED_AFTER:
                cause = event.cause or ActorStoppedError("it ends before it has taken a message")
                yield from self._refuse_asks(cell, cause)
        cell.activation, cell.phase, cell.troubles = 0, EntityPhase.queued, None
        if has_failed or event.left:
            next_ones = event.left if cause is None else cell.waiting
            first = next_ones[0] if next_ones else None
            cell.troubles = EntityTroubles(failures + 1 if has_failed else 0, first, cause=cause)
        if has_failed and not (shard.is_closing and cell.waiting):
            yield self._pause(cell, failures, now)
        elif cell.waiting:
            if has_failed:
                yield PublishEvent(EntityFailed(self.key, cell.entity_id, 0.0))
            self._queue[cell.entity_id] = None
        if not cell.waiting and cause is None and not (event.has_failed and self._is_kept(cell)):
            yield from self._forget(cell)

    def _has_taken_nothing(self, cell: EntityCell, event: EntityEnded) -> bool:
        """Whether an activation has left again what the one before has left, without being told to stop.

        In a closing shard each is told to stop as it starts, behind its messages.
        """
        shard = self.shards[cell.shard]
        if not event.left or shard.is_cancelled:
            return False
        is_told = cell.phase is EntityPhase.stopping and not shard.is_closing
        return not is_told and cell.has_left(event.left)

    def _is_kept(self, cell: EntityCell) -> bool:
        return cell.entity_id == self.limits.kept and not self.shards[cell.shard].is_closing

    def _pause(self, cell: EntityCell, failures: int, now: float) -> PublishEvent:
        pause = backoff_delay(failures, self.rng, delay_min=RESTART_AFTER, delay_max=RESTART_AFTER_MAX, jitter=0.0)
        assert cell.troubles is not None
        cell.phase, cell.troubles.retry_at = EntityPhase.pausing, now + pause
        cell.troubles.is_over_at = now + 2 * pause
        heapq.heappush(self._agenda, (now + pause, cell.entity_id, cell.shard))
        return PublishEvent(EntityFailed(self.key, cell.entity_id, pause))

    def _forget(self, cell: EntityCell) -> Iterator[EntityEffect]:
        del self.cells[cell.entity_id]
        self._queue.pop(cell.entity_id, None)
        shard = self.shards[cell.shard]
        shard.count -= 1
        if len(shard.members) > 2 * shard.count + GONE_MEMBERS_MAX:
            shard.members = self.members(cell.shard)
        if shard.is_closing and not shard.count:
            del self.shards[cell.shard]
            yield ShardClosed(self.key, cell.shard, shard.epoch)

    def _refuse_waiting(self, cell: EntityCell) -> Iterator[EntityEffect]:
        waiting, cell.waiting = cell.waiting or (), None
        self.waiting -= len(waiting)
        for message in waiting:
            yield RefuseMessage(message, RefusalReason.moved)

    def _refuse_asks(self, cell: EntityCell, cause: BaseException) -> Sequence[EntityEffect]:
        """Tell who waits for a reply that the entity cannot start; the other messages wait on."""
        asks = cell.take_waiting(self.is_ask)
        self.waiting -= len(asks)
        return [RefuseAsk(one, cause) for one in asks]

    def _close(self, number: int, epoch: int, now: float) -> Iterator[EntityEffect]:
        shard = self.shards.get(number)
        if shard is None or shard.epoch != epoch or shard.is_closing:
            return
        shard.is_closing, shard.closes_by = True, now + self.limits.stop_timeout
        if not shard.count:
            del self.shards[number]
            yield ShardClosed(self.key, number, epoch)
            return
        heapq.heappush(self._agenda, (shard.closes_by, "", number))
        for cell in self.members(number):
            if cell.phase is EntityPhase.pausing and cell.waiting:
                self._enqueue(cell)
            if cell.activation or cell.waiting:
                yield from self._settle(cell, now)
            else:  # it was to start without a message
                yield from self._forget(cell)

    def _cancel(self, number: int) -> Iterator[EntityEffect]:
        shard = self.shards[number]
        shard.is_cancelled = True
        for cell in self.members(number):
            yield from self._refuse_waiting(cell)
            if cell.activation:
                yield CancelEntity(cell.entity_id, cell.activation)
            else:
                yield from self._forget(cell)

    def _take_due(self, now: float) -> Iterator[EntityEffect]:
        while self._agenda and self._agenda[0][0] <= now:
            _, entity_id, number = heapq.heappop(self._agenda)
            if entity_id:
                cell = self.cells.get(entity_id)
                if cell is not None and cell.phase is EntityPhase.pausing and cell.may_retry(now):
                    yield from self._pause_over(cell, now)
            elif number in self.shards and self.shards[number].closes_by <= now:
                yield from self._cancel(number)
        heap = self.idle.heap
        while heap and heap[0].listed_at + self.limits.passivate_after <= now:
            cell = self.idle.oldest()
            if cell is None or cell.last_used + self.limits.passivate_after > now:
                return
            yield self._passivate(cell)

    def _pause_over(self, cell: EntityCell, now: float) -> Iterator[EntityEffect]:
        """Start an entity again; one without messages is kept a while for the number of its failures."""
        if cell.waiting or cell.troubles is None or self._is_kept(cell):
            self._enqueue(cell)
        elif now >= cell.troubles.is_over_at:
            yield from self._forget(cell)
        else:
            heapq.heappush(self._agenda, (cell.troubles.is_over_at, cell.entity_id, cell.shard))

    def _passivate_oldest(self) -> Iterator[EntityEffect]:
        cell = self.idle.oldest()
        if cell is not None:
            yield self._passivate(cell)

    def _passivate(self, cell: EntityCell) -> StopEntity:
        self.idle.pop()
        self.passivations += 1
        return self._stop(cell)

    def _cell_of(self, entity_id: str, activation: int) -> EntityCell | None:
        cell = self.cells.get(entity_id)
        return cell if cell is not None and cell.activation == activation else None

    def _next_due(self) -> float:
        heap = self.idle.heap
        idle = heap[0].listed_at + self.limits.passivate_after if heap else math.inf
        return min(idle, self._agenda[0][0] if self._agenda else math.inf)
