"""Both ends of a status report: the telling node, and the asker outside of the cluster.

The asker is no member and becomes none. It says its version of the protocol and asks on a lane of its own, the answer
follows on the same connection, and there it ends: without a link, a queue, or an address for anybody to dial.
"""

from __future__ import annotations

from random import SystemRandom
from typing import Never

import trio

from casty.address import NodeAddress, UniqueAddress, WireRef
from casty.cluster.commands import GetMembership, GetSuspicions, Membership, Suspicions
from casty.cluster.node import ClusterNode
from casty.config import TransportLimits
from casty.errors import CastyError, ProtocolError
from casty.protocol.membership.status import (
    REPORT_TYPES,
    ClusterReport,
    MemberReport,
    NodeReport,
    Phase,
    leader_in,
    report_alone,
    report_members,
)
from casty.protocol.sharding.observability.shard_listing import KEYS_TOLD_MAX, ShardListing, ShardsReport, listing_of
from casty.protocol.state.membership_state import MEMBERS_MAX
from casty.refs import ActorRef
from casty.schema.names import printable
from casty.transport.links.hello import client_handshake
from casty.transport.links.reading import READ_BYTES_MAX
from casty.transport.network.interface import Connection, ConnectionLost, Network, PeerIdentity, TlsRefused, close
from casty.transport.network.tls import TlsNetwork
from casty.version import VERSION
from casty.wire.codec.codec import Codec
from casty.wire.frame import FrameDecoder, FrameKind, Lane
from casty.wire.handshake import CLIENT, NONCE_BITS, PROTOCOL_MAX, PROTOCOL_MIN, Hello, Refused

ANSWER_TIMEOUT = 2.0
"""Seconds for the actors of a node to do their part of a report."""

ASKER = NodeAddress("status", 1)
"""Stands in the hello for a node's address. Nobody dials it."""

STRANGER = PeerIdentity("", CLIENT)
"""Asker without a certificate; another one says in its hello what its certificate proves, be it that of a node."""

ANY_SYSTEM = ""
"""System name in the hello of an asker: a node of any system."""


class NoStatus(CastyError):
    """Nobody there tells a status; the message says what happened."""


async def report_frames(node: ClusterNode) -> bytes:
    """Return the frames of this node's report. AskTimeoutError when one of its actors does not answer."""
    ask, subsystems = node.system.ask, node.subsystems
    membership: Membership = await ask(subsystems.topology, GetMembership, timeout=ANSWER_TIMEOUT)
    suspicions: Suspicions = await ask(subsystems.availability, GetSuspicions, timeout=ANSWER_TIMEOUT)
    state, board = membership.state, node.board
    phase: Phase = "gone" if board.ended else "member" if board.joined else "joining"
    members = (
        report_members(state, suspicions.phi, membership.heard, trio.current_time())
        if state
        else (report_alone(membership.member),)
    )
    told = node.kernel.hooks.shard_reports(None)
    head = NodeReport(
        node.self_node.address,
        membership.member.id,
        node.system_name,
        VERSION,
        phase,
        str(node.contacts) if phase == "joining" else "",
        state.cluster_id if state else 0,
        leader_in(state, node.self_node) if state else None,
        state.is_converged(node.self_node) if state else False,
        len(members),
        len(told.reports),
        told.left_out,
    )
    return b"".join(node.control_codec.frame_control(part) for part in (head, *members, *told.reports))


async def ask_status(
    network: Network, address: NodeAddress, *, system_name: str = ANY_SYSTEM, timeout: float = 5.0
) -> ClusterReport:
    """Return the report of the node at ``address`` on its cluster. Raises NoStatus with the reason where there is none.

    With a ``system_name`` a node of another name refuses. ``timeout`` seconds are for everything together.
    """
    try:
        with trio.fail_after(timeout):
            connection = await network.connect(address)
            try:
                identity = network.identity if isinstance(network, TlsNetwork) else STRANGER
                return await _ask(connection, address, system_name, identity)
            finally:
                await close(connection)
    except trio.TooSlowError:
        raise NoStatus(f"{address} did not answer within {timeout:g} s: is it a casty node, and does it run?") from None
    except TlsRefused as error:
        raise NoStatus(f"{address} does not tell its status: {printable(str(error))}") from None
    except ConnectionLost:
        what = "closed the connection without an answer"
        raise NoStatus(f"{address} {what}: it is no casty node, one of another version, or has no room") from None
    except ProtocolError as error:
        raise NoStatus(f"{address} does not answer like a casty node: {printable(str(error))}") from None
    except NoStatus:
        raise
    except CastyError as error:  # the dial failed
        raise NoStatus(str(error)) from None


async def _ask(connection: Connection, address: NodeAddress, system_name: str, identity: PeerIdentity) -> ClusterReport:
    limits, rng = TransportLimits(), SystemRandom()
    asker = UniqueAddress(ASKER, rng.getrandbits(NONCE_BITS - 1) | 1)
    hello = Hello(
        PROTOCOL_MIN, PROTOCOL_MAX, system_name, asker, Lane.status, node_id=identity.node_id or "", role=identity.role
    )
    answer, decoder = await client_handshake(connection, hello, limits)
    if isinstance(answer, Refused):
        raise NoStatus(f"{address} does not tell its status: {printable(answer.reason)}")
    return await _read(connection, decoder, limits)


async def _read(connection: Connection, decoder: FrameDecoder, limits: TransportLimits) -> ClusterReport:
    codec = Codec(export_ref=_no_export, import_ref=_no_import, limits=limits)
    for report_type, name in REPORT_TYPES.items():
        codec.register(report_type, name=name)
    head: NodeReport | None = None
    members: list[MemberReport] = []
    shards: list[ShardListing] = []
    frames = decoder.feed(b"")
    while True:
        for kind, body in frames:
            part = codec.decode_control(body) if kind is FrameKind.CONTROL else None
            if isinstance(part, NodeReport) and head is None and _is_possible(part):
                head = part
            elif isinstance(part, MemberReport) and head is not None and len(members) < head.members:
                members.append(part)
            elif isinstance(part, ShardsReport) and head is not None and len(shards) < head.keys:
                shards.append(_listing_of(part))
            else:
                raise ProtocolError(f"a {kind.name} frame that belongs to no report")
        if head is not None and (len(members), len(shards)) == (head.members, head.keys):
            return ClusterReport(head, tuple(members), tuple(shards))
        data = await connection.receive(READ_BYTES_MAX)
        if not data:
            raise ConnectionLost("the connection was closed within the report")
        frames = decoder.feed(data)


def _is_possible(head: NodeReport) -> bool:
    return 0 < head.members <= MEMBERS_MAX and 0 <= head.keys <= KEYS_TOLD_MAX


def _listing_of(report: ShardsReport) -> ShardListing:
    try:
        return listing_of(report)
    except ValueError as error:
        raise ProtocolError(f"{error}") from None


def _no_export(ref: ActorRef[Never], type_form: object) -> WireRef:
    raise CastyError("a report has no refs")


def _no_import(place: WireRef, type_form: object) -> ActorRef[Never]:
    raise CastyError("a report has no refs")
