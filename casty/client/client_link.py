"""Way of a client's messages to its cluster: by one node at a time, and by another one when that is lost.

Owns the connection in use, and what waits while there is none. An ask that was certainly not written waits for the next
node, up to its time-out; one that was written fails with its connection, since nobody knows how far it came.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any, Final, Never, cast

import trio

from casty.address import NodeAddress
from casty.client.client_codec import ClientCodec
from casty.client.client_connection import ClientConnection
from casty.client.contacts import ContactPoints
from casty.client.dialler import ClientDialler, NoContact
from casty.client.given_ref import GivenActorRef
from casty.cluster.remoting.local_transport import LocalTransport
from casty.errors import AskFailed, CastyError, ClusterUnreachable, NotSent
from casty.refs import ActorRef
from casty.runtime.events import NOT_SENT, OUTBOUND_FULL, DeadLetterReason, MessageSummary
from casty.runtime.messaging.ask import WAITING, AskRef
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request, payload
from casty.runtime.messaging.ref import UnsentRequest
from casty.runtime.system.kernel import Kernel
from casty.wire.envelope import Envelope, Notice, encode_wait

HELD_MAX: Final = 1_000
HELD_BYTES_MAX: Final = 8 * 1024 * 1024
UNREACHABLE_AFTER: Final = 10.0
"""Seconds without a node after which nothing waits for one any more."""
PAUSE_MIN, PAUSE_MAX = 0.1, 2.0
"""Seconds between two rounds over all contact points."""


class HeldLetter(UnsentRequest):
    """A message on its way by a link, which waits for a connection, or for its place on one."""

    __slots__ = ("_left", "_link", "message", "ref", "size", "slot")

    def __init__(self, link: ClientLink, ref: ActorRef[Any], message: object) -> None:
        self._link = link
        self._left = trio.Event()
        self.ref = ref
        self.message = message
        self.size = 0
        self.slot: AskRef[Never] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it still; nobody is known to wait for a tell."""
        return self.slot is None or self.slot.answer is WAITING

    def leave(self) -> None:
        """Take note that it was sent, or dropped."""
        self._left.set()

    def tell(self) -> None:
        """Do nothing: it is held already."""

    async def send(self) -> None:
        try:
            await self._left.wait()
        except trio.Cancelled:
            self._link.withdraw(self)
            raise

    def give_up(self, timeout: float) -> NotSent:
        return NotSent(f"{self.ref.path} was not asked within {timeout} s: {self._link.trouble()}")


