"""Frames: how messages are cut out of a byte stream.

A frame is a big-endian length of four bytes, one byte for the kind, and a body. The length counts
kind and body, so 0 is never valid. Nothing here looks into a body, and nothing here is allocated
on the word of a length that is over the limit.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from casty.errors import FrameError

HEADER_BYTES = 5
LENGTH_BYTES = 4

PART_BYTES_MIN = 4_096
"""Bytes of a begun frame that are kept in one piece at least, however few come at a time."""

HEADER = struct.Struct(">IB")
"""The length, which counts the kind too, and the kind."""
_header = HEADER.unpack_from


class Lane(IntEnum):
    """Lane between two nodes, each with a connection of its own, so that none delays another."""

    control = 0
    """Membership, heartbeats, hand-over: never behind user traffic."""
    ordinary = 1
    """Messages between actors, and the answers to those that could not be delivered."""
    large = 2
    """The slices of messages that are too large for one frame, and the answers to them."""
    probe = 3
    """Carries nothing: a hello on it only asks which run is there, and the connection ends."""
    status = 4
    """Carries one report on the node and its cluster to whoever asks, and the connection ends."""


class FrameKind(IntEnum):
    """Kind of the body of a frame."""

    HELLO = 1
    HELLO_ACK = 2
    REFUSED = 3
    CONTROL = 4
    ENVELOPE = 5
    NOTICE = 6
    GOODBYE = 7
    IDLE = 8
    """Nothing has crossed this link for long: shall it end? Answered with GOODBYE or STAY."""
    STAY = 9
    SLICE = 10
    """A part of a message that is too large for one frame."""
    ARRIVED = 11
    """Outcome of the slices of a message."""
    LARGE = 12
    """Deliver the message whose slices have arrived, here, in its place among the others."""
    PAUSE = 13
    """Hold back what is for one actor: it has too much to do."""
    RESUME = 14
    """Go on."""
    WITHDRAW = 15
    """Do not start a request: who asked waits no longer."""
    ACK = 16
    """So many frames of this link were handed over."""
    HANDOVER = 17
    """The last frame of this connection: the next one goes over another."""


LANE_KINDS: dict[Lane, frozenset[FrameKind]] = {
    Lane.control: frozenset({FrameKind.CONTROL}),
    Lane.ordinary: frozenset(
        {
            FrameKind.ENVELOPE,
            FrameKind.NOTICE,
            FrameKind.CONTROL,
            FrameKind.LARGE,
            FrameKind.PAUSE,
            FrameKind.RESUME,
            FrameKind.WITHDRAW,
        }
    ),
    Lane.large: frozenset({FrameKind.SLICE, FrameKind.ARRIVED}),
}
"""Kinds of frames that a lane carries once it is up, besides those that end it."""


_KINDS: dict[int, FrameKind] = {kind.value: kind for kind in FrameKind}
_BY_NUMBER: list[FrameKind | None] = [_KINDS.get(number) for number in range(256)]


def frame(kind: FrameKind, body: bytes) -> bytes:
    """Return the bytes of one frame.

    >>> frame(FrameKind.GOODBYE, b"")
    b'\\x00\\x00\\x00\\x01\\x07'
    """
    return HEADER.pack(len(body) + 1, kind) + body


class FrameDecoder:
    """Cuts the bytes of one connection into frames, however the network has sliced them.

    ``limit_bytes`` bounds what a length may announce and can be changed between calls: small before
    the hello, larger afterwards. The first FrameError is final, since nobody can tell where the next
    frame begins.

    >>> decoder = FrameDecoder(limit_bytes=4096)
    >>> decoder.feed(b"\\x00\\x00\\x00\\x03\\x04h")
    []
    >>> decoder.feed(b"i")
    [(<FrameKind.CONTROL: 4>, b'hi')]
    """

    __slots__ = ("_broken", "_needed", "_parts", "_size", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        """Of what is not cut yet. One buffer that grew with each read left holes as large as itself: 1,024 peers that
        had begun 32 MiB together took 80."""
        self._size = 0
        """Of all parts."""
        self._needed = 0
        self._broken: str | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of unfinished frames held; never more than a frame and one feed."""
        return self._size

    @property
    def missing_bytes(self) -> int:
        """Bytes still to come of the frame that has begun; 0 while its length is not known."""
        return max(0, self._needed - self._size)

    def move_begun(self, place: memoryview) -> int:
        """Move the frame that has begun to ``place``, as far as it has come, and return how many bytes that is.

        The caller reads the `missing_bytes` itself; what is fed next is what comes behind them.
        """
        start = 0
        for part in self._parts:
            place[start : start + len(part)] = part
            start += len(part)
        self._take_all()
        return start

    def feed(self, data: bytes, *, frames_max: int | None = None) -> list[tuple[FrameKind, bytes]]:
        """Take the next bytes and return the frames that are complete now.

        With ``frames_max`` the rest stays unread for the next call (``feed(b"")`` will do), which is
        how a hello is taken alone before the limit is raised. Raises FrameError for a length of 0 or
        over the limit as soon as the length is there, and for an unknown kind; frames that came
        before the fault in the same call are lost with the link. Every later call raises too.
        """
        if self._broken is not None:
            raise FrameError(self._broken)
        frames: list[tuple[FrameKind, bytes]] = []
        if self._parts:
            is_begun = self._size >= HEADER_BYTES
            self._keep(data)
            if not is_begun and self._size >= LENGTH_BYTES:
                self._begin(self._parts[0][:HEADER_BYTES])
            if self._size < (self._needed or LENGTH_BYTES):
                return frames
            data = self._take_all()
        rest = data[self._cut(data, frames, frames_max) :]
        if rest:
            self._keep(rest)
        return frames

    def _keep(self, data: bytes) -> None:
        """Keep what is not cut yet, in parts that are not small: each has an object and a place in the list."""
        self._size += len(data)
        if self._parts and len(self._parts[-1]) < PART_BYTES_MIN:
            self._parts[-1] += data
        else:
            self._parts.append(data)

    def drop(self) -> None:
        """Forget what is not cut yet."""
        self._take_all()

    def _take_all(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = self._needed = 0
        return data

    def _cut(self, data: bytes, frames: list[tuple[FrameKind, bytes]], frames_max: int | None) -> int:
        """Add the whole frames in ``data`` to ``frames`` and return where they end.

        Length and kind are read at once, and slices are taken of bytes, not of a view: 0.55 of the time.
        """
        position, size, limit = 0, len(data), self.limit_bytes
        length: int
        number: int
        last, kinds, append = size - HEADER_BYTES, _BY_NUMBER, frames.append
        while position <= last:
            length, number = _header(data, position)
            end = position + LENGTH_BYTES + length
            kind = kinds[number]
            if end > size or kind is None or not 0 < length <= limit:
                break
            append((kind, data[position + HEADER_BYTES : end]))
            position = end
            if frames_max is not None and len(frames) >= frames_max:
                return position
        if size - position >= LENGTH_BYTES:
            self._begin(data[position : position + HEADER_BYTES])
        return position

    def _begin(self, start: bytes) -> None:
        """Look at the length, and the kind if it is there, of a frame that is not whole."""
        length = int.from_bytes(start[:LENGTH_BYTES], "big")
        if not 0 < length <= self.limit_bytes:
            raise self._fail(f"frame length {length} is not within 1 and {self.limit_bytes}")
        if len(start) == HEADER_BYTES and start[LENGTH_BYTES] not in _KINDS:
            raise self._fail(f"unknown frame kind {start[LENGTH_BYTES]}")
        self._needed = LENGTH_BYTES + length

    def _fail(self, reason: str) -> FrameError:
        self._broken = reason
        self._take_all()
        return FrameError(reason)

    def __repr__(self) -> str:
        state = "broken" if self._broken else f"buffered={self._size}"
        return f"<FrameDecoder limit={self.limit_bytes} {state}>"
