"""One link: the queue of one peer and lane, which outlives the connections that empty it."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum
from typing import TYPE_CHECKING

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.links.send_queue import ByteQuota, SendQueue
from casty.transport.links.traffic import Traffic
from casty.wire.frame import FrameKind, Lane, frame

if TYPE_CHECKING:
    from casty.transport.links.session import Session


REST_GRACE = 5.0
"""Seconds for the peer of an idle link to answer, and to close it."""

GOODBYE_FRAME = frame(FrameKind.GOODBYE, b"")
IDLE_FRAME = frame(FrameKind.IDLE, b"")
STAY_FRAME = frame(FrameKind.STAY, b"")


class IdleClose(Enum):
    """Progress of two nodes in ending a link needed by neither.

    After asking, a node writes nothing until it is answered, and after a goodbye never again: so no frame is under way
    when the connection ends, and frames queued meanwhile have the next one.
    """

    no = "no"
    wanted = "wanted"
    asked = "asked"
    agreed = "agreed"


class LinkState(Enum):
    """State of a link."""

    idle = "idle"
    dialling = "dialling"
    up = "up"


class Link:
    """Link to one run of a peer on one lane; incarnation 0 is any run there."""

    __slots__ = ("_dials", "failures", "lane", "send_queue", "peer", "session", "traffic")

    def __init__(
        self,
        peer: UniqueAddress,
        lane: Lane,
        limits: TransportLimits,
        dials: Container[tuple[NodeAddress, Lane]],
        quota: ByteQuota,
    ) -> None:
        self.peer = peer
        self.lane = lane
        messages_max, bytes_max = limits.outbound_messages_max, limits.outbound_bytes_max
        self.send_queue = SendQueue(messages_max=messages_max, bytes_max=bytes_max, quota=quota)
        self.session: Session | None = None
        self.traffic = Traffic()
        self.failures = 0
        """Short-lived connections in a row."""
        self._dials = dials

    @property
    def state(self) -> LinkState:
        """State of the link now."""
        if self.session is not None:
            return LinkState.up
        return LinkState.dialling if (self.peer.address, self.lane) in self._dials else LinkState.idle

    def __repr__(self) -> str:
        return f"<Link {self.peer.address} {self.lane.name} {self.state.value} queued={len(self.send_queue)}>"
