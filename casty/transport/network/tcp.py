"""The network of real sockets: plain TCP through anyio's streams.

Owns the mapping between the operating system's errors and the three known to callers. It binds exactly the named
interface, never every interface by accident, and one connection's failure stays in that connection.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from time import thread_time
from typing import cast

import anyio
import trio
from anyio.abc import SocketAttribute, SocketListener, SocketStream

from casty.address import NodeAddress
from casty.config.validation import PORT_MAX, check_endpoint
from casty.errors import BindError, ConfigError
from casty.transport.network.busy_poll import Looking, Polling, more_turns, usable_cores
from casty.transport.network.happy_eyeballs import connect_first
from casty.transport.network.hostname_lookup import HostnameLookup
from casty.transport.network.interface import ConnectFailed, ConnectionHandler, ConnectionLost

ACCEPT_PAUSE = 0.1
"""Seconds between two accepts after one failed: when descriptors run out, hurrying does not help."""

GATHER_SECONDS = 0.1
"""Seconds in which the system may collect bytes before they are read. Linux before 5.7 could do so for ever: it closes
the window when small packets fill the buffer before the wanted bytes have come.
"""
GATHERS = sys.platform == "linux"
USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
"""Option for the longest time of unacknowledged bytes, in ms; None where the system has none: Linux has it. Without it,
lost bytes are repeated after ever longer pauses, of 0.2, 0.4, 0.8 s up to 2 minutes, for a quarter of an hour.
"""
GATHERS_WRITES = hasattr(socket.socket, "sendmsg")
"""Whether the system can write from several buffers at once."""

UNKNOWN_HOST = "unknown"
NOBODY = "nobody listens there"

_MS_MAX = 2**31 - 1
"""Largest number for such an option."""

_NOT_ON_THIS_HOST = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
"""Errors of an address family missing on this machine: they say nothing about the peer."""

logger = logging.getLogger("casty.transport")


class TcpConnection:
    """One socket; its errors appear as ConnectionLost.

    The stream opens, closes and waits for room; work without waiting goes past it, straight to the socket: through the
    stream, a write with success at once costs a turn of the loop, and a read begins with a system call for nothing.
    Together with a time-out only for waiting writes, this took a quarter of the processor time of an ask of another
    node.
    """

    __slots__ = ("_is_drained", "_polling", "_remote", "_sent", "_socket", "_stream", "is_done", "is_eager")

    def __init__(self, stream: SocketStream, remote: str, *, looking: Looking | None = None) -> None:
        self.is_eager = self.is_done = False
        self._stream = stream
        self._socket: socket.socket = stream.extra(SocketAttribute.raw_socket)
        self._remote = remote
        self._is_drained = False
        self._polling = None if looking is None else Polling(looking)
        self._sent = 0
        """Bytes since the last ones came: the other end has to read them before it can answer."""

    @property
    def peer_identity(self) -> None:
        """Nobody: plain TCP proves nothing."""
        return None

    @property
    def remote(self) -> str:
        """The other end's IP address."""
        return self._remote

    def processor_time(self) -> float:
        """Return the processor time of this thread: not that of others, run by the system meanwhile."""
        return thread_time()

    def bound_silence(self, seconds: float) -> None:
        """Let the system give the connection up when the other one acknowledges nothing for so long."""
        if USER_TIMEOUT is not None:
            with suppress(OSError):  # it is broken already, which whoever reads or writes is told
                self._socket.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, round(min(1000 * seconds, _MS_MAX)) or 1)

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        """Write as much as the socket's buffer takes; ConnectionLost when the stream broke or was closed."""
        try:
            sent = self._socket.sendmsg((data, *more)) if more and GATHERS_WRITES else self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionLost(_reason(error)) from error
        self._sent += sent
        return sent

    async def send(self, data: bytes | memoryview) -> None:
        """Write all of ``data``; ConnectionLost when the stream broke or was closed."""
        try:
            self._sent += len(data)
            await self._stream.send(data)  # type: ignore[arg-type]  # it makes a memoryview of whatever it gets
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionLost(_reason(error)) from error

    async def receive(self, max_bytes: int) -> bytes:
        """Return the next bytes, ``b""`` at the end; ConnectionLost when the stream broke."""
        try:
            if not self._is_drained:
                await trio.lowlevel.checkpoint()
            elif (data := await self._poll(max_bytes)) is not None:
                self._is_drained = 0 < len(data) < max_bytes
                return data
            elif self._socket.fileno() >= 0:  # there was nothing more the last time: first wait, then read
                await trio.lowlevel.wait_readable(self._socket)
            while True:
                try:
                    data = self._socket.recv(max_bytes)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._socket)
                else:
                    self._is_drained = 0 < len(data) < max_bytes
                    self._sent = 0
                    return data
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionLost(_reason(error)) from error

    async def _poll(self, max_bytes: int) -> bytes | None:
        """Look for bytes over some turns of the loop, if it has paid of late; None when there were none."""
        polling = self._polling
        if polling is None or not self.is_eager or not (turns := polling.turns()):
            return None
        looked = 0
        polling.looking.count += 1
        try:
            while looked < turns + more_turns(self._sent):  # what is sent meanwhile counts too
                looked += 1
                await trio.lowlevel.checkpoint()
                try:
                    data = self._socket.recv(max_bytes)
                except BlockingIOError:
                    continue
                polling.hit()
                self._sent = 0
                return data
        finally:
            polling.looking.count -= 1
        polling.missed()
        return None

    def receive_into_nowait(self, place: memoryview) -> int:
        """Read the bytes at hand; 0 when there are none, or at the end; ConnectionLost when the stream broke."""
        self._is_drained = True
        try:
            return self._socket.recv_into(place)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionLost(_reason(error)) from error

    async def receive_into(self, place: memoryview) -> int:
        """Read the next bytes into ``place``, all of them if they come soon; ConnectionLost as `receive`.

        The system is told the number of bytes wanted, and makes room for them: else the first bytes wake the reader, to
        take 1 MiB in several pieces, while the writer waits for room. An ask with 1 MiB takes 0.8 of the time.
        """
        try:
            if GATHERS:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(place))
            try:
                with trio.move_on_after(GATHER_SECONDS):
                    await trio.lowlevel.wait_readable(self._socket)
            finally:
                if GATHERS:
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            while True:
                try:
                    count = self._socket.recv_into(place)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._socket)
                else:
                    self._is_drained = count > 0  # as far as it was wanted: a guess, which `receive` checks
                    return count
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionLost(_reason(error)) from error

    async def aclose(self) -> None:
        """Close the socket, also when the caller is cancelled."""
        await self._stream.aclose()

    def __repr__(self) -> str:
        return f"<TcpConnection {self._remote}>"


