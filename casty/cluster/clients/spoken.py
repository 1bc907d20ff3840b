"""Codec between a node and its clients.

One of its own, beside that of the nodes: a ref in a client's message is of nobody but that client, and a ref in a reply
becomes a number of the client's session.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Never, Protocol

from casty.address import ASK_PREFIX, PUBLISHED_PREFIX, UniqueAddress, WireRef, serial_of
from casty.cluster.clients.given_refs import GivenRefs
from casty.cluster.clients.relayed_ask import RelayedAsk
from casty.config import TransportLimits
from casty.errors import CastyError, EncodeError
from casty.refs import ActorRef, Topic
from casty.runtime.messaging.ask import ErrorReply
from casty.runtime.system.kernel import Kernel
from casty.schema.names import printable
from casty.wire.codec.codec import Codec
from casty.wire.envelope import Notice, encode_slot
from casty.wire.frame import LENGTH_BYTES
from casty.wire_types import WireType

TYPES_MAX: Final = 4_096
"""Types of messages with remembered names."""


class ForeignPlaceError(Exception):
    """A client's message names another actor than the asker of this very ask."""


class Speaker(Protocol):
    """Session of a client, while a message of it is decoded."""

    client: UniqueAddress
    asks: dict[int, RelayedAsk]

    def answered(self, slot: RelayedAsk, reply: object) -> None:
        """Take the reply to an ask."""
        ...


class ClientSpoken:
    """Messages of clients, and replies to them, as bytes."""

    def __init__(
        self,
        kernel: Kernel,
        own: UniqueAddress,
        *,
        system_name: str,
        limits: TransportLimits,
        wire_types: Sequence[WireType[Any, Any]],
    ) -> None:
        self.kernel = kernel
        self._own = own
        self._system_name = system_name
        self._frame_bytes_max = limits.frame_bytes_max + LENGTH_BYTES
        self._codec = Codec(export_ref=self._export, import_ref=self._import, limits=limits, wire_types=wire_types)
        self._codec.register(ErrorReply)
        self._names: dict[object, frozenset[str]] = {}
        self._given: GivenRefs | None = None
        """Refs of the client for the reply being written."""
        self._speaker: Speaker | None = None
        self._ask = 0
        self._slot: RelayedAsk | None = None
        self._foreign: WireRef | None = None

    def is_of(self, message_type: object, name: str) -> bool:
        """Whether a name on the wire is of a message of this type."""
        names = self._names.get(message_type)
        if names is None:
            try:
                names = frozenset(self._codec.names_of(message_type))
            except (CastyError, TypeError, ValueError):  # of a ref whose messages nobody can say: it takes none
                names = frozenset[str]()
            if len(self._names) >= TYPES_MAX:
                self._names.clear()
            self._names[message_type] = names
        return name in names

    def decode(self, speaker: Speaker, body: bytes, ask: int) -> tuple[str, object, RelayedAsk | None]:
        """Return the path and the message of a client, and the slot of the ask that it is the request of.

        Raises DecodeError, and ForeignPlaceError where the message names anybody but the asker.
        """
        self._speaker, self._ask, self._slot, self._foreign = speaker, ask, None, None
        try:
            envelope = self._codec.decode_envelope(body)
        except BaseException:
            self._drop_slot()
            raise
        finally:
            self._speaker = None
        slot, foreign = self._slot, self._foreign
        if foreign is not None:
            self._drop_slot()
            where = "" if foreign[2] is None else f" of {printable(foreign[2])}:{foreign[3]}"
            raise ForeignPlaceError(
                f"{envelope.name} names {printable(foreign[1])}{where}, and may name its asker only"
            )
        self._slot = None
        return envelope.path, envelope.message, slot

    def reply_frame(self, given: GivenRefs, slot: RelayedAsk, reply: object) -> bytes:
        """Return the frame of a reply. Raises EncodeError, for too large a one too, and UnsupportedTypeError."""
        forms: tuple[object, ...] = (ErrorReply,) if type(reply) is ErrorReply else slot.type_forms
        tail = encode_slot(slot.client_serial, slot.client_ask)
        for form in forms[:-1]:  # of several fields for the reply, nobody has said which one is meant
            with suppress(EncodeError):
                return self._frame(given, ASK_PREFIX, reply, form, tail)
        return self._frame(given, ASK_PREFIX, reply, forms[-1], tail)

    def published_frame(self, given: GivenRefs, topic: Topic[Any], message: object) -> bytes:
        """Return the frame of a message of a topic, as `reply_frame`."""
        return self._frame(given, PUBLISHED_PREFIX + topic.name, message, topic.message_type, b"")

    def _frame(self, given: GivenRefs, path: str, message: object, form: object, tail: bytes) -> bytes:
        self._given = given
        try:
            write = self._codec.writer(path, 0, message, form, has_tail=bool(tail))
            frame = write(message, tail)
        finally:
            self._given = None
        if len(frame) > self._frame_bytes_max:
            raise EncodeError(f"{len(frame)} bytes are too many for a client, at most {self._frame_bytes_max}")
        return frame

    def notice_frame(self, notice: Notice) -> bytes:
        """Return the frame about an undelivered message."""
        return self._codec.frame_notice(notice)

    def _drop_slot(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.withdraw_request()

    def _export(self, ref: ActorRef[Never], type_form: object) -> WireRef:
        assert self._given is not None
        address = self._own.address
        path = self._given.give(ref, type_form)
        return (self._system_name, path, address.host, address.port, self._own.incarnation, 0)

    def _import(self, place: WireRef, type_form: object) -> ActorRef[Never]:
        speaker, (_, path, host, port, incarnation, uid) = self._speaker, place
        assert speaker is not None
        client, serial = speaker.client, serial_of(path)
        is_own = (host, port, incarnation) == (client.address.host, client.address.port, client.incarnation)
        if not is_own or serial is None or not uid or uid != self._ask or (self._slot is None and uid in speaker.asks):
            self._foreign = place
            return self.kernel.ref_for("/_closed/foreign", 0)
        if self._slot is None:
            slot = self._slot = RelayedAsk(self.kernel, speaker, serial, uid, type_form)
            speaker.asks[uid] = slot
        elif type_form not in self._slot.type_forms:
            self._slot.type_forms += (type_form,)
        return self._slot

    def __repr__(self) -> str:
        return f"<ClientSpoken types={len(self._names)}>"
