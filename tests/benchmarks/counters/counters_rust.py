"""Counters of casty 0.30.2: actors of `durable="write"`, over its own store, whose writes are saved before they return.

    counters_rust.py URL SECONDS

It keeps the latest state of an actor as one row, and no history.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from asking import ASKERS, COUNTERS, Askers, argument
from casty.stores import SQL

from casty import ActorSystem, Askable, Context, actor


@dataclass(frozen=True)
class Increment(Askable[int]):
    by: int


@actor(initial=0, durable="write")
async def counter(ctx: Context[int, Increment]) -> None:
    async for message in ctx.inbox:
        value = ctx.state.value + message.by
        await ctx.state.set(value)
        message.reply_to.tell(value)


async def main() -> None:
    minutes = timedelta(minutes=30)
    async with SQL(argument(1)) as store:
        async with ActorSystem(store=store, idle_after=minutes, ask_timeout=timedelta(seconds=60)) as system:
            refs = [system.ref(counter, f"counter-{number}") for number in range(COUNTERS)]

            async def increment(number: int) -> object:
                return await refs[number].ask(Increment(1))

            numbers = iter(range(COUNTERS))

            async def first() -> None:
                for number in numbers:
                    await increment(number)

            await asyncio.gather(*(first() for _ in range(ASKERS)))
            askers = Askers(increment, float(argument(2)))
            askers.begin()
            await asyncio.gather(*(askers.work() for _ in range(ASKERS)))
            print(askers.figures(), flush=True)


asyncio.run(main())
