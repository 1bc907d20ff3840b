"""Durable events a second: `SqliteJournal` against the bare group commit below it, and reading of many histories.

    python tests/benchmarks/bench_journal.py
    python tests/benchmarks/bench_journal.py --seconds 2 --rounds 5 --folder /some/disk

The bare one is a loop in one thread: BEGIN, one INSERT of 64 rows of 100 bytes, COMMIT, in the same mode. Rounds of all
kinds take turns, so that a machine that slows down slows them all; the median of each counts.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from casty import Record, SqliteJournal

EVENT = Record("bench.Happened", 1, b"x" * 100)
BARE_ROWS = 64
IDS = 10_000
EVENTS_OF_EACH = 20
READERS = 64


def bare(path: Path, seconds: float, rows: int) -> float:
    """Return the events a second of a loop of group commits."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS events (offset INTEGER PRIMARY KEY, id TEXT, seq INTEGER, data BLOB)"
    )
    connection.execute("CREATE UNIQUE INDEX IF NOT EXISTS by_seq ON events (id, seq)")
    (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    begin = time.perf_counter()
    count = 0
    while time.perf_counter() - begin < seconds:
        seq += 1
        connection.execute("BEGIN IMMEDIATE")
        written = [(f"id {number}", seq, EVENT.payload) for number in range(rows)]
        connection.executemany("INSERT INTO events (id, seq, data) VALUES (?, ?, ?)", written)
        connection.execute("COMMIT")
        count += rows
    rate = count / (time.perf_counter() - begin)
    connection.close()
    return rate


async def ours(path: Path, seconds: float, writers: int) -> float:
    """Return the events a second of some writers, each waiting for its event to be durable."""
    journal = SqliteJournal(path)
    count = 0
    async with journal.open():
        scopes = [f"bench/{number}" for number in range(16)]
        claims = await journal.claim(scopes)
        begin = time.perf_counter()

        async def write(number: int) -> None:
            nonlocal count
            name = f"writer {number} of {begin}"
            after = 0
            while time.perf_counter() - begin < seconds:
                await journal.append(claims[number % 16], name, after, [EVENT])
                after += 1
                count += 1

        async with trio.open_nursery() as nursery:
            for number in range(writers):
                nursery.start_soon(write, number)
        return count / (time.perf_counter() - begin)


async def recovery(path: Path) -> tuple[float, float]:
    """Return the seconds of writing and of reading many ids, some at one time."""
    journal = SqliteJournal(path)
    async with journal.open():
        [claim] = await journal.claim(["bench"])
        begin = time.perf_counter()
        await in_turn(IDS, lambda number: journal.append(claim, f"id/{number}", 0, [EVENT] * EVENTS_OF_EACH))
        written = time.perf_counter() - begin

        async def read(number: int) -> None:
            found = [stored.seq async for stored in journal.read(f"id/{number}")]
            if len(found) != EVENTS_OF_EACH:
                raise RuntimeError(f"id/{number} has {len(found)} events, written were {EVENTS_OF_EACH}")

        begin = time.perf_counter()
        await in_turn(IDS, read)
        return written, time.perf_counter() - begin


async def in_turn(count: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Make a call for each number, some at one time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    async with trio.open_nursery() as nursery:
        for _ in range(READERS):
            nursery.start_soon(work)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one by default")
    chosen = parser.parse_args()
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for _ in range(chosen.rounds):
            for rows in (1, BARE_ROWS, 512):
                rates.setdefault(f"bare, {rows} rows a commit", []).append(
                    bare(Path(folder, "bare.db"), chosen.seconds, rows)
                )
                rates.setdefault(f"SqliteJournal, {rows} writers", []).append(
                    trio.run(ours, Path(folder, "ours.db"), chosen.seconds, rows)
                )
        for name, found in rates.items():
            print(f"{name:<28} {statistics.median(found):>10,.0f} events/s  ({min(found):,.0f} to {max(found):,.0f})")
        for rows in (1, BARE_ROWS, 512):
            pairs = zip(rates[f"SqliteJournal, {rows} writers"], rates[f"bare, {rows} rows a commit"], strict=True)
            print(f"ratio at {rows:<19} {statistics.median(one / other for one, other in pairs):>10.2f}")
        written, read = trio.run(recovery, Path(folder, "recovery.db"))
        print(f"{IDS:,} ids of {EVENTS_OF_EACH} events: written in {written:.1f} s, read in {read:.2f} s")


if __name__ == "__main__":
    main()
