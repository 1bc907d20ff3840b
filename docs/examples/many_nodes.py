"""Messages to many nodes. Look at `known`, after which no message is missed, and at the outcome of each node.

The network is in memory; messages travel as bytes all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, MemoryNetwork, ServiceKey, Topic


@casty.message("example.Size")
@dataclass(frozen=True)
class Size:
    """Answer ``reply_to`` with the number of entries."""

    reply_to: ActorRef[int]


NEWS, CACHES = Topic[str]("news"), ServiceKey[Size]("caches")


async def cache(ctx: ActorContext[Size], message: Size) -> Behavior[Size]:
    """Answer, but on Mars."""
    assert isinstance(ctx.system, ClusteredActorSystem)
    if ctx.system.cluster_config.node_id != "mars":
        message.reply_to.tell(7)
    return Behaviors.same()


def node(network: MemoryNetwork, name: str, *seeds: str) -> ClusteredActorSystem:
    """Return a node that lives on a host of its own."""
    seed_nodes, host = [(seed, 2551) for seed in seeds], network.host(name)
    return ClusteredActorSystem(name="space", host=name, port=2551, node_id=name, seed_nodes=seed_nodes, network=host)


async def main() -> None:
    """Publish news on one node, hear them on the other; then ask both."""
    network = MemoryNetwork()
    async with node(network, "earth") as earth, node(network, "mars", "earth") as mars:
        async with mars.subscription(NEWS) as news:
            await news.known()
            print("nodes told:", earth.publish(NEWS, "hello"))
            print("heard:", await anext(news))
        for one in (earth, mars):
            one.spawn(Behaviors.broadcasted(Behaviors.receive(cache), CACHES), "cache")
        await earth.find(CACHES, at_least=2)
        for address, outcome in (await earth.ask_all(CACHES, Size, timeout=0.5)).items():
            print(address, outcome)


if __name__ == "__main__":
    trio.run(main)
