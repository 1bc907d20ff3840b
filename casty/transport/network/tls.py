"""TLS over any network: each connection is encrypted, and each of its ends has proven its name before a byte is taken.

A connection is anyio's `TLSStream`, over a connection of the network below. Where this node dials, hands are shaken
before `connect` returns; an accepted connection does so at its first read, within the bounds of its reader. Who is
refused under TLS 1.3 may only see the end of the stream, so the refusing end says why, and the other one where to look.
"""

from __future__ import annotations

import logging
import math
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn

import anyio
import trio
from anyio.streams.tls import TLSAttribute, TLSStream

from casty.address import NodeAddress
from casty.config.tls import TlsConfig, TlsRole
from casty.errors import ConfigError, ProtocolError
from casty.schema.names import printable
from casty.transport.network.interface import (
    Connection,
    ConnectionHandler,
    ConnectionLost,
    Listener,
    Network,
    PeerIdentity,
    TlsRefused,
)
from casty.transport.network.raw_stream import RawStream
from casty.transport.network.tcp import TcpNetwork
from casty.transport.network.tls_credentials import Proof, TlsCredentials, why_not

CLOSE_TIMEOUT: Final = 1.0
NOWAIT_BYTES_MAX: Final = 64 * 1024
"""Bytes made into records for one write that may not wait: more would mostly be kept."""
RECORD_EXTRA: Final = 22
"""Bytes of a record of TLS 1.3 besides its content: header 5, kind 1, tag 16."""

LIST_READ_EVERY: Final = 1.0
"""Seconds between looks at the files where there is a list of denied certificates. As long as some nodes deny one and
others do not, the cluster is cut in part, and after seven seconds of that a good node may be the one to give itself up.
"""
EXPIRES_SOON: Final = 7 * 86_400.0
"""Seconds before the end of the own certificate from which on it is warned of."""
WARN_EVERY: Final = 86_400.0

NOT_TLS: Final = bytes((0x15, 3, 3, 0, 2, 2, 70))
"""The alert of TLS for those who do not begin with it: fatal, protocol_version."""

AFTERWARDS: Final = "closed after the TLS handshake: see the log of the node there"

logger = logging.getLogger("casty.transport")


