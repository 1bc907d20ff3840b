"""Slices of a message too large for one frame, put together at the other end.

Owns the bodies of the frames SLICE, ARRIVED and LARGE, and the bounds on what is being put together.
It knows no link and no actor.

How it works: the sender numbers its large messages and cuts each into slices of at most
`SLICE_BYTES_MAX`, which follow one another on the large lane. The receiver says ARRIVED when it has
the last one, or why it has dropped the message. Only then does the sender put LARGE on the ordinary
lane, in the message's place among the others to the same actor, and the receiver delivers it there.
So a large message neither delays others nor overtakes them, and is never delivered twice.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from casty.address import UniqueAddress
from casty.errors import FrameError
from casty.wire.frame import FrameKind, frame

SLICE_BYTES_MAX = 64 * 1024
KEPT_SECONDS = 30.0
"""Seconds for which a whole message waits for its LARGE; its sender has gone when that does not come."""
ASSEMBLY_SHARES = 4
"""Messages of the largest size that all peers together may have in assembly. They are members: the slices of others are
not handed over."""

_SLICE = struct.Struct(">QB")
SLICE_HEAD_BYTES = _SLICE.size
"""Bytes in the body of SLICE before its part of the message."""
_ARRIVED = struct.Struct(">QB")
_NUMBER = struct.Struct(">Q")


class ChunkOutcome(IntEnum):
    """Outcome of the slices of a message."""

    complete = 0
    no_room = 1
    too_large = 2


def cut(number: int, body: memoryview) -> bytes:
    """Return the frames of all slices of one message, in one piece."""
    parts: list[bytes | memoryview] = []
    for start in range(0, len(body), SLICE_BYTES_MAX):
        part = body[start : start + SLICE_BYTES_MAX]
        is_last = start + SLICE_BYTES_MAX >= len(body)
        parts.append(struct.pack(">IBQB", len(part) + 1 + _SLICE.size, FrameKind.SLICE, number, is_last))
        parts.append(part)
    return b"".join(parts)


def number_of(slices: bytes) -> int:
    """Return the number of the message of a frame of kind SLICE, header included.

    >>> number_of(cut(7, memoryview(b"long")))
    7
    """
    number: int = _NUMBER.unpack_from(slices, 5)[0]
    return number


def arrived_frame(number: int, fate: ChunkOutcome) -> bytes:
    """Return the answer to the last slice."""
    return frame(FrameKind.ARRIVED, _ARRIVED.pack(number, fate))


def decode_arrived(body: bytes) -> tuple[int, ChunkOutcome]:
    """Return the number and the fate in the body of ARRIVED. Raises FrameError."""
    if len(body) != _ARRIVED.size:
        raise FrameError(f"ARRIVED has {_ARRIVED.size} bytes, got {len(body)}")
    number, fate = _ARRIVED.unpack(body)
    if fate not in _FATES:
        raise FrameError(f"ARRIVED knows no fate {fate}")
    return number, _FATES[fate]


def large_frame(number: int) -> bytes:
    """Return the frame in place of a large message on the ordinary lane."""
    return frame(FrameKind.LARGE, _NUMBER.pack(number))


def decode_large(body: bytes) -> int:
    """Return the number in the body of LARGE. Raises FrameError."""
    if len(body) != _NUMBER.size:
        raise FrameError(f"LARGE has {_NUMBER.size} bytes, got {len(body)}")
    number: int = _NUMBER.unpack(body)[0]
    return number


_FATES = {fate.value: fate for fate in ChunkOutcome}


@dataclass(slots=True)
class _ChunkAssembly:
    """Slices of one peer under way, and whole messages that wait."""

    number: int = 0
    parts: list[bytes] = field(default_factory=lambda: list[bytes]())
    size: int = 0
    fate: ChunkOutcome = ChunkOutcome.complete
    whole: dict[int, tuple[bytes, float]] = field(default_factory=lambda: dict[int, tuple[bytes, float]]())


class Assembler:
    """Puts the large messages of all peers together.

    >>> from casty.address import NodeAddress
    >>> peer, assembler = UniqueAddress(NodeAddress("a", 1), 1), Assembler(1_000)
    >>> blob = cut(7, memoryview(b"long"))
    >>> assembler.take(peer, blob[5:], now=0.0), assembler.claim(peer, 7)
    ((7, <ChunkOutcome.complete: 0>), b'long')
    """

    def __init__(self, bytes_max: int) -> None:
        self.held_bytes = 0
        """Bytes kept for all peers together."""
        self._bytes_max = bytes_max
        self.by_peer: dict[UniqueAddress, _ChunkAssembly] = {}
        """Slices under way, and whole messages waiting for their LARGE, by peer."""

    def take(self, peer: UniqueAddress, body: bytes, now: float) -> tuple[int, ChunkOutcome] | None:
        """Take one slice; after the last, the number of the message and what has become of it.

        Raises FrameError for a slice that cannot be one.
        """
        if not _SLICE.size < len(body) <= _SLICE.size + SLICE_BYTES_MAX:
            raise FrameError(f"a slice has 1 to {SLICE_BYTES_MAX} bytes, got {len(body) - _SLICE.size}")
        number, is_last = _SLICE.unpack_from(body)
        self.drop_old(now)
        assembly = self.by_peer.get(peer)
        if assembly is None:
            assembly = self.by_peer[peer] = _ChunkAssembly()
        if number != assembly.number:
            self._drop_parts(assembly)
            self._forget_whole(assembly, number)  # it comes once more, and needs the room
            assembly.number, assembly.fate = number, ChunkOutcome.complete
        self._add(assembly, body[_SLICE.size :])
        if not is_last:
            return None
        fate = assembly.fate
        if fate is ChunkOutcome.complete:
            assembly.whole[number] = b"".join(assembly.parts), now
            assembly.parts, assembly.size = [], 0
        else:
            self._drop_parts(assembly)
        assembly.number, assembly.fate = 0, ChunkOutcome.complete
        return number, fate

    def claim(self, peer: UniqueAddress, number: int) -> bytes | None:
        """Return a whole message and forget it; None where there is none of this number."""
        assembly = self.by_peer.get(peer)
        return None if assembly is None else self._forget_whole(assembly, number)

    def link_lost(self, peer: UniqueAddress, now: float) -> None:
        """Drop what was under way from a peer; what is whole waits for its LARGE."""
        assembly = self.by_peer.get(peer)
        if assembly is not None:
            self._drop_parts(assembly)
            assembly.number, assembly.fate = 0, ChunkOutcome.complete
            self.drop_old(now)

    def drop_old(self, now: float) -> None:
        """Drop the whole messages that have waited for `KEPT_SECONDS`, and who has nothing else here."""
        for peer, assembly in list(self.by_peer.items()):
            for number in [n for n, (_, since) in assembly.whole.items() if now - since > KEPT_SECONDS]:
                self._forget_whole(assembly, number)
            has_begun = assembly.number or assembly.parts or assembly.fate is not ChunkOutcome.complete
            if not (assembly.whole or has_begun):
                del self.by_peer[peer]

    def forget(self, peer: UniqueAddress) -> None:
        """Drop all that there is of a run that was removed: no LARGE will come from it."""
        assembly = self.by_peer.pop(peer, None)
        if assembly is not None:
            self._drop_parts(assembly)
            for number in list(assembly.whole):
                self._forget_whole(assembly, number)

    def _add(self, assembly: _ChunkAssembly, part: bytes) -> None:
        if assembly.fate is not ChunkOutcome.complete:
            return
        if assembly.size + len(part) > self._bytes_max:
            self._drop_parts(assembly)
            assembly.fate = ChunkOutcome.too_large
        elif self.held_bytes + len(part) > ASSEMBLY_SHARES * self._bytes_max:
            self._drop_parts(assembly)
            assembly.fate = ChunkOutcome.no_room
        else:
            assembly.parts.append(part)
            assembly.size += len(part)
            self.held_bytes += len(part)

    def _drop_parts(self, assembly: _ChunkAssembly) -> None:
        self.held_bytes -= assembly.size
        assembly.parts, assembly.size = [], 0

    def _forget_whole(self, assembly: _ChunkAssembly, number: int) -> bytes | None:
        body, _ = assembly.whole.pop(number, (None, 0.0))
        if body is not None:
            self.held_bytes -= len(body)
        return body

    def __repr__(self) -> str:
        return f"<Assembler peers={len(self.by_peer)} bytes={self.held_bytes}>"
