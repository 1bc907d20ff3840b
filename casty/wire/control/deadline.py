"""A request that waits before it is sent: its frame is made at once, and says how long its sender waits for the reply.

Owns telling that anew. What a request has waited for room is time that the other node does not have: it would work
for those who have given up, just when there is too much to do.
"""

from __future__ import annotations

import struct

from casty.wire.chunking.chunks import SLICE_HEAD_BYTES
from casty.wire.envelope import end_of_head
from casty.wire.frame import HEADER_BYTES, FrameKind

_SECONDS = struct.Struct(">d")


def with_time_left(frame: bytes, left: float) -> bytes:
    """Return the frame of a request, or the slices of a large one, for a sender that waits ``left`` seconds.

    >>> from casty.wire.frame import frame
    >>> body = bytes.fromhex("0001 90") + bytes(16)
    >>> with_time_left(frame(FrameKind.ENVELOPE, body), 2.0)[8:16] == struct.pack(">d", 2.0)
    True
    """
    start = HEADER_BYTES if frame[HEADER_BYTES - 1] == FrameKind.ENVELOPE else HEADER_BYTES + SLICE_HEAD_BYTES
    with memoryview(frame) as whole:
        place = start + end_of_head(whole[start:])
        return b"".join((whole[:place], _SECONDS.pack(max(left, 0.0)), whole[place + _SECONDS.size :]))