class TlsNetwork:
    """Listen and dial with TLS 1.3, both ends proving who they are. For a `RemoteTransport` under a plain `Cluster`.

    ``ClusteredActorSystem(tls=...)`` makes one by itself.

    Parameters:
        config: Files of this node, and whom to believe.
        system_name: Name of the system; None takes it from the certificate, to ask a node from outside.
        node_id: Name of this node, which its certificate must have; None takes what there is.
        role: Role that the certificate must have, ``member`` or ``client``; None takes either. With a ``node_id`` it is
            that of a member.
        network: Network below; None is TCP.

    Raises:
        ConfigError: A file is missing, cannot be read, has ended, or does not fit the others or the node; the message
            names it.
    """

    def __init__(
        self,
        config: TlsConfig,
        *,
        system_name: str | None = None,
        node_id: str | None = None,
        role: TlsRole | None = None,
        network: Network | None = None,
    ) -> None:
        self._credentials = TlsCredentials(config, system_name=system_name, node_id=node_id, role=role)
        self._network = network or TcpNetwork()
        if isinstance(self._network, TcpNetwork):
            self._network.cover()
        self._live: dict[TlsConnection, None] = {}
        self._warned_at = -math.inf
        self._left_at_warning = 0.0
        self.reloads: int = 0
        """Number of times that changed files were taken: links made before show certificates of before."""
        self.wall_time: Callable[[], float] = time.time
        """Clock by which certificates end."""

    @property
    def identity(self) -> PeerIdentity:
        """Name and role that this end proves."""
        return self._credentials.own.identity

    @property
    def seconds_left(self) -> float:
        """Seconds until this node's certificate ends; below 0 when it has."""
        return self._credentials.own.ends_at - self.wall_time()

    async def listen(self, host: str, port: int) -> TlsListener:
        """Open a port.

        Parameters:
            host: Address to bind.
            port: TCP port; 0 takes a free one.

        Returns:
            The listener.

        Raises:
            BindError: The port cannot be had.
            ConfigError: Host or port make no sense.
        """
        return TlsListener(self, await self._network.listen(host, port))

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> TlsConnection:
        """Dial, and shake hands.

        Parameters:
            address: Where to connect to.
            named_by: Host of the stranger that named this address; see `casty.transport.network.interface.Network`.

        Returns:
            The connection.

        Raises:
            casty.transport.network.interface.ConnectFailed: Nobody answers there, or the dial is refused.
            casty.transport.network.interface.TlsRefused: The node there is not believed, or speaks no TLS.
        """
        inner = await self._network.connect(address, named_by=named_by)
        connection = TlsConnection(inner, self, is_dialled=True)
        try:
            await connection.shake_hands()
        except BaseException:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await connection.aclose()
            raise
        return connection

    @property
    def credentials(self) -> TlsCredentials:
        """Files of this node, as they are now."""
        return self._credentials

    def enter(self, connection: TlsConnection) -> None:
        """Take note of a connection whose hands are shaken. For the connections.

        Parameters:
            connection: The connection.
        """
        self._live[connection] = None

    def leave(self, connection: TlsConnection) -> None:
        """Forget a closed connection. For the connections.

        Parameters:
            connection: The connection.
        """
        self._live.pop(connection, None)

    @trio.lowlevel.enable_ki_protection
    async def keep_house(self) -> None:
        """Look for changed files, and end the links of those who are not believed any more, until cancelled."""
        while True:
            await self.review()
            config = self._credentials.config
            await trio.sleep(
                config.reload_every if config.denied is None else min(config.reload_every, LIST_READ_EVERY)
            )

    async def review(self) -> None:
        """Do so once."""
        try:
            if self._credentials.refresh():
                self.reloads += 1
                logger.info("the TLS files were read anew: new links use them, and those that are up are handed over")
                self._warned_at = -math.inf
        except ConfigError as error:
            logger.warning("the TLS files have changed and cannot be used, so the ones before stay: %s", error)
        self._warn_of_own()
        now = self.wall_time()
        for connection in list(self._live):
            reason = None if connection.proof is None else self._credentials.objection(connection.proof, now)
            if reason is None or connection not in self._live:  # closed while others were
                continue
            if not connection.is_done:  # else its link has another one, or has ended
                logger.warning("the link with %s is closed: %s", connection.remote, printable(reason))
            await connection.cut(reason)

    def _warn_of_own(self) -> None:
        left, own, now = self.seconds_left, self._credentials.own, trio.current_time()
        denial = self._credentials.own_denial
        is_news, has_just_ended = left <= EXPIRES_SOON or denial is not None, left <= 0 < self._left_at_warning
        if not is_news or (now - self._warned_at < WARN_EVERY and not has_just_ended):
            return
        self._warned_at, self._left_at_warning = now, left
        if left <= 0:
            logger.error("the TLS certificate of this node, %s, has ended: other nodes refuse it", own.uri)
        elif denial is not None:
            logger.error("other nodes with this list refuse this node: %s; give it another certificate", denial)
        else:
            logger.warning("the TLS certificate of this node, %s, ends in %.1f hours", own.uri, left / 3_600)

    def __repr__(self) -> str:
        return f"<TlsNetwork {self._credentials.own.uri} live={len(self._live)} over {self._network!r}>"


class TlsListener:
    """Bound port of a `TlsNetwork`."""

    __slots__ = ("_inner", "_network")

    def __init__(self, network: TlsNetwork, inner: Listener) -> None:
        self._network = network
        self._inner = inner

    @property
    def address(self) -> NodeAddress:
        """The host as it was named and the port taken."""
        return self._inner.address

    @trio.lowlevel.enable_ki_protection
    async def serve(self, handler: ConnectionHandler) -> None:
        """Run ``handler`` for each connection, and look after the files, until cancelled or closed."""

        async def wrapped(inner: Connection) -> None:
            connection = TlsConnection(inner, self._network, is_dialled=False)
            try:
                await handler(connection)
            finally:
                self._network.leave(connection)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._network.keep_house)
            await self._inner.serve(wrapped)
            nursery.cancel_scope.cancel()

    async def aclose(self) -> None:
        """Free the port; serving ends, the connections live on."""
        await self._inner.aclose()

    def __repr__(self) -> str:
        return f"<TlsListener {self.address}>"


