"""Handover of a link from one connection to the next while both are up: make before break.

Owns what one end of a link has said and heard of it, and what the end of either connection means. It must not know
sockets, queues or tasks: `casty.transport.links.link` writes and reads as this says.

The dialler makes the new connection, whose hello proves the secret of the old one. Each direction then moves by itself:
HANDOVER, with the nonce of that hello, is the last frame on the old connection, between two others, and the next one
goes over the new connection. That is read only once HANDOVER was read on the old one, so nothing is overtaken, and no
frame is written on both. The dialler says it first: until then the new connection can be lost, or given up, at no cost.
From the first HANDOVER on the link lives on two connections, and ends with either.

Warning: no deadline is in here. Its driver ends a handover that takes longer than HANDOVER_MAX.
"""

from __future__ import annotations

import struct
from typing import Final

from casty.errors import ProtocolError
from casty.wire.frame import FrameKind, frame

HANDOVER_MAX: Final = 30.0
"""Seconds for the whole handover: what lies unread on the old connection has to be handled in it. Less than that of a
slow reader, and links would end for being busy; a peer that goes away in the middle is found by its heartbeats long
before."""

LATE: Final = f"it was not handed over to a newer connection within {HANDOVER_MAX:g} s"
LOST_HEIR: Final = "it was handed over to a connection that was lost"

_NONCE: Final = struct.Struct(">Q")


class Handover:
    """Knowledge of one end of a handover; ``nonce`` is that of the hello on the new connection.

    >>> here, there = Handover(7, is_dialler=True), Handover(7, is_dialler=False)
    >>> here.may_say, there.may_say
    (True, False)
    >>> there.hear(here.say()[5:])
    True
    >>> here.said()
    >>> here.hear(there.say()[5:])
    True
    >>> there.said()
    >>> here.is_over, there.is_over
    (True, True)
    """

    __slots__ = ("_is_dialler", "_nonce", "is_broken", "is_heard", "is_said", "is_saying")

    def __init__(self, nonce: int, *, is_dialler: bool) -> None:
        self._nonce = nonce
        self._is_dialler = is_dialler
        self.is_saying = False
        """Whether HANDOVER is being written on the old connection, or was."""
        self.is_said = False
        """Whether it is written whole: what comes next goes over the new connection."""
        self.is_heard = False
        """Whether the old connection is read to its end."""
        self.is_broken = False
        """Whether one of the two connections has ended before."""

    @property
    def may_say(self) -> bool:
        """Whether HANDOVER is to be written as soon as no frame is half written."""
        return (self._is_dialler or self.is_heard) and not (self.is_saying or self.is_broken)

    @property
    def is_committed(self) -> bool:
        """Whether the link needs both connections."""
        return self.is_saying or self.is_heard

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes or goes on the old connection."""
        return self.is_said and self.is_heard and not self.is_broken

    @property
    def is_under_way(self) -> bool:
        """Whether it is neither over nor broken."""
        return not (self.is_over or self.is_broken)

    @property
    def may_be_replaced(self) -> bool:
        """Whether its dialler may begin anew: it lost the new connection, and this end has not noticed."""
        return not (self._is_dialler or self.is_committed)

    def say(self) -> bytes:
        """Return the last frame for the old connection."""
        assert self.may_say, "HANDOVER is said once, and by the acceptor after the dialler"
        self.is_saying = True
        return frame(FrameKind.HANDOVER, _NONCE.pack(self._nonce))

    def said(self) -> None:
        """Take note that it was written whole."""
        self.is_said = True

    def hear(self, body: bytes) -> bool:
        """Take HANDOVER from the old connection; False when the new one is lost. ProtocolError where it cannot be.

        >>> Handover(7, is_dialler=True).hear(b"7")
        Traceback (most recent call last):
            ...
        casty.errors.ProtocolError: HANDOVER has 8 bytes, got 1
        """
        if len(body) != _NONCE.size:
            raise ProtocolError(f"HANDOVER has {_NONCE.size} bytes, got {len(body)}")
        (nonce,) = _NONCE.unpack(body)
        if nonce != self._nonce or self.is_heard or (self._is_dialler and not self.is_saying):
            raise ProtocolError("HANDOVER to no connection that waits for it")
        self.is_heard = not self.is_broken
        return self.is_heard

    def hear_goodbye(self) -> None:
        """Take the goodbye of a peer that goes away for its HANDOVER: it is the last frame of that connection too."""
        self.is_heard = True

    def ends_link(self, *, is_old: bool) -> bool:
        """Take note of the end of a connection; whether it is that of the link, and so of the other one too.

        The end of the new one before anything was said costs nothing, and that of the old one when all is said.
        """
        if self.is_over:
            return not is_old
        is_first, self.is_broken = not self.is_broken, True
        return (is_first and (is_old or self.is_committed)) or (is_old and not self.is_committed)

    def __repr__(self) -> str:
        return f"<Handover said={self.is_said} heard={self.is_heard}{' broken' if self.is_broken else ''}>"
