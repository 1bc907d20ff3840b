"""Mailboxes. Look at what each policy does with the fourth message for an actor that has room for two."""

from __future__ import annotations

import trio

from casty import (
    ActorContext,
    ActorSystem,
    Behavior,
    Behaviors,
    Mailbox,
    MailboxFull,
    MailboxOverflowStrategy,
    SystemConfig,
)


async def slow(ctx: ActorContext[int], message: int) -> Behavior[int]:
    """Take a while for each message."""
    await trio.sleep(0.05)
    print(f"{ctx.self.path} handled {message}")
    return Behaviors.same()


async def main() -> None:
    """Tell each actor too much, then wait for room."""
    policies = MailboxOverflowStrategy
    config = SystemConfig(mailboxes={"/keep-new": Mailbox(2, policies.drop_oldest), "/keep-*": Mailbox(2)})
    async with ActorSystem("post", config=config) as system:
        polite = Mailbox(2, policies.back_pressure)
        refs = [system.spawn(Behaviors.receive(slow), name) for name in ("keep-new", "keep-old")]
        refs.append(system.spawn(Behaviors.receive(slow), "polite", mailbox=polite))
        await trio.sleep(0.01)
        for ref in refs:
            for number in (1, 2, 3, 4):
                try:
                    ref.tell(number)
                except MailboxFull as full:
                    print(full)
                await trio.sleep(0.001)
        print("waiting:", system.statistics().mailboxes)
        await refs[-1].send(5)
        await trio.sleep(0.2)
        print("lost:", system.statistics().dead_letters)


if __name__ == "__main__":
    trio.run(main)
