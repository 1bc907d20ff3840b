"""The way to one run of a node on one lane, for those who send there again and again.

Looking the link up for each frame, under the name of a run or of any run, was a fifth of the sender's
part of a tell: a route remembers the link for as long as it is up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casty.address import UniqueAddress
from casty.transport.link import Link
from casty.wire.frame import Lane

if TYPE_CHECKING:
    from casty.transport.peers import RemoteTransport


class Route:
    """Where frames for ``to`` go; incarnation 0 is whoever runs there."""

    __slots__ = ("_lane", "_link", "_transport", "to")

    def __init__(self, transport: RemoteTransport, to: UniqueAddress, lane: Lane) -> None:
        self.to = to
        self._transport = transport
        self._lane = lane
        self._link: Link | None = None

    def send(self, frame: bytes) -> bool:
        """Do what `RemoteTransport.send` does."""
        link = self._link
        if link is not None and (session := link.session) is not None and not session.is_finishing:
            outbox = link.outbox
            if outbox.tally.bytes < outbox.tally.bytes_max and outbox.put_nowait(frame):
                return True
        is_taken = self._transport.send(self.to, self._lane, frame)
        self._link = self._transport.link_up(self.to, self._lane)
        return is_taken

    def refusal(self) -> str | None:
        """Return what `RemoteTransport.refusal` does."""
        return self._transport.refusal(self.to, self._lane)

    async def send_wait(self, frame: bytes) -> None:
        """Do what `RemoteTransport.send_wait` does."""
        await self._transport.send_wait(self.to, self._lane, frame)

    def __repr__(self) -> str:
        return f"<Route {self.to} {self._lane.name}>"
