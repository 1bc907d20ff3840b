"""How long 100 shards take to move to a node that joins, beside 10,000 messages a second; prints, judges nothing.

Three nodes in one process over loopback TCP, so what is shown is more than what three machines take. Two nodes have
300 shards of 1,000 entities; a third joins, and gets a third of the shards in one batch. Each entity sees the numbers
of its messages: what is lost, doubled or reordered is counted, and so is each ask that fails.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EntityKey,
    LeastShards,
    ShardMoved,
)

NUM_SHARDS, ENTITIES, MOVED, IN_FLIGHT = 300, 1_000, 100, 64
SETTLED = 2.0
"""Seconds of load before and after."""
BATCH, PAUSE = 100, 0.01
"""Messages at once, and the seconds between: 10,000 a second."""
ALLOCATION = LeastShards(moves_max=MOVED, moved_share_max=1.0, uneven_share_max=0.0)


@casty.message("bench.Numbered")
@dataclass(frozen=True)
class Numbered:
    """The next message to an entity by one sender; answered with its number where somebody asks."""

    sender: int
    number: int
    reply_to: ActorRef[int] | None = None


KEY = EntityKey[Numbered]("bench.moving")


@dataclass
class Seen:
    """What the entities of all nodes have seen, and how the asks ended."""

    last: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    handled: int = 0
    wrong: int = 0
    failed: int = 0
    asked: int = 0
    longest: float = 0.0


def entity(seen: Seen, name: str) -> Behavior[Numbered]:
    """Return an entity that counts each number that does not follow the last one of its sender."""

    async def handle(ctx: ActorContext[Numbered], message: Numbered) -> Behavior[Numbered]:
        place = name, message.sender
        seen.wrong += message.number != seen.last.get(place, 0) + 1
        seen.last[place] = message.number
        seen.handled += 1
        if message.reply_to is not None:
            message.reply_to.tell(message.number)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def tell(system: ClusteredActorSystem, sent: dict[str, int], stop: trio.Event) -> None:
    """Tell every entity the next number in turn, a batch at a time."""
    refs = [(name, system.entity(KEY, name)) for name in map(str, range(ENTITIES))]
    place, due = 0, trio.current_time()
    while not stop.is_set():
        for name, ref in (refs[(place + more) % ENTITIES] for more in range(BATCH)):
            sent[name] = sent.get(name, 0) + 1
            ref.tell(Numbered(0, sent[name]))
        place, due = (place + BATCH) % ENTITIES, due + PAUSE
        await trio.sleep_until(due)


async def ask(system: ClusteredActorSystem, asker: int, seen: Seen, stop: trio.Event) -> None:
    """Ask one entity for as long as it takes, each time with the next number."""
    ref, number = system.entity(KEY, str(asker)), 0
    while not stop.is_set():
        number += 1
        began = time.perf_counter()
        seen.asked += 1
        try:
            await system.ask(ref, lambda to, number=number: Numbered(asker + 1, number, to), timeout=10.0)
        except (AskFailed, AskTimeoutError):
            seen.failed += 1
        seen.longest = max(seen.longest, time.perf_counter() - began)
        await trio.sleep(0.05)


@asynccontextmanager
async def node(node_id: str, seen: Seen, *seeds: ClusteredActorSystem) -> AsyncGenerator[ClusteredActorSystem]:
    """Host the entities on one more node."""
    addresses = [(seed.self_node.host, seed.self_node.port) for seed in seeds]
    system = ClusteredActorSystem(name="moving", host="127.0.0.1", port=0, node_id=node_id, seed_nodes=addresses)
    kind = Behaviors.sharded(lambda name: entity(seen, name), KEY, num_shards=NUM_SHARDS, allocation=ALLOCATION)
    async with system:
        system.spawn(kind, "moving")
        yield system


@dataclass(frozen=True)
class Run:
    """One joining."""

    joined: float
    moved: float
    """Seconds from the begin of the first move to the end of the last."""
    total: float
    """Seconds from the node's start until all shards are moved."""
    seen: Seen
    lost: int


async def one_run() -> Run:
    """Let a third node join under load."""
    seen, sent, stop = Seen(), dict[str, int](), trio.Event()
    async with (
        node("a", seen) as first,
        node("b", seen, first),
        first.events(ShardMoved) as moves,
        trio.open_nursery() as nursery,
    ):
        await wait_rows(first, lambda owned: owned == NUM_SHARDS)
        nursery.start_soon(tell, first, sent, stop)
        for asker in range(IN_FLIGHT):
            nursery.start_soon(ask, first, asker, seen, stop)
        await trio.sleep(SETTLED)
        began = time.perf_counter()
        async with node("c", seen, first):
            joined = time.perf_counter()
            await wait_rows(first, lambda owned: owned < NUM_SHARDS)
            begun = time.perf_counter()
            for _ in range(MOVED):
                await anext(moves)
            moved = time.perf_counter()
            await trio.sleep(SETTLED)
            stop.set()
            await trio.sleep(SETTLED)  # what was told is handled
            lost = sum(sent.values()) + seen.asked - seen.failed - seen.handled
    return Run(joined - began, moved - begun, moved - began, seen, lost)


async def wait_rows(system: ClusteredActorSystem, is_so: Callable[[int], bool]) -> None:
    """Return as soon as the number of owned shards is so."""
    while True:
        rows = (await system.shards(KEY)).rows
        if is_so(sum(row.state == "owned" for row in rows)):
            return
        await trio.sleep(PAUSE / 10)


async def main(runs: int) -> None:
    """Print each run, and the median."""
    found: list[Run] = []
    for _ in range(runs):
        run = await one_run()
        found.append(run)
        seen = run.seen
        print(
            f"{MOVED} shards in {run.moved:.3f} s; {run.total:.2f} s after the start of the node, which took"
            f" {run.joined:.2f} s; {seen.handled:,} handled, {run.lost} lost, {seen.wrong} doubled or out of order;"
            f" {seen.failed} of {seen.asked:,} asks failed, the longest {seen.longest:.3f} s",
            flush=True,
        )
    print(f"median of the moves: {median(run.moved for run in found):.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    trio.run(main, parser.parse_args().runs)
