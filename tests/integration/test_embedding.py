"""The FastAPI example as a service: a real server on a loopback socket, a real HTTP client."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from casty import ClusteredActorSystem, NodeDowned, embed
from casty.runtime.system import embedding
from casty.runtime.system.system import fail_system

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "fastapi_app.py"


@pytest.fixture(scope="module")
def web() -> FastAPI:
    """The application of the example, imported from its file."""
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fastapi_app"] = module
    spec.loader.exec_module(module)
    application: FastAPI = module.web
    return application


@asynccontextmanager
async def served(web: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    """Serve an application on a free port, and give a client for it."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(web, log_level="warning"))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


def shop(web: FastAPI, use: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with served(web) as client:
            await use(client)

    asyncio.run(main(), debug=False)


def test_requests_reach_one_actor_and_get_its_replies(web: FastAPI) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(client.post(f"/cart/item-{number}") for number in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert sorted(answer.json() for answer in answers) == list(range(1, 51))

    shop(web, use)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anyio")]


def test_the_service_is_ready_while_its_node_is_up(web: FastAPI) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        answer = await client.get("/ready")
        assert (answer.status_code, answer.text) == (200, "1 up")

    shop(web, use)


def test_a_request_while_the_node_joins_again_gets_503_and_no_traceback(
    web: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedding, "REJOIN_PAUSE_MIN", 30.0)

    async def use(client: httpx.AsyncClient) -> None:
        assert (await client.post("/cart/tea")).status_code == 200
        system = web.state.shop.system
        await web.state.shop.call(fail_system, system, NodeDowned("the node was declared down"))
        async with asyncio.timeout(10):
            while (await web.state.shop.health()).state is embed.HealthState.running:
                pass
        answers = [await client.post("/cart/tea"), await client.get("/ready")]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert answers[0].text == "ActorStoppedError"
        assert answers[1].text.startswith("NodeDowned: ")

    shop(web, use)
    assert "Traceback" not in caplog.text


def test_the_service_can_be_started_again_with_a_new_system(web: FastAPI) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        assert (await client.post("/cart/tea")).json() == 1

    shop(web, use)
    shop(web, use)


def test_a_node_that_its_cluster_downs_is_logged_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedding, "REJOIN_PAUSE_MIN", 0.1)
    started = threading.Semaphore(0)

    def node(name: str, seeds: tuple[tuple[str, int], ...] = ()) -> ClusteredActorSystem:
        return ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds)

    with embed.start(lambda: node("store-1")) as store:
        seed = store.system.self_node
        seeds = ((seed.host, seed.port),)
        with embed.start(lambda: node("web-1", seeds), on_start=lambda _: started.release(), rejoin=True) as gateway:
            assert started.acquire(timeout=10)
            gateway.run(gateway.system.wait_for, 2)
            first = gateway.system.self_node
            store.run(store.system.cluster.down, first)
            assert started.acquire(timeout=30)
            gateway.run(gateway.system.wait_for, 2)
            deadline = time.monotonic() + 10
            while not (health := gateway.health()).is_ready and time.monotonic() < deadline:
                time.sleep(0.05)
            assert (health.is_ready, health.rejoins, health.up_members) == (True, 1, 2)
    lines = [one.getMessage() for one in caplog.records if one.name == "casty.embed" and one.levelno == logging.ERROR]
    assert len(lines) == 1
    assert "NodeDowned" in lines[0] and "joining again in 0.1 s" in lines[0]