class TlsConnection:
    """One encrypted connection."""

    __slots__ = (
        "_fault",
        "_inner",
        "_is_dialled",
        "_is_heard",
        "_network",
        "_object",
        "_owed",
        "_raw",
        "_stream",
        "is_done",
        "is_eager",
        "proof",
    )

    def __init__(self, inner: Connection, network: TlsNetwork, *, is_dialled: bool) -> None:
        self.is_eager = self.is_done = False
        self._inner = inner
        self._network = network
        self._is_dialled = is_dialled
        self._is_heard = not is_dialled
        """Whether the other end is known to believe this one: an acceptor says so by its first byte."""
        self._raw = RawStream(inner)
        self._stream: TLSStream | None = None
        self._object: ssl.SSLObject | None = None
        """TLS of the stream, for what can be read without waiting."""
        self._fault = ""
        self._owed = False
        """Whether the byte with which the next write begins is in records already."""
        self.proof: Proof | None = None
        """Content of the other end's certificate, once it was checked."""

    @property
    def remote(self) -> str:
        """Host of the other end."""
        return self._inner.remote

    @property
    def peer_identity(self) -> PeerIdentity | None:
        """Proven identity of the other end; None before hands were shaken."""
        return None if self.proof is None else self.proof.identity

    def processor_time(self) -> float:
        """Return the processor time of this thread."""
        return self._inner.processor_time()

    def bound_silence(self, seconds: float) -> None:
        """Let the stream break when written bytes have not arrived for so long."""
        self._inner.bound_silence(seconds)

    async def _shaken(self) -> TLSStream:
        """Return the stream; where hands are not shaken yet, do so first."""
        self._check()
        if self._stream is None:
            await self.shake_hands()
        assert self._stream is not None, "hands were shaken"
        return self._stream

    async def shake_hands(self) -> None:
        """Prove both ends to each other.

        Raises ConnectionLost for a peer that has gone; for one that is not believed TlsRefused where this node has
        dialled it, and ProtocolError where it has come.
        """
        context = self._network.credentials.context(is_server=not self._is_dialled)
        raw = self._raw
        try:
            if not self._is_dialled and not await raw.begins_with_tls():
                await self._inner.send(NOT_TLS)
                self._refuse("it does not speak TLS, and this end does: set tls on both, or on neither")
            stream = await TLSStream.wrap(
                raw, server_side=not self._is_dialled, ssl_context=context, standard_compatible=False
            )
            certificate: Mapping[str, Any] | None = stream.extra(TLSAttribute.peer_certificate)
            self.proof = self._network.credentials.identify(certificate)
        except ssl.SSLCertVerificationError as error:
            self._refuse(f"its TLS certificate is not believed: {why_not(error, is_server=self._is_dialled)}")
        except ssl.SSLError as error:
            self._refuse(_words(error))
        except (ConnectionLost, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            if isinstance(error, TlsRefused):
                raise
            self._broken_off(error)
        except ProtocolError as error:
            self._refuse(str(error))
        except ValueError as error:  # text in the certificate that is none
            self._refuse(f"its TLS certificate cannot be read: {type(error).__name__}")
        else:
            raw.believe()
            self._stream = stream
            self._object = stream.extra(TLSAttribute.ssl_object)
            self._network.enter(self)

    def _broken_off(self, error: Exception) -> NoReturn:
        """Raise the error for a peer that has ended the handshake: a mere look at the port is no fault."""
        if self._raw.received and not self._is_dialled:
            self._refuse("it ended the TLS handshake: its log says why, unless it needed no connection any more")
        if self._is_dialled:
            raise TlsRefused("closed during the TLS handshake: does the node there speak TLS? see its log") from error
        raise ConnectionLost(str(error) or "closed before the TLS handshake") from error

    def _refuse(self, text: str) -> NoReturn:
        if self._is_dialled:
            raise TlsRefused(text) from None
        raise ProtocolError(text) from None

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        """Write records of the first part of ``data``, if the connection below takes them at once.

        Of records that it takes in part the last byte counts as not written: it is left out of the next call, which
        begins with it. So whoever writes goes on, and the rest of the records goes out. ConnectionLost as `send`.
        """
        self._check()
        if self._stream is None or more or self._owed or not self._raw.is_free or not data:
            return 0
        part = data if len(data) <= NOWAIT_BYTES_MAX else memoryview(data)[:NOWAIT_BYTES_MAX]
        with self._raw.without_waiting():
            sending = self._stream.send(part)  # type: ignore[arg-type]  # the records are made of any buffer
            try:
                sending.send(None)
            except StopIteration:
                pass
            except (ConnectionLost, anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError) as error:
                raise self._lost(error) from error
            else:
                sending.close()
                raise RuntimeError("a write of TLS has waited for more than its connection")
        self._owed = bool(self._raw.rest)
        return len(part) - self._owed

    async def send(self, data: bytes | memoryview) -> None:
        """Write all of ``data``, as `receive` reads; ConnectionLost when the stream broke or was closed."""
        await trio.lowlevel.checkpoint_if_cancelled()  # which the stream does not: it writes what needs no waiting
        stream = await self._shaken()
        try:
            if self._owed:
                await self._raw.send(b"")
                self._owed, data = False, memoryview(data)[1:]
            if data:
                await stream.send(data)  # type: ignore[arg-type]  # as above
        except (ConnectionLost, anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError) as error:
            raise self._lost(error) from error

    async def receive(self, max_bytes: int) -> bytes:
        """Return the next bytes, ``b""`` at the end; an accepted connection shakes hands first.

        ConnectionLost when the stream broke; TlsRefused, or ProtocolError: see `shake_hands`.
        """
        stream = await self._shaken()
        self._inner.is_eager = self.is_eager
        try:
            data = await stream.receive(max_bytes)
        except anyio.EndOfStream:
            if not self._is_heard:
                raise TlsRefused(AFTERWARDS) from None
            self._check()
            return b""
        except (ConnectionLost, anyio.BrokenResourceError, ssl.SSLError) as error:
            raise self._lost(error) from error
        self._is_heard = True
        self._note(data)
        if self._raw.at_hand <= RECORD_EXTRA:
            return data
        return b"".join((data, *self._at_hand(max_bytes - len(data))))

    def _at_hand(self, max_bytes: int) -> Iterator[bytes]:
        """Yield what is here of the records behind the last one, since OpenSSL reads one at a time.

        A burst of tells wakes its reader once for all that has come, and not for each 16 KiB or early write.
        """
        assert self._object is not None, "hands were shaken"
        while max_bytes and self._raw.at_hand > RECORD_EXTRA:
            try:
                data = self._object.read(max_bytes)
            except ssl.SSLWantReadError:  # the rest of a record is under way
                return
            except ssl.SSLError as error:  # for the next to read: what came before is true
                self._fault = self._fault or f"TLS: {_words(error)}"
                return
            if not data:
                return
            self._note(data)
            max_bytes -= len(data)
            yield data

    def _note(self, data: bytes) -> None:
        """Take note of what was read, of one record."""
        assert self._object is not None, "hands were shaken"
        self._raw.at_hand -= len(data) + RECORD_EXTRA
        self._raw.contents += not self._object.pending()

    def receive_into_nowait(self, place: memoryview) -> int:
        """Read the records at hand."""
        self._check()
        return _fill(place, self._at_hand(len(place)))

    async def receive_into(self, place: memoryview) -> int:
        """Receive into a buffer, as `receive` does into new bytes."""
        data = await self.receive(len(place))
        place[: len(data)] = data
        return len(data)

    async def aclose(self) -> None:
        """Close at once."""
        self._fault = self._fault or "this end was closed"
        self._network.leave(self)
        await self._inner.aclose()

    async def cut(self, reason: str) -> None:
        """Close, and let whoever reads or writes know why."""
        self._fault = reason
        await self.aclose()

    def _check(self) -> None:
        if self._fault:
            raise ConnectionLost(self._fault)

    def _lost(self, error: Exception) -> ConnectionLost:
        if self._fault:
            return ConnectionLost(self._fault)
        if isinstance(error, ssl.SSLError):
            text = f"TLS: {_words(error)}"
            return ConnectionLost(text) if self._is_heard else TlsRefused(f"{AFTERWARDS} ({text})")
        if not self._is_heard:
            return TlsRefused(AFTERWARDS)
        return ConnectionLost(str(error) or "the stream is broken")

    def __repr__(self) -> str:
        return f"<TlsConnection {self.remote} {'' if self.proof is None else self.proof.uri}>"


def _fill(place: memoryview, pieces: Iterable[bytes]) -> int:
    """Copy the pieces to where ``place`` begins; return the number of bytes."""
    count = 0
    for piece in pieces:
        place[count : count + len(piece)] = piece
        count += len(piece)
    return count


def _words(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "it does not speak TLS, and this end does: set tls on both, or on neither"
    if reason in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"):
        return "it speaks no TLS 1.3"
    return reason.lower().replace("_", " ") or "a fault without a name"
