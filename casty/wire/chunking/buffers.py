"""Large messages in pieces: their large texts and bytes stay where they lie, and only the rest is packed.

Owns the cutting. msgpack has a large text as its length and its UTF-8, so a frame need not be made in one place to
be written: each copy of 1 MiB costs 60 us, and puts what Python needs next out of the nearer caches.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgpack

from casty.wire.limits import MAP

Buffer: TypeAlias = bytes | memoryview

LARGE_VALUE_MIN = 65_536
"""Characters of a text, or bytes, that stay where they lie. From here on msgpack has lengths of 32 bits."""

_CUT: tuple[object, ...] = (str, bytes)
_NIL = b"\xc0"
_TEXT, _BYTES = 0xDB, 0xC6
"""Of msgpack, each before a length of 32 bits."""
_length = struct.Struct(">BI").pack


class DirectWriter(Protocol):
    """Writer of the pieces of a large frame, all at once."""

    def write_now(self, pieces: list[Buffer]) -> bool:
        """Take a whole frame, of which nothing is kept that is no copy; False, and nothing has happened, if not now."""
        ...


@dataclass(slots=True)
class ScatteredMessage:
    """A message as msgpack. Its pieces are valid in a ``with`` block, and until the next message is cut."""

    parts: list[Buffer]
    skeleton: Buffer
    """Message without the contents of its large values: as many values, as deep."""
    raw: object = None
    """Value that was cut. The view of a text keeps nothing alive, and nobody else may: the text of a `Decimal` is made
    for the message, and the field of a class can make its value anew each time."""

    @property
    def size(self) -> int:
        """Number of its bytes."""
        return sum(map(len, self.parts))

    def __enter__(self) -> ScatteredMessage:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            if isinstance(part, memoryview):
                part.release()  # whoever has kept it gets an error, and not what lies there later


class ScatterEncoder:
    """Makes pieces of large messages, one at a time."""

    __slots__ = ("_map_header", "_pack", "_packer")

    def __init__(self) -> None:
        small = msgpack.Packer()
        self._pack: Callable[[object], bytes] = small.pack
        self._map_header: Callable[[int], bytes] = small.pack_map_header
        self._packer = msgpack.Packer(autoreset=False)

    def cut(self, raw: Any) -> ScatteredMessage:
        """Return a message that was made plain. Raises what msgpack raises.

        What is large by many small values is one piece, in the packer where it was made: with bytes of its own it
        would be new memory from the system each time, and making the frame take eight times as long.
        """
        if type(raw) is MAP:
            large = {key for key, value in raw.items() if type(value) in _CUT and len(value) >= LARGE_VALUE_MIN}
            if large:
                return self._cut_map(raw, large)
        elif type(raw) in _CUT and len(raw) >= LARGE_VALUE_MIN:
            view = _view_of(raw)
            return ScatteredMessage([_head_of(raw, view), view], _NIL, raw)
        self._packer.reset()
        self._packer.pack(raw)
        view = self._packer.getbuffer()
        return ScatteredMessage([view], view)

    def _cut_map(self, raw: dict[str, Any], large: set[str]) -> ScatteredMessage:
        parts: list[Buffer] = []
        skeleton: list[bytes] = []
        small = [self._map_header(len(raw))]
        for key, value in raw.items():
            small.append(self._pack(key))
            if key in large:
                view = _view_of(value)
                skeleton += [*small, _NIL]
                parts += [b"".join((*small, _head_of(value, view))), view]
                small = []
            else:
                small.append(self._pack(value))
        if small:
            parts.append(b"".join(small))
        return ScatteredMessage(parts, b"".join((*skeleton, *small)), raw)

    def __repr__(self) -> str:
        return "<ScatterEncoder>"


def rest_of(pieces: list[Buffer], start: int) -> bytes:
    """Return the content of the pieces from ``start`` on.

    >>> rest_of([b"he", b"llo"], 3)
    b'lo'
    """
    rest: list[Buffer] = []
    for piece in pieces:
        if start < len(piece):
            rest.append(memoryview(piece)[start:])
        start = max(0, start - len(piece))
    return b"".join(rest)


def _head_of(value: str | bytes, view: memoryview) -> bytes:
    return _length(_TEXT if type(value) is str else _BYTES, len(view))


def _view_of(value: str | bytes) -> memoryview:
    """Return the bytes of a value, in UTF-8 if it is a text, that hold as long as the value does."""
    if isinstance(value, bytes):
        return memoryview(value)
    if value.isascii() and _IS_CPYTHON:
        # Such a text is UTF-8 already. Encoding it is a copy: an ask with 1 MiB takes 1.15 times the processor time.
        return _view(_utf8(value, None), len(value), _READ)
    return memoryview(value.encode())  # CPython would keep the UTF-8 of others as long as the text


_IS_CPYTHON = sys.implementation.name == "cpython"
if _IS_CPYTHON:
    _READ = 0x100  # PyBUF_READ
    _utf8: Callable[[str, None], int] = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyUnicode_AsUTF8AndSize", ctypes.pythonapi)
    )
    _view: Callable[[int, int, int], memoryview] = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
    )(("PyMemoryView_FromMemory", ctypes.pythonapi))
