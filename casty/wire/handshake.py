"""The hello: what two nodes tell each other before anything else crosses a connection.

The dialler sends a `Hello`, the acceptor answers with `HelloAck` or `Refused`. Each body is a msgpack
array that begins with `MAGIC`, checked field by field: here the peer is still a stranger.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgpack

from casty.address import HOST_LENGTH_MAX, INCARNATION_MAX, SYSTEM_LENGTH_MAX, NodeAddress, UniqueAddress, is_name
from casty.checks import PORT_MAX
from casty.errors import ProtocolError
from casty.naming import printable
from casty.wire.bounds import ARRAY
from casty.wire.frame import FrameKind, Lane, frame

MAGIC = b"CASTY"
PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
REASON_LENGTH_MAX = 1_024
NONCE_BITS = 64
SECRET_BYTES = 16
PROOF_BYTES = 16
VERSION_MAX = 65_535

_LANES: dict[int, Lane] = {lane.value: lane for lane in Lane}


@dataclass(frozen=True, slots=True)
class Hello:
    """Who dials: the versions it speaks, its system, its run, and the lane it wants.

    ``nonce`` tells this hello from all others. On the probe lane it is that of the hello asked about.
    On the status lane the system may be "": whoever is there. ``to`` is the address that was dialled; None
    is taken for that of the acceptor. ``proof``: see `proof_of`; b"" is none.
    """

    protocol_min: int
    protocol_max: int
    system: str
    node: UniqueAddress
    lane: Lane
    nonce: int = 0
    to: NodeAddress | None = None
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class HelloAck:
    """The acceptor's yes: the version that both will speak, and who answered.

    On the probe lane ``nonce`` comes back when the acceptor has sent a hello with it to the node that
    asks, which waits for its answer; else it is 0. On the status lane the incarnation is 0, not told.
    ``secret`` is for the proofs of further lanes; b"" where there is no link.
    """

    protocol: int
    node: UniqueAddress
    nonce: int = 0
    secret: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """The acceptor's no. ``final``: dialling again cannot help until somebody changes something."""

    reason: str
    final: bool


def encode_hello(hello: Hello) -> bytes:
    """Return the whole frame of a hello."""
    node = hello.node
    versions = [hello.protocol_min, hello.protocol_max]
    names = [hello.system, node.address.host, node.address.port, node.incarnation, int(hello.lane), hello.nonce]
    to = [None, None] if hello.to is None else [hello.to.host, hello.to.port]
    return _pack(FrameKind.HELLO, [*versions, *names, *to, hello.proof])


def decode_hello(body: bytes) -> Hello:
    """Return the hello in a frame's body. Raises ProtocolError for anything else.

    >>> node = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> hello = Hello(1, 1, "shop", node, Lane.control)
    >>> decode_hello(encode_hello(hello)[5:]) == hello
    True
    """
    fields = _unpack("hello", body, 11)
    low, high = _integer("hello", fields[0], 1, VERSION_MAX), _integer("hello", fields[1], 1, VERSION_MAX)
    if low > high:
        raise ProtocolError(f"hello: protocol versions {low} to {high} are no range")
    lane = _LANES.get(_integer("hello", fields[6], 0, VERSION_MAX))
    if lane is None:
        raise ProtocolError(f"hello: unknown lane {fields[6]}")
    system = _text("hello", fields[2], SYSTEM_LENGTH_MAX, least=0 if lane is Lane.status else 1)
    to = None if fields[8] is None and fields[9] is None else _address("hello", fields[8], fields[9])
    proof = _secret("hello", fields[10], PROOF_BYTES)
    return Hello(low, high, system, _node("hello", fields[3:6]), lane, _nonce("hello", fields[7]), to, proof)


def encode_hello_ack(ack: HelloAck) -> bytes:
    """Return the whole frame of an acknowledgement."""
    node = ack.node
    names = [node.address.host, node.address.port, node.incarnation]
    return _pack(FrameKind.HELLO_ACK, [ack.protocol, *names, ack.nonce, ack.secret])


def decode_hello_ack(body: bytes) -> HelloAck:
    """Return the acknowledgement in a frame's body. Raises ProtocolError for anything else."""
    fields = _unpack("hello ack", body, 6)
    protocol = _integer("hello ack", fields[0], 1, VERSION_MAX)
    node = _node("hello ack", fields[1:4], least=0)
    return HelloAck(protocol, node, _nonce("hello ack", fields[4]), _secret("hello ack", fields[5], SECRET_BYTES))


def encode_refused(refused: Refused) -> bytes:
    """Return the whole frame of a refusal; a reason over REASON_LENGTH_MAX characters is cut."""
    return _pack(FrameKind.REFUSED, [refused.reason[:REASON_LENGTH_MAX], refused.final])


def decode_refused(body: bytes) -> Refused:
    """Return the refusal in a frame's body. Raises ProtocolError for anything else."""
    reason, final = _unpack("refusal", body, 2)
    if type(final) is not bool:
        raise ProtocolError(f"refusal: expected bool, got {type(final).__name__}")
    return Refused(_text("refusal", reason, REASON_LENGTH_MAX, least=0), final)


