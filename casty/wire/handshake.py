"""The hello: first words of two nodes, before anything else crosses a connection.

The dialler sends a `Hello`, the acceptor answers with `HelloAck` or `Refused`. Each body is a msgpack
array that begins with `MAGIC`, checked field by field: here the peer is still a stranger. Behind it stand the
versions, which are read alone first: what follows them may change with the version.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgpack

from casty.address import HOST_LENGTH_MAX, INCARNATION_MAX, SYSTEM_LENGTH_MAX, NodeAddress, UniqueAddress, is_name
from casty.config.validation import EXTRA_BYTES_MAX, EXTRA_MAX, NODE_ID_LENGTH_MAX, PORT_MAX, is_extra
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.limits import ARRAY, MAP

MAGIC = b"CASTY"
PROTOCOL_MIN = 2
PROTOCOL_MAX = 2
MEMBER = "member"
"""Role of a node of the cluster, or of one that wants to be."""
CLIENT = "client"
"""Role of who is to be no member: so far, who asks for a report."""
ROLE_LENGTH_MAX = 32
REASON_LENGTH_MAX = 1_024
NONCE_BITS = 64
SECRET_BYTES = 16
PROOF_BYTES = 16
VERSION_MAX = 65_535
HELLO_FIELDS = 14
"""Of a hello, behind `MAGIC`."""

HANDOVER = "handover"
"""Name of a feature: a node that knows HANDOVER says it. In a hello it has a proof where a link is to be handed over to
that connection: see `heirs_proof`."""
CAN_HAND_OVER = ((HANDOVER, b""),)

_LANES: dict[int, Lane] = {lane.value: lane for lane in Lane}


@dataclass(frozen=True, slots=True)
class Hello:
    """First words of the dialling node: the versions it speaks, its system, its run, and the lane it wants.

    ``nonce`` tells this hello from all others. On the probe lane it is that of the hello asked about.
    On the status lane the system may be "": whoever is there. ``to`` is the address that was dialled; None
    is taken for that of the acceptor. ``proof``: see `proof_of`; b"" is none. ``role`` is `MEMBER` or `CLIENT`, or
    one of a later version. ``features`` says by name what else the node can do; names that are not known change
    nothing.
    """

    protocol_min: int
    protocol_max: int
    system: str
    node: UniqueAddress
    lane: Lane
    nonce: int = 0
    to: NodeAddress | None = None
    proof: bytes = b""
    node_id: str = ""
    role: str = MEMBER
    features: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class HelloAck:
    """The acceptor's yes: the version for both, and the run that answered.

    On the probe lane ``nonce`` comes back when the acceptor has sent a hello with it to the node that
    asks, which waits for its answer; else it is 0. On the status lane the incarnation is 0, not told.
    ``secret`` is for the proofs of further lanes; b"" where there is no link. The rest: as in `Hello`.
    """

    protocol: int
    node: UniqueAddress
    nonce: int = 0
    secret: bytes = b""
    node_id: str = ""
    role: str = MEMBER
    features: tuple[tuple[str, bytes], ...] = ()


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
    return _pack(FrameKind.HELLO, [*versions, *names, *to, hello.proof, *_self_of(hello)])


def decode_hello(body: bytes, *, own_min: int = PROTOCOL_MIN, own_max: int = PROTOCOL_MAX) -> Hello | Refused:
    """Return the hello in a frame's body, or the refusal of one whose versions do not meet those of this node.

    Nothing of a hello of other versions is read but these. Raises ProtocolError for anything else.

    >>> node = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> hello = Hello(2, 2, "shop", node, Lane.control, node_id="shop-1")
    >>> decode_hello(encode_hello(hello)[5:]) == hello
    True
    >>> decode_hello(msgpack.packb([MAGIC, 1, 1, "what version 1 had here"])).reason
    'protocol versions 1 to 1 do not meet 2 to 2 of this node'
    """
    said = _unpack("hello", body)
    if len(said) < 2:
        raise ProtocolError(f"hello: expected two protocol versions first, got {len(said)} fields")
    low, high = _integer("hello", said[0], 1, VERSION_MAX), _integer("hello", said[1], 1, VERSION_MAX)
    if low > high:
        raise ProtocolError(f"hello: protocol versions {low} to {high} are no range")
    if min(high, own_max) < max(low, own_min):
        return Refused(f"protocol versions {low} to {high} do not meet {own_min} to {own_max} of this node", final=True)
    # A later version adds fields behind those of the lowest one that it offers.
    fields = _counted("hello", said[:HELLO_FIELDS] if high > own_max else said, HELLO_FIELDS)
    lane = _LANES.get(_integer("hello", fields[6], 0, VERSION_MAX))
    if lane is None:
        raise ProtocolError(f"hello: unknown lane {fields[6]}")
    system = _text("hello", fields[2], SYSTEM_LENGTH_MAX, least=0 if lane is Lane.status else 1)
    to = None if fields[8] is None and fields[9] is None else _address("hello", fields[8], fields[9])
    proof = _secret("hello", fields[10], PROOF_BYTES)
    node, nonce = _node("hello", fields[3:6]), _nonce("hello", fields[7])
    return Hello(low, high, system, node, lane, nonce, to, proof, *_self_from("hello", fields[11:]))


def encode_hello_ack(ack: HelloAck) -> bytes:
    """Return the whole frame of an acknowledgement."""
    node = ack.node
    names = [node.address.host, node.address.port, node.incarnation]
    return _pack(FrameKind.HELLO_ACK, [ack.protocol, *names, ack.nonce, ack.secret, *_self_of(ack)])


def decode_hello_ack(body: bytes) -> HelloAck:
    """Return the acknowledgement in a frame's body. Raises ProtocolError for anything else, and another version."""
    said = _unpack("hello ack", body)
    protocol = _integer("hello ack", said[0] if said else None, 1, VERSION_MAX)
    if not PROTOCOL_MIN <= protocol <= PROTOCOL_MAX:
        raise ProtocolError(f"the peer chose protocol version {protocol}, which was not offered")
    fields = _counted("hello ack", said, 9)
    node, nonce = _node("hello ack", fields[1:4], least=0), _nonce("hello ack", fields[4])
    secret = _secret("hello ack", fields[5], SECRET_BYTES)
    return HelloAck(protocol, node, nonce, secret, *_self_from("hello ack", fields[6:]))


