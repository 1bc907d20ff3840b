"""A network inside one process, for tests and simulation.

It behaves as TCP does where a program can tell: bytes are really passed and not message objects, buffers are bounded, a
port is taken or refused, a connection ends or is reset. `MemoryNetwork.host` gives each node a view of its own, so that
faults know both ends of a path.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf

import trio

from casty.address import NodeAddress
from casty.config.validation import check_endpoint
from casty.errors import BindError
from casty.transport.network.faults import Faults
from casty.transport.network.interface import ConnectFailed, ConnectionHandler, ConnectionLost, PeerIdentity

BUFFER_BYTES_MAX = 256 * 1024
"""Bytes under way in one direction of a connection; beyond it the sender waits, as with a socket."""

BACKLOG_MAX = 1024
"""Connections not accepted yet, for one listener."""

FIRST_FREE_PORT = 49_152

logger = logging.getLogger("casty.transport")


class MemoryNetwork(Faults):
    """All hosts, ports and connections, and the faults between them.

    >>> network = MemoryNetwork()
    >>> network.host("node-1")
    <MemoryHost node-1>
    """

    def __init__(self) -> None:
        super().__init__()
        self._hosts: dict[str, MemoryHost] = {}
        self._listeners: dict[NodeAddress, MemoryListener] = {}
        self._connections: dict[int, tuple[MemoryConnection, MemoryConnection]] = {}
        self._connection_serial = count()
        self._free_port = count(FIRST_FREE_PORT)
        self.paths_changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        """Tasks waiting for a change of the paths."""

    def host(self, name: str) -> MemoryHost:
        """Show the network as one host sees it: a `Network` to start a node with. After a crash it is a new one.

        Parameters:
            name: Name of the host, also its address.

        Returns:
            The host's view.

        Raises:
            ConfigError: ``name`` is no host name.
        """
        check_endpoint("memory", name, 0)
        return self._hosts.setdefault(name, MemoryHost(self, name))

    def crash(self, host: str) -> None:
        """End a host as SIGKILL does: ports gone, connections reset; its view is dead for good.

        Cancel the tasks of the host as well. ``network.host(name)`` starts the host again.

        Parameters:
            host: Name of the host; an unknown one changes nothing.
        """
        self._frozen.discard(host)
        dead = self._hosts.pop(host, None)
        if dead is None:
            return
        dead.is_alive = False
        for listener in [one for one in self._listeners.values() if one.host is dead]:
            listener.close()
        for ends in list(self._connections.values()):
            for end in ends:
                if end.host is dead:
                    end.die()
        self._wake()

    def reset(self, a: str, b: str) -> None:
        """Break every connection between two hosts, as a device on the path does; both ends learn it.

        Parameters:
            a: Name of a host.
            b: Name of another.
        """
        for ends in self._connections.values():
            if {end.host.name for end in ends} == {a, b}:
                for end in ends:
                    end.break_off()
        self._wake()

    @property
    def connection_count(self) -> int:
        """Number of connections with an open end."""
        return len(self._connections)

    def _wake(self) -> None:
        self.paths_changed.unpark_all()
        for near, _ in list(self._connections.values()):
            near.changed.unpark_all()

    async def open_path(self, source: str, target: str) -> None:
        """Wait until a dial has made its round trip. For the hosts.

        Parameters:
            source: Name of the dialling host.
            target: Name of the dialled host.
        """
        while True:
            while self.is_unreachable(source, target):
                await self.paths_changed.park()
            now = trio.current_time()
            round_trip = self.arrival(source, target, now) + self.arrival(target, source, now) - 2 * now
            if round_trip > 0:
                await trio.sleep(round_trip)
            if not self.is_unreachable(source, target):
                return

    def listener_at(self, address: NodeAddress) -> MemoryListener | None:
        """Look up the listener at an address. For the hosts.

        Parameters:
            address: Host and port.

        Returns:
            The listener; None for nobody.
        """
        return self._listeners.get(address)

    def bind(self, host: MemoryHost, port: int) -> MemoryListener:
        """Give a port to a host. For the hosts.

        Parameters:
            host: The host.
            port: The port; 0 is any free one.

        Returns:
            The listener.

        Raises:
            BindError: The port is in use.
        """
        address = NodeAddress(host.name, port)
        while not port and (address.port == 0 or address in self._listeners):
            address = NodeAddress(host.name, next(self._free_port))
        if address in self._listeners:
            raise BindError(f"cannot listen on {address}: the port is in use; choose another, or 0 for a free one")
        listener = self._listeners[address] = MemoryListener(host, address)
        return listener

    def unbind(self, listener: MemoryListener) -> None:
        """Take a port back. For the hosts.

        Parameters:
            listener: Whose port it is.
        """
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def join(self, source: MemoryHost, listener: MemoryListener) -> MemoryConnection:
        """Make a connection, and hand its far end to the listener. For the hosts.

        Parameters:
            source: The dialling host.
            listener: The dialled listener.

        Returns:
            The near end.
        """
        serial = next(self._connection_serial)
        changed = trio.lowlevel.ParkingLot()
        there = _Pipe(self, source.name, listener.host.name)
        back = _Pipe(self, listener.host.name, source.name)
        near = MemoryConnection(serial, source, listener.host, incoming=back, outgoing=there, changed=changed)
        far = MemoryConnection(serial, listener.host, source, incoming=there, outgoing=back, changed=changed)
        listener.offer(far)
        self._connections[serial] = near, far
        return near

    def forget(self, serial: int) -> None:
        """Drop a connection once both of its ends are closed. For the connections.

        Parameters:
            serial: Number of the connection.
        """
        if all(end.is_closed for end in self._connections.get(serial, ())):
            self._connections.pop(serial, None)


class MemoryHost:
    """One host's view of a `MemoryNetwork`; a `casty.transport.network.interface.Network`."""

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.network = network
        self.processor_time: Callable[[], float] = lambda: 0.0
        """Seconds of processor time of the host."""
        self.identity: PeerIdentity | None = None
        """Identity proven by its connections from now on, as with a certificate; None: they prove nothing."""

    async def listen(self, host: str, port: int) -> MemoryListener:
        """Open a port of this host; ``host`` must be its own name."""
        await trio.lowlevel.checkpoint()
        check_endpoint("listening", host, port)
        if host != self.name or not self.is_alive:
            raise BindError(f"cannot listen on {NodeAddress(host, port)}: this host is {self!r}")
        return self.network.bind(self, port)

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> MemoryConnection:
        """Dial; refused when nobody listens, silent for as long as the path is cut."""
        await trio.lowlevel.checkpoint()
        await self.network.open_path(self.name, address.host)
        if not self.is_alive:
            raise ConnectFailed(address, f"this host is {self!r}", refused=False)
        listener = self.network.listener_at(address)
        if listener is None:
            raise ConnectFailed(address, "nobody listens there", refused=True)
        return self.network.join(self, listener)

    def __repr__(self) -> str:
        return f"<MemoryHost {self.name}>" if self.is_alive else f"<MemoryHost {self.name} crashed>"


