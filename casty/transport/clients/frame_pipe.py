"""Whole frames over one connection, for the two ends of a client's: a bounded queue with its writer, and a reader.

Links between nodes have `casty.transport.links.link` instead. A client's connection has one lane, no acknowledgements,
no successor: when it breaks, the client makes another one, and its open asks fail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from casty.transport.network.interface import Connection, ConnectionLost, close
from casty.wire.frame import FrameDecoder, FrameKind

READ_BYTES = 64 * 1024
FRAMES_AT_ONCE = 256
"""Frames cut before others run. Of the smallest ones 64 KiB hold 13,000: with Python's collections they took 80 ms."""
WRITE_BYTES = 64 * 1024
"""Bytes given to the connection in one call. It, TLS, and the traceback of a call that is cancelled hold copies."""


class FramePipe:
    """Frames to and from the other end.

    Parameters:
        connection: Connection with its hellos exchanged.
        decoder: Decoder of its stream, with the bytes that came behind the hello.
        bytes_max: Bytes waiting to be written, at most.
        write_timeout: Seconds for one write.
    """

    __slots__ = (
        "_connection",
        "_decoder",
        "_is_at_hand",
        "_queue",
        "_rest",
        "_timeout",
        "_wake",
        "bytes",
        "bytes_max",
        "is_over",
    )

    def __init__(self, connection: Connection, decoder: FrameDecoder, *, bytes_max: int, write_timeout: float) -> None:
        self._connection = connection
        self._decoder = decoder
        self._timeout = write_timeout
        self._queue: deque[tuple[bytes, object]] = deque()
        self._rest = memoryview(b"")
        """Part of a large frame that is not written yet."""
        self._wake = trio.Event()
        self._is_at_hand = True
        """Whether what has come may hold whole frames."""
        self.bytes = 0
        """Bytes waiting, those inside a write among them."""
        self.bytes_max = bytes_max
        self.is_over = False
        """Whether nothing is written after what waits."""
        connection.bound_silence(write_timeout)

    @property
    def remote(self) -> str:
        """Host at the other end."""
        return self._connection.remote

    def put(self, frame: bytes, token: object = None) -> bool:
        """Queue a frame, with what stands for it in `unwritten`; False where there is no room, or the end has come."""
        if self.is_over or (self.bytes and self.bytes + len(frame) > self.bytes_max):
            return False
        self._queue.append((frame, token))
        self.bytes += len(frame)
        self._wake.set()
        return True

    def finish(self, last: bytes) -> None:
        """Write what waits and this frame, and nothing more."""
        if not self.is_over:
            self._queue.append((last, None))
            self.is_over = True
            self._wake.set()

    def take_back(self, is_meant: Callable[[object], bool]) -> list[object]:
        """Take queued frames out, nothing of which was written, by what stands for them; return that."""
        kept, tokens = deque[tuple[bytes, object]](), list[object]()
        for frame, token in self._queue:
            if token is None or not is_meant(token):
                kept.append((frame, token))
            else:
                self.bytes -= len(frame)
                tokens.append(token)
        self._queue = kept
        return tokens

    def unwritten(self) -> list[object]:
        """Take out what is queued, nothing of which was written; return the tokens."""
        self.is_over = True
        tokens = [token for _, token in self._queue if token is not None]
        self._queue.clear()
        return tokens

    async def write(self) -> None:
        """Write until `finish` was called and all is written. Raises ConnectionLost."""
        while True:
            while self._queue or self._rest:
                batch = self._next()
                with trio.move_on_after(self._timeout) as scope:
                    await self._connection.send(batch)
                if scope.cancelled_caught:
                    raise ConnectionLost(f"nothing could be written for {self._timeout:g} s")
                self.bytes = max(0, self.bytes - len(batch))
            if self.is_over:
                return
            self._wake = trio.Event()
            await self._wake.wait()

    def _next(self) -> bytes:
        """Take out what is written in one call: small frames together, or the next part of a large one."""
        if not self._rest:
            batch = [self._queue.popleft()[0]]
            size = len(batch[0])
            if size > WRITE_BYTES:
                self._rest = memoryview(batch[0])
            else:
                while self._queue and (size := size + len(self._queue[0][0])) <= WRITE_BYTES:
                    batch.append(self._queue.popleft()[0])
                return b"".join(batch)
        part, self._rest = bytes(self._rest[:WRITE_BYTES]), self._rest[WRITE_BYTES:]
        return part

    async def read(self) -> list[tuple[FrameKind, bytes]]:
        """Return the next whole frames, at most FRAMES_AT_ONCE. Raises ConnectionLost at the end, or ProtocolError."""
        data = b""
        while True:
            if not self._is_at_hand:
                data = await self._connection.receive(READ_BYTES)
                if not data:
                    raise ConnectionLost("the other end has closed the connection")
            frames = self._decoder.feed(data, frames_max=FRAMES_AT_ONCE)
            self._is_at_hand = len(frames) == FRAMES_AT_ONCE
            if frames:
                await trio.lowlevel.checkpoint()
                return frames

    def drop(self) -> None:
        """Forget what is queued, and what has come in part: some actor may keep whoever holds this for long."""
        self.is_over, self.bytes = True, 0
        self._queue.clear()
        self._rest = memoryview(b"")
        self._decoder.drop()

    async def aclose(self) -> None:
        """Close the connection, bounded in time, also inside a cancelled task."""
        await close(self._connection)

    def __repr__(self) -> str:
        return f"<FramePipe {self.remote} queued={self.bytes} B>"
