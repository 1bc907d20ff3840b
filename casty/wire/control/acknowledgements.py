"""Acknowledgement of the frames of a link handed over by a node.

The body is their number since the link was made, those of the kinds that a lane carries. What the other end has
written beyond it, when the link breaks, may have been lost, and nothing else.
"""

from __future__ import annotations

import struct

from casty.errors import FrameError
from casty.wire.frame import FrameKind, frame

COUNT = struct.Struct(">Q")


def ack_frame(count: int) -> bytes:
    """Return the frame for so many frames handed over."""
    return frame(FrameKind.ACK, COUNT.pack(count))


def decode_ack(body: bytes) -> int:
    """Return the number in the body of ACK. Raises FrameError.

    >>> decode_ack(ack_frame(7)[5:])
    7
    """
    if len(body) != COUNT.size:
        raise FrameError(f"the number of frames has {COUNT.size} bytes, got {len(body)}")
    (count,) = COUNT.unpack(body)
    return int(count)