class ClientLink:
    """Messages of one client to its cluster, and what comes back."""

    def __init__(self, kernel: Kernel, local: LocalTransport, contacts: ContactPoints, dialler: ClientDialler) -> None:
        self.contacts = contacts
        self.current: ClientConnection | None = None
        self._kernel = kernel
        self._local = local
        self._dialler = dialler
        self._held: deque[HeldLetter] = deque()
        self._held_bytes = 0
        self._room = trio.Event()
        self._connected = trio.Event()
        self._is_unreachable = False
        self._numbers = count(1)
        self.codec: ClientCodec = dialler.codec(self)

    async def run(self) -> None:
        """Keep a connection up until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                connection = await self._connect()
                nursery.start_soon(self._serve, connection)
                self.current, self._is_unreachable = connection, False
                self._connected.set()
                self._flush()
                await connection.unusable.wait()
                self.current, self._connected = None, trio.Event()
                self.contacts.answered()

    async def wait_connected(self) -> None:
        """Return when there is a connection."""
        await self._connected.wait()

    def close(self) -> None:
        """End what waits: the client ends."""
        self._is_unreachable = True
        self._drop_held(AskFailed("this client has ended", "not_sent"))
        if self.current is not None:
            self.current.finish()

    def trouble(self) -> str:
        """Say why nothing can be sent now."""
        if self.current is not None:
            return f"too much waits for answers of {self.current.node}"
        return f"no node of the cluster can be reached: {self._dialler.faults}"

    def post(self, ref: ActorRef[Any], message: object) -> HeldLetter | None:
        """Send a message or a request, or hold it; return it where it is held. Raises EncodeError."""
        letter = HeldLetter(self, ref, message)
        frame = self._frame_of(letter)
        if self._is_unreachable and self.current is None:
            self._drop(letter, ClusterUnreachable(f"{ref.path} was not asked: {self.trouble()}"))
            return letter if letter.slot is not None else None
        if not self._held and self._write(letter, frame):
            return None
        if len(self._held) >= HELD_MAX or self._held_bytes + letter.size > HELD_BYTES_MAX:
            self._drop(letter, AskFailed(f"{ref.path} was not asked: {self.trouble()}", "not_sent"))
        else:
            self._held.append(letter)
            self._held_bytes += letter.size
        return letter

    async def send(self, ref: ActorRef[Any], message: object) -> None:
        """Send a message, waiting for room."""
        while len(self._held) >= HELD_MAX and not self._is_unreachable:
            self._room = trio.Event()
            await self._room.wait()
        self.post(ref, message)
        await trio.lowlevel.checkpoint()

    def tell_given(self, ref: GivenActorRef[Any], message: object) -> None:
        """Send a message to a ref given to the client."""
        self.post(ref, message)

    def request_given(self, ref: GivenActorRef[Any], request: Request) -> UnsentRequest | None:
        """Send a request to a ref given to the client."""
        return self.post(ref, request)

    def withdraw(self, letter: HeldLetter) -> None:
        """Forget a held request."""
        if letter in self._held:
            self._held.remove(letter)
            self._held_bytes -= letter.size

    def replied(self, serial: int, envelope: Envelope, slot: AskRef[Never]) -> None:
        """Take a reply to a waiting ask."""
        if not self._local.reply(serial, envelope.uid, envelope.message, envelope.name) and slot.answer is WAITING:
            text = f"the reply is of another type than was asked for: {envelope.name}"
            slot.refuse(AskFailed(text, "reply_lost"))
        if self._held:
            self._flush()

    def not_taken(self, notice: Notice, reason: str) -> None:
        """Make a dead letter of a tell not taken by the node."""
        ref = self._kernel.ref_for(notice.path, 0)
        self._kernel.dead_letter(None, ref, NOT_SENT, reason, shown=MessageSummary(notice.name, 0))

    def learned(self, addresses: list[NodeAddress]) -> None:
        """Take the contact points told by the node."""
        self.contacts.learn(addresses)
        self._flush()

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
                    self._drop_held(ClusterUnreachable(f"no reply: {self.trouble()}"))

    async def _serve(self, connection: ClientConnection) -> None:
        unwritten: list[object] = []
        try:
            unwritten = await connection.run()
        finally:
            letters = [cast("HeldLetter", token) for token in unwritten]
            for letter in letters:
                if letter.slot is not None:
                    connection.asks.pop(letter.slot.uid, None)
            connection.fail_asks()
            self._hold_again(letters)

    def _hold_again(self, letters: list[HeldLetter]) -> None:
        """Let letters, certainly not written, go by the next connection, before all others."""
        for letter in reversed(letters):
            self._held.appendleft(letter)
            self._held_bytes += letter.size
        if self.current is not None:
            self._flush()

    def _flush(self) -> None:
        while self._held:
            letter = self._held[0]
            if letter.is_wanted:
                try:
                    if not self._write(letter, self._frame_of(letter)):
                        break
                except (CastyError, ValueError, TypeError) as error:
                    self._drop(letter, AskFailed(str(error), "not_sent"))
            self._held.popleft()
            self._held_bytes -= letter.size
            letter.leave()
        if len(self._held) < HELD_MAX:
            self._room.set()

    def _write(self, letter: HeldLetter, frame: bytes) -> bool:
        connection, ref, message = self.current, letter.ref, letter.message
        if isinstance(ref, GivenActorRef) and connection is not None and ref.session != connection.number:
            text = f"{ref.path} was given by a node that this client is not connected to any more: ask for it again"
            self._drop(letter, AskFailed(text, "not_sent"))
            return True
        if connection is None or not connection.put(frame, letter.slot, letter):
            return False
        if isinstance(message, Request):
            message.far = (connection,)
        return True

    def _frame_of(self, letter: HeldLetter) -> bytes:
        ref, message, wait = letter.ref, letter.message, b""
        if isinstance(message, Request):
            wait = encode_wait(max(message.deadline - self._kernel.now(), 0.0), message.ask)
        told = payload(message)
        if isinstance(ref, RoutedEntityRef):
            frame, slot = self.codec.to_entity(ref.key, ref.id, told, wait)
        else:
            given = cast("GivenActorRef[Any]", ref)
            frame, slot = self.codec.to_given(given.path, told, given.message_type, wait)
        letter.size = len(frame)
        letter.slot = slot if wait else None
        return frame

    def _drop(self, letter: HeldLetter, error: AskFailed) -> None:
        if letter.slot is not None:
            letter.slot.refuse(error)
        else:
            reason: DeadLetterReason = NOT_SENT if self.current is None else OUTBOUND_FULL
            self._kernel.dead_letter(payload(letter.message), letter.ref, reason, str(error))
        letter.leave()

    def _drop_held(self, error: AskFailed) -> None:
        held, self._held, self._held_bytes = self._held, deque(), 0
        for letter in held:
            self._drop(letter, error)
        self._room.set()

    def __repr__(self) -> str:
        return f"<ClientLink {self.current} held={len(self._held)}>"
