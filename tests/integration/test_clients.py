"""A client over real sockets, and an HTTP gateway that is one, while nodes are killed under them."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from entity_work import HITS, LONG, Hit
from processes import NodeProcess, Rig, show

from casty import AskFailed, AskTimeoutError, Behaviors, ClusterClient, ClusteredActorSystem, embed

SPEC: dict[str, Any] = {"settings": {"stable_after": 1.5}, "entities": True}
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "http_gateway.py"


class Caller:
    """Asks by one client, each entity with growing numbers, and their outcomes."""

    def __init__(self, client: ClusterClient) -> None:
        self.client = client
        self.answered: dict[str, list[int]] = {}
        self.failed: list[AskFailed | AskTimeoutError] = []

    async def run(self, entity_id: str) -> None:
        answered = self.answered.setdefault(entity_id, [])
        number = 0
        while True:
            number += 1
            try:
                ref = self.client.entity(HITS, entity_id)
                reply: int = await self.client.ask(ref, partial(Hit, number, 0.0), timeout=20.0)
            except (AskFailed, AskTimeoutError) as error:
                self.failed.append(error)
            else:
                assert reply == number
                answered.append(number)
            await trio.sleep(0.02)

    def count(self) -> int:
        return sum(map(len, self.answered.values()))

    async def wait_progress(self) -> None:
        """Return once each entity has answered anew."""
        before = {name: len(numbers) for name, numbers in self.answered.items()}
        with trio.fail_after(LONG):
            while any(len(self.answered[name]) == count for name, count in before.items()):  # noqa: ASYNC110  # only this waits
                await trio.sleep(0.05)


async def test_a_client_goes_on_while_the_node_that_it_is_connected_to_is_killed(rig: Rig) -> None:
    nodes: dict[tuple[str, int], NodeProcess] = {one.address: one for one in await rig.cluster("a", "b", "c", **SPEC)}
    points = list(nodes)
    async with (
        ClusterClient(contact_points=points[:1], system_name="integration") as client,
        trio.open_nursery() as nursery,
    ):
        caller = Caller(client)
        for number in range(16):
            nursery.start_soon(caller.run, f"cart-{number}")
        await caller.wait_progress()
        await trio.sleep(1.5)
        assert {(point.host, point.port) for point in client.contact_points} == set(points)
        contact = client.contact
        assert contact is not None and not caller.failed
        before = caller.count()
        await nodes[contact.host, contact.port].kill()
        await caller.wait_progress()
        assert client.contact not in (None, contact)
        nursery.cancel_scope.cancel()
    failures = sorted({type(one).__name__ for one in caller.failed})
    show(f"killed: {before} asks before, {caller.count() - before} after, {len(caller.failed)} failed, {failures}")
    assert all(not one.certainly_not_handled for one in caller.failed)
    assert len(caller.failed) <= 16


async def test_a_gateway_of_asyncio_answers_on_when_the_node_behind_it_is_killed(rig: Rig) -> None:
    nodes: dict[tuple[str, int], NodeProcess] = {one.address: one for one in await rig.cluster("a", "b", "c", **SPEC)}
    points = list(nodes)
    killed = trio.Event()
    behind: list[tuple[str, int]] = []
    token = trio.lowlevel.current_trio_token()

    async def gateway() -> tuple[int, list[AskFailed | AskTimeoutError]]:
        """Answer requests one after another, and return how many after the kill, and the failures."""
        after, failed = 0, list[AskFailed | AskTimeoutError]()
        make = partial(ClusterClient, contact_points=points[:1], system_name="integration")
        async with embed.start_async(make) as shop:
            number = 0
            while after < 50:
                number += 1
                cart = await shop.call(shop.system.entity, HITS, f"cart-{number % 16}")
                try:
                    assert await shop.ask(cart, partial(Hit, number, 0.0), timeout=20.0) == number
                    after += killed.is_set()
                except (AskFailed, AskTimeoutError) as error:
                    failed.append(error)
                if number == 100:
                    await asyncio.sleep(1.5)  # by then it has been told of the other nodes
                    contact = shop.system.contact
                    assert contact is not None
                    behind.append((contact.host, contact.port))
                    await asyncio.to_thread(trio.from_thread.run_sync, asked.set, trio_token=token)
        return after, failed

    asked = trio.Event()

    async def kill() -> None:
        await asked.wait()
        await nodes[behind[0]].kill()
        killed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        after, failed = await trio.to_thread.run_sync(lambda: asyncio.run(gateway()))
    show(f"gateway: {after} answers after the kill of {behind[0]}, {len(failed)} failed")
    assert after == 50
    assert len(failed) <= 1
    assert all(not one.certainly_not_handled for one in failed)


def gateway_example() -> Any:
    spec = importlib.util.spec_from_file_location("http_gateway", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["http_gateway"] = module
    spec.loader.exec_module(module)
    return module


def test_the_gateway_answers_by_another_node_when_its_own_has_gone() -> None:
    module = gateway_example()

    def node(name: str, seeds: list[tuple[str, int]]) -> Any:
        make = partial(ClusteredActorSystem, name="shop", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds)
        kind = Behaviors.sharded(lambda _: Behaviors.task(module.cart), module.CARTS)
        return embed.start_async(make, on_start=lambda system: system.spawn(kind, "carts"))

    async def main() -> None:
        async with node("n1", []) as stays:
            own = (stays.system.self_node.host, stays.system.self_node.port)
            leaves = node("n2", [own])
            shop = await leaves.__aenter__()
            point = (shop.system.self_node.host, shop.system.self_node.port)
            web = module.gateway(point)
            transport = httpx.ASGITransport(web)
            async with (
                web.router.lifespan_context(web),
                httpx.AsyncClient(transport=transport, base_url="http://gateway") as http,
            ):
                assert (await http.post("/carts/cart-1/milk")).text == "1"
                await asyncio.sleep(1.5)
                await leaves.__aexit__(None, None, None)
                answers = [(await http.post("/carts/cart-2/tea")).text for _ in range(3)]
                assert answers == ["1", "2", "3"]

    asyncio.run(main(), debug=False)
