"""Reading of one connection's frames: many small ones at a time, a large one straight into its place.

Owns the sizes of reads and the memory for large frames. It knows no lane and no message; `Session` asks it for
the next frames, hands them over, and says when it is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from casty.transport.network.interface import Connection
from casty.wire.frame import HEADER_BYTES, LENGTH_BYTES, FrameDecoder, FrameKind

READ_BYTES_MAX: Final = 64 * 1024
STRANGER_READ_BYTES_MAX: Final = 8 * 1024
"""There may be a thousand links with strangers, and bytes once read wait for their turn."""
LARGE_READ_BYTES_MAX: Final = 1024 * 1024
"""Further bytes read at once of a begun frame, where it has no place."""
PLACE_BYTES_MAX: Final = 1024 * 1024 + 64 * 1024
"""Frames up to here have a place, made on the word of their length: never for strangers."""
PLACE_PART_BYTES_MIN: Final = 32 * 1024
"""So much of a frame must have come before it has a place, and so much be missing, or it does not pay."""
READS_AT_ONCE_MAX: Final = 16
"""Reads of a large frame without waiting, one after the other, while each finds something: 1 MiB takes two to four."""
PLACES_KEPT_MAX: Final = 4
"""Places waiting for the next frame. In use is one for each link with a large frame under way at this moment."""

Frames = Sequence[tuple[FrameKind, bytes | memoryview]]


class Places:
    """The memory for the large frames of all links of one node, used again and again.

    New memory for each frame of 1 MiB was given back to the system each time and taken anew page by page, for half of
    the processor time of the receiver.

    >>> places = Places()
    >>> place = places.take(100_000)
    >>> places.give_back(place)
    >>> places.take(70_000) is place
    True
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """Return a place of at least ``size`` bytes, with anything in it."""
        if self._kept and len(place := self._kept.pop()) >= size:
            return place
        return bytearray(size)

    def give_back(self, place: bytearray) -> None:
        """Take back a place without any reference left."""
        if len(self._kept) < PLACES_KEPT_MAX:
            self._kept.append(place)

    def __repr__(self) -> str:
        return f"<Places kept={len(self._kept)}>"


class FrameReader:
    """Reads the frames of one connection."""

    __slots__ = ("_begun", "_body", "_connection", "_count", "_decoder", "_place", "_places", "is_only_told")

    def __init__(self, connection: Connection, decoder: FrameDecoder, places: Places) -> None:
        self._connection = connection
        self._decoder = decoder
        self._places = places
        self._place: bytearray | None = None
        """Place of the frame that is read straight into it."""
        self._begun = memoryview(b"")
        """The frame, with its first ``_count`` bytes at hand."""
        self._body = self._begun
        self._count = 0
        self.is_only_told = False
        """Whether the last read brought an acknowledgement, and nothing else."""

    @property
    def begun_bytes(self) -> int:
        """Number of bytes at hand of the begun frame."""
        return self._decoder.buffered_bytes if self._place is None else self._count

    def left(self) -> Frames:
        """Return the frames received with the hello. Raises FrameError, as `read`."""
        return self._decoder.feed(b"")

    async def read(self, *, is_stranger: bool) -> tuple[int, Frames]:
        """Read once; return the number of bytes, 0 at the end, and the frames complete now.

        Call `done` before the next one. The body of a large frame is a view, valid until then.
        """
        if self._place is not None:
            count = await self._connection.receive_into(self._begun[self._count :])
            self._count += count
            self.is_only_told = False
        else:
            # An acknowledgement is no answer with more right behind it: looking for that after each one costs a mere
            # teller 1.02 times the instructions.
            self._connection.is_eager = not is_stranger and not self.is_only_told
            data = await self._connection.receive(STRANGER_READ_BYTES_MAX if is_stranger else self._next_size())
            count, frames = len(data), self._decoder.feed(data)
            self.is_only_told = len(frames) == 1 and frames[0][0] is FrameKind.ACK
            if not is_stranger and self._is_place_due():
                self._begin_place()
            if self._place is None or frames:
                return count, frames
            count += self._follow()
        if self._count < len(self._begun):
            return count, ()
        self._body = self._begun[HEADER_BYTES:]
        return count, [(FrameKind(self._begun[LENGTH_BYTES]), self._body)]

    def _follow(self) -> int:
        """Read the rest of a large frame as fast as it comes, as long as it does; return the number of bytes.

        Its sender writes while this reads, on another core. Waiting for the rest after the first of these reads wakes
        this node once more: an ask with 1 MiB then takes 1.07 times the time, by the clock and of the processors.
        """
        start = self._count
        for _ in range(READS_AT_ONCE_MAX):
            more = self._connection.receive_into_nowait(self._begun[self._count :])
            self._count += more
            if not more or self._count == len(self._begun):
                break
        return self._count - start

    def done(self) -> None:
        """Use the memory of a large frame, handed over by now, for the next one."""
        if self._place is not None and self._count == len(self._begun):
            self._body.release()  # whoever has kept it gets an error, and not the bytes of another frame
            self._places.give_back(self._place)
            self._place = None

    def drop(self) -> None:
        """Free the part of a frame that will never be whole: the rest of a session can wait for the collector."""
        self._decoder.drop()
        self._body = self._begun = memoryview(b"")
        self._place = None

    def _next_size(self) -> int:
        """Return how much to read next of frames without a place."""
        missing = self._decoder.missing_bytes
        return READ_BYTES_MAX + (0 if self._is_for_a_place(missing) else min(missing, LARGE_READ_BYTES_MAX))

    def _is_place_due(self) -> bool:
        """Whether enough has come of a frame to give it a place."""
        begun = self._decoder.buffered_bytes
        return begun >= PLACE_PART_BYTES_MIN and self._is_for_a_place(self._decoder.missing_bytes)

    def _is_for_a_place(self, missing: int) -> bool:
        return missing >= PLACE_PART_BYTES_MIN and missing + self._decoder.buffered_bytes <= PLACE_BYTES_MAX

    def _begin_place(self) -> None:
        size = self._decoder.buffered_bytes + self._decoder.missing_bytes
        self._place = self._places.take(size)
        self._begun = memoryview(self._place)[:size]
        self._count = self._decoder.move_begun(self._begun)

    def __repr__(self) -> str:
        return f"<FrameReader {self._decoder!r}>"
