"""A rate limiter. Look at `bucket`: one for each customer in the whole cluster, whichever node asks, and no lock."""

from __future__ import annotations

from dataclasses import dataclass

import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, EntityKey, MemoryNetwork

RATE, BURST = 5.0, 3.0  # requests a second, and at once


@casty.message("example.MayPass")
@dataclass(frozen=True)
class MayPass:
    """Ask whether one more request of the customer may pass now."""

    reply_to: ActorRef[bool]


LIMITS = EntityKey[MayPass]("limits")


def bucket(customer: str) -> Behavior[MayPass]:
    """A token bucket. One that is idle for a minute ends: it would be full again anyway, so nothing is lost."""
    tokens, filled_at = BURST, trio.current_time()

    async def handle(ctx: ActorContext[MayPass], message: MayPass) -> Behavior[MayPass]:
        nonlocal tokens, filled_at
        now = trio.current_time()
        tokens, filled_at = min(BURST, tokens + RATE * (now - filled_at)), now
        passes = tokens >= 1.0
        tokens -= passes
        message.reply_to.tell(passes)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def main() -> None:
    """Two nodes take requests of one customer in turn; together they let through what one bucket allows."""
    net = MemoryNetwork()
    one = ClusteredActorSystem(name="api", host="a", port=1, node_id="a", network=net.host("a"))
    two = ClusteredActorSystem(name="api", host="b", port=1, node_id="b", seed_nodes=[("a", 1)], network=net.host("b"))
    async with one, two:
        for node in (one, two):
            node.spawn(Behaviors.sharded(bucket, LIMITS, num_shards=16, passivate_after=60.0), "limits")
        passed: list[bool] = []
        for number in range(6):
            node = (one, two)[number % 2]
            passes: bool = await node.ask(node.entity(LIMITS, "customer-7"), MayPass)
            passed.append(passes)
        print("at once:", passed.count(True), "of", len(passed))


if __name__ == "__main__":
    trio.run(main)
