"""The stream below TLS: a connection of the network as anyio's `TLSStream` reads and writes it.

Owns what is between OpenSSL and the connection: the bounds of what a peer may send before it is believed and without
content, what could not be written without waiting, and how much is read and not decrypted yet.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio
import trio
from anyio.abc import ByteStream

from casty.errors import ProtocolError
from casty.transport.network.interface import Connection

HANDSHAKE_BYTES_MAX: Final = 16 * 1024
"""Bytes read from a peer before it is believed: a hello of TLS and a chain of certificates take 2 to 8 KiB. OpenSSL
holds some of them twice, beside 60 KiB of its own.
"""
OPENING_BYTES_MAX: Final = 8 * 1024
"""The part of them before the first answer, for the hello of TLS alone."""
READ_BYTES: Final = 64 * 1024
RECORDS_AT_ONCE: Final = 64
"""Records given to OpenSSL in one turn of the loop. One that renews keys has 27 bytes and takes it 20 to 40 µs, so all
that one read can bring of them take 50 to 90 ms.
"""
IDLE_RECORDS_MAX: Final = 32
"""Records without content in the life of a connection. Nodes and clients send none; keys need none in 16 million."""
RECORD_HEADER: Final = 5
HANDSHAKE: Final = 0x16
"""First byte of everybody who begins TLS."""


class RawStream(ByteStream):
    """Connection below as a stream of anyio's; one writer at a time, since reading can have something to write too."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self._first = b""
        self._kept = b""
        """Bytes read that belong to later turns of the loop."""
        self._records = _Records()
        self._sending = trio.Lock()
        self._may_not_wait = False
        self.rest = b""
        """Bytes to be written before any other."""
        self.received = 0
        self.at_hand = 0
        """Bytes given to OpenSSL and not decrypted yet, about: it is a guess from the lengths of records."""
        self.contents = 0
        """Records whose content was read to its end."""
        self._has_sent = False
        self.is_bounded = True
        """Whether HANDSHAKE_BYTES_MAX holds, or, before anything was sent, OPENING_BYTES_MAX; afterwards
        IDLE_RECORDS_MAX does.
        """

    async def begins_with_tls(self) -> bool:
        """Whether the first byte is that of TLS; it stays to be read. ConnectionLost for who closes without any."""
        self._first = await self.receive()
        return self._first[0] == HANDSHAKE

    def believe(self) -> None:
        """Count records from here on, instead of bytes: hands are shaken."""
        self.is_bounded, self._records.begun = False, 0

    async def receive(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return the next bytes, at least one, once OpenSSL has taken those before. EndOfStream at the end.

        ProtocolError for a peer that goes beyond a bound.
        """
        if self._first:
            data, self._first = self._first, b""
            return data
        if not self.is_bounded and self._records.begun - self.contents > IDLE_RECORDS_MAX:
            raise ProtocolError(f"it sent more than {IDLE_RECORDS_MAX} records of TLS without content")
        if self._kept:
            await trio.lowlevel.checkpoint()
            data = self._kept
        else:
            data = await self._inner.receive(min(max_bytes, OPENING_BYTES_MAX) if self.is_bounded else max_bytes)
        if not data:
            raise anyio.EndOfStream
        end = self._records.portion(data)
        data, self._kept = data[:end], data[end:]
        self.at_hand = len(data) + (self.at_hand if self.at_hand > 0 else 0)
        if self.is_bounded:
            self.received += len(data)
            bound = HANDSHAKE_BYTES_MAX if self._has_sent else OPENING_BYTES_MAX
            if self.received > bound:
                when = "the end of the TLS handshake" if self._has_sent else "the end of its first message of TLS"
                raise ProtocolError(f"it sent more than {bound} bytes before {when}")
        return data

    async def send(self, item: bytes) -> None:
        """Write all of it."""
        self._has_sent = True
        if self.is_free:
            self.rest = item[self._inner.send_nowait(item) :]
            if not self.rest or self._may_not_wait:
                return
            item = b""
        async with self._sending:
            item, self.rest = self.rest + item, b""
            if item:
                await self._inner.send(item)

    @property
    def is_free(self) -> bool:
        """Whether nothing waits to be written."""
        return not self.rest and not self._sending.locked()

    @contextmanager
    def without_waiting(self) -> Generator[None]:
        """Keep what `send` would have to wait with in ``rest``, for the next `send`; only while nothing waits."""
        self._may_not_wait = True
        try:
            yield
        finally:
            self._may_not_wait = False

    async def send_eof(self) -> None:
        """Refuse: a link has no half ends."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the connection below."""
        await self._inner.aclose()


class _Records:
    """Count of the records of TLS in a stream, by the lengths in their headers.

    >>> records = _Records()
    >>> records.portion(bytes((23, 3, 3, 0, 1, 99, 23, 3))), records.portion(bytes((3, 0, 2, 99, 99))), records.begun
    (8, 5, 2)
    >>> records.portion(bytes((23, 3, 3, 0, 1, 99)) * 100), records.begun
    (384, 66)
    """

    __slots__ = ("_head", "_left", "begun")

    def __init__(self) -> None:
        self.begun = 0
        self._head = b""
        """Bytes of a header that has come in part."""
        self._left = 0
        """Bytes of the latest record that are still to come."""

    def portion(self, data: bytes) -> int:
        """Return how many of the next bytes belong to at most RECORDS_AT_ONCE further records, and count these."""
        before = len(self._head)
        said = self._head + data if before else data
        at, end, most = self._left, len(said), self.begun + RECORDS_AT_ONCE
        while at + RECORD_HEADER <= end and self.begun < most:
            at += RECORD_HEADER + (said[at + 3] << 8 | said[at + 4])
            self.begun += 1
        if at < end and self.begun == most:
            self._head, self._left = b"", 0
            return at - before
        self._head, self._left = said[at:], max(at - end, 0)
        return len(data)