def encode_refused(refused: Refused) -> bytes:
    """Return the whole frame of a refusal; a reason over REASON_LENGTH_MAX characters is cut."""
    return _pack(FrameKind.REFUSED, [refused.reason[:REASON_LENGTH_MAX], refused.final])


def decode_refused(body: bytes) -> Refused:
    """Return the refusal in a frame's body. Raises ProtocolError for anything else."""
    reason, final = _counted("refusal", _unpack("refusal", body), 2)
    if type(final) is not bool:
        raise ProtocolError(f"refusal: expected bool, got {type(final).__name__}")
    return Refused(_text("refusal", reason, REASON_LENGTH_MAX, least=0), final)


def proof_of(hello: Hello, acceptor: UniqueAddress, secret: bytes) -> bytes:
    """Return the proof that the sender of this hello knows the secret of a link between the two runs.

    It is good for this lane and this nonce only, and does not tell the secret.
    """
    runs = [[node.address.host, node.address.port, node.incarnation] for node in (hello.node, acceptor)]
    said: bytes = msgpack.packb([MAGIC, *runs, int(hello.lane), hello.nonce])
    return blake2b(said, key=secret, digest_size=PROOF_BYTES).digest()


def is_proof(hello: Hello, acceptor: UniqueAddress, secret: bytes) -> bool:
    """Whether a hello proves that its sender knows this secret. A proof or a secret of no bytes proves nothing.

    >>> dialler = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> own = UniqueAddress(NodeAddress("10.0.0.2", 2551), 8)
    >>> hello = Hello(2, 2, "shop", dialler, Lane.ordinary, nonce=9)
    >>> from dataclasses import replace
    >>> shown = replace(hello, proof=proof_of(hello, own, b"0123456789abcdef"))
    >>> is_proof(shown, own, b"0123456789abcdef"), is_proof(shown, own, b"fedcba9876543210")
    (True, False)
    """
    return bool(secret and hello.proof) and hmac.compare_digest(hello.proof, proof_of(hello, acceptor, secret))


def heirs_proof(hello: Hello, acceptor: UniqueAddress, secret: bytes) -> bytes:
    """Return the proof that a hello names a connection with this secret, whose link is to be handed over to it.

    It proves nothing else, and a proof of `proof_of` is none.
    """
    proof = proof_of(hello, acceptor, secret)
    return blake2b(proof, key=secret, digest_size=PROOF_BYTES, person=HANDOVER.encode()).digest()


