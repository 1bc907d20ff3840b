"""Events a second in a PostgreSQL of its own: the journal, the bare group commit, and a pool without groups.

Events have 100 bytes. `bare` is one connection in a loop: an insert of one row, and one of 64 rows by unnest. `pool` is
eight connections of psycopg under asyncio, which 64 tasks share, each with an insert and a commit of its own. Each
round does all in turn; figures are medians, and ratios are those of one round. It prints, and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import psycopg
import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from postgres_server import postgres_server, why_not

from casty.journal import Record
from casty.persistence.postgres import PostgresJournal
from casty.persistence.postgres.trio_connection import TrioConnection

PAYLOAD = b"p" * 100
WRITERS = 64
POOL = 8
TABLE = "CREATE TABLE IF NOT EXISTS bare (id text, seq bigint, payload bytea, PRIMARY KEY (id, seq))"
INSERT = "INSERT INTO bare VALUES (%s, %s, %s)"
INSERT_MANY = "INSERT INTO bare SELECT * FROM unnest(%s::text[], %s::bigint[], %b::bytea[])"


async def bare(dsn: str, seconds: float, rows: int) -> int:
    """Return how many rows one connection inserts, some in each statement."""
    done = 0
    async with await TrioConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(TABLE)
        run = f"{time.monotonic()}"
        ids = [f"{run}/{number}" for number in range(rows)]
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            if rows == 1:
                await connection.execute(INSERT, (run, done, PAYLOAD))
            else:
                await connection.execute(INSERT_MANY, (ids, [done] * rows, [PAYLOAD] * rows))
            done += rows
    return done


async def journal(dsn: str, seconds: float, writers: int) -> int:
    """Return how many events some writers append, each to an id of its own."""
    done = 0
    run = f"{time.monotonic()}"
    store = PostgresJournal(dsn)
    async with store.open():
        claims = await store.claim([f"{run}/{number}" for number in range(writers)])
        end = trio.current_time() + seconds

        async def write(number: int) -> None:
            nonlocal done
            seq = 0
            while trio.current_time() < end:
                await store.append(claims[number], claims[number].scope, seq, [Record("bench.Event", 1, PAYLOAD)])
                seq += 1
                done += 1

        async with trio.open_nursery() as nursery:
            for number in range(writers):
                nursery.start_soon(write, number)
    return done


async def pool(dsn: str, seconds: float) -> int:
    """Return how many events 64 tasks of asyncio insert by eight connections."""
    done = 0
    run = f"{time.monotonic()}"
    connections: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
    for _ in range(POOL):
        connections.put_nowait(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
    end = time.monotonic() + seconds

    async def write(number: int) -> None:
        nonlocal done
        seq = 0
        while time.monotonic() < end:
            connection = await connections.get()
            await connection.execute(INSERT, (f"{run}/{number}", seq, PAYLOAD))
            connections.put_nowait(connection)
            seq += 1
            done += 1

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    while not connections.empty():
        await connections.get_nowait().close()
    return done


def main() -> None:
    """Run all in rounds and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    if why_not():
        sys.exit(why_not())
    found: dict[str, list[float]] = {}
    with postgres_server("-c fsync=on") as server:
        dsn, seconds = server.dsn(), options.seconds
        ways: dict[str, Callable[[], int]] = {
            "bare, 1 row": partial(trio.run, bare, dsn, seconds, 1),
            "journal, 1 writer": partial(trio.run, journal, dsn, seconds, 1),
            "bare, 64 rows": partial(trio.run, bare, dsn, seconds, WRITERS),
            "journal, 64 writers": partial(trio.run, journal, dsn, seconds, WRITERS),
            "pool of 8, 64 tasks": lambda: asyncio.run(pool(dsn, seconds)),
        }
        for number in range(options.rounds):
            for name, way in ways.items():
                found.setdefault(name, []).append(way() / seconds)
            print(number, {name: round(rates[-1]) for name, rates in found.items()}, flush=True)
    for name, rates in found.items():
        print(f"{name:22}{median(rates):10,.0f} a second")
    for above, below in (
        ("journal, 1 writer", "bare, 1 row"),
        ("journal, 64 writers", "bare, 64 rows"),
        ("journal, 64 writers", "pool of 8, 64 tasks"),
    ):
        ratios = [one / other for one, other in zip(found[above], found[below], strict=True)]
        print(f"{above} / {below}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
