"""What comes back: spawn, stop and ask many times, and compare with what there was before.

Each row does its work in rounds and prints the seconds of all rounds, the traced memory that the first
and the last round added, and what is left of tasks, actors, asks and timers. The first round warms up:
tables grow, caches fill. Exits with 1 when something is left, or when later rounds have added more than
``BYTES_LEFT_MAX``. Memory is traced, which makes the work slower.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
import trio.testing

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors

ROUNDS = 10
BYTES_LEFT_MAX = 65_536
"""After the first round. It does not grow with the work: of 90,000 operations, not even a byte for each is left."""
ASK_TIMEOUT = 1.0
PATIENCE = 0.5
"""Seconds until asks are cancelled."""


@dataclass(frozen=True)
class Ping:
    """Is answered, or not, by the actor it is sent to."""

    reply_to: ActorRef[int]


async def answer(ctx: ActorContext[Ping], message: Ping) -> Behavior[Ping]:
    """Reply."""
    message.reply_to.tell(1)
    return Behaviors.same()


async def keep_silent(ctx: ActorContext[Ping], message: Ping) -> Behavior[Ping]:
    """Take the request and forget it."""
    return Behaviors.same()


async def spawn_and_stop(system: ActorSystem, count: int) -> None:
    """Have ``count`` actors at the same time, and none."""
    refs = [system.spawn(Behaviors.receive(keep_silent), f"a{number}") for number in range(count)]
    await trio.testing.wait_all_tasks_blocked()
    for ref in refs:
        system.stop(ref)
    for ref in refs:
        await system.wait_stopped(ref)


async def asks(system: ActorSystem, count: int, behavior: Behavior[Ping], patience: float) -> None:
    """Ask ``count`` times at the same time; ``patience`` is when the asks are cancelled."""
    ref = system.spawn(behavior, "asked")

    async def ask() -> None:
        await system.ask_or_none(ref, Ping, timeout=ASK_TIMEOUT)

    with trio.move_on_after(patience):
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(ask)
    system.stop(ref)
    await system.wait_stopped(ref)


async def answered(system: ActorSystem, count: int) -> None:
    """Ask, and be answered."""
    await asks(system, count, Behaviors.receive(answer), math.inf)


async def timed_out(system: ActorSystem, count: int) -> None:
    """Ask, and wait for nothing."""
    await asks(system, count, Behaviors.receive(keep_silent), math.inf)


async def cancelled(system: ActorSystem, count: int) -> None:
    """Ask, and give up."""
    await asks(system, count, Behaviors.receive(keep_silent), PATIENCE)


def traced() -> int:
    """Return the bytes that are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def settle(system: ActorSystem) -> None:
    """Wait until the last deadline is forgotten: that of asks that have ended stays until it is due."""
    if system.statistics().timers:
        with trio.move_on_after(ASK_TIMEOUT + 0.05):
            await trio.sleep_forever()
    await trio.testing.wait_all_tasks_blocked()


async def shrink(tasks: int) -> None:
    """Start and end tasks, a few at a time, until Trio's own set of tasks is as small as it can be.

    A set shrinks only when enough has been added to it; at its largest, of 10,000 tasks, it has 512 KiB.
    """
    for _ in range(tasks // 10):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(trio.lowlevel.checkpoint)


async def measure(name: str, work: Callable[[ActorSystem, int], Awaitable[None]], total: int) -> bool:
    """Do the work, print a row, and return whether everything came back."""
    count = max(1, total // ROUNDS)
    async with ActorSystem() as system:
        await settle(system)
        await shrink(2 * count)
        tasks, memory = trio.lowlevel.current_statistics().tasks_living, [traced()]
        began = time.perf_counter()
        for _ in range(ROUNDS):
            await work(system, count)
            await settle(system)
            await shrink(2 * count)
            memory.append(traced())
        seconds = time.perf_counter() - began
        left = trio.lowlevel.current_statistics().tasks_living - tasks
        counted = system.statistics()
    tables = left + counted.actors + counted.asks_pending + counted.timers + counted.mailbox_size
    first, rest = memory[1] - memory[0], memory[-1] - memory[1]
    print(f"{name:<20} {ROUNDS * count:>9,} {seconds:>9.2f} {first:>12,} {rest:>12,} {tables:>6}", flush=True)
    return tables == 0 and rest <= BYTES_LEFT_MAX


async def idle_actor(total: int) -> None:
    """Print the memory of an idle actor."""
    async with ActorSystem() as system:
        await trio.testing.wait_all_tasks_blocked()
        before = traced()
        for number in range(total):
            system.spawn(Behaviors.receive(keep_silent), f"a{number}")
        await trio.testing.wait_all_tasks_blocked()
        print(f"\nan idle actor: {(traced() - before) / total:,.0f} bytes, traced, of {total:,}")


async def main(total: int) -> bool:
    """Measure everything; return whether everything came back."""
    tracemalloc.start()
    print(f"{'work':<20} {'times':>9} {'seconds':>9} {'first +B':>12} {'then +B':>12} {'left':>6}")
    works = {
        "spawned and stopped": spawn_and_stop,
        "asks answered": answered,
        "asks timed out": timed_out,
        "asks cancelled": cancelled,
    }
    outcomes = [await measure(name, work, total) for name, work in works.items()]
    await idle_actor(max(1, total // ROUNDS))
    return all(outcomes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--total", type=int, default=100_000, help="actors and asks of each kind")
    sys.exit(0 if trio.run(main, parser.parse_args().total) else 1)
