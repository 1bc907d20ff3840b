"""Writing of one connection's frames: queued ones in one piece, and the first of many early.

Owns the frames under way to the socket. It knows no lane and no idle close; `Session` says when its turn is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from casty.transport.links.send_queue import SendQueue
from casty.transport.links.traffic import Traffic
from casty.transport.network.interface import Connection, ConnectionLost
from casty.wire.chunking.buffers import Buffer, rest_of

WRITE_BYTES_MAX = 256 * 1024
"""Bytes of one write of many small frames, bound to make their way within the time-out."""
LARGE_WRITE_BYTES_MAX = 1024 * 1024 + 64 * 1024
"""Bytes of a larger frame offered to the system at once: an ask with 1 MiB takes 1.1 times the processor time in four
pieces.
"""

EARLY_FRAMES_MIN, EARLY_FRAMES_MAX = 4, 32
"""Frames written before the writer's turn comes, when so many have been queued since it was woken: the other node
begins with them while this one makes the rest. With 32, 64 asks in flight take 0.62 of the time by the clock, and 1.02
of the processor time; with 16, each node has more turns: 0.7 and 1.14. With fewer in flight: `keep_pace`.
"""

EARLY_BYTES = 40 * 1024
"""Of a large frame written first: the peer wakes up, and begins to read, while this node writes the rest. An ask with
1 MiB takes 0.85 of the time, and 0.9 of the processor time; as much with 16 KiB, 0.88 and 0.9 with 256."""


class FrameWriter:
    """Writes the frames of one queue to one connection, for one task."""

    __slots__ = (
        "_asking",
        "_connection",
        "_half",
        "_heard",
        "_is_over",
        "_is_torn",
        "_most",
        "_send_queue",
        "_rest",
        "_sent_before",
        "_size",
        "_timeout",
        "_traffic",
        "_unknown",
        "_was_early",
        "on_wait",
    )

    def __init__(
        self,
        connection: Connection,
        send_queue: SendQueue,
        traffic: Traffic,
        *,
        timeout: float,
        asking: Callable[[], int],
    ) -> None:
        """Write for a node waiting for ``asking`` replies."""
        self._connection = connection
        self._send_queue = send_queue
        self._traffic = traffic
        self._timeout = timeout
        self._asking = asking
        self._most = 0
        """Replies awaited at a time, lately."""
        self._half = send_queue.early = EARLY_FRAMES_MAX
        """Half of these, or the bound of early frames."""
        self._unknown = 0
        """Frames out of the queue, and not written whole."""
        self._size = 0
        """Of these together."""
        self._sent_before = traffic.frames_sent
        self._rest: bytes | memoryview = b""
        """Their bytes still to be written. It stays until the next: the memory of large frames freed at once goes back
        to the system and comes anew, page by page, and an ask with 2 MiB takes 1.7 times the processor time.
        """
        self.on_wait: Callable[[], None] | None = None
        """For a stranger, called when a write has to wait: the frames held for it count, and go once written."""
        self._was_early = False
        self._heard = traffic.bytes_received
        """Bytes sent by the peer up to the last early write. A mere listener is busy with earlier frames: then an early
        write is one system call more for nothing, and `send` takes 1.05 times the processor time.
        """
        self._is_over = False
        self._is_torn = False
        """Whether the rest of a partly written frame is nowhere."""

    @property
    def is_idle(self) -> bool:
        """Whether no frame is half written."""
        return not self._unknown

    @property
    def held_bytes(self) -> int:
        """Number of bytes of frames kept for this connection, still to be written or written last."""
        return self._size if self._rest else 0

    @property
    def under_way(self) -> int:
        """Number of frames out of the queue, neither written nor given up."""
        return 0 if self._is_over else self._unknown

    async def write_queued(self) -> bool:
        """Write the rest of an early write, or else the next frames; return whether anything was written since.

        Raises ConnectionLost, as `write`.
        """
        if self._is_torn:
            raise ConnectionLost("there was no memory for the rest of a frame")
        if not self._unknown:
            batch = self._send_queue.take(WRITE_BYTES_MAX)
            if not batch:
                was_early, self._was_early = self._was_early, False
                return was_early
            self._begin(batch)
        await self.write(self._rest)
        if not self._is_over:  # else they were counted as broken
            self._done()
        return True

    def keep_pace(self, frames: int) -> None:
        """Take note of so many frames sent by the peer at once: this node answers with about as many.

        Half of the asks in flight are written early, so that both nodes have something to do at any time; and replies
        with the last one, because nothing comes after it. By the clock, 8 asks in flight take 0.53 of the time, 16 take
        0.51 and 32 take 0.55, for 1.03, 1.04 and 1.1 of the processor time. With the halves alone it is 0.57 and 1.14.
        """
        self._send_queue.early = max(EARLY_FRAMES_MIN, min(self._half, frames))

    def pass_over(self, count: int) -> None:
        """Take note that the last bytes of the peer, so many, are acknowledgement and no more: it may only listen."""
        self._heard += count

    async def wait(self) -> None:
        """Return when there may be something to write."""
        self._most = most = max(self._asking(), self._most - 1)  # those whose replies are here already are not counted
        self._half = min(most // 2, EARLY_FRAMES_MAX) if most >= 2 * EARLY_FRAMES_MIN else EARLY_FRAMES_MAX
        await self._send_queue.wait(self.write_early)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C in whoever sends must not come between the queue and the socket
    def write_early(self) -> None:
        """Write queued frames, if the peer has sent anything since the last time, as far as that needs no waiting.

        `write_queued` does the rest, or meets the error.
        """
        if self._is_over or self._unknown or self._traffic.bytes_received == self._heard:
            return
        self._heard = self._traffic.bytes_received
        self._begin(self._send_queue.take(WRITE_BYTES_MAX))
        try:
            sent = self._connection.send_nowait(self._rest)
        except ConnectionLost:
            return
        if sent == len(self._rest):
            self._was_early = True
            self._done()
        else:
            self._rest = memoryview(self._rest)[sent:]

    @trio.lowlevel.enable_ki_protection
    def write_pieces(self, pieces: list[Buffer]) -> bool:
        """Write a frame past the queue, as far as that needs no waiting; False if others would have to go first.

        `write_queued` does the rest, from a copy.
        """
        if self._is_over or self._unknown or not self._send_queue.is_awaited:
            return False
        with memoryview(pieces[1]) as second, second[:EARLY_BYTES] as early, second[EARLY_BYTES:] as late:
            size, count = sum(map(len, pieces)), len(pieces[0]) + len(early)
            try:
                sent = self._connection.send_nowait(pieces[0], early)
            except ConnectionLost:
                return False  # the writer meets the error
            if not sent:
                return False
            if sent == count:
                with suppress(ConnectionLost):
                    sent += self._connection.send_nowait(late, *pieces[2:])
        self._unknown, self._size = 1, size
        if sent == size:
            self._done()
        else:
            self._send_queue.wake()
            self._is_torn = True  # without memory for the copy, nothing may follow: the peer would take it for the rest
            self._rest = rest_of(pieces, sent)
            self._is_torn = False
        return True

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of it. ConnectionLost also when WRITE_BYTES_MAX make no way within the time-out."""
        rest = data
        while True:
            part = rest if len(rest) <= LARGE_WRITE_BYTES_MAX else memoryview(rest)[:LARGE_WRITE_BYTES_MAX]
            sent = self._connection.send_nowait(part)
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]
            if sent == len(part):
                await trio.lowlevel.checkpoint()
                continue
            if self.on_wait is not None:
                self.on_wait()
            with trio.move_on_after(self._timeout) as scope:
                await self._connection.send(rest[:WRITE_BYTES_MAX])
            if scope.cancelled_caught:
                raise ConnectionLost(f"a write made no progress for {self._timeout:g} s")
            rest = rest[WRITE_BYTES_MAX:]
            if not rest:
                return

    @property
    def written(self) -> int:
        """Number of frames written to this connection, whole or in part."""
        return self._traffic.frames_sent - self._sent_before + self._unknown

    def count_from(self, before: FrameWriter) -> None:
        """Count the frames of the connection before among those written."""
        self._sent_before = before._sent_before

    def give_up(self) -> None:
        """Count the half-written frame as broken, and write nothing more. Again changes nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._traffic.frames_broken += self._unknown

    def _begin(self, batch: list[bytes]) -> None:
        self._rest = batch[0] if len(batch) == 1 else b"".join(batch)
        self._size = len(self._rest)
        self._unknown = len(batch)

    def _done(self) -> None:
        self._traffic.frames_sent += self._unknown
        self._traffic.bytes_sent += self._size
        self._unknown = 0
        if self.on_wait is not None:
            self._rest = b""

    def __repr__(self) -> str:
        return f"<FrameWriter unknown={self._unknown}>"
