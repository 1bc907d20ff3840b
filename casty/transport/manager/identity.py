"""Evidence of the node at the other end of a connection.

Owns the rules of evidence, three in number:

- The node answering at a dialled address is the node of that address.
- A hello that proves a secret comes from the other end of the link with this secret, for as long as it is up.
- Everybody else is asked for at the address in its hello: only a node waiting there for the answer of this node to this
  very hello says yes (`casty.transport.manager.identity_verifier`).

Nothing follows from a host, shared with nodes of others, or from the number of a run, no secret either; and nobody is
believed for being no member, since frames for a joining node are for nobody else either. Without encryption, a reader
of the network's traffic learns the secrets and can pass for either end of their links.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from casty.address import NodeAddress, UniqueAddress
from casty.transport.links.link_table import LinkTable
from casty.transport.manager.dialling import DialPhase, DialTask
from casty.wire.frame import Lane
from casty.wire.handshake import (
    CAN_HAND_OVER,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    SECRET_BYTES,
    Hello,
    HelloAck,
    Refused,
    is_proof,
    negotiate,
    proof_of,
)

LANES_ASKING = frozenset({Lane.probe, Lane.status})
"""No link comes of a hello on these."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """This node as it names itself: its run, and the names of its system and of itself."""

    run: UniqueAddress
    system_name: str
    node_id: str = ""


class Identity:
    """Evidence in the hands of one run of a node."""

    __slots__ = ("_dials", "_links", "_own", "local")

    def __init__(self, own: LocalNode, links: LinkTable, dials: Mapping[tuple[NodeAddress, Lane], DialTask]) -> None:
        self._own = own
        self.local = own.run
        """Run of this node."""
        self._links = links
        self._dials = dials

    def hello(self, dial: DialTask) -> Hello:
        """Return the hello to a dialled address, with a proof where a link leads there already."""
        return self.hello_on(dial.lane, dial.nonce, dial.address)

    def hello_on(self, lane: Lane, nonce: int, to: NodeAddress) -> Hello:
        """Return the hello to an address on a lane."""
        hello = replace(self.introduction(lane, nonce, to), features=CAN_HAND_OVER)
        for link in self._links.at(to):
            if link.session is not None and link.session.secret:
                return replace(hello, proof=proof_of(hello, link.peer, link.session.secret))
        return hello

    def introduction(self, lane: Lane, nonce: int, to: NodeAddress | None = None) -> Hello:
        """Return a hello without proof."""
        own = self._own
        return Hello(PROTOCOL_MIN, PROTOCOL_MAX, own.system_name, own.run, lane, nonce, to, node_id=own.node_id)

    def negotiate(self, hello: Hello) -> HelloAck | Refused:
        """Decide on a hello by its text alone."""
        return negotiate(hello, own=self.local, system=self._own.system_name, node_id=self._own.node_id)

    def is_shown(self, hello: Hello) -> bool:
        """Whether a hello proves the secret of a link with the run named in it."""
        return any(
            link.peer == hello.node and link.session is not None and is_proof(hello, self.local, link.session.secret)
            for link in self._links.at(hello.node.address)
        )

    def only_asks(self, hello: Hello) -> bool:
        """Whether no link is to come of a hello.

        So it is with another name of this node: the dialler has, or makes, its one link at the address in the
        acknowledgement, and a second one in its place would cut it.
        """
        return hello.lane in LANES_ASKING or hello.to not in (None, self.local.address)

    def answer(self, hello: Hello, ack: HelloAck) -> HelloAck:
        """Return the answer to a hello that only asks.

        On the probe lane: whether this node has said the hello with that nonce to the asking node. Any other dialled
        node knows a nonce too, and could pass it on.
        """
        match hello.lane:
            case Lane.status:
                return replace(ack, node=UniqueAddress(ack.node.address, 0))
            case Lane.probe if self._has_said(hello.nonce, hello.node.address):
                return replace(ack, nonce=hello.nonce)
            case _:
                return ack

    def _has_said(self, nonce: int, to: NodeAddress) -> bool:
        dials = self._dials.values()
        return any(dial.nonce == nonce and dial.address == to and dial.phase is DialPhase.greeting for dial in dials)

    def __repr__(self) -> str:
        return f"<Identity {self.local}>"


def new_secret() -> bytes:
    """Return a secret for a new link: of the system's randomness also where all else is drawn from a seed."""
    return secrets.token_bytes(SECRET_BYTES)