class TcpListener:
    """Bound port: one socket for each address of the host name on this machine."""

    __slots__ = ("_address", "_listeners", "_looking")

    def __init__(
        self, address: NodeAddress, listeners: Sequence[SocketListener], *, looking: Looking | None = None
    ) -> None:
        self._address = address
        self._looking = looking
        self._listeners = listeners

    @property
    def address(self) -> NodeAddress:
        """The host as it was named and the port taken."""
        return self._address

    @trio.lowlevel.enable_ki_protection
    async def serve(self, handler: ConnectionHandler) -> None:
        """Run ``handler`` for each connection until cancelled or closed."""
        async with trio.open_nursery() as nursery:
            for listener in self._listeners:
                nursery.start_soon(self._accept, listener, handler, nursery)

    async def aclose(self) -> None:
        """Free the port; serving ends, the connections live on."""
        for listener in self._listeners:
            await listener.aclose()

    @trio.lowlevel.enable_ki_protection
    async def _accept(self, listener: SocketListener, handler: ConnectionHandler, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except anyio.ClosedResourceError:
                return
            except anyio.BrokenResourceError as error:
                logger.warning("cannot accept a connection on %s: %s", self._address, _reason(error))
                await trio.sleep(ACCEPT_PAUSE)
            else:
                connection = TcpConnection(stream, _remote_host(stream), looking=self._looking)
                nursery.start_soon(_isolated, connection, handler)

    def __repr__(self) -> str:
        return f"<TcpListener {self._address}>"


class TcpNetwork:
    """Listen and dial over TCP.

    Parameters:
        insecure: Allow to listen beyond loopback, although the traffic is neither encrypted nor authenticated: for
            networks of trusted machines alone.
        busy_poll: Let readers look for more for about 0.1 ms before they sleep, as long as it pays. Where the process
            may use one core only, they sleep at once in any case.
    """

    __slots__ = ("_insecure", "_is_covered", "_looking", "_lookup")

    def __init__(self, *, insecure: bool = False, busy_poll: bool = True) -> None:
        self._insecure = insecure
        self._is_covered = False
        self._lookup = HostnameLookup()
        self._looking = Looking() if busy_poll and usable_cores() > 1 else None

    def cover(self) -> None:
        """Allow to listen anywhere: everything that travels here is encrypted above. For `TlsNetwork`."""
        self._is_covered = True

    async def listen(self, host: str, port: int) -> TcpListener:
        """Open a port.

        Parameters:
            host: Address to bind.
            port: TCP port; 0 takes a free one.

        Returns:
            The listener.

        Raises:
            BindError: The port cannot be had; the message says how to mend it.
            ConfigError: ``host`` is not loopback and ``insecure`` is False, or host or port make no sense.
        """
        check_endpoint("listening", host, port)
        if not is_loopback(host) and not self._is_covered:
            if not self._insecure:
                raise ConfigError(f"{reachable(host)}, or pass insecure=True on a network that you trust")
            logger.warning("listening on %s without encryption or authentication (insecure=True)", host)
        try:
            multi = await anyio.create_tcp_listener(local_host=host, local_port=port)
        except (OSError, ValueError) as error:
            raise BindError(f"cannot listen on {NodeAddress(host, port)}: {_bind_advice(error)}") from error
        listeners = [listener for listener in multi.listeners if isinstance(listener, SocketListener)]
        bound: int = listeners[0].extra(SocketAttribute.local_port)
        return TcpListener(NodeAddress(host, bound), listeners, looking=self._looking)

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> TcpConnection:
        """Dial, over IPv6 or IPv4.

        Parameters:
            address: Where to connect to.
            named_by: Host of the stranger that named this address; see `casty.transport.network.interface.Network`.

        Returns:
            The connection.

        Raises:
            casty.transport.network.interface.ConnectFailed: Nobody answers there, or the dial is refused; the error
                says so.
        """
        if not 0 < address.port <= PORT_MAX:
            raise ConnectFailed(address, f"the port must be from 1 to {PORT_MAX}", refused=False)
        try:
            stream = await connect_first(await self._lookup.resolve(address.host, named_by), address.port)
        except (OSError, ValueError) as error:
            refused = _is_refusal(error)
            raise ConnectFailed(address, NOBODY if refused else _reason(error), refused=refused) from error
        if _is_connected_to_itself(stream):
            # A dial to a free port of the ephemeral range can be given that very port and meet itself.
            await stream.aclose()
            raise ConnectFailed(address, NOBODY, refused=True)
        return TcpConnection(stream, _remote_host(stream), looking=self._looking)


def reachable(host: str) -> str:
    """Return the objection to listening on ``host``, and the way out."""
    return (
        f"listening on {host!r} would be reachable from other machines without encryption: set tls, or bind a loopback "
        "address such as '127.0.0.1'"
    )


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be reached from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@trio.lowlevel.enable_ki_protection
async def _isolated(connection: TcpConnection, handler: ConnectionHandler) -> None:
    try:
        await handler(connection)
    except Exception:
        logger.exception("the handler of a connection from %s failed", connection.remote)
    finally:
        await connection.aclose()


def _remote_host(stream: SocketStream) -> str:
    try:
        host: object = stream.extra(SocketAttribute.remote_address)[0]
    except (OSError, anyio.TypedAttributeLookupError):
        return UNKNOWN_HOST  # reset between the accept and this question
    return str(host)


def _is_connected_to_itself(stream: SocketStream) -> bool:
    try:
        return stream.extra(SocketAttribute.local_address) == stream.extra(SocketAttribute.remote_address)
    except (OSError, anyio.TypedAttributeLookupError):
        return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of ``error``: the leaves of causes and groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _causes(inner)
    elif error.__cause__ is not None:
        yield from _causes(error.__cause__)
    else:
        yield error


def _is_refusal(error: BaseException) -> bool:
    codes = {cause.errno for cause in _causes(error) if isinstance(cause, OSError)} - _NOT_ON_THIS_HOST
    return codes == {errno.ECONNREFUSED}


def _reason(error: BaseException) -> str:
    """Return a short text for the innermost errors; never empty."""
    texts = [str(cause) or type(cause).__name__ for cause in _causes(error)]
    return "; ".join(dict.fromkeys(texts))


def _bind_advice(error: OSError | ValueError) -> str:
    codes = {cause.errno for cause in _causes(error) if isinstance(cause, OSError)}
    if errno.EADDRINUSE in codes:
        return "the port is in use; stop the other program, choose another port, or 0 for a free one"
    if errno.EACCES in codes:
        return "the port needs a privilege; choose one above 1023"
    return f"{_reason(error)}; the host must be an address of this machine, such as '127.0.0.1'"
