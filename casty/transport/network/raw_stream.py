"""The stream below TLS: a connection of the network as anyio's `TLSStream` reads and writes it.

Owns what is between OpenSSL and the connection: the bound of what a peer may send before it is believed, what could not
be written without waiting, and how much is read and not decrypted yet.
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
HANDSHAKE: Final = 0x16
"""First byte of everybody who begins TLS."""


class RawStream(ByteStream):
    """Connection below as a stream of anyio's; one writer at a time, since reading can have something to write too."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self._first = b""
        self._sending = trio.Lock()
        self._may_not_wait = False
        self.rest = b""
        """Bytes to be written before any other."""
        self.received = 0
        self.at_hand = 0
        """Bytes read and not decrypted yet, about: it is a guess from the lengths of records."""
        self._has_sent = False
        self.is_bounded = True
        """Whether HANDSHAKE_BYTES_MAX holds, or, before anything was sent, OPENING_BYTES_MAX."""

    async def begins_with_tls(self) -> bool:
        """Whether the first byte is that of TLS; it stays to be read. ConnectionLost for who closes without any."""
        self._first = await self.receive()
        return self._first[0] == HANDSHAKE

    async def receive(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return the next bytes, at least one. EndOfStream at the end."""
        if self._first:
            data, self._first = self._first, b""
            return data
        data = await self._inner.receive(min(max_bytes, OPENING_BYTES_MAX) if self.is_bounded else max_bytes)
        if not data:
            raise anyio.EndOfStream
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