class MemoryListener:
    """A bound port of one host."""

    def __init__(self, host: MemoryHost, address: NodeAddress) -> None:
        self.host = host
        self._address = address
        self._backlog: deque[MemoryConnection] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._is_closed = False

    @property
    def address(self) -> NodeAddress:
        """Address of the listener."""
        return self._address

    def offer(self, connection: MemoryConnection) -> None:
        """Queue a new connection; ConnectFailed when too many wait."""
        if len(self._backlog) >= BACKLOG_MAX:
            raise ConnectFailed(self._address, "too many connections wait to be accepted", refused=False)
        self._backlog.append(connection)
        self._arrived.unpark()

    @trio.lowlevel.enable_ki_protection
    async def serve(self, handler: ConnectionHandler) -> None:
        """Run ``handler`` for each connection until cancelled or closed."""
        async with trio.open_nursery() as nursery:
            while not self._is_closed:
                if self.host.network.is_frozen(self.host.name):
                    await self.host.network.paths_changed.park()
                elif self._backlog:
                    nursery.start_soon(_isolated, self._backlog.popleft(), handler)
                else:
                    await self._arrived.park()
            if not self.host.is_alive:
                await trio.sleep_forever()  # the process is gone; its tasks are for its owner to cancel

    async def aclose(self) -> None:
        """Free the port; serving ends, connections not accepted are reset."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Free the port at once, as `aclose` does."""
        self._is_closed = True
        self.host.network.unbind(self)
        while self._backlog:
            self._backlog.popleft().die()
        self._arrived.unpark_all()


