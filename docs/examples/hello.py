"""A first actor. Look at `greeter`: a function that gets one message at a time and says what comes next."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors


@dataclass(frozen=True)
class Greet:
    """Say hello to somebody."""

    name: str


@dataclass(frozen=True)
class Leave:
    """Say goodbye and stop."""


async def greeter(ctx: ActorContext[Greet | Leave], message: Greet | Leave) -> Behavior[Greet | Leave]:
    """Answer one message."""
    match message:
        case Greet(name):
            print(f"hello, {name}")
            return Behaviors.same()
        case Leave():
            print("goodbye")
            return Behaviors.stopped()


async def main() -> None:
    """Tell three messages, which arrive in this order, and wait until the actor has stopped."""
    async with ActorSystem("hello") as system:
        ref = system.spawn(Behaviors.receive(greeter), "greeter")
        ref.tell(Greet("world"))
        ref.tell(Greet("Trio"))
        ref.tell(Leave())
        await system.wait_stopped(ref)


if __name__ == "__main__":
    trio.run(main)
