"""Entities of one kind at one node, as actors: children of the actor that hosts the kind.

Owns the actors by their activations. It does not know when an entity starts or ends, or what waits for it: that is the
machine's (`casty.protocol.sharding.entity_table`), fed by messages, by the ends of these actors, and by the placement.

How it works: no actor stands between a message and its entity; the machine is called by the task with the message. Each
message of an entity waits for the serving lease before the entity's code sees it. Messages left in the mailbox of an
ended actor go back to the machine, and start the entity again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Never, Protocol, assert_never, cast
from urllib.parse import quote

from casty.cluster.leases.serving import ServingLease
from casty.cluster.leases.shard_scopes import ShardScopes
from casty.cluster.remoting.active_entities import ActiveEntities, ActiveEntity
from casty.errors import ActorStoppedError
from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.sharding.entity_events import (
    CancelEntity,
    DeliverToEntity,
    EntityEffect,
    EntityEnded,
    EntityEvent,
    EntityMessage,
    EntityStarted,
    RefusalReason,
    RefuseMessage,
    StartEntity,
    StopEntity,
)
from casty.protocol.sharding.entity_table import EntityLimits, EntityPhase, EntityTable
from casty.protocol.sharding.placement_events import CloseShard, OpenShard, ServesUntil, ShardClosed
from casty.refs import ActorRef
from casty.runtime.actor.cell import Cell
from casty.runtime.actor.fast_shared_tasks import SharedTasks
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import Behavior, ReceiveTarget
from casty.runtime.behavior.interception import HandlerGuard, InterceptedHandler
from casty.runtime.deadlines import TimerEntry
from casty.runtime.events import Terminated
from casty.runtime.journaling.system_journal import EntityScope
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.signals import PILL, PoisonPill
from casty.runtime.system.context import ActorContext, ActorParts, spawn_cell
from casty.runtime.system.kernel import Kernel

SAFE: Final = " !$&'()*+,;=:@~"
"""Characters of an id, left as they are in the name of its actor."""


class EntityOwner(Protocol):
    """The node's routing of the kind, for the entities here."""

    @property
    def active(self) -> ActiveEntities:
        """Entities here, ready for messages at once."""
        ...

    def ref(self, entity_id: str) -> RoutedEntityRef[Any]:
        """Return the ref of an entity."""
        ...

    def drop(self, ref: RoutedEntityRef[Never], message: object, reason: RefusalReason) -> None:
        """Make a dead letter of a message certainly not handled."""
        ...


class LeaseGuard(HandlerGuard):
    """Guard of an entity's code: no message reaches it without the serving lease.

    Parameters:
        now: Clock. Until the time of the last look at the lease is over, it is all that is read.
    """

    __slots__ = ("_serving", "now", "serves_at")

    def __init__(self, serving: ServingLease, now: Callable[[], float]) -> None:
        self._serving = serving
        self.now = now
        self.serves_at = serving.serves_at

    async def __call__(self, ctx: object, message: object, target: ReceiveTarget[object]) -> Behavior[object]:
        """Pass a message on once this node serves."""
        await self._serving.wait_serving()
        return await target(message)

    def before(self, handler: forms.Handler) -> InterceptedHandler:
        """Return a handler for messages to be passed on once this node serves."""
        return GuardedHandler(self, handler)

    async def wait(self, handler: forms.Handler, ctx: object, message: object) -> Behavior[Never]:
        """Pass a message on to a handler once this node serves."""
        await self._serving.wait_serving()
        return await handler(ctx, message)


class GuardedHandler(InterceptedHandler):
    """A handler behind the guard alone: without functions for each entity, of 400 bytes."""

    __slots__ = ("_guard", "_now", "_serves_at")

    def __init__(self, guard: LeaseGuard, handler: forms.Handler) -> None:
        super().__init__(handler, handler)
        self._guard = guard
        self._now = guard.now
        self._serves_at = guard.serves_at

    def __call__(self, ctx: object, message: object) -> Awaitable[Behavior[Never]]:
        if self._serves_at(self._now()):
            return self.bare(ctx, message)
        return self._guard.wait(self.bare, ctx, message)


