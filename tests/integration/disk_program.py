"""A process that appends to a file of SQLite one after the other, whatever its disk does, and says how each has ended.

    python tests/integration/disk_program.py FILE APPENDS

Each append is two events with its own number. Lines are `written NUMBER LAST`, `unavailable NUMBER` and
`uncertain NUMBER`; a read that is answered while nothing can be written is `read`. After an uncertain append it
claims anew and reads what there is: `found NUMBER` or `lost NUMBER`. `open` and `closed` are the ends.
"""

from __future__ import annotations

import sys

import trio

from casty import Claim, JournalUnavailable, JournalUncertain, Record, SqliteJournal

NAME = "a"
PAUSE = 0.002


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def numbers(journal: SqliteJournal) -> list[int]:
    return [int(stored.record.payload) for stored in [one async for one in journal.read(NAME)]]


async def claim_anew(journal: SqliteJournal) -> Claim:
    while True:
        try:
            [claim] = await journal.claim(["scope"])
        except (JournalUnavailable, JournalUncertain) as error:
            say(f"unclaimed {type(error).__name__}")
            await trio.sleep(PAUSE)
        else:
            return claim


async def append(journal: SqliteJournal, claim: Claim, number: int, last: int) -> tuple[Claim, int]:
    """Append until the number is stored; return the claim, and the number of the last event."""
    while True:
        try:
            await journal.append(claim, NAME, last, [Record("test.Event", 1, f"{number}".encode())] * 2)
        except JournalUnavailable:
            say("unavailable", number)
            if len(await numbers(journal)) == last:
                say("read")
            await trio.sleep(PAUSE)
        except JournalUncertain:
            say("uncertain", number)
            claim = await claim_anew(journal)
            found = await numbers(journal)
            if len(found) > last:
                say("found", number)
                return claim, last + 2
            say("lost", number)
        else:
            return claim, last + 2


async def main(path: str, appends: int) -> None:
    journal = SqliteJournal(path)
    async with journal.open():
        say("open")
        claim = await claim_anew(journal)
        found = await numbers(journal)
        last, first = len(found), (found[-1] + 1 if found else 1)
        for number in range(first, first + appends):
            claim, last = await append(journal, claim, number, last)
            say("written", number, last)
    say("closed")


trio.run(main, sys.argv[1], int(sys.argv[2]))
