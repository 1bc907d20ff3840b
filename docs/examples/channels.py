"""Channels. Look at `transform`, which knows no actors, between the inbox of one and the mailbox of another."""

from __future__ import annotations

import trio

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors, Inbox, Mailbox, channel_of


async def transform(source: trio.abc.ReceiveChannel[int], target: trio.abc.SendChannel[str]) -> None:
    """Send on what is received, as text, until there is no more."""
    async with target:
        async for number in source:
            await target.send(f"item {number}")


async def printer(ctx: ActorContext[str], text: str) -> Behavior[str]:
    """Take a while for each message."""
    await trio.sleep(0.01)
    print(text)
    return Behaviors.same()


def worker(results: ActorRef[str]) -> Behavior[int]:
    """Make an actor of the function above."""

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        await transform(inbox, channel_of(results))

    return Behaviors.task(main)


async def main() -> None:
    """Send through both, then look at what happens without room, and after a stop."""
    async with ActorSystem("channels") as system:
        results = system.spawn(Behaviors.receive(printer), "printer", mailbox=Mailbox(2))
        work = system.spawn(worker(results), "worker", mailbox=Mailbox(2))
        async with channel_of(work) as channel:
            for number in range(6):
                await channel.send(number)
            try:
                channel.send_nowait(6)
            except trio.WouldBlock:
                print("no room, and nothing is lost:", channel.statistics().current_buffer_used, "wait")
        await trio.sleep(0.2)
        system.stop(work)
        await system.wait_stopped(work)
        try:
            channel_of(work).send_nowait(7)
        except trio.BrokenResourceError as broken:
            print(broken)
        print("lost:", system.statistics().dead_letters)


if __name__ == "__main__":
    trio.run(main)
