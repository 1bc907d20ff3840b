"""A message that goes to many actors: encoded once, framed for each of them."""

from __future__ import annotations

import msgpack

from casty.wire.envelope import encode_head, end_of_head
from casty.wire.frame import HEADER, HEADER_BYTES, FrameKind

_pack = msgpack.packb


class EncodedMessage:
    """The payload of one message, and what its type is called.

    Made of a frame to whomever, so its payload has been checked against all limits; a head for another actor makes
    it longer by some bytes at most.
    """

    __slots__ = ("_name", "_payload")

    def __init__(self, frame: bytes, name: str) -> None:
        self._name = name
        self._payload = frame[HEADER_BYTES + end_of_head(memoryview(frame)[HEADER_BYTES:]) :]

    def frame(self, path: str, uid: int, tail: bytes = b"") -> bytes:
        """Return the whole frame for one actor; ``tail`` is there for the reply to an ask. Raises EncodeError."""
        head = encode_head(path, uid, self._name, has_tail=bool(tail), pack=_pack) + tail
        return HEADER.pack(len(head) + len(self._payload) + 1, FrameKind.ENVELOPE) + head + self._payload

    def __repr__(self) -> str:
        return f"<EncodedMessage {self._name} bytes={len(self._payload)}>"
