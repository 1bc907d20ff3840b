"""Route to one run of a node on one lane, for repeated senders.

Looking the link up for each frame, under the name of a run or of any run, was a fifth of the sender's part of a tell,
and a tenth of the whole cost of a send on both nodes: a route remembers the link for as long as it is up.
"""

from __future__ import annotations

import trio

from casty.address import UniqueAddress
from casty.transport.links.link import Link
from casty.transport.manager.peers import SENDS_BEFORE_YIELD, RemoteTransport
from casty.wire.chunking.buffers import Buffer
from casty.wire.frame import Lane


class LinkHandle:
    """Route for frames to ``to``; incarnation 0 is any run there."""

    __slots__ = ("_lane", "_link", "_transport", "to")

    def __init__(self, transport: RemoteTransport, to: UniqueAddress, lane: Lane) -> None:
        self.to = to
        self._transport = transport
        self._lane = lane
        self._link: Link | None = None

    def put(self, frame: bytes) -> bool:
        """Queue a frame on the link that was up the last time, if it still is and has room."""
        link = self._link
        if link is None or (session := link.session) is None or session.is_finishing:
            return False
        send_queue = link.send_queue
        return send_queue.quota.bytes < send_queue.quota.bytes_max and send_queue.put_nowait(frame)

    def put_request(self, frame: bytes) -> bool:
        """Queue a request so, unless others wait: able to wait itself, it does not pass them."""
        link = self._link
        if link is None or (session := link.session) is None or session.is_finishing:
            return False
        send_queue = link.send_queue
        return (
            not send_queue.line and send_queue.quota.bytes < send_queue.quota.bytes_max and send_queue.put_nowait(frame)
        )

    def write_now(self, pieces: list[Buffer]) -> bool:
        """Write a frame at once, past the empty queue of that link; False when it has to be queued."""
        link = self._link
        if link is None or link.session is None or link.send_queue.quota.bytes >= link.send_queue.quota.bytes_max:
            return False
        return link.session.write_now(pieces)

    def send(self, frame: bytes) -> bool:
        """Call `RemoteTransport.send` for this run and lane."""
        if self.put(frame):
            return True
        is_taken = self._transport.send(self.to, self._lane, frame)
        self._link = self._transport.link_up(self.to, self._lane)
        return is_taken

    def has_spare_room(self) -> bool:
        """Call `RemoteTransport.has_spare_room` for this run and lane."""
        return self._transport.has_spare_room(self.to, self._lane)

    def refusal(self) -> str | None:
        """Call `RemoteTransport.refusal` for this run and lane."""
        return self._transport.refusal(self.to, self._lane)

    async def send_wait(self, frame: bytes) -> None:
        """Call `RemoteTransport.send_wait` for this run and lane."""
        transport = self._transport
        transport.sends += 1
        if transport.sends % SENDS_BEFORE_YIELD:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        if not self.put(frame):
            await transport.send_wait(self.to, self._lane, frame)
            self._link = transport.link_up(self.to, self._lane)

    async def queue(self, frame: bytes, deadline: float) -> None:
        """Call `RemoteTransport.queue` for this run and lane."""
        await self._transport.queue(self.to, self._lane, frame, deadline)
        self._link = self._transport.link_up(self.to, self._lane)

    def __repr__(self) -> str:
        return f"<LinkHandle {self.to} {self._lane.name}>"