def proof_of(hello: Hello, acceptor: UniqueAddress, secret: bytes) -> bytes:
    """Return what shows the acceptor that who says this hello knows the secret of a link between the two runs.

    It is good for this lane and this nonce only, and does not tell the secret.
    """
    runs = [[node.address.host, node.address.port, node.incarnation] for node in (hello.node, acceptor)]
    said: bytes = msgpack.packb([MAGIC, *runs, int(hello.lane), hello.nonce])
    return blake2b(said, key=secret, digest_size=PROOF_BYTES).digest()


def is_proof(hello: Hello, acceptor: UniqueAddress, secret: bytes) -> bool:
    """Whether a hello proves that its sender knows this secret. A proof or a secret of no bytes proves nothing.

    >>> dialler = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> own = UniqueAddress(NodeAddress("10.0.0.2", 2551), 8)
    >>> hello = Hello(1, 1, "shop", dialler, Lane.ordinary, nonce=9)
    >>> from dataclasses import replace
    >>> shown = replace(hello, proof=proof_of(hello, own, b"0123456789abcdef"))
    >>> is_proof(shown, own, b"0123456789abcdef"), is_proof(shown, own, b"fedcba9876543210")
    (True, False)
    """
    return bool(secret and hello.proof) and hmac.compare_digest(hello.proof, proof_of(hello, acceptor, secret))


def negotiate(
    hello: Hello,
    *,
    own: UniqueAddress,
    system: str,
    own_min: int = PROTOCOL_MIN,
    own_max: int = PROTOCOL_MAX,
) -> HelloAck | Refused:
    """Decide on a hello: the highest version that both speak, or a refusal that names both sides.

    >>> dialler = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> own = UniqueAddress(NodeAddress("10.0.0.2", 2551), 8)
    >>> negotiate(Hello(1, 1, "shop", dialler, Lane.control), own=own, system="shop").protocol
    1
    >>> negotiate(Hello(1, 1, "till", dialler, Lane.control), own=own, system="shop").reason
    "system name 'till' does not match 'shop' of 10.0.0.2:2551"
    """
    if hello.system != system and (hello.system or hello.lane is not Lane.status):
        reason = f"system name '{printable(hello.system)}' does not match '{printable(system)}' of {own.address}"
        return Refused(reason, final=True)
    protocol = min(hello.protocol_max, own_max)
    if protocol < max(hello.protocol_min, own_min):
        theirs, ours = f"{hello.protocol_min} to {hello.protocol_max}", f"{own_min} to {own_max}"
        return Refused(f"protocol versions {theirs} do not meet {ours} of {own.address}", final=True)
    return HelloAck(protocol, own)


def _pack(kind: FrameKind, fields: list[object]) -> bytes:
    return frame(kind, msgpack.packb([MAGIC, *fields]))


def _unpack(what: str, body: bytes, count: int) -> list[Any]:
    try:
        fields: Any = msgpack.unpackb(body, strict_map_key=True)
    except (ValueError, OverflowError, TypeError) as error:
        raise ProtocolError(f"{what}: not valid msgpack ({type(error).__name__})") from None
    if type(fields) is not ARRAY or not fields or fields[0] != MAGIC:
        raise ProtocolError(f"{what}: does not begin with {MAGIC!r}; is the peer a casty node?")
    rest: list[Any] = fields[1:]
    if len(rest) != count:
        raise ProtocolError(f"{what}: expected {count} fields, got {len(rest)}")
    return rest


def _integer(what: str, value: object, least: int, most: int) -> int:
    if type(value) is not int:
        raise ProtocolError(f"{what}: expected int, got {type(value).__name__}")
    if not least <= value <= most:
        raise ProtocolError(f"{what}: {value} is not within {least} and {most}")
    return value


def _text(what: str, value: object, length_max: int, *, least: int = 1) -> str:
    if type(value) is not str:
        raise ProtocolError(f"{what}: expected str, got {type(value).__name__}")
    if not least <= len(value) <= length_max:
        raise ProtocolError(f"{what}: text of {len(value)} characters is not within {least} and {length_max}")
    return value


def _node(what: str, fields: list[Any], *, least: int = 1) -> UniqueAddress:
    host, port, incarnation = fields
    return UniqueAddress(_address(what, host, port), _integer(what, incarnation, least, INCARNATION_MAX))


def _address(what: str, host: object, port: object) -> NodeAddress:
    name = _text(what, host, HOST_LENGTH_MAX)
    if not is_name(name):
        raise ProtocolError(f"{what}: the host {printable(ascii(name))} has a space or a control character")
    if not name.isascii():
        raise ProtocolError(f"{what}: say the host in A-labels (xn--bcher-kva.com), not as {printable(ascii(name))}")
    return NodeAddress(name, _integer(what, port, 1, PORT_MAX))


def _nonce(what: str, value: object) -> int:
    return _integer(what, value, 0, 2**NONCE_BITS - 1)


def _secret(what: str, value: object, size: int) -> bytes:
    if type(value) is not bytes:
        raise ProtocolError(f"{what}: expected bytes, got {type(value).__name__}")
    if len(value) not in (0, size):
        raise ProtocolError(f"{what}: {len(value)} bytes where there are {size} or none")
    return value
