"""Two gateways in one process, and a browser at each: both hear everything, in one order."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from gateway import gateway


class Browser:
    """One WebSocket, spoken as ASGI: what it sends, and what it gets."""

    def __init__(self, web: FastAPI, path: str) -> None:
        self.sent, self.got = asyncio.Queue[dict[str, Any]](), asyncio.Queue[str]()
        self.sent.put_nowait({"type": "websocket.connect"})
        scope: dict[str, Any] = {"type": "websocket", "path": path, "headers": [], "query_string": b""}
        self.task = asyncio.ensure_future(web(scope, self.sent.get, self.take))

    async def take(self, event: Any) -> None:
        """Take what the gateway sends."""
        if event["type"] == "websocket.send":
            self.got.put_nowait(event["text"])

    def say(self, text: str) -> None:
        """Send a line."""
        self.sent.put_nowait({"type": "websocket.receive", "text": text})

    async def close(self) -> None:
        """Go away."""
        self.sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


async def talk() -> None:
    first = gateway("chat-1")
    async with first.router.lifespan_context(first), asyncio.timeout(60):
        address = first.state.node.system.self_node
        second = gateway("chat-2", (address.host, address.port))
        async with second.router.lifespan_context(second):
            ada, bob = Browser(first, "/rooms/tea"), Browser(second, "/rooms/tea")
            assert {await ada.got.get(), await bob.got.get()} == {"welcome to tea"}
            for number in range(3):
                ada.say(f"Ada {number}")
                bob.say(f"Bob {number}")
            heard = [await ada.got.get() for _ in range(6)]
            assert [await bob.got.get() for _ in range(6)] == heard
            assert [line[0] for line in heard] == ["1", "2", "3", "4", "5", "6"]
            assert [line[2:] for line in heard if "Ada" in line] == ["Ada 0", "Ada 1", "Ada 2"]
            await bob.close()
            await ada.close()


def test_everybody_in_a_room_hears_the_same_lines_in_the_same_order() -> None:
    asyncio.run(talk())
