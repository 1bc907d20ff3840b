"""Receivers of what goes to many nodes: one actor of a service on each, as the receptionist lists it now.

Owns the refs to them, made once for each listing, and the one encoding of a message for all. It does not know how a
service is found, or what the actors are for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Never

from casty.address import NodeAddress
from casty.cluster.node import ClusterNode
from casty.cluster.receptionist.receptionist import ReceptionistExtension
from casty.cluster.remoting.remote_ref import RemoteRef
from casty.protocol.receptionist.listings import Entries, Names
from casty.refs import ActorRef
from casty.runtime.messaging.ref import tell_or_drop
from casty.wire.encoded import EncodedMessage
from casty.wire.envelope import decode_head
from casty.wire.frame import HEADER_BYTES

AUDIENCES_MAX: Final = 1_024
"""Services whose receivers are remembered; beyond it they are made anew."""


@dataclass(slots=True)
class Audience:
    """Receivers of one service, for messages of one type."""

    names: Names
    """Wire names of that type's messages."""
    entries: Entries = ()
    refs: tuple[tuple[NodeAddress, ActorRef[Never]], ...] = ()
    """One for each node, by address: of several on one the first by path."""


class Audiences:
    """Receivers of all services, as far as they were asked for."""

    def __init__(self, node: ClusterNode, receptionist: ReceptionistExtension) -> None:
        self._node = node
        self._receptionist = receptionist
        self._known: dict[tuple[str, object], Audience] = {}

    def of(self, name: str, message_type: object) -> Audience:
        """Return the receivers of a service right now."""
        audience = self._known.get((name, message_type))
        if audience is None:
            if len(self._known) >= AUDIENCES_MAX:
                self._known.clear()
            audience = self._known[name, message_type] = Audience(self._node.codec.names_of(message_type))
        entries = self._receptionist.find(name, audience.names)
        if entries is not audience.entries:
            audience.entries = entries
            found: dict[NodeAddress, ActorRef[Never]] = {}
            for one in entries:
                place = (self._node.system_name, one.path, one.node.host, one.node.port, one.incarnation, one.uid)
                if one.node not in found:
                    found[one.node] = self._node.import_ref(place, message_type)
            audience.refs = tuple(found.items())
        return audience

    def tell(self, refs: Iterable[ActorRef[Never]], message: object, message_type: object) -> None:
        """Tell each of these a message, encoded once. EncodeError before anybody was told."""
        far, near = list[RemoteRef[Any]](), list[ActorRef[Any]]()
        for ref in refs:
            if isinstance(ref, RemoteRef):
                far.append(ref)
            else:
                near.append(ref)
        if far:
            frame = self._node.codec.frame_envelope("/", 0, message, message_type)
            name = decode_head(memoryview(frame)[HEADER_BYTES:])[3]
            encoded = EncodedMessage(frame, name)
            for ref in far:
                ref.post_encoded(message, encoded)
        for ref in near:
            tell_or_drop(ref, message)

    def __repr__(self) -> str:
        return f"<Audiences {len(self._known)}>"
