"""Way of messages from this node to the entities of one kind, and of those that come for the ones here.

Owns the translation between refs, frames and the events of two machines: `ShardRoutes`, for what is sent, and that of
`EntityHosting`, for what came. It does not know where a shard lives: the placement tells `ShardRoutes`.

How it works: a message for a node goes the way of every other message between actors: to the path of the entity there,
with the epoch of its shard in place of the number of an actor. So queues, large messages, deadlines of asks and dead
letters are those of all messages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any, Final, Never, Protocol, TypeVar, assert_never, cast

import trio

from casty.address import UniqueAddress
from casty.cluster.node import ClusterNode
from casty.cluster.sharding.entity_hosting import EntityHosting
from casty.errors import NoHost, NotSent, UnsupportedTypeError
from casty.protocol.effects import StartTimer, TimerFired
from casty.protocol.sharding.allocation import Allocation
from casty.protocol.sharding.entity_events import EntityMessage, RefusalReason
from casty.protocol.sharding.placement_events import ShardTableChanged
from casty.protocol.sharding.shard_hash import number_of
from casty.protocol.sharding.shard_routes import (
    DropMessage,
    MessageGivenBack,
    MessageWithdrawn,
    OwnersInReach,
    RoutedMessage,
    RouteEffect,
    RouteEvent,
    SendToOwner,
    ShardRoutes,
)
from casty.refs import ActorRef, EntityKey
from casty.runtime.events import HELD_TOO_LONG, NOT_ENCODABLE, SHARD_BUFFER_FULL, SHARD_MOVED, DeadLetterReason
from casty.runtime.messaging.entity_ref import RoutedEntityRef, wire_path
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, OwnRef, UnsentRequest, refuse_thread
from casty.runtime.ports import KernelPort

M = TypeVar("M")

REASONS: Final[dict[RefusalReason, DeadLetterReason]] = {
    RefusalReason.moved: SHARD_MOVED,
    RefusalReason.full: SHARD_BUFFER_FULL,
    RefusalReason.expired: HELD_TOO_LONG,
}
UNPLACED: Final = -1
"""In place of a shard while the number of shards is not known."""
ASKER_LATE_MAX: Final = 1.0
"""Seconds after its deadline at which a held request is dropped: its asker gives up at the deadline itself."""


class KindHosts(Protocol):
    """Knowledge of the hosts of kinds in the cluster."""

    def is_hosted(self, name: str) -> bool:
        """Whether a node may open shards of a kind, as far as is known."""
        ...

    def hosts_in_words(self) -> str:
        """Return what the nodes host, for an error."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Letter:
    """A message on its way through the machine."""

    ref: RoutedEntityRef[Never]
    message: object
    held: HeldRequest | None = None


class HeldRequest(UnsentRequest):
    """A request held until its entity can be reached; its asker waits for it to leave."""

    __slots__ = ("_left", "_request", "_router", "ref", "routed")

    def __init__(self, router: EntityRouter, ref: RoutedEntityRef[Never], request: Request) -> None:
        self._router = router
        self._request = request
        self._left = trio.Event()
        self.ref = ref
        self.routed: RoutedMessage | None = None

    def leave(self) -> None:
        """Take note that it has left, or was dropped."""
        self._left.set()

    def tell(self) -> None:
        """Do nothing: it is held already, without anybody waiting."""

    async def send(self) -> None:
        try:
            await self._left.wait()
        except trio.Cancelled:
            self._router.withdraw(self)
            raise

    def give_up(self, timeout: float) -> NotSent | NoHost:
        return self._router.unsent(self.ref, timeout)