class EntityContext(ActorContext[Any]):
    """Context of an entity: its own ref is that of the entity, and outlives the actor."""

    __slots__ = ("_activation", "_entity")

    def __init__(self, cell: Cell, activation: _Activation) -> None:
        super().__init__(cell)
        self._activation = activation
        self._entity: RoutedEntityRef[Any] | None = None
        """Its ref, made when it is wanted first."""

    @property
    def self(self) -> ActorRef[Any]:
        if self._entity is None:
            self._entity = self._activation.hosting.ref(self._activation.entity_id)
        return self._entity


class StoredEntityContext(EntityContext):
    """Context of an entity in a system with a journal."""

    __slots__ = ("_scope",)

    def __init__(self, cell: Cell, activation: _Activation, scope: EntityScope) -> None:
        super().__init__(cell, activation)
        self._scope = scope

    @property
    def entity_scope(self) -> EntityScope:
        return self._scope


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EntityBehavior(forms.Composed[Any]):
    """Behaviour of an entity: that of the kind's factory, behind the guard."""

    hosting: EntityHosting
    entity_id: str

    def compose(self) -> Behavior[Any]:
        return self.hosting.make(self.entity_id)


@dataclass(slots=True, eq=False)
class _Activation:
    hosting: EntityHosting
    entity_id: str
    number: int
    shard: int
    epoch: int
    cell: Cell | None = None
    left: tuple[EntityMessage, ...] = ()

    def inherit(self, messages: list[object]) -> None:
        """Take the messages left at the end of the actor."""
        waiting = [one for one in messages if one is not PILL]
        self.left += tuple(EntityMessage(self.entity_id, self.shard, self.epoch, one) for one in waiting)

    def signal(self, signal: object) -> None:
        """Take the end of the actor."""
        if isinstance(signal, Terminated):
            self.hosting.ended(self, has_failed=signal.cause is not None)


@dataclass(frozen=True, slots=True)
class HostedKind:
    """Kind of the entities at one node, with its options there."""

    key: str
    factory: Callable[[str], Behavior[Any]]
    limits: EntityLimits
    num_shards: int


