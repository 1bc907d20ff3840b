"""Timers and events. Look at `schedule_tick` in the actor, and at `system.events` outside of it."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, ActorSystem, Behaviors, DeadLetter, Inbox


@dataclass(frozen=True)
class Tick:
    """A tenth of a second has passed."""


@dataclass(frozen=True)
class Enough:
    """It is time to stop."""


async def clock(ctx: ActorContext[Tick | Enough], inbox: Inbox[Tick | Enough]) -> None:
    """Tick until it is enough; timers end with their actor."""
    ctx.schedule_tick(Tick(), interval=0.1)
    ctx.schedule_once(Enough(), delay=0.35)
    async for message in inbox:
        match message:
            case Tick():
                print("tick")
            case Enough():
                return


async def main() -> None:
    """Let the clock run down, then tell it something: a dead letter, with its reason."""
    async with ActorSystem("clocks") as system, system.events(DeadLetter) as letters:
        ref: ActorRef[Tick | Enough] = system.spawn(Behaviors.task(clock), "clock")
        await system.wait_stopped(ref)
        ref.tell(Tick())
        async for letter in letters:
            print(f"{letter.message} for {letter.intended_ref.path} is lost: {letter.reason}")
            break
        print("lost in all:", system.statistics().dead_letters)


if __name__ == "__main__":
    trio.run(main)
