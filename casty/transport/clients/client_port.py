"""Door of clients, as the transport needs it of the layer above."""

from __future__ import annotations

from typing import Protocol

from casty.transport.network.interface import Connection
from casty.wire.frame import FrameDecoder
from casty.wire.handshake import Hello, Refused


class ClientRun(Protocol):
    """Connection of a client, let in."""

    async def run(self) -> None:
        """Serve the client until either end is done, then close the connection."""
        ...


class ClientPort(Protocol):
    """Taker of clients. None of them ever has a link: what nodes say to each other is out of their reach."""

    def accept(self, hello: Hello, connection: Connection, decoder: FrameDecoder) -> ClientRun | Refused:
        """Take a connection whose hello says that it is of a client, or say why not."""
        ...
