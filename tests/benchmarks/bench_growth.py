"""How cost grows: with actors, waiting messages, nodes, the size of a message, the peers of a node.

Prints a table for each and writes all figures to ``--json``; sections that are named on the command line
are measured anew, the others stay in the file as they are. `plot_growth` draws it. Times are processor
time of this process, so that other work on the machine counts little; only ``size`` and ``peers``, whose
work is done by several nodes of this one process, hold both ends.

- ``actors``: spawn, tell and stop 10^2 to 10^6 actors, and the memory of each.
- ``depth``: let 10^2 to 10^6 messages wait for one actor, then handle them.
- ``nodes``: 3 to 100 nodes without work, for 60 virtual seconds: bytes and processor time of each.
- ``hosts``: the same with a kind of entities hosted by every node, and none of them used: the cost of the lease.
- ``size``: asks with 10 bytes to 100 MiB of bytes, over loopback TCP.
- ``peers``: one node tells 1 to 50 others the same number of messages in all.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio
import trio.testing

import casty
from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterSettings,
    EntityKey,
    Mailbox,
    MemoryNetwork,
)
from casty.config import TransportLimits

Row = dict[str, float]

ACTORS = (100, 1_000, 10_000, 100_000, 1_000_000)
DEPTHS = (100, 1_000, 10_000, 100_000, 1_000_000)
NODES = (3, 5, 10, 20, 50, 100)
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100 * 1024 * 1024)
MEMORY_FROM = 1_000
"""Fewer actors hide in memory that the process has already."""
PEERS = (1, 2, 5, 10, 20, 50)

GIVE_WAY = 100
SETTLE = 30.0
"""Virtual seconds until a cluster that has formed says nothing new."""
IDLE = 60.0
"""Virtual seconds that the idle cluster is looked at."""
SIZE_SECONDS = 1.0
"""Processor time that each size gets at least, unless one ask takes longer."""
PEER_MESSAGES = 20_000
PEER_BATCH = 1_000
LARGE = TransportLimits(message_bytes_max=128 * 1024 * 1024)


@casty.message("growth.Note")
@dataclass(frozen=True)
class Note:
    """What is told."""

    number: int


@casty.message("growth.Blob")
@dataclass(frozen=True)
class Blob:
    """What is asked: the length of the data."""

    data: bytes
    reply_to: ActorRef[int]


@casty.message("growth.Counted")
@dataclass(frozen=True)
class Counted:
    """Ask how many notes have come."""

    reply_to: ActorRef[int]


LEDGERS = EntityKey[Note]("ledgers")


@dataclass
class Tally:
    """Counts notes down, and says when there are none left."""

    left: int
    done: trio.Event

    async def receive(self, ctx: ActorContext[Note], message: Note) -> Behavior[Note]:
        """Count."""
        self.left -= 1
        if not self.left:
            self.done.set()
        return Behaviors.same()


@dataclass
class Server:
    """The actor on another node."""

    count: int = 0

    async def receive(
        self, ctx: ActorContext[Note | Blob | Counted], message: Note | Blob | Counted
    ) -> Behavior[Note | Blob | Counted]:
        """Count notes, measure blobs."""
        match message:
            case Note():
                self.count += 1
            case Blob(data, reply_to):
                reply_to.tell(len(data))
            case Counted(reply_to):
                reply_to.tell(self.count)
        return Behaviors.same()


class Lap:
    """Processor time since the last call of ``seconds``."""

    def __init__(self) -> None:
        gc.collect()
        self._at = time.process_time()

    def seconds(self) -> float:
        """Return it, and begin anew."""
        now = time.process_time()
        elapsed, self._at = now - self._at, now
        return elapsed


def resident_bytes() -> int:
    """Return the memory that the process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


