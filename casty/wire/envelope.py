"""What the frames between actors hold, once decoded, and the heads of those that hold a message.

The body of an ENVELOPE begins with its head: for whom the message is, and how its type is called. All messages
of one class to one actor have the same head, byte for byte, so both ends make something of it once. What
differs from one to the next stands in a tail of a fixed size behind it: the wait of an ask, and the number of
the ask that a reply is for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import msgpack

from casty.errors import DecodeError, EncodeError
from casty.wire.bounds import ARRAY, scan

HEAD_BYTES_MAX = 16_384
"""Enough for the longest names; a head is unpacked whole, whatever is in it."""
SIZE_BYTES = 2
_size = struct.Struct(">H").pack
_unpackb = msgpack.unpackb
_WAIT = struct.Struct(">dQ")
_SLOT = struct.Struct(">QQ")
TAIL_BYTES = _WAIT.size

FOREIGN = (ValueError, OverflowError, TypeError, RecursionError)
"""What msgpack raises for values it cannot write and for bytes it cannot read."""

NoticeCode: TypeAlias = Literal["unknown_type", "no_actor", "ill_typed", "refused"]
"""Why an envelope was not delivered."""

NOTICE_CODES: tuple[NoticeCode, ...] = ("unknown_type", "no_actor", "ill_typed", "refused")


Wait: TypeAlias = tuple[float, int]
"""How many seconds the sender of a request waits for a reply, and the number by which it can withdraw it."""


class Envelope(NamedTuple):
    """A message for the actor at ``path``; ``uid`` 0 means whichever actor has the path now.

    A tuple, because one is made for every message and it costs a third of a frozen dataclass.
    """

    path: str
    uid: int
    message: object
    name: str
    """How the type of the message is called on the wire."""
    wait: Wait | None = None
    """Of an ask; None for any other message."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The answer to an envelope that could not be delivered: why, for whom, its wire name, and of which ask it is.

    ``ask`` is the number of the ask that will get no other answer, as in `Wait`; 0 for none.
    """

    code: NoticeCode
    path: str
    uid: int
    name: str
    ask: int = 0


def encode_head(path: str, uid: int, name: str, *, has_tail: bool, pack: Callable[[object], bytes]) -> bytes:
    """Return the head of the messages of one class to one actor. Raises EncodeError.

    >>> encode_head("/cart", 0, "int", has_tail=False, pack=msgpack.packb).hex(" ", -2)
    '000c 93a5 2f63 6172 7400 a369 6e74'
    """
    try:
        packed = pack([path, uid, name, True] if has_tail else [path, uid, name])
    except ValueError as error:
        raise EncodeError(f"the path {path!r} cannot be written ({type(error).__name__})") from None
    if len(packed) > HEAD_BYTES_MAX:
        raise EncodeError(f"an actor's path and the name of a message have {len(packed)} bytes: make the path shorter")
    return _size(len(packed)) + packed


def end_of_head(body: bytes | memoryview) -> int:
    """Return where a head would end, by the size that the body begins with."""
    return SIZE_BYTES + int.from_bytes(body[:SIZE_BYTES], "big")


def decode_head(body: bytes | memoryview) -> tuple[int, str, int, str, bool]:
    """Return where the head in the body of an ENVELOPE ends, path, uid, name, and whether there is a tail.

    Raises only DecodeError, or what msgpack raises.
    """
    end = end_of_head(body)
    if not SIZE_BYTES < end <= len(body) or end > SIZE_BYTES + HEAD_BYTES_MAX:
        raise DecodeError(f"expected a head of at most {HEAD_BYTES_MAX} bytes, got {end - SIZE_BYTES} of {len(body)}")
    fields: Any = _unpackb(body[SIZE_BYTES:end])
    if type(fields) is not ARRAY or not 3 <= len(fields) <= 4 or (len(fields) == 4 and fields[3] is not True):
        raise DecodeError("expected a head of path, uid and name, and True if there is a tail")
    path, uid, name = fields[:3]
    if type(path) is not str or type(uid) is not int or uid < 0 or type(name) is not str:
        found = ", ".join(type(field).__name__ for field in fields[:3])
        raise DecodeError(f"expected a path, a uid and the name of a message type, got {found}")
    return end, path, uid, name, len(fields) == 4


def count_values(body: bytes | memoryview, values_max: int) -> int:
    """Return how many values are in the message in the body of an ENVELOPE; one more than ``values_max`` for more.

    0 where the body is none: whoever decodes it finds out what is wrong, and makes no message.
    """
    try:
        end, _, _, _, has_tail = decode_head(body)
    except (DecodeError, *FOREIGN):
        return 0
    try:
        return scan(body[end + TAIL_BYTES if has_tail else end :], elements_max=values_max, nesting_max=values_max)
    except DecodeError:
        return values_max + 1


encode_wait = _WAIT.pack
"""Takes the two of a `Wait`; the tail of an ask."""
encode_slot = _SLOT.pack
"""Takes the serial number of an ask and the uid of its ref; the tail of a reply, whose head has only the prefix."""


def decode_wait(body: bytes | memoryview, start: int) -> Wait:
    """Return how long the sender waits, and the number of its ask. Raises DecodeError."""
    remaining: float
    ask: int
    remaining, ask = _tail(_WAIT, body, start)
    if not remaining >= 0 or not ask:
        raise DecodeError(f"an ask that waits for {remaining} s under the number {ask} makes no sense")
    return remaining, ask


def decode_slot(body: bytes | memoryview, start: int) -> tuple[int, int]:
    """Return the serial number of the ask that a reply is for, and the uid of its ref. Raises DecodeError."""
    serial: int
    uid: int
    serial, uid = _tail(_SLOT, body, start)
    return serial, uid


def _tail(form: struct.Struct, body: bytes | memoryview, start: int) -> tuple[Any, ...]:
    if len(body) < start + TAIL_BYTES:
        raise DecodeError(f"expected {TAIL_BYTES} bytes behind the head, got {len(body) - start}")
    return form.unpack_from(body, start)
