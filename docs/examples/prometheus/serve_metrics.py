"""Serve the figures of a node to Prometheus: look at what a scrape says before and after a message was lost."""

from __future__ import annotations

from urllib.request import urlopen

import trio
from prometheus_client import CollectorRegistry, start_http_server

from casty import Behaviors, ClusteredActorSystem
from casty.prometheus import PrometheusCollector


def scrape(port: int) -> list[str]:
    """Do what Prometheus does."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text: bytes = page.read()
        return text.decode().splitlines()


async def main() -> None:
    async with ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="web-1") as system:
        await system.wait_for(1)
        registry = CollectorRegistry()
        registry.register(PrometheusCollector(system))
        server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)

        ref = system.spawn(Behaviors.stopped(), "gone")
        await system.wait_stopped(ref)
        ref.tell("hello?")
        for line in await trio.to_thread.run_sync(scrape, server.server_port):
            if line.startswith(("casty_members", "casty_dead_letters_total", "casty_running")):
                print(line)
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    trio.run(main)
