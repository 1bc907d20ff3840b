"""Entities of one kind at one node, as actors: children of the actor that hosts the kind.

Owns the actors by their activations. It does not know when an entity starts or ends, or what waits for it: that is the
machine's (`casty.protocol.sharding.entities.entity_table`), fed by messages, by the ends of these actors, and by the
placement.

How it works: no actor stands between a message and its entity; the machine is called by the task with the message. Each
message of an entity waits for the serving lease before the entity's code sees it. Messages left in the mailbox of an
ended actor go back to the machine, and start the entity again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Never, Protocol, assert_never, cast
from urllib.parse import quote

from casty.cluster.leases.serving import ServingLease
from casty.cluster.leases.shard_scopes import ShardScopes
from casty.cluster.remoting.active_entities import ActiveEntities, ActiveEntity
from casty.cluster.sharding.pure.pure_entities import NAME, SAFE, PureEntities, path_of
from casty.cluster.sharding.pure.pure_entity import PureEntity
from casty.cluster.sharding.pure.pure_models import PureModels
from casty.errors import ActorStoppedError
from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.sharding.entities.entity_cell import EntityCell, EntityPhase
from casty.protocol.sharding.entities.entity_events import (
    CancelEntity,
    DeliverToEntity,
    EntityEffect,
    EntityEnded,
    EntityEvent,
    EntityMessage,
    EntityStarted,
    RefusalReason,
    RefuseAsk,
    RefuseMessage,
    StartEntity,
    StopEntity,
)
from casty.protocol.sharding.entities.entity_limits import EntityLimits
from casty.protocol.sharding.entities.entity_table import EntityTable
from casty.protocol.sharding.placement_events import CloseShard, OpenShard, ServesUntil, ShardClosed
from casty.refs import ActorRef
from casty.runtime.actor.cell import Cell
from casty.runtime.actor.fast_shared_tasks import SharedTasks
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import Behavior, ReceiveTarget
from casty.runtime.behavior.interception import HandlerGuard, InterceptedHandler
from casty.runtime.deadlines import TimerEntry
from casty.runtime.events import SHARD_MOVED, Terminated
from casty.runtime.journaling.system_journal import EntityScope
from casty.runtime.messaging.ask import refuse_asks
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.signals import PILL
from casty.runtime.system.context import ActorContext, ActorParts, spawn_cell
from casty.runtime.system.kernel import Kernel


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

    What waits at the end of the membership is a dead letter, and its asker told so: the lease never comes, and an
    actor with a message in hand would put off the end of the node.
    """

    __slots__ = ("_kernel", "_serving", "now", "serves_at")

    def __init__(self, serving: ServingLease, kernel: Kernel) -> None:
        self._serving = serving
        self._kernel = kernel
        self.now = kernel.now
        """Clock. Until the time of the last look at the lease is over, it is all that is read."""
        self.serves_at = serving.serves_at

    async def __call__(self, ctx: object, message: object, target: ReceiveTarget[object]) -> Behavior[object]:
        """Pass a message on once this node serves."""
        if await self._serving.serves_ever():
            return await target(message)
        return self._drop(ctx, message)

    def before(self, handler: forms.Handler) -> InterceptedHandler:
        """Return a handler for messages to be passed on once this node serves."""
        return GuardedHandler(self, handler)

    async def wait(self, handler: forms.Handler, ctx: object, message: object) -> Behavior[Never]:
        """Pass a message on to a handler once this node serves."""
        if await self._serving.serves_ever():
            return await handler(ctx, message)
        return cast("Behavior[Never]", self._drop(ctx, message))

    def _drop(self, ctx: object, message: object) -> Behavior[object]:
        self._kernel.dead_letter(message, cast("EntityContext", ctx).self, SHARD_MOVED)
        return forms.SAME


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
            self.hosting.ended(self, signal.cause)


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
        self._guard = LeaseGuard(serving, kernel)
        self._closed = closed
        self.table = EntityTable(kind.key, kernel.rng, kind.limits, _is_ask)
        self._serving = serving
        self._scopes: ShardScopes | None = None
        self._models: PureModels | None = None
        if kernel.journal is not None:
            self._scopes = ShardScopes(kernel.journal, kind.key, kind.num_shards, serving, self._epoch_of)
            self._models = PureModels(kernel.journal)
            kernel.journal.kinds[self._scopes.prefix] = self._path_of_pure
        self._pure: PureEntities | None = None
        self._made: dict[str, Callable[[], Behavior[Any]]] = {}
        """Behaviours made for actors that are about to begin."""
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
        if isinstance(event, CloseShard):
            for record in self.table.members(event.shard):
                self._owner.active.pop(record.entity_id.encode(), None)
        self.take(event)

    def end(self) -> None:
        """Host nothing any more: what waits is refused."""
        self._is_over = True
        self._end_timer()
        if self._scopes is not None and self._kernel.journal is not None:
            self._kernel.journal.kinds.pop(self._scopes.prefix, None)
        self._owner.active.clear()
        for cell in list(self.table.cells.values()):
            waiting, cell.waiting = cell.waiting or (), None
            for message in waiting:
                self._refuse(message, RefusalReason.moved)
        if self._pure is not None and not self._pure.has_begun:
            self._pure.close()

    def make(self, entity_id: str) -> Behavior[Any]:
        """Make the behaviour of an entity."""
        made = self._made.pop(entity_id, None)
        behavior = self._factory(entity_id) if made is None else made()
        return forms.Intercepted(behavior, cast("forms.Interceptor", self._guard))

    def ref(self, entity_id: str) -> RoutedEntityRef[Any]:
        """Return the ref of an entity."""
        return self._owner.ref(entity_id)

    def ended(self, activation: _Activation, cause: BaseException | None) -> None:
        """Take the end of an actor, and its failure if it has failed."""
        del self._active[activation.number]
        self._ended(activation.entity_id, activation.number, activation.left, cause)

    def _ended(self, entity_id: str, number: int, left: tuple[EntityMessage, ...], cause: BaseException | None) -> None:
        self._retire(entity_id)
        if self._is_over:
            for message in left:
                self._refuse(message, RefusalReason.moved)
            return
        self.take(EntityEnded(entity_id, number, cause is not None, left, cause))

    def _perform(self, effects: Sequence[EntityEffect]) -> None:
        for effect in effects:
            match effect:
                case StartEntity():
                    self._start(effect)
                case DeliverToEntity(number, message):
                    self._deliver(number, message)
                case StopEntity(entity_id, number):
                    self._retire(entity_id)
                    self._stop(entity_id, number)
                case CancelEntity(entity_id, number):
                    self._retire(entity_id)
                    self._cancel(entity_id, number)
                case RefuseMessage(message, reason):
                    self._refuse(message, reason)
                case RefuseAsk(message, cause):
                    self._refuse_ask(message, cause)
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
        if self._models is not None and self._start_pure(self.table.cells[entity_id], self._models):
            self.take(EntityStarted(entity_id, order.activation))
            return
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

    def _start_pure(self, record: EntityCell, models: PureModels) -> bool:
        """Start an entity that is pure functions; False, and its behaviour is kept, where it needs an actor."""
        try:
            made = self._factory(record.entity_id)
        except Exception as error:  # the user's code: its actor fails with it
            self._made[record.entity_id] = partial(_raise, error)
            return False
        model = models.model_of(made)
        if model is None:
            self._made[record.entity_id] = lambda: made
            return False
        try:
            self._pure_entities().start(record, model)
        except ActorStoppedError:
            self.end()
        return True

    def _pure_entities(self) -> PureEntities:
        """Return the entities that are pure functions. Raises ActorStoppedError where their host is stopping."""
        if self._pure is None:
            kernel = self._kernel
            assert kernel.journal is not None
            pure = PureEntities(kernel, kernel.journal, self._region, self, self._serving)
            name = NAME.format(kernel.next_serial())
            parts, family = ActorParts(), self._region.own_family()
            spawn_cell(family, pure.behavior(), name, kernel.config.mailbox_for(""), parts, internal=True)
            self._pure = pure
        return self._pure

    def _path_of_pure(self, entity_id: str) -> str | None:
        record = self.table.cells.get(entity_id)
        return None if record is None or record.model is None else path_of(self._region, entity_id)

    def scope_of(self, record: EntityCell) -> EntityScope:
        """Return the place of an entity in the journal."""
        assert self._scopes is not None
        return self._scopes.scope(record.entity_id, record.shard, record.epoch)

    def pure_rests(self, record: EntityCell) -> None:
        """Take note of an entity without a mailbox."""
        self._retire(record.entity_id)

    def pure_over(self, known: frozenset[int]) -> None:
        """Take the end of all entities that are pure functions: those known are told of one by one."""
        self._pure = None
        if self._region.own_family().closed:
            self.end()
            return
        for record in [
            one for one in self.table.cells.values() if one.model is not None and one.activation not in known
        ]:
            self.pure_ended(record, record.activation, (), None)

    def pure_ended(
        self, record: EntityCell, number: int, left: tuple[EntityMessage, ...], cause: BaseException | None
    ) -> None:
        """Take the end of an entity that is pure functions, and its failure if it has failed."""
        record.model = record.state = None
        self._ended(record.entity_id, number, left, cause)

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
        record = self.table.cells.get(started.entity_id)
        if record is None or record.activation != started.activation or record.phase is not EntityPhase.active:
            return
        if self.table.shards[record.shard].is_closing:
            return
        one = self._active.get(started.activation)
        actor = self._pure_of(record) if one is None else one.cell
        if actor is not None:
            self._owner.active[record.entity_id.encode()] = ActiveEntity(self.table.key, record, actor)

    def _retire(self, entity_id: str) -> None:
        """Let no message go straight to an ending entity."""
        self._owner.active.pop(entity_id.encode(), None)

    def _pure_of(self, record: EntityCell) -> PureEntity | None:
        """Return an active entity that is pure functions, with a mailbox."""
        return None if self._pure is None or record.model is None else self._pure.known(record)

    def _stop(self, entity_id: str, number: int) -> None:
        one = self._active.get(number)
        if one is not None and one.cell is not None:
            one.cell.ref.deliver(PILL)
        elif self._pure is not None:
            self._pure.stop(self.table.cells[entity_id])

    def _cancel(self, entity_id: str, number: int) -> None:
        one = self._active.get(number)
        if one is not None and one.cell is not None:
            one.cell.kill()
        elif self._pure is not None:
            self._pure.cancel(self.table.cells[entity_id])

    def _deliver(self, number: int, message: EntityMessage) -> None:
        """Put a message into the mailbox of an entity; one that came too late for it starts the entity again."""
        one = self._active.get(number)
        actor: Cell | PureEntity | None = None
        if one is not None:
            actor = one.cell
        elif (record := self.table.cells.get(message.entity_id)) is not None and record.activation == number:
            actor = self._pure_of(record)
            self._activate(EntityStarted(message.entity_id, number))
        if actor is None:
            return
        ref, content = actor.ref, message.message
        is_taken = ref.deliver_request(content) if isinstance(content, Request) else ref.deliver(content)
        if is_taken is False and one is not None:
            one.left += (message,)
        elif is_taken is not True:
            self._refuse(message, RefusalReason.full)

    def _refuse(self, message: EntityMessage, reason: RefusalReason) -> None:
        self._owner.drop(self._owner.ref(message.entity_id), message.message, reason)

    def _refuse_ask(self, message: EntityMessage, cause: BaseException) -> None:
        """Tell the asker that the entity cannot start."""
        request = message.message
        if isinstance(request, Request) and (asked := request.take()) is not NOTHING:
            error = cause if isinstance(cause, Exception) else ActorStoppedError(type(cause).__name__)
            said = f"entity {message.entity_id!r} of {self.table.key!r} cannot start: "
            refuse_asks(self._kernel, asked, error, said=said)


def _is_ask(message: object) -> bool:
    return isinstance(message, Request) and bool(message.ask)


def _raise(error: Exception) -> Never:
    raise error
