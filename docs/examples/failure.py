"""Failure and watching. Look at `Terminated`: a failed actor stops, and whoever watches it learns why."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors, Inbox, Terminated


@dataclass(frozen=True)
class Divide:
    """Print the quotient."""

    dividend: int
    divisor: int


async def divider(ctx: ActorContext[Divide], message: Divide) -> Behavior[Divide]:
    """Divide; nothing here catches a ZeroDivisionError."""
    print(message.dividend // message.divisor)
    return Behaviors.same()


async def manager(ctx: ActorContext[Divide | Terminated], inbox: Inbox[Divide | Terminated]) -> None:
    """Hand the work to a child; when it ends, start another one, once."""
    children = 1
    child = ctx.spawn(Behaviors.receive(divider), "divider-1")
    ctx.watch(child)
    async for message in inbox:
        match message:
            case Divide():
                child.tell(message)
            case Terminated(ref, cause):
                print(f"{ref.path} ended: {cause!r}")
                if children == 2:
                    return
                children += 1
                child = ctx.spawn(Behaviors.receive(divider), f"divider-{children}")
                ctx.watch(child)


async def main() -> None:
    """Make two children fail; the manager and the system go on."""
    logging.basicConfig(stream=sys.stdout, format="log: %(message)s", level=logging.ERROR)
    async with ActorSystem("arithmetic") as system:
        ref = system.spawn(Behaviors.task(manager), "manager")
        for divisor in (1, 0, 0):
            ref.tell(Divide(6, divisor))
            await trio.sleep(0.05)
        await system.wait_stopped(ref)


if __name__ == "__main__":
    trio.run(main)
