"""Contents of the frames between actors, once decoded, and the heads of those with a message.

The body of an ENVELOPE begins with its head: for whom the message is, and how its type is called. All messages
of one class to one actor have the same head, byte for byte, so both ends make something of it once. What
differs from one to the next stands in a tail of a fixed size behind it: the wait of an ask, and the number of
the ask that a reply is for. Behind that comes an entity, where the head says so: its messages have the head of all
those of its kind. Behind that come headers, where the head says so: what travels with one message and is no part of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import msgpack

from casty.address import ENTITY_NAME_LENGTH_MAX, ENTITY_PREFIX, PATH_LENGTH_MAX, entity_path
from casty.errors import DecodeError, EncodeError
from casty.wire.limits import ARRAY, MAP, Counted, scan

HEAD_BYTES_MAX = 16_384
"""Enough for the longest names; a head is unpacked whole, whatever is in it."""
TYPE_NAME_LENGTH_MAX = 1_024
"""Characters. Names of composed types are longer than those of classes."""
SIZE_BYTES = 2
_size = struct.Struct(">H").pack
_unpackb = msgpack.unpackb
_WAIT = struct.Struct(">dQ")
_SLOT = struct.Struct(">QQ")
TAIL_BYTES = _WAIT.size
HAS_TAIL, HAS_HEADERS, HAS_ENTITY = 1, 2, 4
"""Bits of the fourth item of a head, which is left out where none is set."""
_ENTITY = struct.Struct(">QH")
ENTITY_BYTES = _ENTITY.size
"""Bytes before an id: the epoch of its shard, and its size."""
ENTITY_ID_BYTES_MAX = 4 * ENTITY_NAME_LENGTH_MAX
CONTROL_HEAD = b"\x92"
"""Beginning of the body of a CONTROL frame: an array of name and payload."""
_SHORT_NAME, _NAME_SIZE_BYTES = 0xA0, {0xD9: 1, 0xDA: 2}
"""Beginnings of texts in msgpack: of up to 31 bytes, and longer ones, whose size follows in so many bytes."""
HEADERS_BYTES_MAX = 256
"""Of the map that they are, as it is written."""

FOREIGN = (ValueError, OverflowError, TypeError, RecursionError)
"""Errors of msgpack for values it cannot write and for bytes it cannot read."""

NoticeCode: TypeAlias = Literal["unknown_type", "no_actor", "ill_typed", "refused"]
"""Reason for an envelope that was not delivered."""

NOTICE_CODES: tuple[NoticeCode, ...] = ("unknown_type", "no_actor", "ill_typed", "refused")


Headers: TypeAlias = Mapping[str, bytes]
"""Values beside a message, by name, such as the context of a trace. Unknown names are skipped."""

Wait: TypeAlias = tuple[float, int]
"""Seconds for which the sender of a request waits for a reply, and the number by which it can withdraw it."""


class Envelope(NamedTuple):
    """A message for the actor at ``path``; ``uid`` 0 means whichever actor has the path now.

    A tuple, because one is made for every message and it costs a third of a frozen dataclass.
    """

    path: str
    uid: int
    message: object
    name: str
    """Wire name of the type of the message."""
    wait: Wait | None = None
    """Of an ask; None for any other message."""
    headers: Headers | None = None
    """Never an empty map; None where the message has none."""


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


def encode_head(
    path: str, uid: int, name: str, *, has_tail: bool, has_headers: bool = False, pack: Callable[[object], bytes]
) -> bytes:
    """Return the head of the messages of one class to one actor, or to all entities of a kind. Raises EncodeError.

    >>> encode_head("/cart", 0, "int", has_tail=False, pack=msgpack.packb).hex(" ", -2)
    '000c 93a5 2f63 6172 7400 a369 6e74'
    """
    if len(path) > PATH_LENGTH_MAX:
        raise EncodeError(f"an actor's path has {len(path)} characters, at most {PATH_LENGTH_MAX}: make it shorter")
    parts = HAS_TAIL * has_tail | HAS_HEADERS * has_headers | HAS_ENTITY * path.startswith(ENTITY_PREFIX)
    try:
        packed = pack([path, uid, name, parts] if parts else [path, uid, name])
    except ValueError as error:
        raise EncodeError(f"the path {path!r} cannot be written ({type(error).__name__})") from None
    if len(packed) > HEAD_BYTES_MAX:
        raise EncodeError(f"an actor's path and the name of a message have {len(packed)} bytes: make the path shorter")
    return _size(len(packed)) + packed


def end_of_head(body: bytes | memoryview) -> int:
    """Return where a head would end, by the size that the body begins with."""
    return SIZE_BYTES + int.from_bytes(body[:SIZE_BYTES], "big")


def decode_head(body: bytes | memoryview) -> tuple[int, str, int, str, int]:
    """Return where the head in the body of an ENVELOPE ends, path, uid, name, and the bits of what is behind it.

    Raises only DecodeError, or what msgpack raises.
    """
    end = end_of_head(body)
    if not SIZE_BYTES < end <= len(body) or end > SIZE_BYTES + HEAD_BYTES_MAX:
        raise DecodeError(f"expected a head of at most {HEAD_BYTES_MAX} bytes, got {end - SIZE_BYTES} of {len(body)}")
    fields: Any = _unpackb(body[SIZE_BYTES:end])
    if type(fields) is not ARRAY or not 3 <= len(fields) <= 4:
        raise DecodeError("expected a head of path, uid and name, and what is behind it")
    path, uid, name = fields[:3]
    parts = fields[3] if len(fields) == 4 else 0
    if type(parts) is not int or not (len(fields) - 3) <= parts <= (HAS_TAIL | HAS_HEADERS | HAS_ENTITY):
        raise DecodeError(
            f"expected a sum of {HAS_TAIL} for a tail, {HAS_HEADERS} for headers and {HAS_ENTITY} for an entity, "
            "behind a head"
        )
    if type(path) is not str or type(uid) is not int or uid < 0 or type(name) is not str:
        found = ", ".join(type(field).__name__ for field in fields[:3])
        raise DecodeError(f"expected a path, a uid and the name of a message type, got {found}")
    if path.startswith(ENTITY_PREFIX) is not bool(parts & HAS_ENTITY):
        raise DecodeError("expected an entity behind the head of its kind, and behind no other")
    _check_lengths(path, name)
    return end, path, uid, name, parts


def control_head(body: bytes | memoryview) -> tuple[int, str]:
    """Return where the head in the body of a CONTROL frame ends, and the name in it. Raises DecodeError.

    Made without msgpack, so that a message can be judged by its name before anything is made of the rest.
    """
    if body[:1] != CONTROL_HEAD:
        raise DecodeError("expected an array of 2 items")
    first = body[1] if len(body) > 1 else 0
    size_bytes = _NAME_SIZE_BYTES.get(first, 0)
    if not size_bytes and not _SHORT_NAME <= first < _SHORT_NAME + 32:
        raise DecodeError("expected the name of a message type")
    start = 2 + size_bytes
    end = start + (int.from_bytes(body[2:start], "big") if size_bytes else first - _SHORT_NAME)
    try:
        name = str(body[start:end], "utf-8")
    except UnicodeDecodeError:
        raise DecodeError("expected the name of a message type in UTF-8") from None
    if end >= len(body):
        raise DecodeError("expected a payload behind the name of a message type")
    return end, name


def notice_of(fields: list[Any]) -> Notice:
    """Return the notice in the five items of the body of a NOTICE. Raises DecodeError."""
    code, path, uid, name, ask = fields
    if type(path) is not str or type(uid) is not int or uid < 0:
        raise DecodeError(f"expected a path and a uid, got {type(path).__name__} and {type(uid).__name__}")
    if type(code) is not str or code not in NOTICE_CODES or type(name) is not str or type(ask) is not int:
        raise DecodeError("notice: unknown code, or ill-typed name or ask")
    _check_lengths(path, name)
    known: NoticeCode = code
    return Notice(known, path, uid, name, ask)


def count_values(body: bytes | memoryview, values_max: int) -> Counted:
    """Return what the message in the body of an ENVELOPE holds; one value more than ``values_max`` where that is more.

    Then all of them are taken for empty maps. Nothing where the body is none: whoever decodes it finds out what is
    wrong, and makes no message.
    """
    try:
        end, _, _, _, parts = decode_head(body)
        start, _ = decode_headers(body, end, parts)
    except (DecodeError, *FOREIGN):
        return Counted(0, [])
    try:
        return scan(body[start:], elements_max=values_max, nesting_max=values_max)
    except DecodeError:
        return Counted(values_max + 1, [0] * (values_max + 1))


encode_wait = _WAIT.pack
"""Takes the two of a `Wait`; the tail of an ask."""
encode_slot = _SLOT.pack
"""Takes the serial number of an ask and the uid of its ref; the tail of a reply, whose head has only the prefix."""


def encode_headers(headers: Headers) -> bytes:
    """Return headers as they stand behind the tail of a message. Raises EncodeError where they are none, or too large.

    >>> encode_headers({"trace": b"7"}).hex(" ", -4)
    '000a81a5 74726163 65c40137'
    """
    packed: bytes = msgpack.packb(dict(headers))
    if not headers or len(packed) > HEADERS_BYTES_MAX:
        raise EncodeError(f"headers must be 1 to {HEADERS_BYTES_MAX} bytes as they are written, got {len(packed)}")
    return _size(len(packed)) + packed


def decode_headers(body: bytes | memoryview, end: int, parts: int) -> tuple[int, Headers | None]:
    """Return where the message behind a head begins, and its headers. Raises DecodeError."""
    start = end + TAIL_BYTES if parts & HAS_TAIL else end
    if parts & HAS_ENTITY:
        start = decode_entity(body, start)[0]
    if not parts & HAS_HEADERS:
        return start, None
    start, stop = start + SIZE_BYTES, start + end_of_head(body[start:])
    if not start < stop <= min(len(body), start + HEADERS_BYTES_MAX):
        raise DecodeError(f"expected headers of 1 to {HEADERS_BYTES_MAX} bytes, got {stop - start}")
    try:
        headers: Any = _unpackb(body[start:stop])
    except FOREIGN as error:
        raise DecodeError(f"headers: not valid msgpack ({type(error).__name__})") from None
    if type(headers) is not MAP or not headers:
        raise DecodeError("expected headers as a map that holds some")
    if any(type(name) is not str or type(value) is not bytes for name, value in headers.items()):
        raise DecodeError("expected headers as bytes by their names")
    return stop, headers


def encode_entity(epoch: int, entity_id: str) -> bytes:
    """Return an entity as it stands behind the head, or the tail, of a message to it.

    >>> encode_entity(1, "c").hex(" ", -2)
    '0000 0000 0000 0001 0001 63'
    """
    said = entity_id.encode()
    return _ENTITY.pack(epoch, len(said)) + said


def decode_entity(body: bytes | memoryview, start: int) -> tuple[int, int, bytes]:
    """Return where an entity ends, the epoch of its shard, and its id as bytes. Raises DecodeError."""
    begin = start + ENTITY_BYTES
    if len(body) < begin:
        raise DecodeError(f"expected {ENTITY_BYTES} bytes and an id, got {len(body) - start}")
    epoch: int
    size: int
    epoch, size = _ENTITY.unpack_from(body, start)
    end = begin + size
    if not 0 < size <= ENTITY_ID_BYTES_MAX or len(body) < end:
        raise DecodeError(f"expected an id of 1 to {ENTITY_ID_BYTES_MAX} bytes, got {size} of {len(body) - begin}")
    return end, epoch, bytes(body[begin:end])


def entity_behind(body: bytes | memoryview, end: int, path: str, parts: int) -> tuple[str, int]:
    """Return the path of the entity behind the head of its kind, which has ``path``, and the epoch of its shard.

    Raises DecodeError.
    """
    _, epoch, said = decode_entity(body, end + TAIL_BYTES if parts & HAS_TAIL else end)
    key = path[len(ENTITY_PREFIX) :]
    try:
        entity_id = said.decode()
    except UnicodeDecodeError:
        raise DecodeError("expected an id in UTF-8") from None
    if not 0 < len(key) <= ENTITY_NAME_LENGTH_MAX or len(entity_id) > ENTITY_NAME_LENGTH_MAX:
        raise DecodeError(f"expected a kind and an id of at most {ENTITY_NAME_LENGTH_MAX} characters")
    return entity_path(key, entity_id), epoch


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


def _check_lengths(path: str, name: str) -> None:
    """Refuse texts that no node sends: dead letters would keep them."""
    if len(path) > PATH_LENGTH_MAX or len(name) > TYPE_NAME_LENGTH_MAX:
        raise DecodeError(
            f"expected a path and a name of at most {PATH_LENGTH_MAX} and {TYPE_NAME_LENGTH_MAX} characters, "
            f"got {len(path)} and {len(name)}"
        )


def _tail(form: struct.Struct, body: bytes | memoryview, start: int) -> tuple[Any, ...]:
    if len(body) < start + TAIL_BYTES:
        raise DecodeError(f"expected {TAIL_BYTES} bytes behind the head, got {len(body) - start}")
    return form.unpack_from(body, start)
