"""The stash. Look at `stash` while the shop is closed, and at what `unstash_all` brings back when it opens."""

from __future__ import annotations

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors, StashBuffer


async def shop(stash: StashBuffer[str]) -> Behavior[str]:
    """Be closed first: what comes too early is set aside."""

    async def closed(ctx: ActorContext[str], message: str) -> Behavior[str]:
        if message == "open":
            print(f"open, {len(stash)} waiting")
            return stash.unstash_all(Behaviors.receive(opened))
        if stash.is_full:
            print(f"come back later, {message}")
        else:
            stash.stash(message)
        return Behaviors.same()

    async def opened(ctx: ActorContext[str], message: str) -> Behavior[str]:
        if message == "inventory":
            return Behaviors.restart()
        print(f"welcome, {message}")
        return Behaviors.same()

    return Behaviors.receive(closed)


async def main() -> None:
    """Come early, open, and begin anew."""
    async with ActorSystem("street") as system:
        ref = system.spawn(Behaviors.with_stash(2, shop), "shop")
        for message in ("ann", "bob", "cleo", "open", "dan", "inventory", "eve", "open"):
            ref.tell(message)
        await trio.sleep(0.1)


if __name__ == "__main__":
    trio.run(main)
