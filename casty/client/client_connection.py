"""One connection of a client to a node: the asks that went by it, and what the node says."""

from __future__ import annotations

from typing import Never, Protocol

import trio

from casty.address import ActorAddress, NodeAddress, serial_of
from casty.client.client_codec import ClientCodec
from casty.errors import AskFailed, DecodeError, ProtocolError
from casty.runtime.messaging.ask import WAITING, AskRef
from casty.schema.names import printable
from casty.transport.clients.frame_pipe import FramePipe
from casty.transport.links.link import GOODBYE_FRAME
from casty.transport.network.interface import ConnectionLost
from casty.wire.control.cancel_request import withdraw_frame
from casty.wire.control.contact_points import decode_contacts
from casty.wire.envelope import Envelope, Notice
from casty.wire.frame import FrameKind

SILENCE_MAX = 3.0
"""Seconds without a word of the node, a second between two of them."""
ASKS_MAX = 1_000
"""Asks without an answer on one connection: the node takes no more."""

NOT_TAKEN = {
    "refused": "the node does not take it of a client: make its key with clients=True, and use it on that node",
    "unknown_type": "the node does not know this type of message: it has to import the module that declares it",
    "ill_typed": "what has the key takes no such message there: declare the key alike on both sides",
    "no_actor": "the actor has ended",
}


class ConnectionOwner(Protocol):
    """Receiver of what comes by a connection."""

    def replied(self, serial: int, envelope: Envelope, slot: AskRef[Never]) -> None:
        """Take a reply to a waiting ask."""
        ...

    def not_taken(self, notice: Notice, reason: str) -> None:
        """Take note of a tell not taken by the node."""
        ...

    def learned(self, addresses: list[NodeAddress]) -> None:
        """Take the contact points told by the node."""
        ...


class ClientConnection:
    """A connection with its hellos exchanged. To an ask it is the receiver on another node.

    Parameters:
        node: Address that was dialled.
        system_name: Name of the cluster's system.
        number: Number of the connection: refs given by its node are good on it alone.
        pipe: Frames.
        codec: Codec of the client.
        owner: Receiver of what comes.
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
        self.asks: dict[int, AskRef[Never]] = {}
        """Slots of the asks on their way by it, by their numbers."""
        self.unusable = trio.Event()
        """Set when nothing new may go by it: it is lost, or its node leaves."""
        self.fault = ""
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
        """Return its known trouble, in words; "" for none."""
        return f", to which the connection is lost: {self.fault}" if self.fault else ""

    def withdraw(self, ask: int) -> None:
        """Withdraw a request at its node."""
        if self.asks.pop(ask, None) is not None:
            self._pipe.put(withdraw_frame(ask))

    def put(self, frame: bytes, slot: AskRef[Never] | None, token: object) -> bool:
        """Write a message, soon; False where there is no room."""
        if self.unusable.is_set() or (slot is not None and not self._has_place()):
            return False
        if not self._pipe.put(frame, token):
            return False
        if slot is not None:
            self.asks[slot.uid] = slot
        return True

    async def run(self) -> list[object]:
        """Serve until it is lost, or of no use any more; return the tokens of what was not written."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self.fault = self.fault or "this client is closing"
            self.unusable.set()
            unwritten = self._pipe.unwritten()
            await self._pipe.aclose()
        return unwritten

    def fail_asks(self) -> None:
        """End the asks that went by it: nobody knows how far they came."""
        slots, self.asks = list(self.asks.values()), {}
        for slot in slots:
            text = f"no reply: the connection to {self.node} is lost ({self.fault}), and how far it came nobody knows"
            slot.refuse(AskFailed(text, "lost"))

    def finish(self) -> None:
        """Say goodbye behind what waits."""
        self._pipe.finish(GOODBYE_FRAME)

    def prune(self) -> None:
        """Forget asks that have ended without an answer."""
        self.asks = {ask: slot for ask, slot in self.asks.items() if slot.answer is WAITING}

    def _has_place(self) -> bool:
        if len(self.asks) >= ASKS_MAX:
            self.prune()
        return len(self.asks) < ASKS_MAX

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
        except trio.TooSlowError:
            self._lose(f"nothing came from it for {SILENCE_MAX:g} s")
        except (ConnectionLost, ProtocolError) as error:
            self._lose(str(error))

    def _take(self, kind: FrameKind, body: bytes) -> None:
        match kind:
            case FrameKind.ENVELOPE:
                self._reply(body)
            case FrameKind.NOTICE:
                notice = self._codec.decode_notice(body)
                slot = self.asks.pop(notice.ask, None)
                reason = NOT_TAKEN[notice.code]
                if slot is not None:
                    slot.refuse(AskFailed(f"{notice.path} did not get {notice.name}: {reason}", "not_delivered"))
                elif not notice.ask:
                    self._owner.not_taken(notice, reason)
            case FrameKind.CONTROL:
                self.prune()
                self._owner.learned(decode_contacts(body))
            case FrameKind.GOODBYE:
                self._lose("its node is leaving")
                self.unusable.set()
            case _:
                raise ProtocolError(f"a {kind.name} frame to a client")

    def _reply(self, body: bytes) -> None:
        self._codec.session = self.number
        try:
            envelope = self._codec.decode(body)
        except DecodeError as error:
            slot = self.asks.pop(error.uid, None)
            if slot is not None:
                slot.refuse(AskFailed(f"the reply of {self.node} cannot be read: {error}", "reply_lost"))
            return
        serial, slot = serial_of(envelope.path), self.asks.pop(envelope.uid, None)
        if serial is not None and slot is not None:
            self._owner.replied(serial, envelope, slot)

    def __repr__(self) -> str:
        return f"<ClientConnection {self.node} asks={len(self.asks)}>"
