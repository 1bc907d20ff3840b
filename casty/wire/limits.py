"""Bounds on the structure of a message, checked before objects are made of it.

One byte of msgpack can become an empty map of 64 bytes, so a limit on bytes alone lets a frame cost
seventy times its size. A body of n bytes holds at most n values, so only bodies longer than
``elements_max`` are scanned here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from casty.errors import DecodeError, UnsupportedTypeError

HASH_COLLISIONS_MAX = 32
"""Keys of one hash value in a set or dict. Honest data reaches 2 per dimension of a tuple, since
-1 and -2 hash alike; a chosen collision costs quadratic time."""

ARRAY: type[Any] = list
MAP: type[Any] = dict
TUPLE: type[Any] = tuple
"""The kinds of a decoded container. Through these names a type checker leaves its items ``Any``."""

_VALUE, _ARRAY, _MAP = 0, 1, 2


def _tables() -> tuple[list[int], list[int], list[int], list[int]]:
    """Return for each first byte: what it opens, its fixed bytes, its length bytes, its short count."""
    opens, fixed, length_bytes, short = [_VALUE] * 256, [0] * 256, [0] * 256, [0] * 256
    for low in range(16):
        opens[0x80 + low], short[0x80 + low] = _MAP, low
        opens[0x90 + low], short[0x90 + low] = _ARRAY, low
    for low in range(32):
        fixed[0xA0 + low] = low
    for first, size in {
        0xCA: 4,
        0xCB: 8,
        0xCC: 1,
        0xCD: 2,
        0xCE: 4,
        0xCF: 8,
        0xD0: 1,
        0xD1: 2,
        0xD2: 4,
        0xD3: 8,
    }.items():
        fixed[first] = size
    for power, first in enumerate(range(0xD4, 0xD9)):
        fixed[first] = 1 + 2**power
    for first, size in {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}.items():
        length_bytes[first] = size
        fixed[first] = 1 if first in (0xC7, 0xC8, 0xC9) else 0
    for first, (kind, size) in {0xDC: (_ARRAY, 2), 0xDD: (_ARRAY, 4), 0xDE: (_MAP, 2), 0xDF: (_MAP, 4)}.items():
        opens[first], length_bytes[first] = kind, size
    return opens, fixed, length_bytes, short


_OPENS, _FIXED, _LENGTH_BYTES, _SHORT = _tables()


class Counted(NamedTuple):
    """Contents of one msgpack value, keys and containers included."""

    values: int
    map_sizes: list[int]
    """Number of keys of each map, as it says."""


def scan(body: bytes | memoryview, *, elements_max: int, nesting_max: int) -> Counted:
    """Return what the msgpack value in ``body`` holds; raise DecodeError when that is too much or too deep.

    Reads headers only and makes no objects; what is not valid msgpack is left to the decoder.
    """
    position, size, elements = 0, len(body), 0
    remaining: list[int] = [1]
    map_sizes: list[int] = []
    while remaining:
        if remaining[-1] == 0:
            remaining.pop()
            continue
        if position >= size:
            break
        remaining[-1] -= 1
        elements += 1
        if elements > elements_max:
            raise DecodeError(f"message of more than {elements_max} values (elements_max)")
        first = body[position]
        position += 1
        count, width = _SHORT[first], _LENGTH_BYTES[first]
        if width:
            count = int.from_bytes(body[position : position + width], "big")
            position += width
        opens = _OPENS[first]
        if opens == _VALUE:
            position += _FIXED[first] + count
            continue
        if len(remaining) > nesting_max:
            raise DecodeError(f"message nested deeper than {nesting_max} (nesting_max)")
        if opens == _MAP:
            map_sizes.append(count)
        remaining.append(count * opens)
    return Counted(elements, map_sizes)


def check_depth(what: str, levels: int, nesting_max: int) -> None:
    """Raise UnsupportedTypeError for a type of more levels than a message may have.

    Else its messages would travel as long as they are small, and are not scanned.
    """
    if levels > nesting_max:
        raise UnsupportedTypeError(
            f"{what} has {levels} containers inside one another, over the limit of {nesting_max} (nesting_max): make "
            "it flatter, or raise that limit of TransportLimits on all nodes"
        )


def is_deeper_than(raw: Any, nesting_max: int) -> bool:
    """Whether containers of decoded msgpack are nested deeper than ``nesting_max``."""
    level: list[Any] = [raw] if type(raw) in (ARRAY, MAP) else []
    for _ in range(nesting_max):
        inner: list[Any] = []
        for container in level:
            items = container.values() if type(container) is MAP else container
            inner += [item for item in items if type(item) in (ARRAY, MAP)]
        if not inner:
            return False
        level = inner
    return bool(level)


def has_colliding_keys(keys: list[Any]) -> bool:
    """Whether more than HASH_COLLISIONS_MAX of the keys have one hash value."""
    if len(keys) <= HASH_COLLISIONS_MAX:
        return False
    counts: dict[int, int] = {}
    for value in map(hash, keys):
        counts[value] = counts.get(value, 0) + 1
    return max(counts.values()) > HASH_COLLISIONS_MAX
