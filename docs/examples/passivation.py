"""Passivation. Look at `stopped`: an idle account ends, and comes back under its name with the next message."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors, Inbox

BALANCES: dict[str, int] = {}  # in place of a database


@dataclass(frozen=True)
class Deposit:
    name: str
    amount: int


@dataclass(frozen=True)
class Passivate:
    account: ActorRef[Deposit]


async def account(ctx: ActorContext[Deposit | None], inbox: Inbox[Deposit | None]) -> None:
    name = ctx.self.path.rpartition("/")[2]
    balance = BALANCES.get(name, 0)
    ctx.set_receive_timeout(0.1, None)
    async for message in inbox:
        if message is not None:
            balance += message.amount
        elif ctx.parent is not None:
            ctx.parent.of(Passivate).tell(Passivate(ctx.self))
    BALANCES[name] = balance  # the inbox ends when the account is to stop
    print(f"{name} sleeps with {balance}")


async def bank(ctx: ActorContext[Deposit | Passivate], message: Deposit | Passivate) -> Behavior[Deposit | Passivate]:
    if isinstance(message, Passivate):
        if message.account in ctx.children:  # else it has ended since
            await ctx.stopped(message.account, drain=1.0)  # what came meanwhile is handled; then its name is free
    else:
        known = {child.path: child.of(Deposit) for child in ctx.children}
        if (path := f"{ctx.self.path}/{message.name}") not in known:
            known[path] = ctx.spawn(Behaviors.task(account), message.name).of(Deposit)
        known[path].tell(message)
    return Behaviors.same()


async def main() -> None:
    async with ActorSystem("town") as system:
        ref = system.spawn(Behaviors.receive(bank), "bank")
        for _ in range(2):
            ref.tell(Deposit("ann", 10))
            await trio.sleep(0.3)


if __name__ == "__main__":
    trio.run(main)
