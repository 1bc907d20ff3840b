"""Withdrawal of an ask by its node.

The body is the number of the ask, which its request carried: 64 random bits that only those know who
were sent the ref for the reply. It counts from the node alone that the request came from.
"""

from __future__ import annotations

import struct

from casty.errors import FrameError
from casty.wire.frame import FrameKind, frame

NUMBER = struct.Struct(">Q")


def withdraw_frame(ask: int) -> bytes:
    """Return the frame for withdrawing the request of an ask."""
    return frame(FrameKind.WITHDRAW, NUMBER.pack(ask))


def decode_withdraw(body: bytes) -> int:
    """Return the number in the body of WITHDRAW. Raises FrameError.

    >>> decode_withdraw(withdraw_frame(7)[5:])
    7
    """
    if len(body) != NUMBER.size:
        raise FrameError(f"the number of an ask has {NUMBER.size} bytes, got {len(body)}")
    (ask,) = NUMBER.unpack(body)
    return int(ask)
