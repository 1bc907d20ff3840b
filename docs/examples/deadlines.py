"""Deadlines. Look at `ctx.deadline`, and at which requests are started at all."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, ActorSystem, AskTimeoutError, Behavior, Behaviors, DeadLetter


@dataclass(frozen=True)
class Cook:
    """Ask for a dish."""

    dish: str
    reply_to: ActorRef[str]


async def kitchen(ctx: ActorContext[Cook], message: Cook) -> Behavior[Cook]:
    """Cook as well as the guest's patience allows."""
    left = ctx.deadline - trio.current_time()
    print(f"{message.dish}: started with {left:.1f} s left")
    await trio.sleep(0.2)
    message.reply_to.tell(f"{message.dish}, hot")
    return Behaviors.same()


async def guest(system: ActorSystem, ref: ActorRef[Cook], dish: str, patience: float) -> None:
    """Wait for a dish, not longer than one wants to."""

    def order(reply_to: ActorRef[str]) -> Cook:
        return Cook(dish, reply_to)

    try:
        print(await system.ask(ref, order, timeout=patience))
    except AskTimeoutError:
        print(f"{dish}: the guest has left")


async def main() -> None:
    """Two guests at once; one of them is in a hurry."""
    async with ActorSystem("inn") as system, system.events(DeadLetter) as letters:
        ref = system.spawn(Behaviors.receive(kitchen), "kitchen")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest, system, ref, "soup", 1.0)
            await trio.sleep(0.01)
            nursery.start_soon(guest, system, ref, "cake", 0.1)
        print("never started:", (await anext(letters)).reason)


if __name__ == "__main__":
    trio.run(main)
