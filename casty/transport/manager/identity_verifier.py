"""Check that a hello comes from the node named in it.

Anybody can write the address and the run of a node into a hello: both are told to anyone. So a hello without proof is
checked with the node there, over a connection of its own: does it wait for the answer of this node to the hello with
this nonce? Without encryption, an attacker on the path can still do everything.
"""

from __future__ import annotations

from dataclasses import replace

import trio

from casty.address import NodeAddress
from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.transport.links.hello import client_handshake
from casty.transport.manager.link_manager import LinkManager
from casty.transport.network.interface import ConnectFailed, ConnectionLost, Network, close
from casty.wire.frame import Lane
from casty.wire.handshake import Hello, HelloAck, Refused

CHECKS_PER_ADDRESS_MAX = 4
"""Checks at one time of hellos in one node's name: each is a connection to that node. The others wait in a line, so a
flood of them cannot have the node's own refused.
"""

CHECK_PARTS = 0.6
"""Part of the time for a hello: within the rest the peer is told that it named a silent address."""


class IdentityVerifier:
    """Asks nodes for their identity and the hellos they have sent."""

    def __init__(self, network: Network, limits: TransportLimits) -> None:
        self._network = network
        self._limits = limits
        self._checking: dict[NodeAddress, trio.CapacityLimiter] = {}

    async def probe(
        self,
        address: NodeAddress,
        exchange: LinkManager,
        *,
        nonce: int = 0,
        named_by: str | None = None,
        timeout: float,
    ) -> HelloAck | Refused | None:
        """Ask for the node at an address, and whether a hello was its own; None when nobody answers.

        ``named_by``: see `casty.transport.network.interface.Network.connect`.
        """
        with trio.move_on_after(timeout):
            try:
                connection = await self._network.connect(address, named_by=named_by)
            except (ConnectFailed, ConnectionLost):
                return None
            try:
                answer, _ = await client_handshake(
                    connection, exchange.identity.introduction(Lane.probe, nonce), self._limits
                )
                return answer
            except (ConnectionLost, ProtocolError):
                return None
            finally:
                await close(connection)
        return None

    async def doubt(self, hello: Hello, remote: str, exchange: LinkManager) -> Refused | None:
        """Return why a hello from this host is not believed; None when it is, or when no link is to come of it."""
        if not exchange.is_doubtful(hello):
            return None
        address = hello.node.address
        places = self._checking.setdefault(address, trio.CapacityLimiter(CHECKS_PER_ADDRESS_MAX))
        try:
            async with places:
                timeout = CHECK_PARTS * self._limits.hello_timeout
                named_by = None if exchange.knows(address) else remote
                found = await self.probe(address, exchange, nonce=hello.nonce, named_by=named_by, timeout=timeout)
        finally:
            if not places.borrowed_tokens and not places.statistics().tasks_waiting:
                self._checking.pop(address, None)
        if found is None:
            return Refused(f"nobody answers at {address}: a node must be reachable where it says it is", final=False)
        if isinstance(found, Refused):
            return replace(found, reason=f"the node at {address} refuses this one: {printable(found.reason)}")
        if found.node != hello.node:
            return Refused(f"another node is alive at {address}: choose another host or port", final=True)
        if not hello.nonce or found.nonce != hello.nonce:
            return Refused(f"the node at {address} knows nothing of this hello", final=False)
        return None

    def __repr__(self) -> str:
        return f"<IdentityVerifier checking={sum(places.borrowed_tokens for places in self._checking.values())}>"