class MemoryConnection:
    """One end of a connection."""

    def __init__(
        self,
        serial: int,
        host: MemoryHost,
        peer: MemoryHost,
        *,
        incoming: _Pipe,
        outgoing: _Pipe,
        changed: trio.lowlevel.ParkingLot,
    ) -> None:
        self._serial = serial
        self.host = host
        self.peer_identity: PeerIdentity | None = peer.identity
        self.changed = changed
        self.is_closed = False
        self.is_eager = self.is_done = False
        self._incoming = incoming
        self._outgoing = outgoing

    @property
    def remote(self) -> str:
        """The name of the other host."""
        return self._incoming.source

    def processor_time(self) -> float:
        """Return the processor time of the host, none unless a test says so: a run depends on no machine."""
        return self.host.processor_time()

    def bound_silence(self, seconds: float) -> None:
        """Do nothing: here bytes are held as long as a path is cut, and arrive at the moment of the heal."""

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        """Take nothing: here every write gives way first, so that a run does not depend on how full a buffer is."""
        self._check()
        return 0

    async def send(self, data: bytes | memoryview) -> None:
        """Write all of ``data``, waiting while the buffer is full."""
        await trio.lowlevel.checkpoint()
        offset = 0
        while True:
            self._check()
            if self._incoming.has_ended():
                raise ConnectionLost("the other end has closed")
            room = BUFFER_BYTES_MAX - self._outgoing.size
            if room > 0:
                chunk = bytes(data[offset : offset + room])
                self._outgoing.write(chunk)
                offset += len(chunk)
                self.changed.unpark_all()
            if offset >= len(data):
                return
            await self._wait(min(self._incoming.reset_at, self._incoming.end_at))

    async def receive(self, max_bytes: int) -> bytes:
        """Return the next bytes; ``b""`` once the other end has closed."""
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            data = self._incoming.read(max_bytes)
            if data is not None:
                self.changed.unpark_all()
                return data
            await self._wait(min(self._incoming.reset_at, self._incoming.next_at()))

    def receive_into_nowait(self, place: memoryview) -> int:
        """Read nothing, as `send_nowait` writes nothing."""
        self._check()
        return 0

    async def receive_into(self, place: memoryview) -> int:
        """Receive into a buffer, as `receive` does into new bytes."""
        data = await self.receive(len(place))
        place[: len(data)] = data
        return len(data)

    async def aclose(self) -> None:
        """Close this end; the other one reads the bytes sent, then the end."""
        if not self.is_closed:
            self._outgoing.end()
            self._close()
        await trio.lowlevel.checkpoint()

    def die(self) -> None:
        """Reset the connection from this end: bytes under way are lost."""
        if not self.is_closed:
            self._outgoing.reset()
            self._close()

    def break_off(self) -> None:
        """Let the other end see a reset; this one stays open."""
        self._outgoing.reset()

    def _close(self) -> None:
        self.is_closed = True
        self._incoming.discard()
        self.changed.unpark_all()
        self.host.network.forget(self._serial)

    def _check(self) -> None:
        if self.is_closed:
            raise ConnectionLost("this end was closed" if self.host.is_alive else "this host crashed")
        if self._incoming.was_reset():
            raise ConnectionLost("the connection was reset by the other end")

    async def _wait(self, until: float) -> None:
        """Park until something changed or the time has come."""
        now = trio.current_time()
        with trio.move_on_at(until if until > now else inf):
            await self.changed.park()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        return f"<MemoryConnection {self._outgoing.source} to {self._outgoing.target} {state}>"


class _Pipe:
    """One direction: chunks with their times of arrival, and at most one end or reset."""

    __slots__ = ("_chunks", "_is_discarded", "_last_at", "_network", "end_at", "reset_at", "size", "source", "target")

    def __init__(self, network: MemoryNetwork, source: str, target: str) -> None:
        self._network = network
        self.source = source
        self.target = target
        self.size = 0
        self.end_at = inf
        self.reset_at = inf
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._last_at = -inf
        self._is_discarded = False

    def write(self, data: bytes) -> None:
        if data:
            self.size += len(data)  # also towards a reader that is gone: the writer does not know that yet
            if not self._is_discarded:
                self._chunks.append((self._arrival(), data))

    def end(self) -> None:
        self.end_at = self._arrival()

    def reset(self) -> None:
        self.reset_at = self._arrival()

    def discard(self) -> None:
        """Drop all bytes unread or still to come: the reader is gone."""
        self._is_discarded = True
        self._chunks.clear()
        self.size = 0

    def read(self, max_bytes: int) -> bytes | None:
        """Return bytes at hand, ``b""`` at the end, None when there are none yet."""
        if self.next_at() > trio.current_time() or self._is_held():
            return None
        if not self._chunks:
            return b""
        at, data = self._chunks.popleft()
        if len(data) > max_bytes:
            self._chunks.appendleft((at, data[max_bytes:]))
            data = data[:max_bytes]
        self.size -= len(data)
        return data

    def next_at(self) -> float:
        """Return when the next bytes or the end arrive, cuts apart."""
        return self._chunks[0][0] if self._chunks else self.end_at

    def has_ended(self) -> bool:
        """Whether the reader's side knows by now that the writer has closed."""
        return self.end_at <= trio.current_time() and not self._is_held()

    def was_reset(self) -> bool:
        """Whether a reset has arrived."""
        return self.reset_at <= trio.current_time() and not self._is_held()

    def _is_held(self) -> bool:
        return self._network.is_held(self.source, self.target)

    def _arrival(self) -> float:
        self._last_at = max(self._last_at, self._network.arrival(self.source, self.target, trio.current_time()))
        return self._last_at


@trio.lowlevel.enable_ki_protection
async def _isolated(connection: MemoryConnection, handler: ConnectionHandler) -> None:
    try:
        await handler(connection)
    except Exception:
        logger.exception("the handler of a connection from %s failed", connection.remote)
    finally:
        await connection.aclose()
