"""Codec of a client: its asks as bytes, and replies with the refs in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Never

from casty.address import ENTITY_PREFIX, UniqueAddress, WireRef
from casty.client.given_ref import GivenActorRef, GivenWay
from casty.config import TransportLimits
from casty.errors import EncodeError, UnsupportedTypeError
from casty.refs import ActorRef, EntityKey
from casty.runtime.messaging.ask import AskRef, ErrorReply
from casty.wire.codec.codec import Codec
from casty.wire.envelope import Envelope, Notice, encode_entity
from casty.wire.frame import LENGTH_BYTES
from casty.wire.framing import Write
from casty.wire_types import WireType

WRITERS_MAX: Final = 1_024
"""Classes of messages whose makers of frames are kept."""


class ClientCodec:
    """Messages of one client, and replies to them.

    Parameters:
        own: Run of the client: the place of the refs for its replies.
        system_name: Name of the cluster's system.
        limits: Bounds of messages.
        wire_types: Classes of others whose values travel.
        way: Way of messages to given refs.
    """

    def __init__(
        self,
        own: UniqueAddress,
        *,
        system_name: str,
        limits: TransportLimits,
        wire_types: Sequence[WireType[Any, Any]],
        way: GivenWay,
    ) -> None:
        self._own = own
        self._system_name = system_name
        self._way = way
        self._frame_bytes_max = limits.frame_bytes_max + LENGTH_BYTES
        self._codec = Codec(export_ref=self._export, import_ref=self._import, limits=limits, wire_types=wire_types)
        self._codec.register(ErrorReply)
        self._writers: dict[tuple[str, int, type, bool], Write] = {}
        self._slot: AskRef[Never] | None = None
        self.session = 0
        """Number of the connection whose frames are decoded."""

    def to_entity(
        self, key: EntityKey[Any], entity_id: str, message: object, wait: bytes
    ) -> tuple[bytes, AskRef[Never] | None]:
        """Return the frame of a message to an entity, and the slot of the ask in it. ``wait``: b"" for a tell.

        Raises EncodeError and UnsupportedTypeError.
        """
        path = ENTITY_PREFIX + key.name
        return self._frame((path, 0), message, key.message_type, wait, wait + encode_entity(0, entity_id))

    def to_path(
        self, path: str, session: int, message: object, message_type: object, wait: bytes
    ) -> tuple[bytes, AskRef[Never] | None]:
        """Return the frame of a message to a path, as `to_entity`. ``session``: the connection that alone knows it."""
        return self._frame((path, session), message, message_type, wait, wait)

    def decode(self, body: bytes) -> Envelope:
        """Return the reply in a frame. Raises ProtocolError."""
        return self._codec.decode_envelope(body)

    def decode_notice(self, body: bytes) -> Notice:
        """Return the notice in a frame. Raises ProtocolError."""
        return self._codec.decode_notice(body)

    def register(self, message_type: object) -> None:
        """Know a type of messages, with all replies to them."""
        self._codec.register(message_type)

    def names_of(self, message_type: object) -> tuple[str, ...]:
        """Return the wire names of all that a message of this type can be."""
        return self._codec.names_of(message_type)

    def _frame(
        self, place: tuple[str, int], message: object, message_type: object, wait: bytes, tail: bytes
    ) -> tuple[bytes, AskRef[Never] | None]:
        key = *place, type(message), bool(wait)
        write = self._writers.get(key)
        if write is None:
            if len(self._writers) >= WRITERS_MAX:
                self._writers.clear()
            write = self._codec.writer(place[0], 0, message, message_type, has_tail=bool(wait))
            self._writers[key] = write
        self._slot = None
        frame = write(message, tail)
        if len(frame) > self._frame_bytes_max:
            raise EncodeError(
                f"{type(message).__name__}: {len(frame)} bytes are too many for a message of a client, at most "
                f"{self._frame_bytes_max}: send it in parts"
            )
        return frame, self._slot

    def _export(self, ref: ActorRef[Never], type_form: object) -> WireRef:
        if not isinstance(ref, AskRef):
            raise UnsupportedTypeError(
                f"a client's message names the ref for the reply to its own ask, and no other: got {ref!r}"
            )
        if type_form not in ref.promised:
            ref.promised = (*ref.promised, type_form)
        self._slot = ref
        address = self._own.address
        return (self._system_name, ref.path, address.host, address.port, self._own.incarnation, ref.uid)

    def _import(self, place: WireRef, type_form: object) -> ActorRef[Never]:
        return GivenActorRef[Never](self._way, place, type_form, self.session)

    def __repr__(self) -> str:
        return f"<ClientCodec {self._system_name}>"
