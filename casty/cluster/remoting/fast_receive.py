"""The quick way of a message from its frame into a mailbox, or into the slot of an ask.

Owns the memory of heads seen before: how their messages are made, and whose mailbox they go to. A head is compared as
bytes, so a message under a known head costs no look at its path, the name of its type, or the types taken by the actor.
Anything unusual (a new head, no room, a stopped actor) goes the long way, to be decided and explained there. Only a
message impossible to make is refused from here: making it once more would give a hostile peer twice the time for the
same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Never

import msgpack
import trio

from casty.address import ASK_PREFIX, ENTITY_PREFIX, UniqueAddress, entity_of_path
from casty.cluster.node import ClusterNode
from casty.cluster.remoting.active_entities import ActiveEntities, ActiveEntity, EntityReceiver
from casty.cluster.remoting.local_transport import LocalTransport
from casty.cluster.remoting.receive_backpressure import LARGE_BYTES_MIN, LOOKED_AT_EVERY
from casty.errors import DecodeError
from casty.runtime.messaging.mailbox import DIRECT_MAX, AskerRequests, MessageQueue, Request
from casty.runtime.messaging.queueing.channel_queue import NO_MESSAGES
from casty.runtime.messaging.ref import LocalRef, OwnRef
from casty.wire.codec.hook import Hook
from casty.wire.codec.type_entry import TypeEntry
from casty.wire.envelope import (
    FOREIGN,
    SIZE_BYTES,
    TAIL_BYTES,
    Envelope,
    Wait,
    decode_entity,
    decode_slot,
    decode_wait,
    end_of_head,
)
from casty.wire.frame import FrameKind
from casty.wire.limits import scan

HEADS_MAX = 8_192
"""Heads remembered, with half a kilobyte each. A peer can have some forgotten, and gains nothing."""

ENVELOPE = FrameKind.ENVELOPE
NO_HEAD = b"\0"
"""Equal to no first bytes of a body, where there are none."""
_unpackb = msgpack.unpackb


class CachedTarget:
    """Target of the messages, or the requests, under one head, and their maker."""

    __slots__ = ("decode", "entry", "envelope", "is_asked", "mailbox", "path")

    def __init__(self, entry: TypeEntry, mailbox: MessageQueue, envelope: Envelope) -> None:
        self.entry = entry
        self.decode: Hook = entry.decode
        self.mailbox = mailbox
        self.is_asked = envelope.wait is not None
        self.path = envelope.path
        self.envelope = envelope._replace(message=None)


class CachedKind:
    """Entities of one kind as targets of the messages, or the requests, under one head, and their maker."""

    __slots__ = ("active", "decode", "entry", "envelope", "is_asked", "key")

    def __init__(self, entry: TypeEntry, key: str, active: ActiveEntities, envelope: Envelope) -> None:
        self.entry = entry
        self.decode: Hook = entry.decode
        self.key = key
        self.active = active
        self.is_asked = envelope.wait is not None
        self.envelope = envelope._replace(message=None)


CachedWay = CachedTarget | CachedKind | TypeEntry
"""Memory of a head; of those of replies, found by their tails, the maker."""


class FastReceive:
    """The quick way of one node.

    ``take_frame`` is the long way from its start, for the body of an ENVELOPE; ``deliver`` is its end, for a message
    made already, and the size of the body; ``refuse`` is its end for one impossible to make.
    """

    def __init__(
        self,
        node: ClusterNode,
        local: LocalTransport,
        *,
        take_frame: Callable[[UniqueAddress, bytes | memoryview], None],
        deliver: Callable[[UniqueAddress, Envelope, int], bool],
        refuse: Callable[[UniqueAddress, DecodeError], None],
    ) -> None:
        self._node = node
        self._local = local
        self._take_frame = take_frame
        self._deliver = deliver
        self._refuse = refuse
        self._elements_max = node.settings.limits.elements_max
        self._small_max = min(LARGE_BYTES_MIN, self._elements_max)
        self._board = node.board
        self._runs: frozenset[UniqueAddress] = frozenset()
        self._members: dict[int, UniqueAddress] = {}
        """Peers found among these runs, by where they are in memory: to compare them takes ten times as long."""
        self._member: UniqueAddress | None = None
        """Sender of the last message of a member."""
        self._asker: UniqueAddress | None = None
        self._waiting: AskerRequests | None = None
        """The waiting requests of that node, the sender of the last one: it may withdraw them."""
        self._ways: dict[bytes, CachedWay] = {}
        self._taken_at = 0.0
        """Time of the messages to entities in the frames being taken; 0.0 until somebody has looked at the clock."""

    @trio.lowlevel.enable_ki_protection
    def take(self, peer: UniqueAddress, frames: Sequence[tuple[FrameKind, bytes]], start: int) -> int:
        """Take the frames of kind ENVELOPE from ``start`` on, up to one of another kind; return its place."""
        if (peer is not self._member or self._runs is not self._board.runs) and not self._is_member(peer):
            return self._take_of_stranger(peer, frames, start)
        ways, small_max, self._taken_at = self._ways, self._small_max, 0.0
        position, count, head, end = start, 0, NO_HEAD, 0
        queue, room = NO_MESSAGES, 0
        """Target of the next messages, and the number it has room for."""
        way: CachedWay | None = None
        place: CachedTarget | None = None
        mailbox: MessageQueue | None = None
        told: CachedTarget | None = None
        """The last place: the end of a batch may have none."""
        try:
            for kind, body in islice(frames, start, None):
                if kind is not ENVELOPE:
                    break
                position += 1
                if body[:end] != head:  # most are like the one before: no size to read, no hash of a head to make
                    end = int.from_bytes(body[:SIZE_BYTES]) + SIZE_BYTES
                    head = body[:end]
                    way = ways.get(head)
                    place = way if type(way) is CachedTarget and not way.is_asked else None
                    told = place or told
                    if place is not None and place.mailbox is not mailbox:
                        mailbox, room = place.mailbox, 0
                if place is None or len(body) >= small_max:
                    if type(way) is CachedKind and len(body) < small_max and self._take_entity(peer, body, end, way):
                        continue
                    if not self._take_other(peer, body, end, way):
                        head, end = NO_HEAD, 0  # it may be known now
                    room = 0
                    continue
                try:
                    message = place.decode(_unpackb(body[end:]))
                except Exception as error:  # a class may raise anything when it is made
                    self._fail(peer, body, end, place.entry, place.envelope, error)
                    continue
                if len(queue) >= room:
                    queue, room = self._queue_for(peer, place)
                if len(queue) < room:
                    queue.append(message)
                    if place.mailbox.sleeper is not None:
                        place.mailbox.wake()
                    count += 1
                elif place.mailbox.closed:  # its actor has ended: the long way learns whether another has the path
                    del ways[head]
                    self._take_frame(peer, body)
                    head, end = NO_HEAD, 0
                else:
                    self._deliver(peer, place.envelope._replace(message=message), len(body))
        finally:
            if count:
                self._note(peer, count, told)
        return position

    @trio.lowlevel.enable_ki_protection
    def take_view(self, peer: UniqueAddress, body: memoryview) -> None:
        """Take the message in a large frame, alone in its batch, as `take`: 0.97 of the time of an ask with 1 MiB."""
        self._taken_at = 0.0
        if not self._is_member(peer):
            self._take_frame(peer, body)
            return
        end = end_of_head(body)
        self._take_other(peer, body, end, self._ways.get(bytes(body[:end])))

    def _is_member(self, peer: UniqueAddress) -> bool:
        """Whether a peer is a member now, and note that it is."""
        runs = self._board.runs
        if self._runs is not runs or len(self._members) > 2 * len(runs):
            self._runs, self._members = runs, {}
        if id(peer) not in self._members:
            if peer not in runs:
                self._member = None
                return False
            self._members[id(peer)] = peer
        self._member = peer
        return True

    def _take_of_stranger(self, peer: UniqueAddress, frames: Sequence[tuple[FrameKind, bytes]], start: int) -> int:
        """Take the frames of a stranger the long way, to be charged there."""
        position = start
        for kind, body in islice(frames, start, None):
            if kind is not ENVELOPE:
                break
            position += 1
            self._take_frame(peer, body)
        return position

    def learn(self, body: bytes | memoryview, envelope: Envelope) -> None:
        """Remember the head of a delivered message, if all messages under it can go the same way."""
        path, uid, message, name, _, headers = envelope
        entry = self._node.codec.entry_of(name)
        if entry is None or headers is not None:
            return
        head = bytes(body[: end_of_head(body)])
        if path.startswith(ASK_PREFIX):
            remember(self._ways, head, entry)
            return
        if path.startswith(ENTITY_PREFIX):
            receiver, found = self._node.kernel.target(path, uid), entity_of_path(path)
            if isinstance(receiver, EntityReceiver) and found is not None and receiver.takes(type(message)):
                remember(self._ways, head, CachedKind(entry, found[0], receiver.active, envelope))
            return
        ref: OwnRef[Never] | None = self._node.kernel.targets.get(path)
        # The types taken by an actor are known by class, once found out; an actor of the library never lists any.
        if not isinstance(ref, LocalRef) or type(message) not in ref.admitted or uid not in (0, ref.uid):
            return
        remember(self._ways, head, CachedTarget(entry, ref.mailbox, envelope))

    def _queue_for(self, peer: UniqueAddress, place: CachedTarget | ActiveEntity) -> tuple[deque[object], int]:
        """Return where the next messages of a node go, and how many there may be in it: 0 for the long way."""
        mailbox, receive_backpressure = place.mailbox, self._node.receive_backpressure
        queue, room = mailbox.messages, mailbox.limit
        if receive_backpressure is None or (
            receive_backpressure.by_path and place.path in receive_backpressure.by_path
        ):
            return queue, 0
        if not mailbox.flows and len(queue) < DIRECT_MAX and len(queue) < room:  # the usual case, without two calls
            return queue, room if room < DIRECT_MAX else DIRECT_MAX
        return receive_backpressure.queue_for(mailbox, peer)

    def link_lost(self, peer: UniqueAddress) -> None:
        """Forget a node that asked over the link, unless requests of it still wait."""
        if self._asker == peer:
            self._asker = None
        self._node.kernel.forget_asker(peer)

    def _take_other(self, peer: UniqueAddress, body: bytes | memoryview, end: int, way: CachedWay | None) -> bool:
        """Take an ask, a reply, a message under a new head, or a large one; return whether it went the quick way."""
        if way is not None and (len(body) < self._elements_max or self._is_bounded(body, end, way)):
            if isinstance(way, TypeEntry):
                is_taken = self._take_reply(peer, body, end, way)
            elif isinstance(way, CachedKind):
                is_taken = self._take_entity(peer, body, end, way)
            elif way.is_asked:
                is_taken = self._take_ask(peer, body, end, way)
            else:
                is_taken = self._take_large(peer, body, end, way)
            if is_taken:
                return True
        self._take_frame(peer, body)
        return False

    def _is_bounded(self, body: bytes | memoryview, end: int, way: CachedWay) -> bool:
        """Whether a message is within its bound of values; the long way refuses one beyond it."""
        has_tail = isinstance(way, TypeEntry) or way.is_asked
        limits = self._node.settings.limits
        start = end + TAIL_BYTES if has_tail else end
        try:
            if isinstance(way, CachedKind):
                start = decode_entity(body, start)[0]
            scan(body[start:], elements_max=limits.elements_max, nesting_max=limits.nesting_max)
        except DecodeError:
            return False
        return True

    def _take_entity(self, peer: UniqueAddress, body: bytes | memoryview, end: int, kind: CachedKind) -> bool:
        """Take a message to an entity; False, and nothing has happened, where it cannot take one at once.

        Nothing here looks at the lease: the entity does before it handles a message.
        """
        wait, receive_backpressure = None, self._node.receive_backpressure
        start, epoch, said = end, 0, b""
        try:
            if kind.is_asked:
                wait, start = decode_wait(body, end), end + TAIL_BYTES
            start, epoch, said = decode_entity(body, start)
        except DecodeError:
            return False  # the long way says what is wrong
        entity = kind.active.get(said)
        if entity is None or entity.epoch != epoch or entity.record.waiting or receive_backpressure is None:
            return False
        mailbox = entity.mailbox
        queue, room = mailbox.messages, mailbox.limit
        if mailbox.flows or len(queue) >= DIRECT_MAX or len(queue) >= room or receive_backpressure.by_path:
            queue, room = self._queue_for(peer, entity)
            if len(queue) >= room:
                return False
        try:
            message = kind.decode(_unpackb(body[start:]))
        except Exception as error:  # as in take
            whom = kind.envelope._replace(path=entity.path, uid=epoch, wait=wait)
            self._fail(peer, body, start, kind.entry, whom, error)
            return True
        now = self._taken_at
        if not now:
            self._taken_at = now = self._node.kernel.now()
        entity.record.last_used = now
        if wait is not None:
            if peer is not self._asker:
                self._asker, self._waiting = peer, self._node.kernel.requests_of(peer)
            message = Request(message, now + wait[0], wait[1], self._waiting)
            message.queue(entity.actor)
        queue.append(message)
        if mailbox.sleeper is not None:
            mailbox.wake()
        self._local.delivered += 1
        if len(body) >= LARGE_BYTES_MIN or not self._local.delivered % LOOKED_AT_EVERY:
            self._look_at(peer, entity, message, len(body))
        return True

    def _look_at(self, peer: UniqueAddress, entity: ActiveEntity, message: object, size: int) -> None:
        """Look how much waits for an entity, after every so many messages and each large one."""
        ref, receive_backpressure = entity.local(), self._node.receive_backpressure
        if ref is None or receive_backpressure is None:
            return
        receive_backpressure.sender, receive_backpressure.size, receive_backpressure.cost = peer, size, 0
        if size >= LARGE_BYTES_MIN:
            receive_backpressure.weigh(ref, message)
        receive_backpressure.look(ref)

    def _take_ask(self, peer: UniqueAddress, body: bytes | memoryview, end: int, place: CachedTarget) -> bool:
        """Take an ask; False, and nothing has happened, where its actor has ended, as the long way has to tell."""
        start, wait = end + TAIL_BYTES, None
        if place.mailbox.closed:
            return False
        try:
            wait = decode_wait(body, end)
            message = place.decode(_unpackb(body[start:]))
        except Exception as error:  # as in take
            self._fail(peer, body, start, place.entry, place.envelope._replace(wait=wait), error)
        else:
            self._put(peer, place, message, wait, len(body))
        return True

    def _take_large(self, peer: UniqueAddress, body: bytes | memoryview, end: int, place: CachedTarget) -> bool:
        """Take a message whose size counts; False, and nothing has happened, where its actor has ended."""
        if place.mailbox.closed:
            return False
        try:
            message = place.decode(_unpackb(body[end:]))
        except Exception as error:  # as in take
            self._fail(peer, body, end, place.entry, place.envelope, error)
        else:
            self._put(peer, place, message, None, len(body))
        return True

    def _take_reply(self, peer: UniqueAddress, body: bytes | memoryview, end: int, entry: TypeEntry) -> bool:
        """Take a reply; False, and nothing has happened, where its class was declared anew."""
        start, serial, uid = end + TAIL_BYTES, 0, 0
        try:
            serial, uid = decode_slot(body, end)
            message = entry.decode(_unpackb(body[start:]))
        except Exception as error:  # as in take
            self._fail(peer, body, start, entry, Envelope(f"{ASK_PREFIX}{serial}", uid, None, entry.name), error)
            return True
        if self._local.reply(serial, uid, message, entry.name):
            return True
        if self._node.codec.entry_of(entry.name) is not entry:
            return False
        self._deliver(peer, Envelope(f"{ASK_PREFIX}{serial}", uid, message, entry.name), len(body))
        return True

    def _fail(
        self,
        peer: UniqueAddress,
        body: bytes | memoryview,
        start: int,
        entry: TypeEntry,
        envelope: Envelope,
        error: Exception,
    ) -> None:
        """Refuse a message impossible to make, with the error.

        The long way makes it of a body that is no message, and of a type declared anew since its head was learned.
        """
        if isinstance(error, MemoryError):
            raise error
        try:
            _unpackb(body[start:])
            fault = entry.decode_fault(error)
        except FOREIGN:
            fault = None
        if not isinstance(fault, DecodeError) or self._node.codec.entry_of(entry.name) is not entry:
            self._take_frame(peer, body)
            return
        fault.path, fault.uid, fault.name = envelope.path, envelope.uid, entry.name
        fault.ask = 0 if envelope.wait is None else envelope.wait[1]
        self._refuse(peer, fault)

    def _put(self, peer: UniqueAddress, place: CachedTarget, message: object, wait: Wait | None, size: int) -> None:
        """Put a message into its mailbox, or where it waits for room."""
        kernel, mailbox, receive_backpressure = self._node.kernel, place.mailbox, self._node.receive_backpressure
        ref: OwnRef[Never] | None = kernel.targets.get(place.path)
        queue, room = mailbox.messages, mailbox.limit
        if (
            mailbox.flows
            or len(queue) >= DIRECT_MAX
            or len(queue) >= room
            or (receive_backpressure and receive_backpressure.by_path)
        ):
            queue, room = self._queue_for(peer, place)
        if len(queue) >= room or not isinstance(ref, LocalRef) or ref.mailbox is not mailbox:
            self._deliver(peer, place.envelope._replace(message=message, wait=wait), size)
            return
        if wait is not None:
            if peer is not self._asker:  # most come from whom the last one came from
                self._asker, self._waiting = peer, kernel.requests_of(peer)
            message = Request(message, kernel.now() + wait[0], wait[1], self._waiting)
            message.queue(ref.cell)
        queue.append(message)
        if mailbox.sleeper is not None:
            mailbox.wake()
        self._note(peer, 1, place)
        if size >= LARGE_BYTES_MIN and receive_backpressure is not None:
            receive_backpressure.sender, receive_backpressure.size, receive_backpressure.cost = peer, size, 0
            receive_backpressure.weigh(ref, message)

    def _note(self, peer: UniqueAddress, count: int, place: CachedTarget | None) -> None:
        """Count messages of the quick way, and now and then have the mailbox of the last actor looked at."""
        local, receive_backpressure = self._local, self._node.receive_backpressure
        before = local.delivered
        local.delivered += count
        if (
            before // LOOKED_AT_EVERY == local.delivered // LOOKED_AT_EVERY
            or receive_backpressure is None
            or place is None
        ):
            return
        ref: OwnRef[Never] | None = self._node.kernel.targets.get(place.path)
        if isinstance(ref, LocalRef):
            receive_backpressure.sender = peer
            receive_backpressure.look(ref)

    def __repr__(self) -> str:
        return f"<FastReceive heads={len(self._ways)}>"


def remember(ways: dict[bytes, CachedWay], head: bytes, way: CachedWay) -> None:
    """Put something under a head, when there are HEADS_MAX in place of those whose actors have ended, or of all."""
    if len(ways) >= HEADS_MAX:
        for old in [old for old, known in ways.items() if isinstance(known, CachedTarget) and known.mailbox.closed]:
            del ways[old]
    if len(ways) >= HEADS_MAX:
        ways.clear()
    ways[head] = way
