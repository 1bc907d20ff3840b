"""A gateway from WebSockets to the rooms. Look at `hear`: a slow browser loses lines, and holds up nobody.

Each application has a node of its own in its process; all but the first have the address of another for a seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI, WebSocket
from rooms import host, listen, say

from casty import ClusteredActorSystem, embed


def gateway(node_id: str, *seeds: tuple[str, int]) -> FastAPI:
    """Return the application of one node."""

    @asynccontextmanager
    async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
        factory = partial(
            ClusteredActorSystem, name="chat", host="127.0.0.1", port=0, node_id=node_id, seed_nodes=seeds
        )
        async with embed.start_async(factory, on_start=host) as web.state.node:
            yield

    web = FastAPI(lifespan=lifespan)
    web.add_api_websocket_route("/rooms/{name}", partial(chat, web))
    return web


async def chat(web: FastAPI, socket: WebSocket, name: str) -> None:
    """Carry the lines of one browser, both ways, until it is closed."""
    await socket.accept()
    node: embed.AsyncEmbedded[ClusteredActorSystem] = web.state.node
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[str](100)

    def hear(text: str) -> None:
        with suppress(asyncio.QueueFull):
            heard.put_nowait(text)

    def hear_soon(text: str) -> None:  # called in the thread of the node
        loop.call_soon_threadsafe(hear, text)

    async def tell() -> None:
        while True:
            await socket.send_text(await heard.get())

    tasks = [asyncio.ensure_future(node.run(listen, node.system, name, hear_soon)), asyncio.ensure_future(tell())]
    try:
        async for text in socket.iter_text():
            await node.call(say, node.system, name, text)
    finally:
        for task in tasks:
            task.cancel()
