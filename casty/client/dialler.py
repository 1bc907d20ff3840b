"""Dialling of contact points by one client, and its hello."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import trio

from casty.address import INCARNATION_MAX, NodeAddress, UniqueAddress
from casty.client.client_codec import ClientCodec
from casty.client.client_connection import ClientConnection, ConnectionOwner
from casty.client.given_ref import GivenWay
from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.transport.clients.frame_pipe import FramePipe
from casty.transport.links.hello import client_handshake
from casty.transport.network.interface import ConnectFailed, ConnectionLost, Network, close
from casty.wire.frame import Lane
from casty.wire.handshake import CLIENT, PROTOCOL_MAX, PROTOCOL_MIN, Hello, HelloAck
from casty.wire_types import WireType

DIAL_TIMEOUT: Final = 2.0
"""Seconds for one attempt, hellos included: then the next contact point has its turn."""
OUTBOUND_BYTES_MAX: Final = 8 * 1024 * 1024
FAULTS_MAX: Final = 16
"""Contact points with a remembered fault."""
TOLD_MAX: Final = 8
"""Faults of one contact point named in the log until it answers."""
CLIENT_PLACE: Final = NodeAddress("client", 1)
"""Address in the hellos of clients: nobody dials it."""

logger = logging.getLogger("casty.client")


class NoContact(Exception):
    """An attempt to connect has failed; why is noted."""


class ClientDialler:
    """Maker of one client's connections.

    Parameters:
        network: Network to dial with.
        system_name: Name of the cluster's system.
        name: Name of the client, for log lines of nodes; with TLS that of its certificate.
        limits: Bounds of frames and messages.
        rng: Source of the client's run, and of jitter.
        wire_types: Classes of others whose values travel.
    """

    def __init__(
        self,
        network: Network,
        *,
        system_name: str,
        name: str,
        limits: TransportLimits,
        rng: Random,
        wire_types: Sequence[WireType[Any, Any]],
    ) -> None:
        self.own = UniqueAddress(CLIENT_PLACE, rng.randint(1, INCARNATION_MAX))
        """Run of the client."""
        self._network = network
        self._system_name = system_name
        self._name = name
        self._limits = limits
        self._rng = rng
        self._wire_types = wire_types
        self._faults: dict[NodeAddress, str] = {}
        self._told: dict[NodeAddress, set[str]] = {}
        """Faults that the log has, of each contact point since it last answered."""
        self._codec: ClientCodec | None = None

    @property
    def title(self) -> str:
        """Name of the client, as log lines begin."""
        return f"client {self._name} of {self._system_name}"

    @property
    def faults(self) -> str:
        """Faults of the contact points, each as of the last attempt."""
        told = [f"{address}: {fault}" for address, fault in self._faults.items()]
        return "; ".join(told) or "none was tried yet"

    def codec(self, way: GivenWay) -> ClientCodec:
        """Return the codec of the client, for refs by ``way``."""
        self._codec = ClientCodec(
            self.own, system_name=self._system_name, limits=self._limits, wire_types=self._wire_types, way=way
        )
        return self._codec

    def jittered(self, pause: float) -> float:
        """Return a pause near this one, so that clients do not come all at once."""
        return pause * self._rng.uniform(0.5, 1.5)

    async def dial(self, address: NodeAddress, number: int, owner: ConnectionOwner) -> ClientConnection:
        """Return a connection to a node, hellos exchanged. Raises NoContact."""
        fault = f"no answer within {DIAL_TIMEOUT:g} s"
        with trio.move_on_after(DIAL_TIMEOUT):
            try:
                connection = await self._connect(address, number, owner)
            except (ConnectFailed, ConnectionLost, ProtocolError, NoContact) as error:
                fault = printable(str(error))
            else:
                self._faults.pop(address, None)
                self._told.pop(address, None)
                return connection
        self._note(address, fault)
        raise NoContact(fault)

    def _note(self, address: NodeAddress, fault: str) -> None:
        """Keep a fault for the errors to come, and log it the first time: nobody is told before the end of a wait."""
        self._faults.pop(address, None)
        while len(self._faults) >= FAULTS_MAX:
            gone = next(iter(self._faults))
            del self._faults[gone]
            self._told.pop(gone, None)
        self._faults[address] = fault
        told = self._told.setdefault(address, set())
        if fault not in told and len(told) < TOLD_MAX:
            told.add(fault)
            logger.warning("%s has no connection to %s: %s", self.title, address, fault)

    async def _connect(self, address: NodeAddress, number: int, owner: ConnectionOwner) -> ClientConnection:
        connection = await self._network.connect(address)
        is_up = False
        try:
            hello = Hello(
                PROTOCOL_MIN,
                PROTOCOL_MAX,
                self._system_name,
                self.own,
                Lane.ordinary,
                to=address,
                node_id=self._name,
                role=CLIENT,
            )
            answer, decoder = await client_handshake(connection, hello, self._limits)
            if not isinstance(answer, HelloAck):
                raise NoContact(f"refused: {answer.reason}")
            is_up = True
        finally:
            if not is_up:
                await close(connection)
        pipe = FramePipe(connection, decoder, bytes_max=OUTBOUND_BYTES_MAX, write_timeout=self._limits.write_timeout)
        assert self._codec is not None
        return ClientConnection(address, number, pipe, system_name=self._system_name, codec=self._codec, owner=owner)

    def __repr__(self) -> str:
        return f"<ClientDialler {self._name}>"
