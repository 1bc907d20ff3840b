"""Whether a hello comes from the node that it names, where believing it would hurt that node.

Anybody can write the address and the run of a living node into a hello: both travel in gossip. So a
hello that could cut or copy the link of a node, or names the address of a member that has no link, is
checked with the node there, over a connection of its own: has it sent the hello with this nonce? Only
the dialler and who was dialled know a nonce. Without encryption, who sits on the path can still do everything.
"""

from __future__ import annotations

from collections import Counter

import trio

from casty.address import NodeAddress
from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.transport.base import ConnectFailed, ConnectionLost, Network
from casty.transport.exchange import Exchange
from casty.transport.greeting import greet
from casty.transport.link import close
from casty.wire.frame import Lane
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, HelloAck, Refused

CHECKS_PER_ADDRESS_MAX = 4
"""Checks at one time of hellos in one node's name: each is a connection to that node."""


class Claims:
    """Asks nodes who they are and what they have sent."""

    def __init__(self, network: Network, limits: TransportLimits) -> None:
        self._network = network
        self._limits = limits
        self._checking: Counter[NodeAddress] = Counter()

    async def probe(self, address: NodeAddress, exchange: Exchange, *, nonce: int = 0) -> HelloAck | None:
        """Ask who answers at an address, and whether a hello was its own; None when nobody answers."""
        with trio.move_on_after(self._limits.dial_timeout):
            try:
                connection = await self._network.connect(address)
            except ConnectFailed:
                return None
            try:
                hello = Hello(PROTOCOL_MIN, PROTOCOL_MAX, exchange.system_name, exchange.local, Lane.probe, nonce)
                answer, _ = await greet(connection, hello, self._limits)
                return answer if isinstance(answer, HelloAck) else None
            except (ConnectionLost, ProtocolError):
                return None
            finally:
                await close(connection)
        return None

    async def doubt(self, hello: Hello, remote: str, exchange: Exchange) -> Refused | None:
        """Return why a hello is not believed; None when it is, or when there is nothing to lose."""
        if not exchange.is_doubtful(hello, remote):
            return None
        address = hello.node.address
        if self._checking[address] >= CHECKS_PER_ADDRESS_MAX:
            return Refused(f"other hellos in the name of {address} are being checked", final=False)
        self._checking[address] += 1
        try:
            found = await self.probe(address, exchange, nonce=hello.nonce)
        finally:
            self._checking[address] -= 1
            if not self._checking[address]:
                del self._checking[address]
        if found is None:
            return Refused(f"a node is known at {address}, and nobody answers there", final=False)
        if found.node != hello.node:
            return Refused(f"another node is alive at {address}: choose another host or port", final=True)
        if not hello.nonce or found.nonce != hello.nonce:
            return Refused(f"the node at {address} knows nothing of this hello", final=False)
        return None

    def __repr__(self) -> str:
        return f"<Claims checking={self._checking.total()}>"
