"""Way of a client's messages to its cluster: by one node at a time, and by another one when that is lost.

Owns the connections in use, and the messages held while there is none. A key unknown to the node in use is closed
there: then the other nodes are asked, and one with the key open gets a connection beside the first, for this key. An
ask certainly not begun with waits for the next node, up to its time-out; one written to a broken connection fails with
it, since nobody knows how far it came.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from itertools import count
from threading import get_ident
from typing import Any, Final, Never, cast

import trio

from casty.address import NodeAddress, key_in_words
from casty.client.client_codec import ClientCodec
from casty.client.client_connection import ClientConnection, SentLetter
from casty.client.contacts import ContactPoints
from casty.client.dialler import ClientDialler, NoContact
from casty.client.given_ref import GivenActorRef
from casty.client.way import HeldLetter, Way
from casty.cluster.remoting.local_transport import LocalTransport
from casty.errors import AskFailed, CastyError, ClusterUnreachable, DecodeError
from casty.refs import ActorRef
from casty.runtime.events import ILL_TYPED, NOT_SENT, OUTBOUND_FULL, DeadLetterReason, MessageSummary
from casty.runtime.messaging.ask import WAITING, AskRef
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request, payload
from casty.runtime.messaging.ref import UnsentRequest, refuse_thread
from casty.runtime.system.kernel import Kernel
from casty.wire.envelope import Envelope, Notice, encode_wait

HELD_MAX: Final = 1_000
HELD_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes from which on nothing more is held: the last message may go beyond."""
UNREACHABLE_AFTER: Final = 10.0
"""Seconds without a node after which nothing waits for one any more."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds for what was told before the end of the client, and its goodbye."""
PAUSE_MIN, PAUSE_MAX = 0.1, 2.0
"""Seconds between two rounds over all contact points."""
LASTS_MIN: Final = 1.0
"""Seconds of a connection that is no short one: after two short ones there are pauses before the next."""
SAME_NODE_LOGGED_EVERY: Final = 1.0
REFUSALS_MAX: Final = 256
"""Refusals of tells named in the log."""
SIDES_MAX: Final = 8
"""Connections beside the first one, for keys that its node does not know."""

logger = logging.getLogger("casty.client")


