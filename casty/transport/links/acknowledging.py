"""Acknowledgement between the two ends of one connection.

Owns the number of the peer's frames handed over, how many of those the peer was told of, and how many of its own frames
the peer has told of in turn. Any written beyond that may be lost when the connection breaks: a socket takes bytes long
before anybody reads them, and also those for a stopped process, killed then.

Only ordinary lanes say it: control messages are repeated until they are answered, and a large message is acknowledged
as a whole.
"""

from __future__ import annotations

import math
from typing import Final

from casty.errors import ProtocolError
from casty.transport.links.traffic import Traffic
from casty.transport.links.writing import FrameWriter
from casty.wire.control.acknowledgements import ack_frame, decode_ack
from casty.wire.frame import Lane

ACK_EVERY: Final = 1_024
"""Frames between two acknowledgements; for fewer, one is sent within a second. So many, or those of a second, are
counted as unknown too much at most when a connection breaks.
"""


class Acknowledging:
    """The acknowledgements of one connection, both ways."""

    __slots__ = ("_before", "_heard", "_is_settled", "_lane", "_told", "_traffic", "_writer", "due_at", "is_wanted")

    def __init__(self, lane: Lane, traffic: Traffic, writer: FrameWriter) -> None:
        self.due_at: float = math.inf
        """Number of frames received by the link at the next report to the peer."""
        self.is_wanted = False
        """Whether the writer is to write `frame` next."""
        self._lane = lane
        self._traffic = traffic
        self._writer = writer
        self._before = 0
        self._told = 0
        self._heard = 0
        self._is_settled = False
        self.begin()

    def begin(self) -> None:
        """Count from here: earlier frames of the link came on another connection."""
        self._before = self._traffic.frames_received
        if self._lane is Lane.ordinary:
            self.due_at = self._before + ACK_EVERY

    @property
    def is_behind(self) -> bool:
        """Whether the peer has still to be told of frames handed over."""
        return self.due_at < math.inf and self._traffic.frames_received - self._before > self._told

    @property
    def unheard(self) -> int:
        """Number of frames written, whole or in part, and not acknowledged by the peer."""
        return self._writer.written - self._heard if self.due_at < math.inf else 0

    def settle(self) -> int:
        """Return `unheard` at the end of the link, and 0 from then on: two connections may share this."""
        unheard, self._is_settled = 0 if self._is_settled else self.unheard, True
        return unheard

    def go_on(self, writer: FrameWriter) -> None:
        """Count the frames of the next connection, written by ``writer``, behind those of this one."""
        writer.count_from(self._writer)
        self._writer = writer

    def frame(self) -> bytes:
        """Return the acknowledgement for the peer, or nothing where it knows all."""
        self.is_wanted = False
        if not self.is_behind:
            return b""
        received = self._traffic.frames_received
        self._told, self.due_at = received - self._before, received + ACK_EVERY
        return ack_frame(self._told)

    def hear(self, body: bytes) -> None:
        """Take an acknowledgement of the peer. Raises ProtocolError where it cannot be true."""
        count, most = decode_ack(body), self._writer.written
        if not self._heard <= count <= most:
            raise ProtocolError(f"acknowledged frames must be from {self._heard} to {most}, got {count}")
        self._heard = count

    def __repr__(self) -> str:
        return f"<Acknowledging told={self._told} heard={self._heard}>"
