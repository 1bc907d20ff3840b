"""Two nodes in one process. Look at `ask`: the greeter lives on the other node, and nothing shows it.

The network is in memory; messages travel as bytes all the same. The tutorial has two real processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, MemoryNetwork, ServiceKey, message


@message("example.Greet")
@dataclass(frozen=True)
class Greet:
    """Answer ``reply_to`` with a greeting."""

    name: str
    reply_to: ActorRef[str]


GREETER = ServiceKey[Greet]("greeter")


async def greeter(ctx: ActorContext[Greet], message: Greet) -> Behavior[Greet]:
    """Greet, and say from where."""
    message.reply_to.tell(f"hello {message.name}, from {ctx.self}")
    return Behaviors.same()


def node(network: MemoryNetwork, name: str, *seeds: str) -> ClusteredActorSystem:
    """Return a node that lives on a host of its own."""
    seed_nodes = [(seed, 2551) for seed in seeds]
    return ClusteredActorSystem(
        name="greetings", host=name, port=2551, node_id=name, seed_nodes=seed_nodes, network=network.host(name)
    )


async def main() -> None:
    """Offer the greeter on one node, find it on the other, ask it."""
    network = MemoryNetwork()
    async with node(network, "paris") as paris:
        paris.spawn(Behaviors.discoverable(Behaviors.receive(greeter), key=GREETER), "greeter")
        async with node(network, "tokyo", "paris") as tokyo:
            listing = await tokyo.find(GREETER, at_least=1)
            print("found:", listing.refs[0])
            reply: str = await tokyo.ask(listing.refs[0], lambda reply_to: Greet("Ada", reply_to))
            print(reply)


if __name__ == "__main__":
    trio.run(main)
