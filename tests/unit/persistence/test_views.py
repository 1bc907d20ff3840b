"""Stores opened for reading: what they show, and that nothing changes by it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from casty import Record, SqliteJournal
from casty.errors import ConfigError, JournalDamaged, JournalUnavailable
from casty.persistence.journal_view import IdEntry, end_of_prefix
from casty.persistence.sqlite.sqlite_view import open_file_view
from casty.persistence.tables import MemoryTables

IDS = ("cart/1", "cart/2", "cart/é", "cart\U0010ffff", "till-1", "\U0010ffff")


async def fill(journal: SqliteJournal) -> None:
    async with journal.open():
        for number, name in enumerate(IDS, 1):
            [claim] = await journal.claim([f"of {name}"])
            await journal.append(claim, name, 0, [Record("test.Happened", 1, b"\xa1x")] * number)
        await journal.save(claim, name, 4, Record("test.State", 1, b"\x01"))
        await journal.forget(claim, name, 4)
        [lone] = await journal.claim(["value"])
        await journal.store_state(lone, "value", 1, Record("test.State", 1, b"\x02"))
        [gone] = await journal.claim(["gone"])
        await journal.append(gone, "gone", 0, [Record("test.Happened", 1, b"")])
        await journal.erase(gone, "gone")


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


async def test_the_rows_of_ids_are_in_order_by_prefix_and_behind_one(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await fill(SqliteJournal(path))
    async with open_file_view(path) as view:
        rows = [one async for one in view.entries()]
        assert [one.persistence_id for one in rows] == sorted([*IDS, "value"])
        assert [one.persistence_id async for one in view.entries("cart/")] == ["cart/1", "cart/2", "cart/é"]
        assert [one.persistence_id async for one in view.entries("cart", "cart/2")] == ["cart/é", "cart\U0010ffff"]
        assert [one.persistence_id async for one in view.entries("\U0010ffff")] == ["\U0010ffff"]
        assert [one.events for one in rows] == [1, 2, 3, 4, 5, 0, 2]
        last = rows[-1]
        assert last == IdEntry("\U0010ffff", "of \U0010ffff", 2, 6, last.written_at, 1, 0) and last.first == 5
        assert await view.entry("value") == IdEntry("value", "value", 0, 0, None, 0, 1)
        assert await view.entry("cart/") is None
        assert [one.seq async for one in view.read(last.persistence_id)] == [5, 6]


def test_tables_in_memory_have_rows_of_the_same_form() -> None:
    tables, record = MemoryTables("memory"), Record("test.Happened", 1, b"")
    claims = tables.claim([("a#1", b"1"), ("b", b"2")], "")
    tables.append(claims[0], "a/1", 0, [record] * 3, 7.0)
    tables.append(claims[0], "a/2", 0, [record], 8.0)
    tables.save(claims[0], "a/1", 2, record)
    tables.forget(claims[0], "a/1", 2)
    tables.store_state(claims[1], "b", 1, record)
    one, two = IdEntry("a/1", "a#1", 1, 3, 7.0, 1, 0), IdEntry("a/2", "a#1", 1, 1, 8.0, 0, 0)
    assert tables.entries("", "", 9) == [one, two, IdEntry("b", "b", 0, 0, None, 0, 1)]
    assert [tables.entries("a", "", 1), tables.entries("a", "a/1", 9)] == [[one], [two]]


def test_the_end_of_a_prefix_is_the_next_text_by_code_points() -> None:
    assert [end_of_prefix(one) for one in ("a", "\ud7ff", "b\U0010ffff", "\U0010ffff", "")] == [
        "b", "\ue000", "c", None, None,
    ]  # fmt: skip


async def test_nothing_changes_in_a_file_or_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await fill(SqliteJournal(path))
    before = files(tmp_path)
    async with open_file_view(path) as view:
        assert len([one async for one in view.entries()]) == len(IDS) + 1
        assert not await view.is_in_use()
        assert files(tmp_path) == before
    assert files(tmp_path) == before


async def test_a_file_is_read_while_another_writes_to_it_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await fill(SqliteJournal(path))
    writer = SqliteJournal(path)
    async with open_file_view(path) as view:
        assert len([one async for one in view.read("cart/1")]) == 1
        async with writer.open():
            [claim] = await writer.claim(["of cart/1"])
            await writer.append(claim, "cart/1", 1, [Record("test.Happened", 1, b"")])
            assert len([one async for one in view.read("cart/1")]) == 2
            assert await view.is_in_use()
            await writer.append(claim, "cart/1", 2, [Record("test.Happened", 1, b"")])  # its claim holds
        assert len([one async for one in view.read("cart/1")]) == 3


KILLED = """
import os, sys, trio
from casty import Record, SqliteJournal

async def main():
    journal = SqliteJournal(sys.argv[1])
    async with journal.open():
        [claim] = await journal.claim(["x"])
        await journal.append(claim, "x", 0, [Record("test.Happened", 1, b"")] * 3)
        os.kill(os.getpid(), 9)

trio.run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_log_of_a_killed_process_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL

    async def look() -> None:
        async with open_file_view(path) as view:
            assert [one.seq async for one in view.read("x")] == [1, 2, 3]
            assert await view.is_in_use()

    trio.run(look)


async def test_a_damaged_row_is_named_and_those_before_it_are_given(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await fill(SqliteJournal(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE events SET payload = x'00' WHERE seq = 3")
        connection.commit()
    async with open_file_view(path) as view:
        found: list[int] = []
        with pytest.raises(JournalDamaged, match="3 of 'till-1' cannot be read"):
            async for one in view.read("till-1"):
                found.append(one.seq)
        assert found == [1, 2]


async def test_a_file_of_something_else_is_no_journal(tmp_path: Path) -> None:
    missing, text, other, empty = (tmp_path / name for name in ("missing", "text", "other.db", "empty"))
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    text.write_text("x" * 5000)
    empty.touch()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
    for path, expected in (
        (missing, "cannot be read: No such file or directory; name the file of a journal"),
        (folder, "folder is a directory: name the file of a journal"),
        (pipe, "pipe is no regular file: name the file of a journal"),
        (text, "is no SqliteJournal: file is not a database"),
        (other, "is a database of something else"),
        (empty, "has no tables of a SqliteJournal"),
    ):
        with pytest.raises(ConfigError, match=expected):
            async with open_file_view(path):
                pass
    assert sorted(os.listdir(tmp_path)) == ["empty", "folder", "other.db", "pipe", "text"]


async def test_a_folder_that_nobody_may_write_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await fill(SqliteJournal(path))
    await trio.Path(path).chmod(0o400)
    await trio.Path(tmp_path).chmod(0o500)
    try:
        async with open_file_view(path) as view:
            assert len([one async for one in view.entries()]) == len(IDS) + 1
    finally:
        await trio.Path(tmp_path).chmod(0o700)


async def test_a_busy_file_is_given_up_after_some_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    await fill(SqliteJournal(path))
    stamps = iter(range(1_000))
    async with open_file_view(path) as view:
        monkeypatch.setattr("casty.persistence.sqlite.sqlite_view.stamp_of", lambda _: (next(stamps), 0, 0, False))
        with pytest.raises(JournalUnavailable, match="opened and closed by others 10 times during one look"):
            await view.entry("cart/1")
