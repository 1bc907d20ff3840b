"""FastAPI in front of actors. Look at `lifespan`, which runs a node in a Trio thread, at `/ready`, and at the 503."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx
from fastapi import FastAPI, Response

from casty import ActorContext, ActorRef, Behaviors, CastyError, ClusteredActorSystem, Inbox, embed

NODE = partial(ClusteredActorSystem, name="shop", host="127.0.0.1", port=0, node_id="web-1")  # to join: seed_nodes


@dataclass(frozen=True)
class Add:
    item: str
    reply_to: ActorRef[int]


async def cart(ctx: ActorContext[Add], inbox: Inbox[Add]) -> None:
    items = 0
    async for message in inbox:
        message.reply_to.tell(items := items + 1)


@asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
    def open_shop(system: ClusteredActorSystem) -> None:  # called again when a downed node has joined again
        web.state.cart = system.spawn(Behaviors.task(cart), "cart")

    async with embed.start_async(NODE, on_start=open_shop, rejoin=True) as web.state.shop:
        yield


web = FastAPI(lifespan=lifespan)  # a call fails without a reply in time, and while a downed node joins again:
web.add_exception_handler(CastyError, lambda request, error: Response(type(error).__name__, 503))


@web.post("/cart/{item}")
async def add(item: str) -> int:
    return int(await web.state.shop.ask(web.state.cart, partial(Add, item), timeout=5.0))


@web.get("/ready")
async def ready() -> Response:
    health: embed.Health = await web.state.shop.health()
    return Response(health.reason or f"{health.up_members} up", 200 if health.is_ready else 503)


async def main() -> None:
    async with lifespan(web), httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://shop") as client:
        print((await client.get("/ready")).text, (await client.post("/cart/tea")).text)


if __name__ == "__main__":
    asyncio.run(main(), debug=False)  # in debug mode asyncio reports every slow step