class EntityRouter:
    """Routing of one kind at one node."""

    def __init__(self, node: ClusterNode, key: EntityKey[Any], hosts: KindHosts) -> None:
        self.key = key
        self._hosts = hosts
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
        self.refused: Counter[RefusalReason] = Counter()
        """Messages that were certainly not handled, by the reason."""
        self._changed = trio.Event()
        self._is_closed = False

    @property
    def system_name(self) -> str:
        return self.kernel.name

    @property
    def held(self) -> int:
        """Messages held until their entities can be reached."""
        return self.routes.held_count

    def ref(self, entity_id: str) -> RoutedEntityRef[Any]:
        """Return the ref of an entity."""
        return RoutedEntityRef(self, entity_id)

    def set_shards(self, num_shards: int) -> None:
        """Take note of the number of shards, told by the first host."""
        if self.num_shards is None:
            self.num_shards = num_shards
            for one in self.routes.take_out(UNPLACED):
                letter = cast("_Letter", one.message.message)
                self._route(letter, one.deadline)
            self._wake()

    def place(self, change: ShardTableChanged) -> None:
        """Take a new table, or changes of it."""
        self.set_shards(change.table.num_shards)
        self._handle(change)
        self._wake()

    def reach(self, runs: frozenset[UniqueAddress]) -> None:
        """Take note of the runs that messages get to."""
        self._handle(OwnersInReach(runs))
        self._wake()

    def tell(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, or hold it until its entity can be reached; a dead letter where there is no room."""
        if not self._is_own_thread():
            refuse_thread(cast("ActorRef[Never]", ref))
        self._route(_Letter(ref, message), math.inf)

    def request(self, ref: RoutedEntityRef[Never], request: Request) -> UnsentRequest | None:
        """Hand over a request, or hold it until its entity can be reached, at most until its deadline."""
        if not self._is_own_thread():
            refuse_thread(cast("ActorRef[Never]", ref))
        if self.num_shards is not None and ref.number % self.num_shards in self.routes.routes:
            self._route(_Letter(ref, request), request.deadline)
            return None
        request.timeout = None  # it is to be sent later than at the time of its making
        held = HeldRequest(self, ref, request)
        self._route(_Letter(ref, request, held), request.deadline + ASKER_LATE_MAX)
        return held

    def withdraw(self, held: HeldRequest) -> None:
        """Forget a held request: its asker waits no more."""
        if held.routed is not None:
            self._handle(MessageWithdrawn(held.routed))

    def unsent(self, ref: RoutedEntityRef[Never], timeout: float) -> NotSent | NoHost:
        """Return the error for an asker whose request was held all the time."""
        where, hosts = f"{self.key.name}/{ref.id}", self._hosts
        if not hosts.is_hosted(self.key.name):
            told = hosts.hosts_in_words()
            return NoHost(f"no node hosts {self.key!r}, so {where} was not asked within {timeout} s: {told}")
        return NotSent(f"{where} had no node in reach within {timeout} s, so the request was not sent")

    def give_back(self, entity_id: str, message: object) -> bool:
        """Take a message back that was sent and is certainly not on its way; False where it cannot wait here."""
        ref, shards = self.ref(entity_id), self.num_shards
        if self._is_closed or shards is None or ref.number % shards in self.routes.routes:
            return False
        deadline = message.deadline if isinstance(message, Request) else math.inf
        letter = RoutedMessage(ref.number % shards, _Letter(ref, message), 0, deadline)
        self._handle(MessageGivenBack(letter))
        return True

    async def send(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, waiting for room."""
        while not self._has_room(ref):
            await self._changed.wait()
        self.tell(ref, message)
        await trio.lowlevel.checkpoint()

    async def wait_changed(self) -> None:
        """Return after the next change of the routes, or of what is held back."""
        await self._changed.wait()

    def close(self) -> None:
        """Make dead letters of everything held back, and of all that comes: the node has left."""
        self._is_closed = True
        self._perform(self.routes.close())

    def arrived(self, entity_id: str, epoch: int, message: object) -> None:
        """Take a message of another node for an entity here."""
        hosting, shards = self.hosting, self.num_shards
        if hosting is None or shards is None:
            self.drop(self.ref(entity_id), message, RefusalReason.moved)
        else:
            hosting.take(EntityMessage(entity_id, number_of(entity_id) % shards, epoch, message))

    def drop(self, ref: RoutedEntityRef[Never], message: object, reason: RefusalReason) -> None:
        """Make a dead letter of a message that was certainly not handled."""
        self.refused[reason] += 1
        self.kernel.dead_letter(message, ref, REASONS[reason])

    def _is_own_thread(self) -> bool:
        return self.node.thread == get_ident()

    def _has_room(self, ref: RoutedEntityRef[Never]) -> bool:
        return self.routes.has_room(self._shard(ref), 0)

    def _shard(self, ref: RoutedEntityRef[Never]) -> int:
        return UNPLACED if self.num_shards is None else ref.number % self.num_shards

    def _route(self, letter: _Letter, deadline: float) -> None:
        routed = RoutedMessage(self._shard(letter.ref), letter, 0, deadline)
        if letter.held is not None:
            letter.held.routed = routed
        if self._is_closed:
            self._perform([DropMessage(routed, RefusalReason.expired)])
        else:
            self._handle(routed)

    def _handle(self, event: RouteEvent) -> None:
        self._perform(self.routes.handle(event, self.kernel.now()), event)

    def _perform(self, effects: Sequence[RouteEffect], cause: RouteEvent | None = None) -> None:
        for effect in effects:
            match effect:
                case SendToOwner(to, epoch, routed):
                    letter = cast("_Letter", routed.message)
                    try:
                        self._send(to, epoch, routed.shard, letter.ref, letter.message)
                    except (UnsupportedTypeError, ValueError) as error:  # EncodeError among them
                        if routed is cause:
                            raise  # its sender is told; of one that was held, nobody waits for the call any more
                        self.kernel.dead_letter(letter.message, letter.ref, NOT_ENCODABLE, str(error))
                    if letter.held is not None:
                        letter.held.leave()
                case DropMessage(routed, reason):
                    letter = cast("_Letter", routed.message)
                    self.drop(letter.ref, letter.message, reason)
                    if letter.held is not None:
                        letter.held.leave()
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