class ClientLink:
    """Messages of one client to its cluster, and back."""

    def __init__(self, kernel: Kernel, local: LocalTransport, contacts: ContactPoints, dialler: ClientDialler) -> None:
        self.contacts = contacts
        self.current: ClientConnection | None = None
        self.on_published: Callable[[Envelope], None] | None = None
        """Taker of the messages of topics."""
        self._kernel = kernel
        self._local = local
        self._dialler = dialler
        self._ways: dict[str, Way] = {}
        self._given: dict[int, Way] = {}
        """Way of the refs that came by each connection, by its number."""
        self._open: dict[ClientConnection, None] = {}
        self._sides: dict[NodeAddress, ClientConnection] = {}
        self._side_lock = trio.Lock()
        self._waiting: dict[Way, None] = {}
        """Those with letters."""
        self._held = 0
        self._held_bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        self._connected = trio.Event()
        self._is_unreachable = self._is_closing = self._has_ended = False
        self._refusals: set[tuple[str, str, str]] = set()
        """Refusals of tells that the log has: code, name of the message, and key; "" for all given refs."""
        self._told_node: NodeAddress | None = None
        self._told_at = 0.0
        """Node of the latest log line about the one in use, and its time."""
        self._numbers = count(1)
        self._nursery: trio.Nursery | None = None
        self.codec: ClientCodec = dialler.codec(self)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep a connection up until cancelled, with pauses where nodes hang up at once, again and again."""
        short_ones = 0
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while not self._is_closing:
                if short_ones > 1:
                    await trio.sleep(self._dialler.jittered(min(PAUSE_MIN * 2 ** (short_ones - 2), PAUSE_MAX)))
                connection = await self._connect()
                since = trio.current_time()
                self._begin(connection)
                self.current, self._is_unreachable = connection, False
                self._connected.set()
                is_told = self._tell_node(connection)
                await connection.unusable.wait()
                if is_told and not self._is_closing:
                    what = "%s goes by %s no more: %s"
                    logger.info(what, self._dialler.title, connection.node, connection.fault or "it is closing")
                self.current, self._connected = None, trio.Event()
                self.contacts.answered()
                self._seek_all()
                short_ones = min(short_ones + 1, 10) if trio.current_time() - since < LASTS_MIN else 0

    def _tell_node(self, connection: ClientConnection) -> bool:
        """Log the node in use; not for each connection to one that hangs up at once again and again."""
        now = self._kernel.now()
        is_told = connection.node != self._told_node or now - self._told_at >= SAME_NODE_LOGGED_EVERY
        if is_told:
            self._told_node, self._told_at = connection.node, now
            logger.info("%s goes by %s", self._dialler.title, connection.node)
        return is_told

    def start(self, run: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task as long as the link."""
        assert self._nursery is not None
        self._nursery.start_soon(run, *args)

    async def wait_connected(self) -> None:
        """Return when there is a connection."""
        await self._connected.wait()

    async def close(self) -> None:
        """Write what was told, say goodbye, and end all waits: the client ends."""
        self._is_closing = True
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                if self.current is not None:
                    await self._told()
                self._end_waits()
                connections = tuple(self._open)
                for connection in connections:
                    connection.finish()
                for connection in connections:
                    await connection.ended.wait()
        finally:
            self._end_waits()
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel()
        for connection in tuple(self._open):
            await connection.ended.wait()  # with its asks: the system behind it knows less of them

    async def _told(self) -> None:
        """Wait for the tells that wait for their way."""
        for letter in [one for way in self._waiting for one in way.held if one.slot is None]:
            await letter.left()

    def _end_waits(self) -> None:
        self._has_ended = self._is_unreachable = True
        self._drop_held(_ended())

    @property
    def system_name(self) -> str:
        """Name of the cluster's system."""
        return self._kernel.name

    def way_to(self, head: str) -> Way:
        """Return the way for a key, by the beginning of its path on the wire."""
        way = self._ways.get(head)
        if way is None:
            way = self._ways[head] = Way(head)
        return way

    def trouble(self, way: Way) -> str:
        """Say why nothing can be sent now."""
        if way.connection is not None:
            return f"too much waits for answers of {way.connection.node}"
        if self.current is not None:
            return f"no node is found yet that has {key_in_words(way.head)} open to clients"
        return self._nobody()

    def _nobody(self) -> str:
        return f"this client reaches no node of {self.system_name!r}: {self._dialler.faults}"

    @property
    def _is_full(self) -> bool:
        return self._held >= HELD_MAX or self._held_bytes >= HELD_BYTES_MAX

    def post(self, way: Way, ref: ActorRef[Any], message: object) -> HeldLetter | None:
        """Send a message or a request, or hold it; return it where it was not sent. Raises EncodeError."""
        letter = HeldLetter(self, way, ref, message)
        frame = self._frame_of(letter)
        if not way.held and self._write(letter, frame):
            return None
        if self._has_ended:
            self._drop(letter, _ended())
        elif way.is_pinned and way.connection is None:
            self._drop(letter, _outlived(ref))
        elif self._is_unreachable and self.current is None:
            self._drop(letter, ClusterUnreachable(f"{ref.path} was not asked: {self.trouble(way)}"))
        elif self._is_full:
            self._drop(letter, AskFailed(f"{ref.path} was not asked: {self.trouble(way)}", "not_sent"))
        elif way.connection is None and self._kernel.now() < way.closed_until:
            self._drop(letter, self._closed(way))
        else:
            self._hold(letter)
            self._seek(way)
        return letter

    async def send(self, way: Way, ref: ActorRef[Any], message: object) -> None:
        """Send a message, waiting for room; cancelled, it was not sent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._is_full and not self._is_unreachable:
            await self._room.park()
        self.post(way, ref, message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def tell_given(self, ref: GivenActorRef[Any], message: object) -> None:
        """Send a message to a given ref."""
        self.post(self._given_way(ref), ref, message)

    async def send_given(self, ref: GivenActorRef[Any], message: object) -> None:
        """Send a message to a given ref, waiting for room."""
        await self.send(self._given_way(ref), ref, message)

    def request_given(self, ref: GivenActorRef[Any], request: Request) -> UnsentRequest | None:
        """Send a request to a given ref."""
        return self.post(self._given_way(ref), ref, request)

    def withdraw(self, letter: HeldLetter) -> None:
        """Forget a held request."""
        if letter in letter.way.held:
            letter.way.held.remove(letter)
            self._release(letter)

    def replied(self, serial: int, envelope: Envelope, slot: AskRef[Any]) -> None:
        """Take a reply to an open ask."""
        if not self._local.reply(serial, envelope.uid, envelope.message, envelope.name) and slot.answer is WAITING:
            text = f"the reply is of another type than was asked for: {envelope.name}"
            slot.refuse(AskFailed(text, "reply_lost"))
        self._seek_all()

    def again(self, letter: SentLetter) -> None:
        """Send an ask by another node."""
        held = cast("HeldLetter", letter)
        if held.way.is_pinned:
            self._drop(held, _outlived(held.ref))
        else:
            self._hold(held)
            self._seek(held.way)

    def published(self, envelope: Envelope) -> None:
        """Take a message of a topic."""
        if self.on_published is not None:
            self.on_published(envelope)

    def unreadable(self, error: DecodeError) -> None:
        """Make a dead letter of an unreadable message of a topic."""
        ref = self._kernel.ref_for(error.path, 0)
        self._kernel.dead_letter(None, ref, ILL_TYPED, str(error), shown=MessageSummary(error.name, 0))

    def not_taken(self, notice: Notice, reason: str) -> None:
        """Make a dead letter of a tell refused by the node."""
        ref = self._kernel.ref_for(notice.path, 0)
        whom = key_in_words(notice.path)
        refusal = notice.code, notice.name, "" if whom == notice.path else whom
        if refusal not in self._refusals and len(self._refusals) < REFUSALS_MAX:
            self._refusals.add(refusal)
            logger.warning("what this client sends is refused: %s did not get %s: %s", whom, notice.name, reason)
        self._kernel.dead_letter(None, ref, NOT_SENT, reason, shown=MessageSummary(notice.name, 0))

    def learned(self, addresses: list[NodeAddress]) -> None:
        """Take the contact points told by the node."""
        self.contacts.learn(addresses)
        self._seek_all()

    async def _connect(self) -> ClientConnection:
        pause, since = PAUSE_MIN, trio.current_time()
        is_first = True
        while True:
            address, is_round_over = self.contacts.next()
            if is_round_over and not is_first:
                await trio.sleep(self._dialler.jittered(pause))
                pause = min(2 * pause, PAUSE_MAX)
            is_first = False
            try:
                return await self._dialler.dial(address, next(self._numbers), self)
            except NoContact:
                if trio.current_time() - since >= UNREACHABLE_AFTER and not self._is_unreachable:
                    self._is_unreachable = True
                    self._drop_held(ClusterUnreachable(f"no reply: {self._nobody()}"))

    def _begin(self, connection: ClientConnection) -> None:
        self._given[connection.number] = Way("", connection, is_pinned=True)
        self._open[connection] = None
        self.start(connection.run)

    def given_back(self, connection: ClientConnection, unwritten: list[object]) -> None:
        """Take what a connection has not written: that goes by the next one before all others."""
        self._take_back(connection, unwritten)
        self._seek_all()

    def over(self, connection: ClientConnection, unwritten: list[object]) -> None:
        """Take the end of a connection, and what it has not written."""
        del self._open[connection]
        if self._sides.get(connection.node) is connection:
            del self._sides[connection.node]
        self._take_back(connection, unwritten)
        connection.fail_asks()
        given = self._given.pop(connection.number)
        for letter in tuple(given.held):
            self.withdraw(letter)
            self._drop(letter, _outlived(letter.ref))
        if self._has_ended:  # its node has not read until the end: nobody looks for another one
            self._end_waits()
        else:
            self._seek_all()

    def _take_back(self, connection: ClientConnection, unwritten: list[object]) -> None:
        letters = [cast("HeldLetter", token) for token in unwritten]
        for letter in letters:
            if letter.slot is not None:
                connection.asks.pop(letter.slot.uid, None)
        for letter in reversed(letters):
            self._hold(letter, first=True)

    def _seek_all(self) -> None:
        for way in tuple(self._waiting):
            self._seek(way)

    def _seek(self, way: Way) -> None:
        """Look for a node with a way open, unless one is known, or looked for already."""
        if way.connection is not None:
            self._flush_way(way)
        elif not way.is_pinned and not way.is_sought:
            way.is_sought = True
            self.start(self._find, way)

    @trio.lowlevel.enable_ki_protection
    async def _find(self, way: Way) -> None:
        """Look for a node with a way open, as long as something waits for it."""
        try:
            while way.held and way.connection is None:
                await self._connected.wait()
                current = self.current
                if current is None:
                    continue
                is_open = await current.is_open(way.head)
                if is_open:
                    way.lead(current)
                elif is_open is False and not await self._find_beside(way, current):
                    self._shut(way)
                elif is_open is None:
                    await trio.lowlevel.checkpoint()
        finally:
            way.is_sought = False
        if way.connection is not None:
            self._flush_way(way)

    async def _find_beside(self, way: Way, current: ClientConnection) -> bool:
        """Look for a node beside the one in use; False where all have said no, or say nothing."""
        async with self._side_lock:
            for connection in tuple(self._sides.values()):
                if await connection.is_open(way.head):
                    way.lead(connection)
                    return True
            for address in self.contacts.all:
                if current.unusable.is_set() or not way.held:
                    return True  # begin anew, or never mind
                if address != current.node and address not in self._sides and await self._try_side(way, address):
                    return True
        return False

    async def _try_side(self, way: Way, address: NodeAddress) -> bool:
        try:
            connection = await self._dialler.dial(address, next(self._numbers), self)
        except NoContact:
            return False
        self._begin(connection)
        if not await connection.is_open(way.head):
            connection.finish()
            connection.retire()
            return False
        if len(self._sides) >= SIDES_MAX:
            self._sides.pop(next(iter(self._sides))).retire()
        self._sides[address] = connection
        way.lead(connection)
        return True

    def _shut(self, way: Way) -> None:
        """Refuse all letters of a way open nowhere; of what is told or published only the log tells by itself."""
        if not way.is_shut:
            logger.warning("what this client sends is refused: %s", self._closed(way))
        way.shut(self._kernel.now())
        for letter in tuple(way.held):
            self.withdraw(letter)
            self._drop(letter, self._closed(way))

    def _closed(self, way: Way) -> AskFailed:
        text = f"no node that this client can reach has {key_in_words(way.head)} open to clients"
        return AskFailed(f"{text}: make its key with clients=True, and use it on a node", "not_delivered")

    def _flush_way(self, way: Way) -> None:
        while way.held:
            letter = way.held[0]
            if letter.is_wanted:
                try:
                    if not self._write(letter, self._frame_of(letter)):
                        break
                except (CastyError, ValueError, TypeError) as error:
                    self._drop(letter, AskFailed(str(error), "not_sent"))
            way.held.popleft()
            self._release(letter)
            letter.leave()

    def _write(self, letter: HeldLetter, frame: bytes) -> bool:
        connection = letter.way.connection
        if connection is None or not connection.put(frame, letter):
            return False
        if isinstance(letter.message, Request):
            letter.message.far = (connection,)
        return True

    def _frame_of(self, letter: HeldLetter) -> bytes:
        ref, message, wait = letter.ref, letter.message, b""
        if isinstance(message, Request):
            wait = encode_wait(max(message.deadline - self._kernel.now(), 0.0), message.ask)
        told = payload(message)
        if isinstance(ref, RoutedEntityRef):
            frame, slot = self.codec.to_entity(ref.key, ref.id, told, wait)
        else:
            named = cast("GivenActorRef[Any]", ref)
            frame, slot = self.codec.to_path(named.path, named.session, told, named.message_type, wait)
        if slot is not None and slot.kernel is not self._kernel:  # its reply would come here, and find no asker
            raise ValueError(
                f"{ref.path} was asked by another system than its own: ask with the client that made the ref"
            )
        letter.size = len(frame)
        letter.slot = slot if wait else None
        return frame

    def _given_way(self, ref: GivenActorRef[Any]) -> Way:
        if get_ident() != self._kernel.thread:
            refuse_thread(cast("ActorRef[Never]", ref))
        return self._given.get(ref.session) or Way("", is_pinned=True)

    def _hold(self, letter: HeldLetter, *, first: bool = False) -> None:
        way = letter.way
        (way.held.appendleft if first else way.held.append)(letter)
        self._waiting[way] = None
        self._held += 1
        self._held_bytes += letter.size

    def _release(self, letter: HeldLetter) -> None:
        self._held -= 1
        self._held_bytes -= letter.size
        if not letter.way.held:
            self._waiting.pop(letter.way, None)
        if not self._is_full:
            self._room.unpark_all()

    def _drop(self, letter: HeldLetter, error: AskFailed) -> None:
        if letter.slot is not None:
            letter.slot.refuse(error)
        else:
            reason: DeadLetterReason = NOT_SENT if letter.way.connection is None else OUTBOUND_FULL
            self._kernel.dead_letter(payload(letter.message), letter.ref, reason, str(error))
        letter.leave()

    def _drop_held(self, error: AskFailed) -> None:
        for way in tuple(self._waiting):
            for letter in tuple(way.held):
                self.withdraw(letter)
                self._drop(letter, error)

    def __repr__(self) -> str:
        return f"<ClientLink {self.current} sides={len(self._sides)} held={self._held}>"


def _outlived(ref: ActorRef[Any]) -> AskFailed:
    """Return the refusal of a message to a given ref whose connection has ended, or whose node leaves."""
    why = "the ref is good on the connection by which it came alone, which has ended or is about to"
    text = f"{ref.path} got nothing: {why}; ask again for what it came with, and use the new ref"
    return AskFailed(text, "not_sent")


def _ended() -> AskFailed:
    return AskFailed("this client has ended", "not_sent")
