"""A process that appends without end, and prints each event once it is acknowledged: `ID NUMBER`.

    python tests/integration/journal_program.py FILE SCOPE WRITERS

It claims its scope, goes on behind the last event of each writer's id, and is there to be killed.
"""

from __future__ import annotations

import sys

import trio

from casty import Claim, Record, SqliteJournal


async def write(journal: SqliteJournal, claim: Claim, name: str) -> None:
    last = 0
    async for stored in journal.read(name):
        last = stored.seq
    while True:
        count = 1 + last % 3
        await journal.append(claim, name, last, [Record("test.Event", 1, f"{last}".encode())] * count)
        last += count
        sys.stdout.write(f"{name} {last}\n")
        sys.stdout.flush()


async def main(path: str, scope: str, writers: int) -> None:
    journal = SqliteJournal(path)
    async with journal.open():
        [claim] = await journal.claim([scope])
        async with trio.open_nursery() as nursery:
            for number in range(writers):
                nursery.start_soon(write, journal, claim, f"{scope}/{number}")


trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
