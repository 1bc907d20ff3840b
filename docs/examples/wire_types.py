"""A class of others as a message. Look at `FRACTION`: it says how a Fraction travels, and fields may hold one.

Both nodes are taught the same. A node without it is refused when it joins, and told what it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import trio

from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, MemoryNetwork, WireType, message

FRACTION = WireType(
    Fraction,
    "example.Fraction",
    tuple[int, int],
    unstructure=lambda value: (value.numerator, value.denominator),
    structure=lambda pair, cls: cls(*pair),
)


@message("example.Sum")
@dataclass(frozen=True)
class Sum:
    """Answer ``reply_to`` with the sum of the parts."""

    parts: list[Fraction]
    reply_to: ActorRef[Fraction]


async def adder(ctx: ActorContext[Sum], asked: Sum) -> Behavior[Sum]:
    """Add, without losing anything."""
    asked.reply_to.tell(sum(asked.parts, Fraction()))
    return Behaviors.same()


def node(network: MemoryNetwork, name: str, *seeds: str) -> ClusteredActorSystem:
    """Return a node that lives on a host of its own, and was taught fractions."""
    seed_nodes = [(seed, 2551) for seed in seeds]
    host = network.host(name)
    return ClusteredActorSystem(
        name="sums", host=name, port=2551, node_id=name, seed_nodes=seed_nodes, network=host, wire_types=[FRACTION]
    )


async def main() -> None:
    """Have thirds added on another node."""
    network = MemoryNetwork()
    async with node(network, "paris") as paris, node(network, "tokyo", "paris") as tokyo:
        paris.spawn(Behaviors.receive(adder), "adder")
        ref = tokyo.remote("/adder", "paris").of(Sum)
        total: Fraction = await tokyo.ask(ref, lambda reply_to: Sum([Fraction(1, 3), Fraction(1, 6)], reply_to))
        print("total:", total)


if __name__ == "__main__":
    trio.run(main)
