"""Interceptors. Look at `return await target(...)`: it is what passes a message on, changed or as it was."""

from __future__ import annotations

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors, Inbox, ReceiveTarget


async def polite(ctx: ActorContext[str], message: str, target: ReceiveTarget[str]) -> Behavior[str]:
    """Swallow what is shouted."""
    if message.isupper():
        print(f"not passed on: {message}")
        return Behaviors.same()
    return await target(message)


async def trimmed(ctx: ActorContext[str], message: str, target: ReceiveTarget[str]) -> Behavior[str]:
    """Pass on without spaces around."""
    return await target(message.strip())


async def clerk(ctx: ActorContext[str], message: str) -> Behavior[str]:
    """Handle what got through."""
    print(f"clerk: {message!r}")
    return Behaviors.same()


async def archive(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
    """Keep a copy of everything."""
    async for message in inbox:
        print(f"archive: {message!r}")


async def main() -> None:
    """Put two interceptors in front of a clerk, and a spy behind them."""
    async with ActorSystem("office") as system:
        copies = system.spawn(Behaviors.task(archive), "archive")
        behavior = Behaviors.spy(copies, Behaviors.receive(clerk))
        desk = system.spawn(Behaviors.intercept(polite, Behaviors.intercept(trimmed, behavior)), "desk")
        for message in ("  good morning ", "HEY", "goodbye"):
            desk.tell(message)
            await trio.sleep(0.01)


if __name__ == "__main__":
    trio.run(main)
