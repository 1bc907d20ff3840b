"""Frames around encoded messages: how large a body may be, how much may be in it, and when it is made in pieces.

A body of fewer bytes than the values it may hold is not looked into; of others each value is counted, at the sender
as at the receiver. How deep a small one may be is said by its type (`codec`), and by msgpack, with at most 1,024 levels
of what no type asks for: they cost no more than as many containers side by side. Knows of a message no more than what
makes it msgpack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from casty.config import TransportLimits
from casty.errors import DecodeError, EncodeError
from casty.wire.chunking.buffers import Buffer, DirectWriter, ScatterEncoder
from casty.wire.envelope import FOREIGN
from casty.wire.frame import HEADER, HEADER_BYTES, FrameKind
from casty.wire.limits import ARRAY, scan

CONTROL_NESTING = 1
"""The array around name and payload does not count as nesting of the message."""
LARGE_BYTES_MAX = 2 * 1024 * 1024
"""Messages up to here are packed in pieces, the next of their type at the latest; that memory is kept."""

ENVELOPE = FrameKind.ENVELOPE
_header = HEADER.pack
_unpackb = msgpack.unpackb  # by default it refuses keys of a map that are neither str nor bytes

Write = Callable[..., bytes]
"""Makes whole frames of messages of one class to one actor. Takes a message, its tail, where the head says that
there is one, and an `DirectWriter`, if a large frame may go there; then nothing is left of it. Raises EncodeError,
which names the field."""


class Encoder(Protocol):
    """Makes values for msgpack of messages of one type."""

    name: str
    is_large: bool
    """Whether the last message of the type was large."""

    @property
    def encode(self) -> Callable[..., Any]:
        """Function from a message to what msgpack writes."""
        ...

    def encode_fault(self, message: object, error: Exception) -> Exception:
        """Return what to raise where ``encode``, or msgpack, has raised ``error`` for a message."""
        ...


class Framing:
    """Makes the frames of one node, and unpacks their bodies. Not for use by several threads at a time."""

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._elements_max = limits.elements_max
        self.pack: Callable[[object], bytes] = msgpack.Packer().pack
        self._scatter_encoder = ScatterEncoder()

    def writer(self, kind: FrameKind, head: bytes, encoder: Encoder) -> Write:
        """Return a function from a message to its frame; all that it needs is at hand in it: 0.7 of the time."""
        encode, pack, head_size, elements_max = encoder.encode, self.pack, len(head), self._elements_max

        def write(message: object, tail: bytes = b"", outlet: DirectWriter | None = None) -> bytes:
            if encoder.is_large:
                return self._frame_large(kind, head + tail, encoder, message, outlet)
            try:
                payload = pack(encode(message))
            except Exception as error:  # reading a message's fields may raise anything
                raise encoder.encode_fault(message, error) from _cause(error)
            size = head_size + len(payload) + len(tail)
            start = _header(size + 1, kind) + head + tail
            return start + payload if size < elements_max else self._checked(kind, encoder, start, payload)

        return write

    def unpack(self, packed: bytes | memoryview, size: int, around: int = 0) -> Any:
        """Return the value that is, or belongs to, a body of ``size`` bytes, with arrays ``around`` the message.

        Raises DecodeError.
        """
        if size >= self._elements_max:
            self._scan(packed, around)
        try:
            return _unpackb(packed)
        except FOREIGN as error:
            raise invalid(error) from None

    def unpack_array(self, body: bytes | memoryview, count: int) -> Any:
        """Return the items of the array that is a body. Raises DecodeError where there are not ``count``."""
        parts = self.unpack(body, len(body), CONTROL_NESTING)
        if type(parts) is not ARRAY or len(parts) != count:
            raise DecodeError(f"expected an array of {count} items")
        return parts

    def _checked(self, kind: FrameKind, encoder: Encoder, start: bytes, payload: bytes) -> bytes:
        """Return a frame that needs a look at its size and structure; the next of its type may be as large."""
        head = start[HEADER_BYTES:]
        self._check_size(kind, encoder, head, len(head) + len(payload), payload)
        encoder.is_large = len(payload) <= LARGE_BYTES_MAX
        return start + payload

    def _frame_large(
        self, kind: FrameKind, head: bytes, encoder: Encoder, message: object, outlet: DirectWriter | None
    ) -> bytes:
        """Return the frame of a message whose type had a large one before; empty when ``outlet`` has taken it.

        Without outlet each large value is copied once, into the frame.
        """
        try:
            pieces = self._scatter_encoder.cut(encoder.encode(message))
        except Exception as error:
            raise encoder.encode_fault(message, error) from _cause(error)
        with pieces:
            size = len(head) + pieces.size
            encoder.is_large = self._elements_max <= size <= LARGE_BYTES_MAX
            if size >= self._elements_max:
                self._check_size(kind, encoder, head, size, pieces.skeleton)
            first, *others = pieces.parts
            start = _header(size + 1, kind) + head
            parts = [start + first, *others] if others else [start, first]
            is_taken = outlet is not None and encoder.is_large and outlet.write_now(parts)
            return b"" if is_taken else b"".join(parts)

    def _check_size(self, kind: FrameKind, encoder: Encoder, head: bytes, size: int, skeleton: Buffer) -> None:
        """Refuse a body of ``size`` bytes that is too large, or has too many values or too deep ones."""
        if kind is ENVELOPE:
            size_max, name = self._limits.message_bytes_max, "message_bytes_max"
            advice = "send it in parts, or raise that limit of TransportLimits on all nodes"
        else:
            size_max, name, advice = self._limits.frame_bytes_max, "frame_bytes_max", "send it in parts"
        if size + 1 > size_max:
            raise EncodeError(f"{encoder.name}: {size} bytes are over the limit of {size_max} ({name}): {advice}")
        try:
            if kind is ENVELOPE:
                self._scan(skeleton, 0)
            else:
                self._scan(head + skeleton, CONTROL_NESTING)
        except DecodeError as error:
            raise EncodeError(f"{encoder.name}: {error}: {advice}") from None

    def _scan(self, packed: bytes | memoryview, around: int) -> None:
        scan(packed, elements_max=self._elements_max, nesting_max=self._limits.nesting_max + around)

    def __repr__(self) -> str:
        return f"<Framing elements_max={self._elements_max}>"


def invalid(error: Exception) -> DecodeError:
    """Return the error for bytes that are no msgpack."""
    return DecodeError(f"not valid msgpack ({type(error).__name__})")


def _cause(error: Exception) -> Exception | None:
    """Return what a fault in encoding is shown with: an error of the message's own class, and none of hooks."""
    return None if isinstance(error, FOREIGN) else error
