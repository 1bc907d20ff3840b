"""Cost of the frames of a peer outside of the cluster, beyond their bytes.

A value of one byte can take as long to make as a text of a kilobyte to copy, so messages are charged by their values
too: 65,000 empty containers in 64 KiB took up to 50 ms. They are counted before anything is made of them, and no
further than needed; a message beyond the bound of a stranger has to wait. The objects made by a class from one value
are not to be seen there, so the time taken by a frame beyond its price is measured, and charged behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from casty.errors import DecodeError
from casty.transport.limits.token_bucket import FRAME_COST_BYTES
from casty.wire.envelope import count_values
from casty.wire.frame import FrameKind
from casty.wire.limits import Counted, scan

VALUE_COST_BYTES = 16
"""Cost of making one value, 1 us at most, in bytes of the pace of strangers: a sixteenth of the time."""

STRANGER_VALUES_MAX = 1_024
"""Values in one message made while its sender is no member: a millisecond, or 5 ms where each of them is an object with
twenty defaults, and 25 ms with the collection of garbage after it. 4,096 of those take 50 ms.
"""

MESSAGE_KEPT_BYTES = 512
VALUE_KEPT_BYTES = 224
BYTE_KEPT_BYTES = 4
"""Memory of a waiting message, at most: itself, the request around it and its place; each value in it; each byte of a
text. An empty set is the largest value, in one byte of the frame (a list is 64); and with one character beyond the
Basic Multilingual Plane a text has four bytes for each. Any map may be a record, and a class makes values by itself:
each of these counts like one of the frame, except for one for each key of the map, counted and not kept. Not seen here
are values put into a list by the factory of a default, or made by a constructor.
"""

CONTROL_VALUES_MAX = 65_536
"""Values up to which a control message or a notice is counted; none has more. A joining node gets large ones of nodes
not known to it as members yet, so they cost more and are not put off.
"""

REMEMBERED_MAX, REMEMBERED_BYTES_MAX = 64, 8 * 1024
"""Messages of so many bytes whose values have been counted lately: those of one turn. Each is charged twice, when it
is to be handed over and when it waits for its actor, and to count 4,000 values takes as long as to make them."""

JOINED_LOOK = 0.25
"""Seconds between two looks whether the sender of a larger one has become a member."""


def charge(frames: Sequence[tuple[FrameKind, bytes | memoryview]]) -> tuple[int, bool]:
    """Return the cost of these frames beyond their bytes, and whether one of them needs a member as its sender.

    Only a member may send a message of more than `STRANGER_VALUES_MAX` values, or one in slices: no slice is kept
    before.

    >>> charge([(FrameKind.ENVELOPE, b"no head")]), charge([(FrameKind.SLICE, bytes(80))])
    ((64, False), (64, True))
    """
    cost, is_for_members = 0, False
    for kind, body in frames:
        cost += FRAME_COST_BYTES
        if kind is FrameKind.ENVELOPE:
            values = _contents_of(body).values
            cost += VALUE_COST_BYTES * values
            is_for_members = is_for_members or values > STRANGER_VALUES_MAX
        elif kind in (FrameKind.CONTROL, FrameKind.NOTICE):
            cost += VALUE_COST_BYTES * _count_all(body)
        elif kind in (FrameKind.SLICE, FrameKind.LARGE):
            is_for_members = True
    return cost, is_for_members


def kept(body: bytes | memoryview, defaults_max: int = 0) -> int:
    """Return the memory taken by the message in the body of an ENVELOPE once it is made, never too little.

    ``defaults_max``: how many values its classes make by themselves for one map, at most.

    >>> kept(b"no head")
    540
    """
    values, map_sizes = _contents_of(body)
    if defaults_max:
        values += sum(defaults_max - size for size in map_sizes if size < defaults_max)
    return MESSAGE_KEPT_BYTES + BYTE_KEPT_BYTES * len(body) + VALUE_KEPT_BYTES * values


def _contents_of(body: bytes | memoryview) -> Counted:
    """Return the counted contents of a message; one value more than `STRANGER_VALUES_MAX` where it is for members
    alone.
    """
    if isinstance(body, bytes) and len(body) <= REMEMBERED_BYTES_MAX:
        return _counted(body)
    return count_values(body, STRANGER_VALUES_MAX)


@lru_cache(maxsize=REMEMBERED_MAX)
def _counted(body: bytes) -> Counted:
    return count_values(body, STRANGER_VALUES_MAX)


def _count_all(body: bytes | memoryview) -> int:
    try:
        return scan(body, elements_max=CONTROL_VALUES_MAX, nesting_max=CONTROL_VALUES_MAX).values
    except DecodeError:
        return CONTROL_VALUES_MAX