class EntityHosting:
    """Entities of one kind at one node."""

    def __init__(
        self,
        kernel: Kernel,
        region: Cell,
        owner: EntityOwner,
        kind: HostedKind,
        serving: ServingLease,
        closed: Callable[[ShardClosed], None],
    ) -> None:
        self._kernel = kernel
        self._region = region
        self._owner = owner
        self._factory = kind.factory
        self._guard = LeaseGuard(serving, kernel.now)
        self._closed = closed
        self.table = EntityTable(kind.key, kernel.rng, kind.limits)
        self._scopes: ShardScopes | None = None
        if kernel.journal is not None:
            self._scopes = ShardScopes(kernel.journal, kind.key, kind.num_shards, serving, self._epoch_of)
        self._active: dict[int, _Activation] = {}
        self._events: deque[EntityEvent] = deque()
        self._tasks: SharedTasks | None = None
        self._is_taking = False
        self._is_over = False
        self._timer: TimerEntry | None = None
        """The one timer of the machine, started last."""

    def take(self, event: EntityEvent) -> None:
        """Feed the machine, and perform what follows; an event that comes of that is taken behind it."""
        self._events.append(event)
        if self._is_taking:  # not within it: thousands of entities that start one after the other were as many calls
            return
        self._is_taking = True
        try:
            while self._events:
                self._take(self._events.popleft())
        finally:
            self._is_taking = False

    def _take(self, event: EntityEvent) -> None:
        if not self._is_over:
            self._perform(self.table.handle(event, self._kernel.now()))
            if isinstance(event, EntityStarted):
                self._activate(event)
        elif isinstance(event, EntityMessage):
            self._refuse(event, RefusalReason.moved)

    def place(self, event: OpenShard | CloseShard | ServesUntil) -> None:
        """Take an order of the placement."""
        if isinstance(event, CloseShard) and event.shard in self.table.shards:
            for entity_id in self.table.shards[event.shard].ids:
                self._owner.active.pop(entity_id.encode(), None)
        self.take(event)

    def end(self) -> None:
        """Host nothing any more: what waits is refused."""
        self._is_over = True
        self._end_timer()
        self._owner.active.clear()
        for cell in list(self.table.cells.values()):
            waiting, cell.waiting = cell.waiting or (), None
            for message in waiting:
                self._refuse(message, RefusalReason.moved)

    def make(self, entity_id: str) -> Behavior[Any]:
        """Make the behaviour of an entity."""
        return forms.Intercepted(self._factory(entity_id), cast("forms.Interceptor", self._guard))

    def ref(self, entity_id: str) -> RoutedEntityRef[Any]:
        """Return the ref of an entity."""
        return self._owner.ref(entity_id)

    def ended(self, activation: _Activation, *, has_failed: bool) -> None:
        """Take the end of an actor."""
        del self._active[activation.number]
        self._retire(activation.entity_id)
        if self._is_over:
            for message in activation.left:
                self._refuse(message, RefusalReason.moved)
            return
        self.take(EntityEnded(activation.entity_id, activation.number, has_failed, activation.left))

    def _perform(self, effects: Sequence[EntityEffect]) -> None:
        for effect in effects:
            match effect:
                case StartEntity():
                    self._start(effect)
                case DeliverToEntity(number, message):
                    self._deliver(self._active.get(number), message)
                case StopEntity(entity_id, number):
                    self._retire(entity_id)
                    self._deliver(self._active.get(number), PILL)
                case CancelEntity(entity_id, number):
                    self._retire(entity_id)
                    cell = self._active[number].cell
                    if cell is not None:
                        cell.kill()
                case RefuseMessage(message, reason):
                    self._refuse(message, reason)
                case ShardClosed(shard=shard):
                    if self._scopes is not None:
                        self._scopes.forget(shard)
                    self._closed(effect)
                case PublishEvent(event):
                    self._kernel.event_stream.publish(event)
                case StartTimer(name, delay):
                    self._end_timer()
                    self._timer = self._kernel.timer_queue.call_later(delay, partial(self.take, TimerFired(name)))
                case _ as never:
                    assert_never(never)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._kernel.timer_queue.finish(self._timer)

    def _start(self, order: StartEntity) -> None:
        entity_id = order.entity_id
        one = _Activation(self, entity_id, order.activation, self.table.cells[entity_id].shard, order.epoch)
        name = quote(entity_id, safe=SAFE)
        try:
            one.cell = spawn_cell(
                self._region.own_family(),
                EntityBehavior(self, entity_id),
                name,
                self._kernel.config.mailbox_for(f"{self._region.path}/{name}"),
                ActorParts(lambda cell: self._context(cell, one), self._shared_tasks(), one),
                internal=True,
            )
        except ActorStoppedError:  # the actor that hosts the kind is stopping
            self.end()
            return
        self._active[one.number] = one
        self.take(EntityStarted(entity_id, order.activation))

    def _shared_tasks(self) -> SharedTasks:
        if self._tasks is None:
            self._tasks = SharedTasks(self._region.own_family())
        return self._tasks

    def _context(self, cell: Cell, one: _Activation) -> EntityContext:
        if self._scopes is None:
            return EntityContext(cell, one)
        return StoredEntityContext(cell, one, self._scopes.scope(one.entity_id, one.shard, one.epoch))

    def _epoch_of(self, shard: int) -> int | None:
        opened = self.table.shards.get(shard)
        return None if opened is None else opened.epoch

    def _activate(self, started: EntityStarted) -> None:
        """Let messages go straight to a started entity, if nothing has ended it since."""
        one, record = self._active.get(started.activation), self.table.cells.get(started.entity_id)
        if one is None or record is None or record.activation != one.number or record.phase is not EntityPhase.active:
            return
        if one.cell is not None and not self.table.shards[record.shard].is_closing:
            self._owner.active[one.entity_id.encode()] = ActiveEntity(self.table.key, record, one.cell)

    def _retire(self, entity_id: str) -> None:
        """Let no message go straight to an ending entity."""
        self._owner.active.pop(entity_id.encode(), None)

    def _deliver(self, one: _Activation | None, message: EntityMessage | PoisonPill) -> None:
        """Put a message into the mailbox of an entity; one that came too late for it starts the entity again."""
        if one is None or one.cell is None:
            return
        ref, content = one.cell.ref, message.message if isinstance(message, EntityMessage) else message
        is_taken = ref.deliver_request(content) if isinstance(content, Request) else ref.deliver(content)
        if is_taken is not True and isinstance(message, EntityMessage):
            if is_taken is False:
                one.left += (message,)
            else:
                self._refuse(message, RefusalReason.full)

    def _refuse(self, message: EntityMessage, reason: RefusalReason) -> None:
        self._owner.drop(self._owner.ref(message.entity_id), message.message, reason)
