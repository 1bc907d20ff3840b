"""Services. Look at `watcher`: it is told who offers a service, at once and after every change."""

from __future__ import annotations

from dataclasses import dataclass

import trio

import casty
from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem, Inbox, Listing, MemoryNetwork


@casty.message("example.Square")
@dataclass(frozen=True)
class Square:
    """Answer ``reply_to`` with the square of ``number``."""

    number: int
    reply_to: casty.ActorRef[int]


SQUARES = casty.ServiceKey[Square]("squares")


async def worker(ctx: ActorContext[Square], message: Square) -> Behavior[Square]:
    """Square one number."""
    message.reply_to.tell(message.number**2)
    return Behaviors.same()


async def watcher(ctx: ActorContext[Listing[Square]], inbox: Inbox[Listing[Square]]) -> None:
    """Print each listing; stop at the first with two workers."""
    async for listing in inbox:
        print("workers:", ", ".join(f"{one.node}{one.ref.path}" for one in listing.instances) or "none")
        if len(listing.instances) == 2:
            return


async def main() -> None:
    """Subscribe on one node; workers appear there and on another one."""
    net = MemoryNetwork()
    one = ClusteredActorSystem(name="sums", host="a", port=1, node_id="a", network=net.host("a"))
    two = ClusteredActorSystem(
        name="sums", host="b", port=1, node_id="b", seed_nodes=[("a", 1)], network=net.host("b"), required_quorum=2
    )
    async with one, two:
        seer = one.spawn(Behaviors.task(watcher), "watcher")
        one.receptionist.tell(casty.Subscribe(SQUARES, seer))
        for system in (one, two):
            system.spawn(Behaviors.discoverable(Behaviors.receive(worker), key=SQUARES), "worker")
        await one.wait_stopped(seer)
        for ref in (await one.find(SQUARES)).refs:
            square: int = await one.ask(ref, lambda reply_to: Square(12, reply_to))
            print(ref, square)


if __name__ == "__main__":
    trio.run(main)
