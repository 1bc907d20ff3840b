"""FastAPI in front of actors. Look at `lifespan`: it runs the system in a Trio thread, beside asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI, Request

from casty import ActorContext, ActorRef, ActorSystem, Behaviors, Inbox, embed


@dataclass(frozen=True)
class Add:
    item: str
    reply_to: ActorRef[int]


async def cart(ctx: ActorContext[Add], inbox: Inbox[Add]) -> None:
    items: list[str] = []
    async for message in inbox:
        items.append(message.item)
        message.reply_to.tell(len(items))


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
    async with embed.start_async(lambda: ActorSystem("shop")) as web.state.shop:
        web.state.cart = await web.state.shop.spawn(Behaviors.task(cart), "cart")
        yield


web = FastAPI(lifespan=lifespan)


@web.post("/cart/{item}")
async def add(item: str, request: Request) -> int:
    shop: embed.AsyncEmbedded[ActorSystem] = request.app.state.shop
    return await shop.ask(request.app.state.cart, lambda reply_to: Add(item, reply_to), timeout=5.0)


async def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(web, log_level="warning"))
    serving = asyncio.create_task(server.serve([listening]))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
        for item in ("tea", "rice", "milk"):
            print("items in the cart:", (await client.post(f"/cart/{item}")).text)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main(), debug=False)  # in debug mode asyncio reports every slow step
