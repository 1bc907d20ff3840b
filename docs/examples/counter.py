"""State and asking. Look at `counter`: its state is a local variable, and nobody else can touch it."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, ActorSystem, AskTimeoutError, Behaviors, Inbox


@dataclass(frozen=True)
class Add:
    """Count up."""

    amount: int


@dataclass(frozen=True)
class Get:
    """Tell ``reply_to`` the count."""

    reply_to: ActorRef[int]


async def counter(ctx: ActorContext[Add | Get], inbox: Inbox[Add | Get]) -> None:
    """Handle messages until the actor is to stop, which ends the loop."""
    count = 0
    async for message in inbox:
        match message:
            case Add(amount):
                count += amount
            case Get(reply_to):
                reply_to.tell(count)


async def main() -> None:
    """Add from many tasks at once; no lock is needed. Then ask, also somebody who does not answer."""
    async with ActorSystem("counting") as system:
        ref = system.spawn(Behaviors.task(counter), "counter")
        async with trio.open_nursery() as nursery:
            for amount in range(10):
                nursery.start_soon(ref.send, Add(amount))
        count = await system.ask(ref, Get)
        print("count:", count)
        assert count == 45

        silent = system.spawn(Behaviors.ignore(), "silent")
        try:
            await system.ask(silent, Get, timeout=0.1)
        except AskTimeoutError as error:
            print("nobody answered:", error)


if __name__ == "__main__":
    trio.run(main)
