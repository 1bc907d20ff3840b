"""One connection of a client to a node: its open asks, and the words of the node."""

from __future__ import annotations

from typing import Never, Protocol, cast

import trio

from casty.address import PUBLISHED_PREFIX, ActorAddress, NodeAddress, key_in_words, serial_of
from casty.client.client_codec import ClientCodec
from casty.cluster.clients.client_commands import OWN_NAMES
from casty.errors import NOT_HANDLED, AskFailed, DecodeError, ProtocolError
from casty.runtime.messaging.ask import AskRef, ErrorReply
from casty.schema.names import printable
from casty.transport.clients.frame_pipe import FramePipe
from casty.transport.links.link import GOODBYE_FRAME
from casty.transport.network.interface import ConnectionLost
from casty.wire.control.cancel_request import withdraw_frame
from casty.wire.control.contact_points import decode_contacts
from casty.wire.control.open_question import decode_open_answer, is_open_answer, open_question_frame
from casty.wire.envelope import Envelope, Notice
from casty.wire.frame import FrameKind

SILENCE_MAX = 3.0
"""Seconds without a word of the node, a second between two of them."""
ASKS_MAX = 1_000
"""Asks without an answer on one connection: the node takes no more."""

PARTING_MAX = 5.0
"""Seconds for a node to take what was written to it, and to close the connection: one that leaves waits no longer."""

NOT_TAKEN = {
    "refused": "the node does not take it of a client: make its key with clients=True, and use it on that node",
    "unknown_type": "the node does not know this type of message: it has to import the module that declares it",
    "ill_typed": "the key takes messages of another type there: declare it alike on both sides",
    "no_actor": "the actor has ended",
}


class SentLetter(Protocol):
    """Message put on a connection."""

    slot: AskRef[Never] | None
    """Slot of the ask in it; None of a tell."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it still."""
        ...

    @property
    def is_bound(self) -> bool:
        """Whether no other node can take it."""
        ...


class ConnectionOwner(Protocol):
    """Receiver of the messages of a connection."""

    def again(self, letter: SentLetter) -> None:
        """Send an ask by another node: the leaving one has certainly not handled it."""
        ...

    def published(self, envelope: Envelope) -> None:
        """Take a message of a topic."""
        ...

    def unreadable(self, error: DecodeError) -> None:
        """Take note of an unreadable message of a topic."""
        ...

    def replied(self, serial: int, envelope: Envelope, slot: AskRef[Never]) -> None:
        """Take a reply to an open ask."""
        ...

    def not_taken(self, notice: Notice, reason: str) -> None:
        """Take note of a tell refused by the node."""
        ...

    def learned(self, addresses: list[NodeAddress]) -> None:
        """Take the contact points told by the node."""
        ...

    def given_back(self, connection: ClientConnection, unwritten: list[object]) -> None:
        """Take letters certainly not written: they go by the next connection before all others."""
        ...

    def over(self, connection: ClientConnection, unwritten: list[object]) -> None:
        """Take the end of a connection, with the letters certainly not written."""
        ...


