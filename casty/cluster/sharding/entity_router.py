"""Way of messages from this node to the entities of one kind, and of those that come for the ones here.

Owns the translation between refs, frames and the events of two machines: `ShardRoutes`, for what is sent, and that of
`EntityHosting`, for what came. It does not know where a shard lives: the placement tells `ShardRoutes`.

How it works: a message for a node goes the way of every other message between actors: to the path of the entity there,
with the epoch of its shard in place of the number of an actor. So queues, large messages, deadlines of asks and dead
letters are those of all messages. What was held goes as the queue to its node has room for it, and leaves some to all
others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any, Final, Never, Protocol, assert_never, cast

import trio

from casty.address import ENTITY_PREFIX, UniqueAddress, entity_path
from casty.cluster.node import ClusterNode
from casty.cluster.remoting.active_entities import ActiveEntities, EntityHere
from casty.cluster.remoting.remote_entity_ref import RemoteEntityRef
from casty.cluster.sharding.entity_hosting import EntityHosting
from casty.errors import NoHost, NotSent, UnsupportedTypeError
from casty.protocol.effects import StartTimer, TimerFired
from casty.protocol.sharding.allocation import Allocation
from casty.protocol.sharding.entities.entity_events import EntityMessage, RefusalReason
from casty.protocol.sharding.placement_events import ShardTableChanged
from casty.protocol.sharding.shard_hash import number_of
from casty.protocol.sharding.shard_routes import (
    ROOM_DUE,
    DropMessage,
    LookForRoom,
    MessageGivenBack,
    MessageTaken,
    MessageWithdrawn,
    OwnersInReach,
    RoutedMessage,
    RouteEffect,
    RouteEvent,
    RouteOpened,
    SendToOwner,
    ShardHasRoom,
    ShardRoutes,
)
from casty.refs import ActorRef, EntityKey
from casty.runtime.events import HELD_TOO_LONG, NOT_ENCODABLE, SHARD_BUFFER_FULL, SHARD_MOVED, DeadLetterReason
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import NO_TYPES, AskableRef, UnsentRequest, refuse_thread
from casty.wire.envelope import encode_entity
from casty.wire.framing import Write

REASONS: Final[dict[RefusalReason, DeadLetterReason]] = {
    RefusalReason.moved: SHARD_MOVED,
    RefusalReason.full: SHARD_BUFFER_FULL,
    RefusalReason.expired: HELD_TOO_LONG,
}
WRITERS_MAX: Final = 1_024
"""Classes of messages of one kind whose makers of frames are kept."""
UNPLACED: Final = -1
"""In place of a shard while the number of shards is not known."""
RELEASED_MAX: Final = 1_024
"""Held messages let go at once: other kinds have their turn at the same queues, and other tasks at the processor."""
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
class ShardWay:
    """Way to a shard: its owner, and the epoch under which messages go there. Another one is another object."""

    to: UniqueAddress
    epoch: int


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
        self.ways: list[ShardWay | None] = [None]
        """Way to each shard, None where messages are held back; a single one as long as nobody has told their number.
        """
        self.active: ActiveEntities = {}
        """Entities here, ready for messages at once."""
        self.admitted: frozenset[type] = NO_TYPES
        """Classes with messages of the kind's type alone."""
        self._writers: dict[tuple[type, bool], Write] = {}
        self._too_large: set[int] = set()
        """Shards with a first message that had no room, though there was some; tried again at a look at the deadlines.
        """
        self.refused: Counter[RefusalReason] = Counter()
        """Messages certainly not handled, by the reason."""
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
            self.ways = [None] * num_shards
            for one in self.routes.take_out(UNPLACED):
                letter = cast("_Letter", one.message.message)
                self._route(letter, one.deadline)
            self._wake()

    def place(self, change: ShardTableChanged) -> None:
        """Take a new table, or changes of it."""
        self.set_shards(change.table.num_shards)
        self._change(change, range(len(self.ways)) if change.changed is None else change.changed)

    def reach(self, runs: frozenset[UniqueAddress]) -> None:
        """Take note of the runs in reach of messages."""
        self._change(OwnersInReach(runs), range(len(self.ways)))

    def tell(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, or hold it until its entity can be reached; a dead letter where there is no room."""
        if not self._is_own_thread():
            refuse_thread(cast("ActorRef[Never]", ref))
        target = self._target_of(ref)
        if target is not None:
            target.tell(message)
        else:
            self._route(_Letter(ref, message), math.inf)

    def request(self, ref: RoutedEntityRef[Never], request: Request) -> UnsentRequest | None:
        """Hand over a request, or hold it until its entity can be reached, at most until its deadline."""
        if not self._is_own_thread():
            refuse_thread(cast("ActorRef[Never]", ref))
        target = self._target_of(ref)
        if target is not None:
            return target.request(request)
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
        owner = self.routes.owner_in_reach(self._shard(ref))
        if owner is not None:
            lack = f"for lack of room in the queue it was not sent to {owner.address}"
            return NotSent(f"no reply from {where} within {timeout} s: {lack}")
        if not hosts.is_hosted(self.key.name):
            told = hosts.hosts_in_words()
            return NoHost(f"no node hosts {self.key!r}, so {where} was not asked within {timeout} s: {told}")
        return NotSent(f"{where} had no node in reach within {timeout} s, so the request was not sent")

    def give_back(self, entity_id: str, message: object) -> bool:
        """Take a message back, sent and certainly not on its way; False where it cannot wait here."""
        ref, shards = self.ref(entity_id), self.num_shards
        if self._is_closed or shards is None or not self.routes.takes_back(ref.number % shards):
            return False
        deadline = message.deadline if isinstance(message, Request) else math.inf
        letter = RoutedMessage(ref.number % shards, _Letter(ref, message), deadline)
        self._handle(MessageGivenBack(letter))
        return True

    async def send(self, ref: RoutedEntityRef[Never], message: object) -> None:
        """Hand over a message, waiting for room."""
        while (target := self._target_of(ref)) is None and not self._is_closed and not self._has_room(ref):
            await self._changed.wait()
        if target is not None:
            await target.send(message)
        else:
            self.tell(ref, message)
            await trio.lowlevel.checkpoint()

    async def wait_changed(self) -> None:
        """Return after the next change of the routes, or of what is held back."""
        await self._changed.wait()

    def close(self) -> None:
        """Make dead letters of everything held back, and of all that comes: the node has left."""
        self._is_closed = True
        self.ways = [None] * len(self.ways)
        self._perform(self.routes.close())
        self._wake()

    def arrived(self, entity_id: str, epoch: int, message: object) -> None:
        """Take a message of another node for an entity here."""
        hosting, shards = self.hosting, self.num_shards
        if hosting is None or shards is None:
            self.drop(self.ref(entity_id), message, RefusalReason.moved)
        else:
            hosting.take(EntityMessage(entity_id, number_of(entity_id) % shards, epoch, message))

    def drop(self, ref: RoutedEntityRef[Never], message: object, reason: RefusalReason) -> None:
        """Make a dead letter of a message certainly not handled."""
        self.refused[reason] += 1
        self.kernel.dead_letter(message, ref, REASONS[reason])

    def _is_own_thread(self) -> bool:
        return self.node.thread == get_ident()

    def _has_room(self, ref: RoutedEntityRef[Never]) -> bool:
        return self.routes.has_room(self._shard(ref))

    def _shard(self, ref: RoutedEntityRef[Never]) -> int:
        return UNPLACED if self.num_shards is None else ref.number % self.num_shards

    def _route(self, letter: _Letter, deadline: float) -> None:
        routed = RoutedMessage(self._shard(letter.ref), letter, deadline)
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
                    way = ShardWay(to, epoch)
                    if routed is cause:
                        self._send(way, routed.shard, letter.ref, letter.message)
                    elif self._offer(way, routed.shard, letter.ref, letter.message):
                        self._handle(MessageTaken(routed))
                    else:
                        self._too_large.add(routed.shard)
                        continue
                    if letter.held is not None:
                        letter.held.leave()
                case DropMessage(routed, reason):
                    letter = cast("_Letter", routed.message)
                    self.drop(letter.ref, letter.message, reason)
                    if letter.held is not None:
                        letter.held.leave()
                case LookForRoom():
                    self._release()
                case RouteOpened(shard):
                    self._open(shard)
                case StartTimer(name, delay):
                    if name.startswith(ROOM_DUE):  # else the same of two kinds would always be the first to look
                        delay *= 0.5 + self.kernel.rng.random()
                    self.kernel.timer_queue.call_later(delay, partial(self._fired, name))
                case _ as never:
                    assert_never(never)

    def take(self, entity_id: str, shard: int, epoch: int, message: object) -> None:
        """Take a message for an entity here, sent under this epoch of its shard."""
        if self.hosting is None:
            self.drop(self.ref(entity_id), message, RefusalReason.moved)
        else:
            self.hosting.take(EntityMessage(entity_id, shard, epoch, message))

    def writer(self, message: object, has_tail: bool) -> Write:
        """Return what makes frames of messages of this one's class to the entities of the kind."""
        key = type(message), has_tail
        write = self._writers.get(key)
        if write is None:
            if len(self._writers) >= WRITERS_MAX:
                self._writers.clear()
            path, form = ENTITY_PREFIX + self.key.name, self.key.message_type
            write = self._writers[key] = self.node.codec.writer(path, 0, message, form, has_tail=has_tail)
        return write

    def _send(self, way: ShardWay, shard: int, ref: RoutedEntityRef[Never], message: object) -> None:
        target = self._lead(ref, shard, way)
        if not isinstance(message, Request):
            target.tell(message)
        elif (unsent := target.request(message)) is not None:
            unsent.tell()

    def _release(self) -> None:
        """Let held messages go, one of each shard by turns, as far as their owners have room."""
        shards, left, full = [*self.routes.releasing], RELEASED_MAX, set[UniqueAddress]()
        while shards and left > 0:
            shards = [shard for shard in shards[:left] if self._let_one_go(shard, full)]
            left -= len(shards)

    def _let_one_go(self, shard: int, full: set[UniqueAddress]) -> bool:
        """Let the first message held for a shard go, unless its owner is, or turns out to be, one of the full ones."""
        release = self.routes.releasing.get(shard)
        if release is None or release.to in full or shard in self._too_large:
            return False
        if not self._has_spare_room(release.to):
            full.add(release.to)
            return False
        self._handle(ShardHasRoom(shard))
        return True

    def _has_spare_room(self, to: UniqueAddress) -> bool:
        route = None if to == self.node.self_node else self.node.route_to(to)
        return route is None or route.has_spare_room()

    def _offer(self, way: ShardWay, shard: int, ref: RoutedEntityRef[Never], message: object) -> bool:
        """Send a message that was held; False where there is no room for it. Nobody waits for this call."""
        target = self._lead(ref, shard, way)
        try:
            if not isinstance(message, Request):
                target.put_nowait(message)
                return True
            far = message.far
            unsent = target.request(message)
            if unsent is not None and not unsent.offer():
                message.far = far
                return False
        except trio.WouldBlock:
            return False
        except trio.BrokenResourceError:
            target.tell(message)  # a dead letter, with the reason
        except (UnsupportedTypeError, ValueError) as error:  # EncodeError among them
            self.kernel.dead_letter(message, ref, NOT_ENCODABLE, str(error))
        return True

    def _target_of(self, ref: RoutedEntityRef[Never]) -> AskableRef[object] | None:
        """Return where messages of a ref go now; None where they are held back."""
        shard = ref.number % len(self.ways)
        way = self.ways[shard]
        return None if way is None else self._lead(ref, shard, way)

    def _lead(self, ref: RoutedEntityRef[Never], shard: int, way: ShardWay) -> AskableRef[object]:
        to, target = way.to, cast("AskableRef[object]", EntityHere(self, ref.id, shard, way.epoch))
        if to != self.node.self_node:
            host, port = to.address.host, to.address.port
            place = self.node.system_name, entity_path(self.key.name, ref.id), host, port, to.incarnation, way.epoch
            target = RemoteEntityRef[object](
                self.node, place, self.node.route_to(to), encode_entity(way.epoch, ref.id), self.writer
            )
        cast("RoutedEntityRef[object]", ref).lead(shard, way, target)
        return target

    def _change(self, event: RouteEvent, shards: Iterable[int]) -> None:
        """Handle an event that changes the routes of some shards; none of them has a way meanwhile."""
        before = {shard: self.ways[shard] for shard in shards if shard < len(self.ways)}
        for shard in before:
            self.ways[shard] = None
        self._handle(event)
        for shard, way in before.items():
            self._open(shard, way)
        self._wake()

    def _open(self, shard: int, way: ShardWay | None = None) -> None:
        """Let a shard with a route have its way, the one that it had before where that leads there."""
        route = self.routes.routes.get(shard)
        if route is not None and not self._is_closed:
            self.ways[shard] = way if way is not None and route == (way.to, way.epoch) else ShardWay(*route)

    def _fired(self, name: str) -> None:
        held, is_for_room = self.routes.held_count, name.startswith(ROOM_DUE)
        if not is_for_room:
            self._too_large.clear()
        self._handle(TimerFired(name))
        if not is_for_room or self.routes.held_count != held:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
