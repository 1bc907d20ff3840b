"""Backups of a journal in PostgreSQL, and from one kind of store into the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from helpers.backups import EVENT, content, fill, numbers, rows_of
from postgres_server import PostgresServer

from casty import SqliteJournal
from casty.cli.journal.backup import back_up, restore
from casty.cli.journal.stores import StoreName
from casty.errors import ConfigError, Fenced, JournalDamaged
from casty.journal import Stored
from casty.persistence.backup_format import BackupHead, BackupRow, BackupScope, DamagedBackup
from casty.persistence.postgres import PostgresJournal
from casty.persistence.postgres.postgres_backup import dump_server, load_server

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'casty'"


@pytest.fixture
def server(postgres: PostgresServer, dsn: str) -> StoreName:
    """Name of an empty database as the command line has it."""
    name = dsn.rpartition("dbname='")[2].rstrip("'")
    return StoreName(f"postgresql://postgres@/{name}?host={postgres.folder}&port={postgres.port}")


async def rows_at(store: StoreName) -> list[BackupRow]:
    """Return all rows of a database."""
    rows: list[BackupRow] = []

    async def take(batch: Sequence[BackupRow]) -> None:
        await trio.lowlevel.checkpoint()
        rows.extend(batch)

    await dump_server(store.text, store.schema, take)
    return rows


async def test_a_file_goes_into_a_database_and_back_into_a_file_with_equal_rows(
    server: StoreName, tmp_path: Path
) -> None:
    journal, first, second = SqliteJournal(tmp_path / "a.db"), tmp_path / "1.bak", tmp_path / "2.bak"
    async with journal.open():
        await fill(journal)
    await back_up(StoreName(str(tmp_path / "a.db")), first)
    await restore(first, server, is_forced=False)
    await back_up(server, second)
    await restore(second, StoreName(str(tmp_path / "b.db")), is_forced=False)
    old, between, new = rows_of(tmp_path / "a.db"), await rows_at(server), rows_of(tmp_path / "b.db")
    assert content(old) == content(between) == content(new) and len(old) == 57
    assert [numbers(rows)["of till"] for rows in (old, between, new)] == [1, 2, 3]
    heads = [rows[0] for rows in (old, between, new)]
    assert [head.last_offset for head in heads if isinstance(head, BackupHead)] == [56] * 3
    assert len({head.identity for head in heads if isinstance(head, BackupHead)}) == 3


async def test_a_database_in_use_is_replaced_by_force_only_and_its_writers_are_fenced(
    server: StoreName, dsn: str, tmp_path: Path
) -> None:
    journal, file = SqliteJournal(tmp_path / "a.db"), tmp_path / "a.bak"
    async with journal.open():
        await fill(journal)
    await back_up(StoreName(str(tmp_path / "a.db")), file)
    writer = PostgresJournal(dsn)
    async with writer.open():
        mine, other = await writer.claim(["of till", "other"])
        await writer.append(mine, "till", 0, [EVENT] * 100)
        await writer.append(other, "other", 0, [EVENT])
        before = await rows_at(server)
        with pytest.raises(ConfigError, match="not empty, it has 2 ids, 2 scopes and 0 settings: name another store"):
            await restore(file, server, is_forced=False)
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        with pytest.raises(DamagedBackup):
            await restore(file, server, is_forced=True)
        assert content(await rows_at(server)) == content(before) and numbers(await rows_at(server)) == numbers(before)
        file.write_bytes(whole)
        await restore(file, server, is_forced=True)
        for claim, name, after in ((mine, "till", 8), (other, "other", 1)):
            with pytest.raises(Fenced):
                await writer.append(claim, name, after, [EVENT])
        [again] = await writer.claim(["of till"])
        assert again.number == 3
        await writer.append(again, "till", 8, [EVENT])
        assert [one.seq async for one in writer.read("till")] == [6, 7, 8, 9]
        assert [one.seq for one in await writer.tail(101, 9)] == [9]  # behind all that were there before


async def test_a_backup_beside_a_writer_is_of_one_moment(server: StoreName, dsn: str) -> None:
    journal, rows = PostgresJournal(dsn), list[BackupRow]()
    async with journal.open():
        claim, second = await journal.claim(["a", "b"])
        await journal.append(claim, "a", 0, [EVENT] * 600)
        await journal.append(second, "b", 0, [EVENT])

        async def take(batch: Sequence[BackupRow]) -> None:
            if isinstance(batch[0], BackupScope):
                await journal.append(second, "b", 1, [EVENT])
                await journal.append(claim, "a", 600, [EVENT] * 10)
                await journal.forget(claim, "a", 500)
            rows.extend(batch)

        await dump_server(server.text, server.schema, take)
        assert len([one async for one in journal.read("a")]) == 110
    events = [(row.persistence_id, row.seq) for row in rows if isinstance(row, Stored)]
    assert events == [("a", seq) for seq in range(1, 601)] + [("b", 1)]


async def test_a_restore_that_breaks_or_is_cancelled_in_the_middle_leaves_the_database_as_it_was(
    server: StoreName, dsn: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    source, journal = SqliteJournal(tmp_path / "a.db"), PostgresJournal(dsn)
    async with source.open():
        await fill(source)
    rows = rows_of(tmp_path / "a.db")
    async with journal.open():
        [claim] = await journal.claim(["a"])
        await journal.append(claim, "a", 0, [EVENT] * 3)
    before = await rows_at(server)
    for way in ("broken", "killed", "cancelled"):
        batches = [rows[:30], rows[30:40]]
        with trio.CancelScope() as scope:

            async def read(
                batches: list[list[BackupRow]] = batches, way: str = way, scope: trio.CancelScope = scope
            ) -> Sequence[BackupRow]:
                await trio.lowlevel.checkpoint()
                if batches:
                    return batches.pop(0)
                if way == "broken":
                    raise DamagedBackup("the rest is missing")
                if way == "killed":
                    postgres.sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'casty'"
                    )
                    return rows[40:]
                scope.cancel()
                await trio.lowlevel.checkpoint()
                raise AssertionError

            expected = {"broken": "the rest is missing", "killed": "the connection to PostgreSQL was lost"}
            if way in expected:
                with pytest.raises(Exception, match=expected[way]):
                    await load_server(server.text, server.schema, read, is_forced=True)
            else:
                await load_server(server.text, server.schema, read, is_forced=True)
        assert scope.cancelled_caught == (way == "cancelled")
        assert (await rows_at(server))[1:] == before[1:]
    async with journal.open():
        await journal.append(claim, "a", 3, [EVENT])


async def test_damaged_and_missing_rows_of_a_database_are_named(
    server: StoreName, dsn: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    journal, database = PostgresJournal(dsn), server.text.partition("?")[0].rpartition("/")[2]
    async with journal.open():
        [claim] = await journal.claim(["a"])
        await journal.append(claim, "a", 0, [EVENT] * 5)
    for change, told in (
        ("UPDATE casty.events SET version = 2 WHERE seq = 4", "the row 4 of 'a' is damaged"),
        ("DELETE FROM casty.events WHERE seq = 3", "of the events 1 to 5 of 'a' there are 4"),
    ):
        postgres.sql(change, database)
        with pytest.raises(JournalDamaged, match=told):
            await back_up(server, tmp_path / "a.bak")
    assert not await trio.to_thread.run_sync(os.listdir, tmp_path)
