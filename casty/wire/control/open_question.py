"""Question of a client whether a path is open to it at a node, and the answer.

The body of either is a msgpack array of a mark, the path, and in the answer whether it is. A client asks before its
first message to a path: a refused tell could not be sent to another node any more.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from casty.errors import DecodeError
from casty.wire.envelope import FOREIGN
from casty.wire.frame import FrameKind, frame
from casty.wire.limits import ARRAY

ASKED: Final = "casty.client.is_open"
TOLD: Final = "casty.client.open"
OPEN_PATH_LENGTH_MAX: Final = 300
"""Characters of a path: the name of a key, at most 255, and what is before it."""
OPEN_BYTES_MAX: Final = 4 * OPEN_PATH_LENGTH_MAX + 64
"""Bytes of a question or an answer. A body of 1 MiB took 140 ms and 72 MiB to decode."""


def open_question_frame(path: str) -> bytes:
    """Return the frame of the question."""
    return frame(FrameKind.CONTROL, msgpack.packb([ASKED, path]))


def open_answer_frame(path: str, *, is_open: bool) -> bytes:
    """Return the frame of the answer."""
    return frame(FrameKind.CONTROL, msgpack.packb([TOLD, path, is_open]))


def decode_open_question(body: bytes) -> str:
    """Return the path in a question. Raises DecodeError.

    >>> decode_open_question(open_question_frame("/_entity/carts")[5:])
    '/_entity/carts'
    """
    said = _items(body)
    if len(said) != 2 or said[0] != ASKED:
        raise DecodeError(f"a client's question: expected {ASKED!r} and a path")
    return _path(said[1])


def is_open_answer(body: bytes) -> bool:
    """Whether the body of CONTROL says to be an answer, and no contact points."""
    return TOLD.encode() in body[:32]


def decode_open_answer(body: bytes) -> tuple[str, bool]:
    """Return the path in an answer, and whether it is open. Raises DecodeError.

    >>> decode_open_answer(open_answer_frame("/_topic/prices", is_open=True)[5:])
    ('/_topic/prices', True)
    """
    said = _items(body)
    if len(said) != 3 or said[0] != TOLD or type(said[2]) is not bool:
        raise DecodeError(f"a node's answer to a client: expected {TOLD!r}, a path, and whether it is open")
    return _path(said[1]), said[2]


def _items(body: bytes) -> list[Any]:
    if len(body) > OPEN_BYTES_MAX:
        raise DecodeError(f"a question or answer of clients: at most {OPEN_BYTES_MAX} bytes, got {len(body)}")
    try:
        said: Any = msgpack.unpackb(body)
    except FOREIGN as error:
        raise DecodeError(f"a question or answer of clients: not valid msgpack ({type(error).__name__})") from None
    if type(said) is not ARRAY:
        raise DecodeError("a question or answer of clients: expected an array")
    items: list[Any] = said
    return items


def _path(said: object) -> str:
    if type(said) is not str or not 0 < len(said) <= OPEN_PATH_LENGTH_MAX:
        raise DecodeError(
            f"a question or answer of clients: expected a path of at most {OPEN_PATH_LENGTH_MAX} characters"
        )
    return said