def is_heirs_proof(hello: Hello, acceptor: UniqueAddress, secret: bytes) -> bool:
    """Whether a hello names the connection with this secret; one without a secret has no name.

    >>> dialler = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> own = UniqueAddress(NodeAddress("10.0.0.2", 2551), 8)
    >>> hello = Hello(2, 2, "shop", dialler, Lane.ordinary, nonce=9)
    >>> from dataclasses import replace
    >>> named = replace(hello, features=((HANDOVER, heirs_proof(hello, own, b"0123456789abcdef")),))
    >>> is_heirs_proof(named, own, b"0123456789abcdef"), is_heirs_proof(named, own, b"fedcba9876543210")
    (True, False)
    """
    named = dict(hello.features).get(HANDOVER, b"")
    return bool(secret and named) and hmac.compare_digest(named, heirs_proof(hello, acceptor, secret))


def is_for_an_heir(hello: Hello) -> bool:
    """Whether a hello asks for a link to be handed over."""
    return bool(dict(hello.features).get(HANDOVER))


def can_hand_over(said: Hello | HelloAck) -> bool:
    """Whether a node knows HANDOVER."""
    return HANDOVER in dict(said.features)


def negotiate(
    hello: Hello, *, own: UniqueAddress, system: str, node_id: str = "", own_max: int = PROTOCOL_MAX
) -> HelloAck | Refused:
    """Decide on a hello whose versions meet: the highest that both speak, or a refusal that names both sides.

    >>> dialler = UniqueAddress(NodeAddress("10.0.0.1", 2551), 7)
    >>> own = UniqueAddress(NodeAddress("10.0.0.2", 2551), 8)
    >>> negotiate(Hello(2, 2, "shop", dialler, Lane.control), own=own, system="shop").protocol
    2
    >>> negotiate(Hello(2, 2, "till", dialler, Lane.control), own=own, system="shop").reason
    "system name 'till' does not match 'shop' of 10.0.0.2:2551"
    """
    if hello.role != MEMBER and hello.lane is not Lane.status:
        reason = f"role '{printable(hello.role)}' has no place at {own.address}: only '{MEMBER}' has in this version"
        return Refused(reason, final=True)
    if hello.system != system and (hello.system or hello.lane is not Lane.status):
        reason = f"system name '{printable(hello.system)}' does not match '{printable(system)}' of {own.address}"
        return Refused(reason, final=True)
    return HelloAck(min(hello.protocol_max, own_max), own, node_id=node_id)


def _pack(kind: FrameKind, fields: list[object]) -> bytes:
    return frame(kind, msgpack.packb([MAGIC, *fields]))


def _self_of(said: Hello | HelloAck) -> list[object]:
    """Return what a node says of itself, as it is written."""
    return [said.node_id, said.role, dict(said.features)]


def _self_from(what: str, fields: list[Any]) -> tuple[str, str, tuple[tuple[str, bytes], ...]]:
    """Return the name, role and features of a node."""
    node_id, role, features = fields
    if type(features) is not MAP:
        raise ProtocolError(f"{what}: expected a map of features, got {type(features).__name__}")
    if any(type(name) is not str or type(value) is not bytes for name, value in features.items()):
        raise ProtocolError(f"{what}: expected features as bytes by their names")
    named: list[tuple[str, bytes]] = sorted(features.items())
    if not is_extra(named):
        raise ProtocolError(f"{what}: expected at most {EXTRA_MAX} features of {EXTRA_BYTES_MAX} bytes together")
    name = _name(what, node_id, NODE_ID_LENGTH_MAX) if node_id != "" else ""
    return name, _name(what, role, ROLE_LENGTH_MAX), tuple(named)


def _unpack(what: str, body: bytes) -> list[Any]:
    try:
        fields: Any = msgpack.unpackb(body, strict_map_key=True)
    except (ValueError, OverflowError, TypeError) as error:
        raise ProtocolError(f"{what}: not valid msgpack ({type(error).__name__})") from None
    if type(fields) is not ARRAY or not fields or fields[0] != MAGIC:
        raise ProtocolError(f"{what}: does not begin with {MAGIC!r}; is the peer a casty node?")
    rest: list[Any] = fields[1:]
    return rest


def _counted(what: str, fields: list[Any], count: int) -> list[Any]:
    if len(fields) != count:
        raise ProtocolError(f"{what}: expected {count} fields, got {len(fields)}")
    return fields


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


def _name(what: str, value: object, length_max: int) -> str:
    name = _text(what, value, length_max)
    if not is_name(name):
        raise ProtocolError(f"{what}: {printable(ascii(name))} has a space or a control character")
    return name


def _node(what: str, fields: list[Any], *, least: int = 1) -> UniqueAddress:
    host, port, incarnation = fields
    return UniqueAddress(_address(what, host, port), _integer(what, incarnation, least, INCARNATION_MAX))


def _address(what: str, host: object, port: object) -> NodeAddress:
    name = _name(what, host, HOST_LENGTH_MAX)
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
