"""Routers. Look at who gets what: in turn, by a key, or everybody."""

from __future__ import annotations

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors, Routers


async def cook(ctx: ActorContext[str], message: str) -> Behavior[str]:
    """Say who cooks what."""
    print(f"{ctx.self.path} cooks {message}")
    return Behaviors.same()


def table(order: str) -> str:
    """Return what decides who cooks an order."""
    return order.split()[-1]


def is_for_everyone(order: str) -> bool:
    """Return whether everybody has to know."""
    return order == "nothing any more"


async def main() -> None:
    """Give orders to three kitchens that share the work in different ways."""
    async with ActorSystem("inn") as system:
        turns = system.spawn(Routers.pool(2, Behaviors.receive(cook)), "turns")
        for order in ("soup", "rice", "cake"):
            turns.tell(order)
            await trio.sleep(0.01)

        by_table = Routers.pool(3, Behaviors.receive(cook)).with_consistent_hashing_routing(table)
        tables = system.spawn(by_table.with_broadcast_predicate(is_for_everyone), "tables")
        for order in ("soup for 7", "rice for 4", "cake for 7", "nothing any more"):
            tables.tell(order)
            await trio.sleep(0.01)


if __name__ == "__main__":
    trio.run(main)
