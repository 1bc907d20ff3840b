"""Request to hold back all messages to one actor of a node, and to go on.

The body of both frames is the path of the actor. They cross the link that carries the messages, the
other way, and end with it: whoever holds back goes on when the link is lost.
"""

from __future__ import annotations

from casty.errors import FrameError
from casty.wire.frame import FrameKind, frame

PATH_BYTES_MAX = 4_096


def pause_frame(path: str) -> bytes:
    """Return the frame for holding back messages to ``path``."""
    return frame(FrameKind.PAUSE, path.encode())


def resume_frame(path: str) -> bytes:
    """Return the frame for going on."""
    return frame(FrameKind.RESUME, path.encode())


def decode_path(body: bytes) -> str:
    """Return the path in the body of PAUSE or RESUME. Raises FrameError.

    >>> decode_path(pause_frame("/sink")[5:])
    '/sink'
    """
    if len(body) > PATH_BYTES_MAX:
        raise FrameError(f"a path has at most {PATH_BYTES_MAX} bytes, got {len(body)}")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise FrameError("a path is UTF-8") from None
