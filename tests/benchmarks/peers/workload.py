"""What the programs of all peers share: the sizes, the clocks, the server process, the command line.

``python peer_x.py L1 R2 --scale 0.1`` runs workloads one after the other and prints a line of JSON
for each; ``python peer_x.py serve`` is the other process of the remote ones. Only the standard
library is used here, because this runs beside whatever the peer needs.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

SIZES = {
    "L1": 200_000,
    "L1burst": 200_000,
    "L2": 20_000,
    "L3": 100_000,
    "L4-10k": 10_000,
    "L4-100k": 100_000,
    "L5": 100_000,
    "codec": 100_000,
    "R1": 100_000,
    "R1send": 100_000,
    "R2": 5_000,
    "R3": 10_000,
    "R4": 200,
    "S1": 20_000,
    "S1tell": 100_000,
    "S1far": 20_000,
    "S1fartell": 100_000,
    "S1pure": 20_000,
    "S1pureadd": 20_000,
    "S2": 3_000,
    "S2first": 3_000,
    "S3": 4_000,
    "S3two": 4_000,
    "S4": 10_000,
}
"""Operations at scale 1."""

ENTITIES = 1_000
"""Entities of the workloads with many."""
COMPUTE_SECONDS = 0.0002
"""Processor time of one message to an entity that computes."""

SEED = "CASTY_BENCH_SEED"
"""Variable of the environment that tells a server of another one."""
TLS = os.environ.get("CASTY_BENCH_TLS")
"""Folder of the certificates of nodes, for a peer whose processes speak TLS."""
BETWEEN_PROCESSES = ("R1", "R1send", "R2", "R3", "R4")
"""Workloads of peers with TLS."""
LEAST = 10
"""Operations, however small the scale."""
YIELD_EVERY = 100
FORWARDERS = 100
IN_FLIGHT = 64
WARM_UP = 50
ASK_TIMEOUT = 60.0
TEXT = "the quick brown fox jumps over the lazy dog and then once more"
LARGE_TEXT = "x" * 1024 * 1024
SERVER_LINES_MAX = 100
"""Lines of other output that a server may print before it says where it is."""

Figures = dict[str, Any]
Workload = Callable[..., Awaitable[Figures]]
RemoteWorkload = Callable[[Any, int], Awaitable[Figures]]


@dataclass
class Timed:
    """What was measured between entering and leaving `measured`."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def figures(self, operations: int, **extra: float) -> Figures:
        """Return what goes into the line of JSON."""
        found: Figures = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "operations": operations, **extra}
        if self.latencies:
            ordered = sorted(self.latencies)
            found["median_us"] = ordered[len(ordered) // 2] * 1e6
            found["p99_us"] = ordered[len(ordered) * 99 // 100] * 1e6
        return found


class Server:
    """The other process: this program again, with ``serve``. It ends when its input is closed."""

    current: Server | None = None

    def __init__(self, seed: object = None) -> None:
        """Start it; ``seed`` is where a server before it is, for one more of the same cluster."""
        environment = os.environ if seed is None else os.environ | {SEED: str(seed)}
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.hello = self._read_hello()

    def _read_hello(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for _ in range(SERVER_LINES_MAX):
            line = self._process.stdout.readline()
            if line.startswith("{"):
                hello: dict[str, Any] = json.loads(line)
                return hello
            if not line:
                break
        raise RuntimeError("the server did not start")

    def cpu_seconds(self) -> float:
        """Return the processor time it has used; 0.0 where the system does not tell."""
        try:
            with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def __enter__(self) -> Server:
        Server.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Server.current = None
        self.end()

    def end(self) -> None:
        """End it, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def announce(**hello: object) -> None:
    """Tell, from the server, where it is."""
    print(json.dumps(hello), flush=True)


def until_abandoned() -> None:
    """Block until the program that started this one closes its end."""
    sys.stdin.read()


@contextlib.contextmanager
def measured() -> Iterator[Timed]:
    """Time the block: wall clock, and processor time of this process and the server."""
    gc.collect()
    timed, server = Timed(), Server.current
    server_cpu = server.cpu_seconds() if server else 0.0
    cpu, start = time.process_time(), time.perf_counter()
    yield timed
    timed.seconds = time.perf_counter() - start
    timed.cpu_seconds = time.process_time() - cpu
    if server is not None:
        timed.cpu_seconds += server.cpu_seconds() - server_cpu


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not tell."""
    gc.collect()
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@dataclass(frozen=True)
class Peer:
    """The workloads of one peer. ``connect`` yields, for the server's hello, what the remote ones get."""

    run: Callable[..., Any]
    local: Mapping[str, Callable[[int], Awaitable[Figures]]]
    remote: Mapping[str, Callable[[Any, int], Awaitable[Figures]]]
    connect: Callable[[dict[str, Any]], AbstractAsyncContextManager[Any]]
    serve: Callable[[], Awaitable[None]]


def main(peer: Peer) -> None:
    """Be the command line of a peer's program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", nargs="+", choices=[*SIZES, "serve", "list"], metavar="WORKLOAD")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of operations")
    arguments = parser.parse_args()
    if arguments.workloads == ["list"]:
        names = [*peer.local, *peer.remote] if TLS is None else [n for n in peer.remote if n in BETWEEN_PROCESSES]
        print(json.dumps(names))
        return
    if arguments.workloads == ["serve"]:
        with contextlib.suppress(KeyboardInterrupt):
            peer.run(peer.serve)
        return
    remote = [name for name in arguments.workloads if name in peer.remote]
    for name in arguments.workloads:
        if name in peer.local:
            report(name, peer, partial(peer.local[name], size(name, arguments.scale)))
    if remote:
        with Server() as server:
            peer.run(partial(run_remote, peer, remote, server.hello, arguments.scale))


def size(name: str, scale: float) -> int:
    """Return how many operations a workload has at this scale."""
    return max(LEAST, int(SIZES[name] * scale))


async def run_remote(peer: Peer, names: list[str], hello: dict[str, Any], scale: float) -> None:
    """Run remote workloads over one connection."""
    async with peer.connect(hello) as connected:
        for name in names:
            show(name, await peer.remote[name](connected, size(name, scale)))


def report(name: str, peer: Peer, run: Callable[[], Awaitable[Figures]]) -> None:
    """Run one local workload and print its line."""
    try:
        figures = peer.run(run)
    except Exception:
        traceback.print_exc()
        figures = {"error": traceback.format_exc(limit=0).strip()}
    show(name, figures)


def show(name: str, figures: Figures) -> None:
    """Print the line of JSON of one workload."""
    print(json.dumps({"workload": name, **figures}), flush=True)


def batches(count: int) -> Iterator[int]:
    """Yield the sizes of the runs of messages between two yields of a sender."""
    for start in range(0, count, YIELD_EVERY):
        yield min(YIELD_EVERY, count - start)


async def asks_in_sequence(ask: Callable[[], Awaitable[object]], count: int, *, warm_up: int = WARM_UP) -> Figures:
    """Measure asks one after the other, each with its latency."""
    for _ in range(warm_up):
        await ask()
    clock = time.perf_counter
    with measured() as timed:
        for _ in range(count):
            start = clock()
            await ask()
            timed.latencies.append(clock() - start)
    return timed.figures(count)


def local(
    *, tell: Workload, ask: Workload, ping_pong: Workload, spawn: Workload, fan_in: Workload, **more: Workload
) -> Mapping[str, Workload]:
    """Return the local workloads of a peer by their names; ``tell`` pauses between batches unless told otherwise."""
    burst = partial(tell, pause=False)
    four = {"L4-10k": spawn, "L4-100k": spawn}
    return {"L1": tell, "L1burst": burst, "L2": ask, "L3": ping_pong, **four, "L5": fan_in, **more}


def remote(
    *, tell: RemoteWorkload, many: RemoteWorkload, large: object = LARGE_TEXT, **more: RemoteWorkload
) -> Mapping[str, RemoteWorkload]:
    """Return the remote workloads of a peer by their names; its connection has ``ask``, for R4 of something large."""

    async def ask(connected: Any, count: int) -> Figures:
        return await asks_in_sequence(connected.ask, count)

    async def ask_large(connected: Any, count: int) -> Figures:
        return await asks_in_sequence(lambda: connected.ask(large), count, warm_up=1)

    return {"R1": tell, "R2": ask, "R3": many, "R4": ask_large, **more}


Gather = Callable[[list[Callable[[], Awaitable[None]]]], Awaitable[object]]
"""Runs tasks until all have ended."""


class Entities(Protocol):
    """Entities on the nodes of a cluster, as the client sees them."""

    def ref(self, entity_id: str) -> Any:
        """Return what one is called by."""
        ...

    async def ask(self, ref: Any) -> None:
        """Ask one."""
        ...

    def tell(self, ref: Any) -> None:
        """Tell one an item."""
        ...

    async def count(self, ref: Any) -> int:
        """Ask one how many items it was told since the last time."""
        ...


def sharded(
    entities: Callable[[Any], Entities], gather: Gather, rest: Callable[[], Awaitable[None]]
) -> Mapping[str, RemoteWorkload]:
    """Return the workloads of entities by their names: ``entities`` finds them by what the remote ones get."""

    async def ask(connected: Any, count: int) -> Figures:
        return await asks_of_entities(entities(connected), count, gather)

    async def tell(connected: Any, count: int) -> Figures:
        return await tells_to_entities(entities(connected), count, gather, rest)

    async def ask_in_sequence(connected: Any, count: int) -> Figures:
        found = entities(connected)
        turns = itertools.cycle(await begun(found, gather))
        return await asks_in_sequence(lambda: found.ask(next(turns)), count)

    async def ask_new(connected: Any, count: int) -> Figures:
        found = entities(connected)
        await begun(found, gather)
        new = (found.ref(f"new-{number}") for number in itertools.count())
        return await asks_in_sequence(lambda: found.ask(next(new)), count)

    return {"S1": ask, "S1tell": tell, "S2": ask_in_sequence, "S2first": ask_new}


async def begun(entities: Entities, gather: Gather) -> list[Any]:
    """Return refs of `ENTITIES` entities that have started."""
    refs = [entities.ref(f"entity-{number}") for number in range(ENTITIES)]
    await of_each(refs, entities.ask, gather)
    return refs


async def of_each(refs: list[Any], call: Callable[[Any], Awaitable[Any]], gather: Gather) -> list[Any]:
    """Return what a call gives for each ref, `IN_FLIGHT` at any time."""
    left, found = deque(refs), list[Any]()

    async def worker() -> None:
        while left:
            found.append(await call(left.popleft()))

    await gather([worker] * IN_FLIGHT)
    return found


async def asks_of_entities(entities: Entities, count: int, gather: Gather) -> Figures:
    """Measure asks of `ENTITIES` entities in turn, `IN_FLIGHT` at any time."""
    turns = itertools.cycle(await begun(entities, gather))
    return await asks_in_flight(lambda: entities.ask(next(turns)), count, gather)


async def tells_to_entities(
    entities: Entities, count: int, gather: Gather, rest: Callable[[], Awaitable[None]]
) -> Figures:
    """Measure tells to `ENTITIES` entities in turn, until each of them says how many it had."""
    refs = await begun(entities, gather)
    turns, tell = itertools.cycle(refs), entities.tell
    with measured() as timed:
        for size in batches(count):
            for _ in range(size):
                tell(next(turns))
            await rest()
        handled = sum(await of_each(refs, entities.count, gather))
    assert handled == count, f"{handled} of {count} were handled"
    return timed.figures(count)


async def asks_in_flight(ask: Callable[[], Awaitable[object]], count: int, gather: Gather) -> Figures:
    """Measure asks of which `IN_FLIGHT` wait at any time; ``gather`` runs tasks until all have ended."""
    await ask()
    turns = iter(range(count))

    async def worker() -> None:
        for _ in turns:
            await ask()

    with measured() as timed:
        await gather([worker] * IN_FLIGHT)
    return timed.figures(count)


@contextlib.asynccontextmanager
async def no_connection(_: dict[str, Any]) -> AsyncIterator[None]:
    """Connect to nothing, for a peer without remote workloads."""
    yield None