async def actors(count: int) -> Row:
    """Spawn, tell one message to each, stop."""
    async with ActorSystem("growth") as system:
        before, done, lap = resident_bytes(), trio.Event(), Lap()
        tally = Tally(count, done)
        refs = list[ActorRef[Note]]()
        for number in range(count):
            refs.append(system.spawn(Behaviors.receive(tally.receive), f"a{number}"))
            if not number % GIVE_WAY:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        spawned = lap.seconds()
        memory = resident_bytes() - before
        lap = Lap()
        for number, ref in enumerate(refs):
            ref.tell(Note(number))
            if not number % GIVE_WAY:
                await trio.lowlevel.checkpoint()
        await done.wait()
        told = lap.seconds()
        for ref in refs:
            system.stop(ref)
        for ref in refs:
            await system.wait_stopped(ref)
        stopped = lap.seconds()
    each = {"spawn_us": spawned, "tell_us": told, "stop_us": stopped}
    return {
        **{name: seconds / count * 1e6 for name, seconds in each.items()},
        "bytes": memory / count if count >= MEMORY_FROM else math.nan,
    }


async def depth(count: int) -> Row:
    """Fill a mailbox, and empty it."""
    async with ActorSystem("growth") as system:
        done = trio.Event()
        ref = system.spawn(Behaviors.receive(Tally(count, done).receive), "deep", mailbox=Mailbox(count))
        note = Note(1)
        await trio.testing.wait_all_tasks_blocked()
        lap = Lap()
        for _ in range(count):
            ref.tell(note)
        told = lap.seconds()
        await done.wait()
        handled = lap.seconds()
    return {"tell_us": told / count * 1e6, "handle_us": handled / count * 1e6}


class Bytes:
    """Adds up the bytes that the nodes have sent."""

    def __init__(self) -> None:
        self.sent = 0.0

    def counter(self, metric: casty.Metric, value: float, *labels: str) -> None:
        """Take a counter."""
        if metric.name == "bytes_sent":
            self.sent += value

    def gauge(self, metric: casty.Metric, value: float, *labels: str) -> None:
        """Take no gauge."""


def bytes_sent(systems: list[ClusteredActorSystem]) -> float:
    """Return what all nodes have sent."""
    total = Bytes()
    for system in systems:
        system.collect(total)
    return total.sent


async def run_node(system: ClusteredActorSystem, *, task_status: trio.TaskStatus[None]) -> None:
    """Be a node until cancelled."""
    async with system:
        task_status.started()
        await trio.sleep_forever()


@asynccontextmanager
async def memory_cluster(count: int) -> AsyncIterator[list[ClusteredActorSystem]]:
    """Give nodes that have formed a cluster over a network in memory."""
    network = MemoryNetwork()
    async with trio.open_nursery() as nursery:
        systems = [
            ClusteredActorSystem(
                name="growth",
                host=f"h{number}",
                port=2551,
                node_id=f"n{number}",
                seed_nodes=[("h0", 2551)] if number else [],
                network=network.host(f"h{number}"),
            )
            for number in range(count)
        ]
        for system in systems:
            await nursery.start(run_node, system)
        for system in systems:
            await system.wait_for(count, timeout=600.0)
        yield systems
        nursery.cancel_scope.cancel()


async def nodes(count: int) -> Row:
    """Look at a cluster without work."""
    return await idle(count, has_entities=False)


async def hosts(count: int) -> Row:
    """Look at a cluster ready for the work of entities."""
    return await idle(count, has_entities=True)


def ledger(entity_id: str) -> Behavior[Note]:
    """Return the behaviour of an entity without work."""
    return Behaviors.receive(Server().receive)


async def idle(count: int, *, has_entities: bool) -> Row:
    """Return what an idle node sends, and its processor time."""
    async with memory_cluster(count) as systems:
        for system in systems if has_entities else ():
            system.spawn(Behaviors.sharded(ledger, LEDGERS), "ledgers")
        await trio.sleep(SETTLE)
        before, lap = bytes_sent(systems), Lap()
        await trio.sleep(IDLE)
        seconds, sent = lap.seconds(), bytes_sent(systems) - before
    per_node = count * IDLE
    return {"bytes_per_second": sent / per_node, "cpu_us_per_second": seconds / per_node * 1e6}


