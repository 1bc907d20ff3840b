"""An HTTP gateway outside of the cluster. Look at `CARTS`, which is open to clients, and at what becomes a 503."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx
from fastapi import FastAPI, Response

import casty
from casty import ActorContext, ActorRef, Behaviors, CastyError, ClusterClient, EntityKey, Inbox, embed


@casty.message("gateway.Add")
@dataclass(frozen=True)
class Add:
    item: str
    reply_to: ActorRef[int]


NODE = partial(casty.ClusteredActorSystem, name="shop", host="127.0.0.1", port=0, node_id="n1")
CARTS = EntityKey[Add]("carts", clients=True)


async def cart(ctx: ActorContext[Add], inbox: Inbox[Add]) -> None:
    items = 0
    async for message in inbox:
        message.reply_to.tell(items := items + 1)


def gateway(*at: tuple[str, int]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(web: FastAPI) -> AsyncGenerator[None]:
        async with embed.start_async(lambda: ClusterClient(contact_points=at, system_name="shop")) as web.state.shop:
            yield

    web = FastAPI(lifespan=lifespan)
    web.add_exception_handler(CastyError, lambda request, error: Response(type(error).__name__, 503))

    @web.post("/carts/{cart_id}/{item}")
    async def add(cart_id: str, item: str) -> int:
        ref = await web.state.shop.call(web.state.shop.system.entity, CARTS, cart_id)
        return int(await web.state.shop.ask(ref, partial(Add, item)))

    return web


async def main() -> None:
    carts = Behaviors.sharded(lambda _: Behaviors.task(cart), CARTS)
    async with embed.start_async(NODE, on_start=lambda system: system.spawn(carts, "carts")) as node:
        web = gateway((node.system.self_node.host, node.system.self_node.port))
        async with web.router.lifespan_context(web), httpx.AsyncClient(transport=httpx.ASGITransport(web)) as http:
            print((await http.post("http://gateway/carts/cart-42/milk")).text)


if __name__ == "__main__":
    asyncio.run(main(), debug=False)
