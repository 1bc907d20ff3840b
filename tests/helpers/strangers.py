"""A client that writes what it likes, for tests of what nodes let through."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import trio

from casty import TransportLimits
from casty.address import NodeAddress, UniqueAddress
from casty.transport.clients.frame_pipe import FramePipe
from casty.transport.links.hello import client_handshake
from casty.transport.network.interface import ConnectionLost
from casty.wire.envelope import HAS_ENTITY, HAS_TAIL, encode_entity, encode_wait
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import CLIENT, Hello, HelloAck, Refused

RUN = UniqueAddress(NodeAddress("client", 1), 77)
NODE = NodeAddress("a", 2551)
LIMITS = TransportLimits()


class Stranger:
    """A client that writes what it likes."""

    def __init__(self, pipe: FramePipe) -> None:
        self.pipe = pipe
        self.came: list[tuple[FrameKind, bytes]] = []
        self.is_closed = False

    async def read(self) -> None:
        try:
            while True:
                self.came += [one for one in await self.pipe.read() if one[0] is not FrameKind.CONTROL]
        except ConnectionLost:
            self.is_closed = True

    def say(self, kind: FrameKind, body: bytes) -> None:
        self.pipe.put(frame(kind, body))

    def envelope(
        self, path: str, name: str, payload: object, *, ask: int = 0, entity: str = "", wait: float = 5.0
    ) -> None:
        parts = HAS_TAIL * bool(ask) | HAS_ENTITY * bool(entity)
        head = msgpack.packb([path, 0, name, parts] if parts else [path, 0, name])
        body = len(head).to_bytes(2, "big") + head
        body += encode_wait(wait, ask) if ask else b""
        body += encode_entity(0, entity) if entity else b""
        self.say(FrameKind.ENVELOPE, body + msgpack.packb(payload))

    def notices(self) -> list[str]:
        return [msgpack.unpackb(body)[0] for kind, body in self.came if kind is FrameKind.NOTICE]


def hello(**changes: Any) -> Hello:
    said: dict[str, Any] = {"system": "shop", "node": RUN, "lane": Lane.ordinary, "role": CLIENT, "node_id": "mallory"}
    return Hello(2, 2, **(said | changes))


async def greet(nodes: Any, said: Hello) -> tuple[Any, HelloAck | Refused, Any]:
    connection = await nodes.network.host("outside").connect(NODE)
    answer, decoder = await client_handshake(connection, said, LIMITS)
    return connection, answer, decoder


@asynccontextmanager
async def stranger(nodes: Any) -> AsyncGenerator[Stranger]:
    connection, answer, decoder = await greet(nodes, hello())
    assert isinstance(answer, HelloAck)
    one = Stranger(FramePipe(connection, decoder, bytes_max=2**30, write_timeout=30.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.pipe.write)
        nursery.start_soon(one.read)
        yield one
        nursery.cancel_scope.cancel()


def reply_to(run: UniqueAddress = RUN, path: str = "/_ask/1", uid: int = 5) -> list[object]:
    return ["shop", path, run.address.host, run.address.port, run.incarnation, uid]


def refused(handle: Any) -> dict[str, int]:
    counted = handle.node.cluster_metrics.refused
    return {name.removeprefix("client: "): count for name, count in counted.items() if name.startswith("client: ")}