class ClientConnection:
    """A connection with its hellos exchanged. To an ask it is the receiver on another node.

    Parameters:
        node: Address dialled.
        system_name: Name of the cluster's system.
        number: Number of the connection: refs given by its node are good on it alone.
        pipe: Frames.
        codec: Codec of the client.
        owner: Receiver of its messages.
    """

    def __init__(
        self,
        node: NodeAddress,
        number: int,
        pipe: FramePipe,
        *,
        system_name: str,
        codec: ClientCodec,
        owner: ConnectionOwner,
    ) -> None:
        self.node = node
        self.number = number
        self.asks: dict[int, SentLetter] = {}
        """Asks that went by it, by their numbers."""
        self.unusable = trio.Event()
        """Set when nothing new may go by it: it is lost, or its node leaves."""
        self.ended = trio.Event()
        """Set when it is closed."""
        self.fault = ""
        self._is_leaving = False
        self._questions: dict[str, tuple[trio.Event, list[bool]]] = {}
        """Paths whose openness was asked for, and what the node has said."""
        self._pipe = pipe
        self._system_name = system_name
        self._codec = codec
        self._owner = owner

    @property
    def address(self) -> ActorAddress:
        """Place of the node, for the text of a time-out."""
        return ActorAddress(self._system_name, "/", self.node.host, self.node.port)

    def is_known(self) -> bool:
        """Whether requests that went by it can be answered still."""
        return not self._pipe.is_over

    def trouble(self) -> str:
        """Return in words what is known of a request that went by it and has no reply."""
        known = f", to which the connection is lost ({self.fault})" if self.fault else " to be handed on"
        return f"{known}; whether it was handled is not known"

    def withdraw(self, ask: int) -> None:
        """Withdraw a request at its node."""
        if self.asks.pop(ask, None) is not None:
            self._pipe.put(withdraw_frame(ask))

    def put(self, frame: bytes, letter: SentLetter) -> bool:
        """Write a message, soon; False where there is no room."""
        slot = letter.slot
        if self.unusable.is_set() or (slot is not None and not self._has_place()):
            return False
        if not self._pipe.put(frame, letter):
            return False
        if slot is not None:
            self.asks[slot.uid] = letter
        return True

    async def is_open(self, path: str) -> bool | None:
        """Ask the node whether a path is open to clients; None where it is lost before it has said so."""
        if self.unusable.is_set():
            return None
        if path not in self._questions:
            if not self._pipe.put(open_question_frame(path)):
                return None
            self._questions[path] = trio.Event(), []
        answered, said = self._questions[path]
        with trio.move_on_after(SILENCE_MAX):
            await answered.wait()
        return said[0] if said else None

    def retire(self) -> None:
        """Take no new message: it ends once all asks on it have their replies."""
        self.unusable.set()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve until it is lost, or of no use any more, then close it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self.fault = self.fault or "this client is closing"
            self.unusable.set()
            for answered, _ in self._questions.values():
                answered.set()
            self.ended.set()
            self._owner.over(self, self._pipe.unwritten())  # before the close, which may wait: nothing may overtake it
            await self._pipe.aclose()

    def fail_asks(self) -> None:
        """End the asks that went by it: nobody knows how far they came."""
        letters, self.asks = list(self.asks.values()), {}
        for letter in letters:
            what = f"the request was written to {self.node}, and then the connection was lost ({self.fault})"
            unknown = "whether it was handled is not known, so asking again may do it twice"
            _refuse(letter, AskFailed(f"no reply: {what}; {unknown}", "lost"))

    def finish(self) -> None:
        """Say goodbye, last."""
        self._pipe.finish(GOODBYE_FRAME)

    def prune(self) -> None:
        """Forget asks ended without an answer."""
        self.asks = {ask: letter for ask, letter in self.asks.items() if letter.is_wanted}

    def _has_place(self) -> bool:
        if len(self.asks) >= ASKS_MAX:
            self.prune()
        return len(self.asks) < ASKS_MAX

    @trio.lowlevel.enable_ki_protection
    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            await self._pipe.write()
        except ConnectionLost as error:
            self._lose(str(error))
            scope.cancel()

    def _lose(self, fault: str) -> None:
        self.fault = self.fault or printable(fault)

    async def _read(self) -> None:
        try:
            while not self.unusable.is_set() or self.asks:
                with trio.fail_after(SILENCE_MAX):
                    frames = await self._pipe.read()
                for kind, body in frames:
                    self._take(kind, body)
            await self._part()
        except trio.TooSlowError:
            self._lose(f"nothing came from it for {SILENCE_MAX:g} s")
        except (ConnectionLost, ProtocolError) as error:
            self._lose(str(error))

    async def _part(self) -> None:
        """Say goodbye, and read to the end: TCP drops what the node has not taken where unread bytes are closed on."""
        self.finish()
        with trio.move_on_after(PARTING_MAX):
            while True:
                for kind, body in await self._pipe.read():
                    self._take(kind, body)

    def _take(self, kind: FrameKind, body: bytes) -> None:
        match kind:
            case FrameKind.ENVELOPE:
                self._reply(body)
            case FrameKind.NOTICE:
                self._refused(self._codec.decode_notice(body))
            case FrameKind.CONTROL if is_open_answer(body):
                self._opened(*decode_open_answer(body))
            case FrameKind.CONTROL:
                self.prune()
                self._owner.learned(decode_contacts(body))
            case FrameKind.GOODBYE:
                self._is_leaving = True
                self._lose("its node leaves, or has given itself up")
                self.unusable.set()
                unwritten = self._pipe.take_back(lambda token: not cast("SentLetter", token).is_bound)
                self._owner.given_back(self, unwritten)
            case _:
                raise ProtocolError(f"a {kind.name} frame to a client")

    def _refused(self, notice: Notice) -> None:
        reason = NOT_TAKEN[notice.code]
        letter = self.asks.pop(notice.ask, None)
        if letter is not None:
            key = key_in_words(notice.path)
            text = f"{key} did not get {notice.name}: {reason}"
            if notice.name.startswith(OWN_NAMES):
                text = f"{self.node} does not take what this client asks of {key}: {reason}"
            self._undo(letter, AskFailed(text, "not_delivered"))
        elif not notice.ask:
            self._owner.not_taken(notice, reason)

    def _opened(self, path: str, is_open: bool) -> None:
        question = self._questions.pop(path, None)
        if question is not None:
            answered, said = question
            said.append(is_open)
            answered.set()

    def _undo(self, letter: SentLetter, error: AskFailed) -> None:
        """End an ask certainly not begun with, or let another node have it where this one leaves."""
        if self._is_leaving and letter.is_wanted:
            self._owner.again(letter)
        else:
            _refuse(letter, error)

    def _reply(self, body: bytes) -> None:
        self._codec.session = self.number
        try:
            envelope = self._codec.decode(body)
        except DecodeError as error:
            letter = self.asks.pop(error.uid, None)
            if letter is not None:
                _refuse(letter, AskFailed(f"the reply of {self.node} cannot be read: {error}", "reply_lost"))
            elif error.path.startswith(PUBLISHED_PREFIX):
                self._owner.unreadable(error)
            return
        if envelope.path.startswith(PUBLISHED_PREFIX):
            self._owner.published(envelope)
            return
        serial, letter = serial_of(envelope.path), self.asks.pop(envelope.uid, None)
        if serial is None or letter is None or letter.slot is None:
            return
        reply = envelope.message
        if self._is_leaving and isinstance(reply, ErrorReply) and reply.failure in NOT_HANDLED:
            self._undo(letter, AskFailed(reply.reason, reply.failure))
        else:
            self._owner.replied(serial, envelope, letter.slot)

    def __repr__(self) -> str:
        return f"<ClientConnection {self.node} asks={len(self.asks)}>"


def _refuse(letter: SentLetter, error: AskFailed) -> None:
    if letter.slot is not None:
        letter.slot.refuse(error)
