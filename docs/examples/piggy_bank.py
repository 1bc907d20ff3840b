"""State that survives. Look at `decide`: it does nothing, and says what is stored, and what is answered afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import trio

import casty
from casty import ActorRef, ActorSystem, AskFailed, Behaviors, Effect, MemoryJournal, SystemConfig, persist, refuse


@casty.event("bank.PutIn")
@dataclass(frozen=True)
class PutIn:
    """Something was put in, or taken out."""

    amount: int


@dataclass(frozen=True)
class Put:
    """Put an amount in; a negative one takes it out."""

    amount: int
    reply_to: ActorRef[int]


def decide(total: int, command: Put) -> Effect[PutIn]:
    """Refuse a debt; store everything else, and reply once it is durable."""
    if total + command.amount < 0:
        return refuse(command.reply_to, f"there are only {total} in it")
    return persist(PutIn(command.amount)).reply(command.reply_to, total + command.amount)


def apply(total: int, event: PutIn) -> int:
    """Return the state after an event: a start is nothing but this."""
    return total + event.amount


async def main() -> None:
    """Fill a bank, end its system, and ask what is in it. With SqliteJournal("bank.db") it outlives the program."""
    journal = MemoryJournal()
    bank = Behaviors.event_sourced("bank-1", empty=0, decide=decide, apply=apply)
    for amount in (5, 10, -3):
        async with ActorSystem("savings", config=SystemConfig(journal=journal)) as system:
            ref = system.spawn(bank, "bank")
            total: int = await system.ask(ref, partial(Put, amount))
            print("in the bank:", total)
            try:
                total = await system.ask(ref, partial(Put, -100))
            except AskFailed as failed:
                print("refused:", failed)
    assert total == 12


if __name__ == "__main__":
    trio.run(main)
