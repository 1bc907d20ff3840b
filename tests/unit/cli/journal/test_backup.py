"""``casty journal backup`` and ``restore`` on files."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from helpers.backups import EVENT, content, fill, numbers, rows_of
from helpers.journal_commands import journal

from casty import Record, SqliteJournal
from casty.cli.journal.backup import restore
from casty.cli.journal.stores import StoreName
from casty.errors import ConfigError, Fenced
from casty.journal import CLUSTER_SETTING, Claim, Stored
from casty.persistence.backup_format import BackupHead, BackupRow
from casty.persistence.sqlite.sqlite_backup import dump_file
from casty.persistence.sqlite.sqlite_connection import connect


async def with_open(path: Path) -> None:
    store = SqliteJournal(path)
    async with store.open():
        await fill(store)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a file with something of each kind."""
    path = tmp_path / "shop.db"
    trio.run(with_open, path)
    return path


def test_a_store_is_backed_up_and_restored_with_all_there_is_of_it(shop: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "shop.bak", tmp_path / "copy.db"
    before = shop.read_bytes()
    result = journal("backup", shop, file)
    counts = "8 ids, 35 events, 2 snapshots, 1 values, 8 scopes"
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{file} is written: {counts}\n", "")
    result = journal("restore", file, copy)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{copy} is restored: {counts}; it is the store ")
    old, new = rows_of(shop), rows_of(copy)
    assert content(new) == content(old) and len(old) == 57
    assert numbers(new) == {scope: number + 1 for scope, number in numbers(old).items()}
    assert isinstance(old[0], BackupHead) and isinstance(new[0], BackupHead)
    assert new[0].last_offset == old[0].last_offset and new[0].identity != old[0].identity
    assert new[0].identity in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "shop.bak", "shop.db"]
    assert shop.read_bytes() == before
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_restored_store_belongs_to_no_cluster_yet(shop: Path, tmp_path: Path) -> None:
    trio.run(settle_cluster, shop, "shop")
    file, copy = tmp_path / "shop.bak", tmp_path / "copy.db"
    assert journal("backup", shop, file).exit_code == 0
    assert journal("restore", file, copy).exit_code == 0
    assert trio.run(settle_cluster, copy, "staging") == "staging"
    assert trio.run(settle_cluster, shop, "staging") == "shop"


async def settle_cluster(path: Path, name: str) -> str:
    store = SqliteJournal(path)
    async with store.open():
        return await store.settle(CLUSTER_SETTING, name)


