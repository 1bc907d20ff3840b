"""Way of messages from this node to the entities of one kind, and of those that come for the ones here.

Owns the translation between refs, frames and the events of two machines: `ShardRoutes`, for what is sent, and that of
`EntityHosting`, for what came. It does not know where a shard lives: the placement tells `ShardRoutes`.

How it works: a message for a node goes the way of every other message between actors: to the path of the entity there,
with the epoch of its shard in place of the number of an actor. So queues, large messages, deadlines of asks and dead
letters are those of all messages.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any, Final, Never, TypeVar, assert_never, cast

import trio

from casty.address import UniqueAddress
from casty.cluster.node import ClusterNode
from casty.cluster.sharding.entity_hosting import EntityHosting
from casty.protocol.effects import StartTimer, TimerFired
from casty.protocol.sharding.allocation import Allocation
from casty.protocol.sharding.entity_events import EntityMessage, RefusalReason
from casty.protocol.sharding.placement_events import ShardTableChanged
from casty.protocol.sharding.shard_hash import number_of
from casty.protocol.sharding.shard_routes import (
    DropMessage,
    RoutedMessage,
    RouteEffect,
    RouteEvent,
    SendToOwner,
    ShardRoutes,
)
from casty.refs import ActorRef, EntityKey
from casty.runtime.events import HELD_TOO_LONG, SHARD_BUFFER_FULL, SHARD_MOVED, DeadLetterReason
from casty.runtime.messaging.entity_ref import RoutedEntityRef, wire_path
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, OwnRef, refuse_thread
from casty.runtime.ports import KernelPort

M = TypeVar("M")

REASONS: Final[dict[RefusalReason, DeadLetterReason]] = {
    RefusalReason.moved: SHARD_MOVED,
    RefusalReason.full: SHARD_BUFFER_FULL,
    RefusalReason.expired: HELD_TOO_LONG,
}
UNPLACED_MAX: Final = 1_000
"""Messages held for a kind of which no host is known."""


@dataclass(frozen=True, slots=True, eq=False)
class _Unplaced:
    ref: RoutedEntityRef[Never]
    message: object
    deadline: float


class EntityRouter:
    """Routing of one kind at one node."""

    def __init__(self, node: ClusterNode, key: EntityKey[Any]) -> None:
        self.key = key
        self.node = node
        self.kernel = node.kernel
        self.uid = node.kernel.next_uid()
        """Number under which the types taken by the kind are remembered."""
        self.num_shards: int | None = None
        self.hosting: EntityHosting | None = None
        """Entities here, where this node hosts the kind."""
        self.allocation: Allocation | None = None
        """Strategy of placement given here, where this node hosts the kind."""
        self.is_singleton: bool | None = None
        """Whether the key is used as a singleton's; None while nothing says so."""
        self.routes = ShardRoutes(key.name)
        self._unplaced: deque[_Unplaced] = deque()
        self._changed = trio.Event()

    @property
    def system_name(self) -> str:
        return self.kernel.name

    def ref(self, entity_id: str) -> RoutedEntityRef[Any]:
        """Return the ref of an entity."""
        return RoutedEntityRef(self, entity_id)

    def set_shards(self, num_shards: int) -> None:
        """Take note of the number of shards, told by the first host."""
        if self.num_shards is None:
            self.num_shards = num_shards
            unplaced, self._unplaced = self._unplaced, deque()
            for one in unplaced:
                self._route(one.ref, one.message, one.deadline)
            self._wake()

    def place(self, change: ShardTableChanged) -> None:
        """Take a new table, or changes of it."""
        self.set_shards(change.table.num_shards)
        self._handle(change)
        self._wake()

    def tell(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, or hold it until its entity can be reached; a dead letter where there is no room."""
        if not self._is_own_thread():
            refuse_thread(cast("ActorRef[Never]", ref))
        self._route(ref, message, math.inf)

    def request(self, ref: RoutedEntityRef[Never], request: Request) -> None:
        """Hand over a request, or hold it until its entity can be reached, at most until its deadline."""
        if not self._is_own_thread():
            refuse_thread(cast("ActorRef[Never]", ref))
        self._route(ref, request, request.deadline)

    async def send(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, waiting for room."""
        while not self._has_room(ref):
            await self._changed.wait()
        self.tell(ref, message)
        await trio.lowlevel.checkpoint()

    def arrived(self, entity_id: str, epoch: int, message: object) -> None:
        """Take a message of another node for an entity here."""
        hosting, shards = self.hosting, self.num_shards
        if hosting is None or shards is None:
            self.drop(self.ref(entity_id), message, RefusalReason.moved)
        else:
            hosting.take(EntityMessage(entity_id, number_of(entity_id) % shards, epoch, message))

    def drop(self, ref: RoutedEntityRef[Never], message: object, reason: RefusalReason) -> None:
        """Make a dead letter of a message that was certainly not handled."""
        self.kernel.dead_letter(message, ref, REASONS[reason])

    def _is_own_thread(self) -> bool:
        return self.node.thread == get_ident()

    def _has_room(self, ref: RoutedEntityRef[Never]) -> bool:
        if self.num_shards is None:
            return len(self._unplaced) < UNPLACED_MAX
        return self.routes.has_room(ref.number % self.num_shards, 0)

    def _route(self, ref: RoutedEntityRef[Never], message: object, deadline: float) -> None:
        if self.num_shards is not None:
            self._handle(RoutedMessage(ref.number % self.num_shards, (ref, message), 0, deadline))
        elif len(self._unplaced) < UNPLACED_MAX:
            self._unplaced.append(_Unplaced(ref, message, deadline))
        else:
            self.drop(ref, message, RefusalReason.full)

    def _handle(self, event: RouteEvent) -> None:
        self._perform(self.routes.handle(event, self.kernel.now()))

    def _perform(self, effects: Sequence[RouteEffect]) -> None:
        for effect in effects:
            match effect:
                case SendToOwner(to, epoch, routed):
                    ref, message = cast("tuple[RoutedEntityRef[Never], object]", routed.message)
                    self._send(to, epoch, routed.shard, ref, message)
                case DropMessage(routed, reason):
                    ref, message = cast("tuple[RoutedEntityRef[Never], object]", routed.message)
                    self.drop(ref, message, reason)
                case StartTimer(name, delay):
                    self.kernel.timer_queue.call_later(delay, partial(self._fired, name))
                case _ as never:
                    assert_never(never)

    def _send(self, to: UniqueAddress, epoch: int, shard: int, ref: RoutedEntityRef[Never], message: object) -> None:
        if to == self.node.self_node:
            if self.hosting is None:
                self.drop(ref, message, RefusalReason.moved)
            else:
                self.hosting.take(EntityMessage(ref.id, shard, epoch, message))
            return
        host, port = to.address.host, to.address.port
        place = self.node.system_name, wire_path(self.key.name, ref.id), host, port, to.incarnation, epoch
        far = cast("AskableRef[object]", self.node.import_ref(place, self.key.message_type))
        if not isinstance(message, Request):
            far.tell(message)
        elif (unsent := far.request(message)) is not None:
            unsent.tell()

    def _fired(self, name: str) -> None:
        self._handle(TimerFired(name))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class EntityTarget(OwnRef[M]):
    """Receiver of messages from other nodes for one entity, sent under one epoch of its shard."""

    __slots__ = ("_entity_id", "_epoch", "_path", "_router")

    def __init__(self, router: EntityRouter, path: str, entity_id: str, epoch: int) -> None:
        self._router = router
        self._path = path
        self._entity_id = entity_id
        self._epoch = epoch

    @property
    def kernel(self) -> KernelPort:
        return self._router.kernel

    @property
    def path(self) -> str:
        return self._path

    @property
    def uid(self) -> int:
        return self._router.uid

    def message_type(self) -> object | None:
        return self._router.key.message_type

    def tell(self, message: M) -> None:
        self._router.arrived(self._entity_id, self._epoch, message)

    async def send(self, message: M) -> None:
        self.tell(message)
        await trio.lowlevel.checkpoint()

    def deliver_request(self, request: Request) -> bool:
        self._router.arrived(self._entity_id, self._epoch, request)
        return True
