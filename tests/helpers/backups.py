"""Stores with something of each kind, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from casty import Record
from casty.persistence.backup_format import BackupHead, BackupRow, BackupScope
from casty.persistence.checked_journal import CheckedJournal
from casty.persistence.sqlite.sqlite_backup import dump_file

EVENT = Record("test.Happened", 1, b"\x81\xa1x\x01", "command-1")
STATE = Record("test.State", 3, b"")
IDS = ("cart/1", "cart/é", "cart\U0010ffff", "till", "\U0010ffff")


async def fill(journal: CheckedJournal) -> None:
    """Store events of some ids by turns, a snapshot, values, settings; forget some, erase one id."""
    claims = {name: (await journal.claim([f"of {name}"], "cluster"))[0] for name in (*IDS, "value", "gone", "all")}
    for number in range(4):
        for name in (*IDS, "gone", "all"):
            await journal.append(claims[name], name, 2 * number, [EVENT, replace(EVENT, command_id="")])
    await journal.save(claims["till"], "till", 2, STATE)
    await journal.save(claims["till"], "till", 5, STATE)
    await journal.forget(claims["till"], "till", 5)
    await journal.forget(claims["all"], "all", 8)
    await journal.store_state(claims["value"], "value", 1, STATE)
    await journal.store_state(claims["value"], "value", 2, EVENT)
    await journal.erase(claims["gone"], "gone")
    await journal.settle("shards of carts", "64")
    await journal.settle("empty", "")


def rows_of(path: Path) -> list[BackupRow]:
    """Return all rows of a file."""
    rows: list[BackupRow] = []

    def begin() -> list[BackupRow]:
        rows.clear()
        return rows

    dump_file(path, lambda: begin().append)
    return rows


def content(rows: Sequence[BackupRow]) -> list[BackupRow]:
    """Return rows but for the head and the numbers of scopes, which a restore changes."""
    return [replace(row, number=1) if isinstance(row, BackupScope) else row for row in rows
            if not isinstance(row, BackupHead)]  # fmt: skip


def numbers(rows: Sequence[BackupRow]) -> dict[str, int]:
    """Return the numbers of the claims by scope."""
    return {row.scope: row.number for row in rows if isinstance(row, BackupScope)}