def test_a_restored_store_goes_on_and_old_claims_are_void(shop: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "shop.bak", SqliteJournal(tmp_path / "copy.db")
    with closing(sqlite3.connect(shop)) as connection:
        ((number, token),) = connection.execute("SELECT number, token FROM fences WHERE scope = 'of till'").fetchall()
    journal("backup", shop, file)
    journal("restore", file, tmp_path / "copy.db")

    async def go_on() -> None:
        async with copy.open():
            with pytest.raises(Fenced):
                await copy.append(Claim("of till", number, token), "till", 8, [EVENT])
            [claim] = await copy.claim(["of till"])
            assert claim.number == number + 2
            await copy.append(claim, "till", 8, [EVENT])
            (event,) = await copy.tail(56, 10)
            assert (event.seq, event.offset) == (9, 57)
            assert [one.seq async for one in copy.read("till")] == [6, 7, 8, 9]
            assert [one.seq for one in await copy.load("till")] == [5, 2]
            assert await copy.load_state("value") == (2, EVENT)
            assert await copy.settle("shards of carts", "8") == "64"

    trio.run(go_on)


def test_a_store_in_use_is_replaced_by_force_only_and_its_writers_are_fenced(shop: Path, tmp_path: Path) -> None:
    file, path = tmp_path / "shop.bak", tmp_path / "used.db"
    journal("backup", shop, file)

    async def replace_under_a_writer() -> None:
        writer = SqliteJournal(path)
        async with writer.open():
            for _ in range(4):
                await writer.claim(["of till", "other"])
            mine, other = await writer.claim(["of till", "other"])
            await writer.append(mine, "till", 0, [EVENT] * 100)
            await writer.append(other, "other", 0, [EVENT])
            kept = rows_of(path)
            target = StoreName(str(path))
            with pytest.raises(ConfigError, match="used.db is not empty, it has 2 ids, 2 scopes and 0 settings"):
                await restore(file, target, is_forced=False)
            assert content(rows_of(path)) == content(kept)
            await restore(file, target, is_forced=True)
            for claim, name, after in ((mine, "till", 8), (other, "other", 1)):
                with pytest.raises(Fenced):
                    await writer.append(claim, name, after, [EVENT])
            again, _ = await writer.claim(["of till", "other"])
            assert again.number == 7
            await writer.append(again, "till", 8, [EVENT])
            assert (await writer.tail(101, 9))[-1].offset == 102

    trio.run(replace_under_a_writer)
    rows = content(rows_of(path))
    assert not any(isinstance(row, Stored) and row.persistence_id == "other" for row in rows)


def test_a_backup_beside_a_writer_is_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "busy.db"

    async def write_beside() -> list[Stored]:
        store = SqliteJournal(path)
        async with store.open():
            claim, second = await store.claim(["a", "b"])
            await store.append(claim, "a", 0, [EVENT] * 300)
            await store.append(second, "b", 0, [EVENT])
            rows: list[Stored] = []
            written = trio.Event()

            def take(row: object) -> None:
                if isinstance(row, Stored):
                    if row.seq == 10:
                        trio.from_thread.run(write_more)
                    rows.append(row)

            async def write_more() -> None:
                await store.append(second, "b", 1, [EVENT])
                await store.append(claim, "a", 300, [EVENT] * 10)
                await store.forget(claim, "a", 200)
                written.set()

            await trio.to_thread.run_sync(dump_file, path, lambda: take)
            assert written.is_set() and len([one async for one in store.read("a")]) == 110
            return rows

    rows = trio.run(write_beside)
    assert [(row.persistence_id, row.seq) for row in rows] == [("a", seq) for seq in range(1, 301)] + [("b", 1)]


@pytest.mark.parametrize("cut", [0, 5, 10, 2_000, -1])
def test_a_cut_backup_leaves_the_store_as_it_was_and_none_where_none_was(shop: Path, tmp_path: Path, cut: int) -> None:
    file, none = tmp_path / "shop.bak", tmp_path / "none.db"
    journal("backup", shop, file)
    file.write_bytes(file.read_bytes()[:cut])
    before = shop.read_bytes()
    for target in (none, shop):
        result = journal("restore", file, target, "--force")
        assert result.exit_code == 1
        assert "shop.bak is damaged or cut at byte" in result.stderr and "copy the file anew" in result.stderr
    assert shop.read_bytes() == before and not none.exists()


def test_bad_input_is_told_in_one_line(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "shop.bak"
    for arguments, told in (
        (("backup", shop, shop), "shop.db is there already: name a new file"),
        (("backup", tmp_path / "no.db", file), "no.db cannot be read"),
        (("backup", shop, tmp_path / "no" / "a.bak"), "a.bak cannot be made: No such file or directory"),
        (("restore", file, tmp_path / "copy.db"), "shop.bak cannot be read: No such file"),
        (("restore", shop, tmp_path / "copy.db"), "shop.db is no backup of a journal"),
    ):
        result = journal(*arguments)
        assert result.exit_code == 2 and told in result.stderr and result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE events SET payload = x'00' WHERE offset = 3", "event, snapshot or value 1 of 'cart/é' cannot"),
        ("UPDATE snapshots SET crc = 1 WHERE seq = 2", "event, snapshot or value 2 of 'till' cannot be read"),
        ("UPDATE states SET name = 'b'", "event, snapshot or value 2 of 'value' cannot be read"),
        ("DELETE FROM events WHERE entity = 1 AND seq IN (3, 4)", "of the events 1 to 8 of 'cart/1' there are 6"),
    ],
)
def test_a_damaged_row_of_the_store_is_named_and_makes_no_file(
    shop: Path, tmp_path: Path, change: str, told: str
) -> None:
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute(change)
    result = journal("backup", shop, tmp_path / "shop.bak")
    assert result.exit_code == 1
    assert told in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


