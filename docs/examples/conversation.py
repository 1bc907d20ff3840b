"""Answering late, and refusing. Look at the desk: it takes every question at once, and waits for nothing."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, ActorSystem, AskFailed, Behaviors, Inbox


@dataclass(frozen=True)
class Quote:
    """Ask the desk what a thing costs."""

    item: str
    reply_to: ActorRef[str]


@dataclass(frozen=True)
class Priced:
    """A price was found, in cents."""

    quote: Quote
    cents: int


async def look_up(quote: Quote) -> Priced:
    """Take a while to find a price, as a database does."""
    await trio.sleep(0.05)
    return Priced(quote, 250)


async def desk(ctx: ActorContext[Quote | Priced], inbox: Inbox[Quote | Priced]) -> None:
    """Have prices looked up in tasks of their own, and answer when they come back as messages."""
    async for message in inbox:
        match message:
            case Quote("unicorn", reply_to):
                ctx.reply_error(reply_to, "not in this world")
            case Quote():
                ctx.pipe_to_self(look_up, message)
            case Priced(Quote(item, reply_to), cents):
                reply_to.tell(f"{item}: {cents / 100:.2f}")


async def main() -> None:
    """Ask for what there is, and for what there is not."""
    async with ActorSystem("shop") as system:
        ref = system.spawn(Behaviors.task(desk), "desk")
        tea: str = await system.ask(ref, lambda reply_to: Quote("tea", reply_to))
        print(tea)
        try:
            _: str = await system.ask(ref, lambda reply_to: Quote("unicorn", reply_to))
        except AskFailed as error:
            print("refused:", error)


if __name__ == "__main__":
    trio.run(main)
