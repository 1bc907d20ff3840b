"""The exchange of hellos over a fresh connection, seen from both of its ends.

Each function takes exactly one frame from the stream; later bytes stay in the decoder for the link.
"""

from __future__ import annotations

from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.transport.network.interface import Connection, ConnectionLost, TlsRefused
from casty.wire.frame import FrameDecoder, FrameKind, Lane
from casty.wire.handshake import (
    Hello,
    HelloAck,
    Refused,
    decode_hello,
    decode_hello_ack,
    decode_refused,
    encode_hello,
)

GREETING_READ_BYTES = 4096

TLS_HANDSHAKE, TLS_ALERT = 0x16, 0x15
"""First bytes from a peer that speaks TLS: it begins, or has got something else than TLS. A hello begins with 0."""

SIMULTANEOUS_DIAL = Refused("simultaneous dial: wait for mine", final=False)
"""Answer to a hello from a node being dialled itself: its own connection is on the way."""

LEAVING = Refused("this node is leaving", final=False)
HUNG_UP = Refused("it was closed again before its hello", final=False)
"""Nothing to warn of: a probe of the port, or a node that ends while it dials."""
"""Answer of a node on its way out: in the order of things, at both ends."""


class HandshakeRefused(Exception):
    """The answer to the hello was no."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


async def client_handshake(
    connection: Connection, hello: Hello, limits: TransportLimits
) -> tuple[HelloAck | Refused, FrameDecoder]:
    """Say hello and return the answer, with the decoder for later bytes."""
    await connection.send(encode_hello(hello))
    kind, body, decoder = await _first_frame(connection, limits)
    match kind:
        case FrameKind.HELLO_ACK:
            answer = decode_hello_ack(body)
            if not answer.node.incarnation and hello.lane is not Lane.status:
                raise ProtocolError("the peer does not tell which run it is")
            return disproved(connection, answer) or answer, decoder
        case FrameKind.REFUSED:
            return decode_refused(body), decoder
        case _:
            raise ProtocolError(f"expected an answer to the hello, got a {kind.name} frame")


async def server_handshake(connection: Connection, limits: TransportLimits) -> tuple[Hello | Refused, FrameDecoder]:
    """Return the hello, due first, or its refusal, with the decoder for later bytes."""
    try:
        kind, body, decoder = await _first_frame(connection, limits)
    except TlsRefused as error:
        return Refused(str(error), final=True), FrameDecoder(limits.hello_frame_bytes_max)
    if kind is not FrameKind.HELLO:
        raise ProtocolError(f"expected a hello first, got a {kind.name} frame")
    said = decode_hello(body)
    return said if isinstance(said, Refused) else disproved(connection, said) or said, decoder


def disproved(connection: Connection, said: Hello | HelloAck) -> Refused | None:
    """Return the refusal of a peer with another identity than its connection proves; None otherwise."""
    proven = connection.peer_identity
    if proven is None or (proven.role == said.role and proven.node_id in (None, said.node_id)):
        return None
    name, role = printable(said.node_id), printable(said.role)
    proof = f"a {proven.role}" if proven.node_id is None else f"the {proven.role} {proven.node_id!r}"
    return Refused(f"the hello is of the {role} {name!r}, the connection proves {proof}", final=True)


async def _first_frame(connection: Connection, limits: TransportLimits) -> tuple[FrameKind, bytes, FrameDecoder]:
    decoder = FrameDecoder(limits.hello_frame_bytes_max)
    while True:
        data = await connection.receive(GREETING_READ_BYTES)
        if not data:
            raise ConnectionLost("the connection was closed before the hello was answered")
        if data[0] in (TLS_HANDSHAKE, TLS_ALERT) and connection.peer_identity is None and not decoder.buffered_bytes:
            raise TlsRefused("the other end speaks TLS, and this end does not: set tls on both, or on neither")
        for kind, body in decoder.feed(data, frames_max=1):
            decoder.limit_bytes = limits.frame_bytes_max
            return kind, body, decoder
