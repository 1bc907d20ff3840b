"""The small interface between casty and a network of byte streams.

Two implementations: `casty.transport.network.tcp` for sockets, `casty.transport.network.memory` for tests and
simulation. Both pass one contract suite. Foreign exceptions are mapped here, at the edge: callers
see `ConnectFailed`, `ConnectionLost` and `casty.errors.BindError` only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from casty.address import NodeAddress
from casty.errors import CastyError

CLOSE_TIMEOUT: Final = 1.0
"""Seconds for closing a connection, also while the task is being cancelled."""


class ConnectFailed(CastyError):
    """A dial did not succeed. ``refused`` tells a definite no from silence."""

    def __init__(self, address: NodeAddress, reason: str, *, refused: bool) -> None:
        super().__init__(f"cannot connect to {address}: {reason}")
        self.address = address
        self.refused = refused


class ConnectionLost(CastyError):
    """The stream was reset or closed while it was in use."""


class TlsRefused(ConnectionLost):
    """One end does not believe the other one, or only one of them speaks TLS. It says nothing on who is alive."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Identity of the other end of a connection, as proven to the network, for instance by a certificate."""

    node_id: str | None
    """Name of the node or client; None where many share one proof of their role."""
    role: str
    """Its kind: ``member`` or ``client``."""


class Connection(Protocol):
    """One ordered byte stream between two nodes."""

    is_eager: bool
    """Whether `receive` may spend processor time on being quick, as for members: False at first."""
    is_done: bool
    """Whether nobody needs it any more, and it is closed in a moment: False at first."""

    @property
    def remote(self) -> str:
        """Host of the other end, for limits and log lines, without the port."""
        ...

    @property
    def peer_identity(self) -> PeerIdentity | None:
        """Proven identity of the other end; None where the network proves nothing. The hello must say the same."""
        ...

    def processor_time(self) -> float:
        """Return the seconds of processor time of this thread; constant where time is simulated."""
        ...

    def bound_silence(self, seconds: float) -> None:
        """Let the stream break once written bytes have not arrived for so long, if the network can lose bytes.

        Arrived bytes count, read or not: a process that stands still breaks nothing, as long as there is room.
        """
        ...

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        """Write as much as needs no waiting, and return the number of bytes; 0 is always allowed.

        ``more`` comes behind ``data``. ConnectionLost when the stream is seen to be broken. Not while a `send` is under
        way.
        """
        ...

    async def send(self, data: bytes | memoryview) -> None:
        """Write all of ``data``. A cancelled or failed call may leave a part: close afterwards."""
        ...

    async def receive(self, max_bytes: int) -> bytes:
        """Return the next bytes, at least one; ``b""`` once the other end has closed."""
        ...

    def receive_into_nowait(self, place: memoryview) -> int:
        """Read the bytes at hand into ``place``, from its start, and return their number; 0 is always allowed, and no
        end.

        ConnectionLost when the stream is seen to be broken.
        """
        ...

    async def receive_into(self, place: memoryview) -> int:
        """Read the next bytes to where ``place`` begins and return how many; 0 once the other end has closed.

        All of ``place`` is wanted: it may wait a little for more bytes than the first.
        """
        ...

    async def aclose(self) -> None:
        """Close at once; a receive at the other end returns the bytes sent, then ``b""``."""
        ...


ConnectionHandler = Callable[[Connection], Awaitable[None]]


class Listener(Protocol):
    """A bound port."""

    @property
    def address(self) -> NodeAddress:
        """Address of the listener, with the real port when port 0 was asked for."""
        ...

    async def serve(self, handler: ConnectionHandler) -> None:
        """Run ``handler`` in a task of its own for each connection, until cancelled.

        The handler owns its connection and closes it. An error of a handler must not end serving.
        """
        ...

    async def aclose(self) -> None:
        """Stop listening and free the port."""
        ...


class Network(Protocol):
    """A way to listen and to dial."""

    async def listen(self, host: str, port: int) -> Listener:
        """Open a port.

        Parameters:
            host: Address to bind.
            port: TCP port; 0 takes a free one.

        Returns:
            A listener: it tells its address and serves connections.

        Raises:
            BindError: The port cannot be had; the message says how to mend it.
            ConfigError: The port must not be had: untrusted machines could reach it.
        """
        ...

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> Connection:
        """Dial. It waits as long as the network does, so bound it.

        Parameters:
            address: Where to connect to.
            named_by: Host of the stranger that named this address, so that its names keep only each other waiting; None
                for an address known to this node by itself: of a member, a seed, a command.

        Returns:
            An ordered stream of bytes.

        Raises:
            casty.transport.network.interface.ConnectFailed: Nobody answers there, or somebody refuses.
            casty.transport.network.interface.TlsRefused: The two ends do not agree on TLS.
        """
        ...


async def close(connection: Connection) -> None:
    """Close a connection, bounded in time, also inside a cancelled task."""
    with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
        await connection.aclose()
