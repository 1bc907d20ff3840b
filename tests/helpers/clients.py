"""A client of the clusters that tests make in memory."""

from __future__ import annotations

from typing import Any

import trio

from casty import ClusterClient
from casty.address import NodeAddress
from casty.transport.network.interface import Connection, Listener, Network

PORT = 2551


def client_of(nodes: Any, *contacts: str, **options: Any) -> ClusterClient:
    points = [(contact, PORT) for contact in contacts]
    return ClusterClient(contact_points=points, system_name="shop", network=nodes.network.host("outside"), **options)


class KeptHost:
    """A host whose dialled connections can be held up."""

    def __init__(self, host: Network) -> None:
        self.host = host
        self.dialled: list[Any] = []

    async def listen(self, host: str, port: int) -> Listener:
        return await self.host.listen(host, port)

    async def connect(self, address: NodeAddress, *, named_by: str | None = None) -> Connection:
        self.dialled.append(await self.host.connect(address, named_by=named_by))
        return self.dialled[-1]


def hold_up(connection: Any) -> None:
    """Let a connection write nothing any more, and take its time to close."""
    close = connection.aclose

    async def send(data: bytes | memoryview) -> None:
        await trio.sleep_forever()

    async def close_slowly() -> None:
        with trio.move_on_after(0.9, shield=True):
            await trio.sleep_forever()
        await close()

    connection.send, connection.aclose = send, close_slowly