@asynccontextmanager
async def pair(limits: TransportLimits) -> AsyncIterator[tuple[ClusteredActorSystem, ActorRef[Blob]]]:
    """Give a node, and an actor on another one, over loopback TCP in this process."""
    settings = replace(ClusterSettings(), limits=limits)

    def node(name: str, seeds: list[tuple[str, int]]) -> ClusteredActorSystem:
        return ClusteredActorSystem(
            name="growth", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds, settings=settings
        )

    async with node("server", []) as server:
        server.spawn(Behaviors.receive(Server().receive), "server")
        async with node("client", [("127.0.0.1", server.self_node.port)]) as client:
            await client.wait_for(2)
            yield client, client.remote("/server", "server").of(Blob)


async def size(count: int) -> Row:
    """Ask with so many bytes."""
    data = b"x" * count
    async with pair(LARGE) as (client, server):

        async def ask() -> None:
            length: int = await client.ask(server, lambda reply_to: Blob(data, reply_to), timeout=300.0)
            assert length == count

        await ask()
        asks, seconds, began, lap = 0, 0.0, time.perf_counter(), Lap()
        while seconds < SIZE_SECONDS:
            await ask()
            asks, seconds = asks + 1, seconds + lap.seconds()
        elapsed = time.perf_counter() - began
    return {
        "ask_us": seconds / asks * 1e6,
        "wall_us": elapsed / asks * 1e6,
        "mb_per_cpu_second": count * asks / seconds / 1e6,
    }


async def peers(count: int) -> Row:
    """Tell several nodes as many messages as one."""
    async with memory_cluster(count + 1) as (teller, *others):
        for system in others:
            system.spawn(Behaviors.receive(Server().receive), "server")
        targets = [teller.remote("/server", system.self_node) for system in others]
        notes = [target.of(Note) for target in targets]
        counters = [target.of(Counted) for target in targets]
        await trio.sleep(SETTLE)
        each = PEER_MESSAGES // count
        lap, note = Lap(), Note(1)
        for start in range(0, each, max(1, PEER_BATCH // count)):
            for _ in range(min(each - start, max(1, PEER_BATCH // count))):
                for ref in notes:
                    ref.tell(note)
            await trio.testing.wait_all_tasks_blocked()
        for counter in counters:
            received: int = await teller.ask(counter, Counted, timeout=60.0)
            assert received == each
        seconds = lap.seconds()
    return {"tell_us": seconds / (each * count) * 1e6}


@dataclass(frozen=True)
class Section:
    """One way to grow."""

    measure: Callable[[int], Awaitable[Row]]
    sizes: tuple[int, ...]
    in_virtual_time: bool = False


SECTIONS = {
    "actors": Section(actors, ACTORS),
    "depth": Section(depth, DEPTHS),
    "nodes": Section(nodes, NODES, in_virtual_time=True),
    "hosts": Section(hosts, NODES, in_virtual_time=True),
    "size": Section(size, SIZES),
    "peers": Section(peers, PEERS, in_virtual_time=True),
}


def run(name: str, at_most: int) -> list[Row]:
    """Measure one section and print its table."""
    section, rows = SECTIONS[name], list[Row]()
    for count in section.sizes:
        if count > at_most:
            break
        clock = trio.testing.MockClock(autojump_threshold=0) if section.in_virtual_time else None
        row = trio.run(section.measure, count, clock=clock)
        if not rows:
            print(f"\n{name:>12}" + "".join(f"{column:>20}" for column in row))
        print(f"{count:>12,}" + "".join(f"{value:>20,.2f}" for value in row.values()), flush=True)
        rows.append({"count": count, **row})
    return rows


def main() -> None:
    """Measure what is asked for."""
    logging.getLogger("casty").setLevel(logging.ERROR)  # a hundred nodes that leave at once have much to say
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all without one")
    parser.add_argument("--json", type=Path, default=Path("build/growth.json"))
    parser.add_argument("--at-most", type=int, default=2**62, help="leave out what is larger")
    arguments = parser.parse_args()
    found: dict[str, list[Row]] = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    for name in arguments.sections or SECTIONS:
        found[name] = run(name, arguments.at_most)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