APART = """
import os, resource, signal, sys
from casty.cli.journal.commands import journal
from casty.persistence.backup_format import BackupReader, BackupWriter

left, number, most = map(int, sys.argv[1:4])
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

def killing(call):
    def counted(*arguments):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), number)
        return call(*arguments)
    return counted

BackupWriter.write, BackupReader.__next__ = killing(BackupWriter.write), killing(BackupReader.__next__)
journal(sys.argv[4:])
"""


def run_apart(
    *arguments: object, row: int = 0, number: int = signal.SIGKILL, most: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process with a signal at a row, or with a bound for the bytes of files."""
    command = [sys.executable, "-c", APART, row, number, most, *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)


def killed_at(row: int, *arguments: object) -> None:
    """Run a command, and kill its process at a row."""
    done = run_apart(*arguments, row=row)
    assert done.returncode == -signal.SIGKILL, done.stderr


async def use(path: Path, events: int = 3, size: int = 100) -> None:
    """Store events of one id."""
    store = SqliteJournal(path)
    async with store.open():
        [claim] = await store.claim(["a"])
        await store.append(claim, "a", 0, [Record("test.Other", 1, b"x" * size)] * events)


def test_a_killed_backup_leaves_no_file_of_that_name_and_a_killed_restore_the_store_as_it_was(
    shop: Path, tmp_path: Path
) -> None:
    file, used = tmp_path / "shop.bak", tmp_path / "used.db"
    killed_at(40, "backup", shop, file)
    assert not file.exists()
    journal("backup", shop, file)
    trio.run(use, used)
    before, read_through = rows_of(used), len(rows_of(shop)) + 1
    killed_at(read_through + 40, "restore", file, used, "--force")
    assert rows_of(used)[1:] == before[1:]
    assert journal("restore", file, used, "--force").exit_code == 0
    assert [row for row in content(rows_of(used)) if row not in content(rows_of(shop))] == [
        row for row in content(before) if getattr(row, "scope", "") == "a" and not hasattr(row, "last")
    ]


def test_a_signal_in_the_middle_leaves_no_file_and_the_store_as_it_was(tmp_path: Path) -> None:
    path, file, used = tmp_path / "a.db", tmp_path / "a.bak", tmp_path / "used.db"
    trio.run(use, path, 900)
    trio.run(use, used, 1)
    done = run_apart("backup", path, file, row=100, number=signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.db", "used.db"]
    assert journal("backup", path, file).exit_code == 0
    before = rows_of(used)
    done = run_apart("restore", file, used, "--force", row=1_200, number=signal.SIGTERM)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert rows_of(used)[1:] == before[1:]


def test_a_full_disk_is_told_and_leaves_no_file_and_the_store_as_it_was(tmp_path: Path) -> None:
    path, file, used = tmp_path / "a.db", tmp_path / "a.bak", tmp_path / "used.db"
    trio.run(use, path, 250, 100_000)  # more than a transaction keeps in memory
    trio.run(use, used, 1)
    done = run_apart("backup", path, file, most=65_536)
    assert done.returncode == 1 and "a.bak cannot be written: File too large; there is no backup" in done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.db", "used.db"]
    assert journal("backup", path, file).exit_code == 0
    before = rows_of(used)
    done = run_apart("restore", file, used, "--force", most=1_048_576)
    assert done.returncode == 1 and "used.db cannot be restored: " in done.stderr and "as it was" in done.stderr
    assert rows_of(used)[1:] == before[1:]


def test_a_file_opened_by_another_during_its_backup_is_read_again(shop: Path) -> None:
    rounds: list[list[BackupRow]] = []

    def begin() -> Callable[[BackupRow], None]:
        rounds.append([])
        return take

    def take(row: BackupRow) -> None:
        if len(rounds) == 1 and isinstance(row, Stored) and row.offset == 20:
            with closing(connect(shop)) as connection:
                connection.execute("UPDATE store SET last_offset = 99")
        rounds[-1].append(row)

    dump_file(shop, begin)
    heads = [rows[0].last_offset for rows in rounds if isinstance(rows[0], BackupHead)]
    assert heads == [56, 99] and len(rounds[1]) == 57
