"""A failing disk, damaged rows, files that are no journal: each has its error, and nobody is told a lie."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import trio
from helpers.journals import looks

from casty import (
    Claim,
    ConfigError,
    JournalDamaged,
    JournalUnavailable,
    JournalUncertain,
    Record,
    SequenceConflict,
    SqliteJournal,
    SqliteLease,
    StoredSnapshot,
)
from casty.persistence.sqlite import file_systems, sqlite_connection, sqlite_schema, sqlite_workers, worker_thread
from casty.persistence.sqlite.sqlite_tables import SqliteTables

EVENT = Record("test.Event", 1, b"x" * 100)
IOERR_FSYNC, IOERR_WRITE, SQLITE_FULL = 1034, 778, 13


class Shim(sqlite3.Connection):
    """A connection that fails, waits or counts where a test says so."""

    statements: list[str] = []
    pages = 0
    before: dict[str, Callable[[], object]] = {}
    after: dict[str, Callable[[], object]] = {}

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        self.statements.append(sql)
        if sql == "BEGIN IMMEDIATE" and self.pages:
            super().execute(f"PRAGMA max_page_count = {self.pages}")
        self.before.get(sql, list)()
        result = super().execute(sql, parameters)  # type: ignore[arg-type]  # whatever sqlite3 takes
        self.after.get(sql, list)()
        return result


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Shim]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Shim))
    Shim.statements, Shim.pages, Shim.before, Shim.after = [], 0, {}, {}
    yield Shim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def failing(code: int) -> Callable[[], None]:
    def fail() -> None:
        error = sqlite3.OperationalError("the disk has failed")
        error.sqlite_errorcode = code
        raise error

    return fail


@asynccontextmanager
async def claimed(path: Path, scope: str = "a") -> AsyncIterator[tuple[SqliteJournal, Claim]]:
    """Open the file as a journal with a claim of one scope."""
    journal = SqliteJournal(path)
    async with journal.open():
        [claim] = await journal.claim([scope])
        yield journal, claim


async def seqs(journal: SqliteJournal, name: str, after: int = 0) -> list[int]:
    return [stored.seq async for stored in journal.read(name, after)]


async def written(path: Path, *ids: str, events: int = 3) -> None:
    """Write events of some ids, each in an append of its own, of the scope "scope"."""
    async with claimed(path, "scope") as (journal, claim):
        for name in ids:
            for after in range(events):
                await journal.append(claim, name, after, [EVENT])


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount > 0


async def test_a_full_disk_refuses_writes_reads_on_and_goes_on_when_there_is_room(shim: type[Shim], path: Path) -> None:
    async with claimed(path) as (journal, claim):
        await journal.append(claim, "a", 0, [EVENT])
        shim.pages = 30
        large = Record("test.Event", 1, bytes(200_000))
        with pytest.raises(JournalUnavailable, match="full; nothing was written"):
            await journal.append(claim, "a", 1, [large])
        assert await seqs(journal, "a") == [1]
        await journal.append(claim, "a", 1, [EVENT])  # for which there is room
        shim.pages = 100_000
        await journal.append(claim, "a", 2, [large])
        assert await seqs(journal, "a") == [1, 2, 3]


@pytest.mark.parametrize(
    ("statement", "code"),
    [("COMMIT", SQLITE_FULL), ("PRAGMA data_version", IOERR_WRITE)],
    ids=["full disk in the commit", "failed write before the commit"],
)
async def test_a_write_that_fails_has_written_nothing(shim: type[Shim], path: Path, statement: str, code: int) -> None:
    async with claimed(path) as (journal, claim):
        shim.before[statement] = failing(code)
        with pytest.raises(JournalUnavailable, match="nothing was written"):
            await journal.append(claim, "a", 0, [EVENT])
        shim.before.clear()
        assert await seqs(journal, "a") == []
        await journal.append(claim, "a", 0, [EVENT])


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_failed_commit_is_uncertain_never_tried_again_and_settled_by_a_claim(
    shim: type[Shim], path: Path, is_written: bool
) -> None:
    async with claimed(path) as (journal, old):
        await journal.append(old, "a", 0, [EVENT])
        shim.statements.clear()
        (shim.after if is_written else shim.before)["COMMIT"] = failing(IOERR_FSYNC)
        with pytest.raises(JournalUncertain, match="the commit failed, the disk has failed; claim again"):
            await journal.append(old, "a", 1, [EVENT, EVENT])
        assert shim.statements.count("COMMIT") == 1
        shim.before.clear()
        shim.after.clear()
        [new] = await journal.claim(["a"])
        assert "PRAGMA wal_checkpoint(TRUNCATE)" in shim.statements  # by fresh writes, before anything is promised
        found = await seqs(journal, "a")
        assert found == ([1, 2, 3] if is_written else [1])
        await journal.append(new, "a", len(found), [EVENT])
    async with journal.open():
        assert await seqs(journal, "a") == [*found, len(found) + 1]


async def test_as_long_as_the_file_cannot_be_opened_anew_nothing_is_written(shim: type[Shim], path: Path) -> None:
    async with claimed(path) as (journal, claim):
        shim.before["COMMIT"] = failing(IOERR_FSYNC)
        shim.before["PRAGMA wal_checkpoint(TRUNCATE)"] = failing(IOERR_WRITE)
        with pytest.raises(JournalUncertain):
            await journal.append(claim, "a", 0, [EVENT])
        del shim.before["COMMIT"]
        for _ in range(3):
            with pytest.raises(JournalUnavailable, match="cannot be written: the disk has failed"):
                await journal.append(claim, "a", 0, [EVENT])
        shim.before.clear()
        await journal.append(claim, "a", 0, [EVENT])
        assert await seqs(journal, "a") == [1]


async def test_nothing_is_written_behind_a_log_that_cannot_be_emptied_after_a_failed_sync(
    shim: type[Shim], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connection, "BUSY_TIMEOUT", 0.01)
    async with claimed(path) as (journal, claim):
        await journal.append(claim, "a", 0, [EVENT])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM events").fetchone()
            shim.after["COMMIT"] = failing(IOERR_FSYNC)
            with pytest.raises(JournalUncertain):
                await journal.append(claim, "a", 1, [EVENT])
            shim.after.clear()
            with pytest.raises(JournalUnavailable, match="somebody reads it, so its log cannot be emptied"):
                await journal.claim(["a"])
        [claim] = await journal.claim(["a"])
        assert await seqs(journal, "a") == [1, 2]
        await journal.append(claim, "a", 2, [EVENT])


async def test_all_that_waits_shares_a_commit(shim: type[Shim], path: Path) -> None:
    is_free = threading.Event()
    async with claimed(path, "scope") as (journal, claim):
        shim.statements.clear()
        shim.before["COMMIT"] = is_free.wait
        async with trio.open_nursery() as nursery:
            for number in range(600):
                nursery.start_soon(journal.append, claim, str(number), 0, [EVENT])
            await trio.testing.wait_all_tasks_blocked(0.05)
            is_free.set()
        commits = shim.statements.count("COMMIT")
        assert 2 <= commits <= 5  # those that came first, 512 of the rest, and what is left
        assert len([name async for name in journal.ids("scope")]) == 600


async def test_readers_and_callers_giving_up_do_not_wait_for_a_commit(shim: type[Shim], path: Path) -> None:
    is_free = threading.Event()
    async with claimed(path) as (journal, claim):
        await journal.append(claim, "a", 0, [EVENT])
        shim.before["COMMIT"] = is_free.wait
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.append, claim, "a", 1, [EVENT])
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert await seqs(journal, "a") == [1]
                nursery.cancel_scope.cancel()
        is_free.set()
        [claim] = await journal.claim(["a"])
        assert await seqs(journal, "a") == [1, 2]


async def test_a_disk_that_hangs_is_left_alone_at_the_end(
    shim: type[Shim], path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_thread, "STOP_TIMEOUT", 0.1)
    journal = SqliteJournal(path)
    is_free = threading.Event()
    told: list[str] = []

    async def append(claim: Claim) -> None:
        try:
            await journal.append(claim, "a", 0, [EVENT])
        except JournalUncertain as error:
            told.append(str(error))

    async with trio.open_nursery() as nursery:
        async with journal.open():
            [claim] = await journal.claim(["a"])
            shim.before["COMMIT"] = is_free.wait
            nursery.start_soon(append, claim)
            await trio.testing.wait_all_tasks_blocked(0.05)
    assert told == ["the store was closed, and has not answered within 0.1 s"]
    assert "writer has not ended within 0.1 s: the disk does not answer" in caplog.text
    is_free.set()


async def test_a_process_that_holds_the_file_makes_others_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connection, "BUSY_TIMEOUT", 0.1)
    async with claimed(path) as (journal, claim):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalUnavailable, match="cannot be written: database is locked"):
                await journal.append(claim, "a", 0, [EVENT])
            assert await seqs(journal, "a") == []
        await journal.append(claim, "a", 0, [EVENT])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = x'00' WHERE seq = 2 AND entity = 1",
        "UPDATE events SET name = 'another' WHERE seq = 2 AND entity = 1",
        "UPDATE events SET version = 9 WHERE seq = 2 AND entity = 1",
        "UPDATE events SET name = CAST(x'ff' AS TEXT) WHERE seq = 2 AND entity = 1",
        "DELETE FROM events WHERE seq = 2 AND entity = 1",
    ],
)
async def test_a_damaged_row_is_named_and_nobody_else_is_disturbed(path: Path, statement: str) -> None:
    await written(path, "a", "b")
    change(path, statement)
    journal = SqliteJournal(path)
    async with journal.open():
        found: list[int] = []
        with pytest.raises(JournalDamaged, match="event.* 2 of 'a'") as caught:
            async for stored in journal.read("a"):
                found.append(stored.seq)
        assert (found, caught.value.persistence_id, caught.value.seq) == ([1], "a", 2)
        assert await seqs(journal, "a", 2) == [3]
        assert await seqs(journal, "b") == [1, 2, 3]
        assert await looks(journal, "b", "a", "b") == [3, None, 3]
        [claim] = await journal.claim(["scope"])
        await journal.append(claim, "b", 3, [EVENT])


async def test_missing_events_at_the_end_of_an_id_are_damage(path: Path) -> None:
    await written(path, "a", "b")
    change(path, "DELETE FROM events WHERE seq > 1 AND entity = 1")
    journal = SqliteJournal(path)
    async with journal.open():
        with pytest.raises(JournalDamaged, match="event 2 of 'a' is missing"):
            await seqs(journal, "a")
        with pytest.raises(JournalDamaged, match="event 3 of 'a' is missing"):
            await seqs(journal, "a", 2)
        assert await looks(journal, "a", "b") == [None, 3]


async def test_a_damaged_row_ends_a_tail_before_it(path: Path) -> None:
    await written(path, "a", "b")
    change(path, "UPDATE events SET payload = x'00' WHERE offset = 3")
    journal = SqliteJournal(path)
    async with journal.open():
        assert [stored.offset for stored in await journal.tail(0, 100)] == [1, 2]
        with pytest.raises(JournalDamaged, match="3 of 'a'"):
            await journal.tail(2, 100)
        assert [stored.offset for stored in await journal.tail(3, 100)] == [4, 5, 6]


async def test_a_torn_last_row_is_put_aside_with_its_append(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await written(path, "a")
    async with claimed(path, "scope") as (journal, claim):
        await journal.append(claim, "a", 3, [EVENT, EVENT])
    change(path, "UPDATE events SET payload = x'00' WHERE offset = 5")
    with caplog.at_level(logging.WARNING):
        async with journal.open():
            assert "is torn: event 4 to 5 of 'a' was put aside into the table torn" in caplog.text
            assert await seqs(journal, "a") == [1, 2, 3]
            with pytest.raises(SequenceConflict):
                await journal.append(claim, "a", 5, [EVENT])
            await journal.append(claim, "a", 3, [EVENT])
            assert [stored.offset for stored in await journal.tail(3, 10)] == [6]
    change(path, "DELETE FROM torn WHERE seq IN (4, 5)")


async def test_a_damaged_snapshot_is_left_out_and_a_damaged_value_is_an_error(path: Path) -> None:
    async with claimed(path) as (journal, claim):
        for seq in (1, 2, 3):
            await journal.save(claim, "a", seq, EVENT)
        await journal.store_state(claim, "a", 1, EVENT)
    change(path, "UPDATE snapshots SET payload = x'00' WHERE seq = 3")
    change(path, "UPDATE states SET name = 'another'")
    async with journal.open():
        assert [snapshot.seq for snapshot in await journal.load("a")] == [2, 1]
        assert await journal.history("a") is None
        with pytest.raises(JournalDamaged, match="1 of 'a' cannot be read") as caught:
            await journal.load_state("a")
        assert caught.value.seq == 1
    change(path, "UPDATE snapshots SET payload = x'00'")
    async with journal.open():
        with pytest.raises(JournalDamaged, match="snapshot or value 3 of 'a' cannot be read"):
            await journal.load("a")
        assert await journal.history("a") is None


def write_text(path: Path, text: str) -> None:
    path.write_text(text)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def refused(path: Path, error: type[Exception], text: str) -> None:
    journal = SqliteJournal(path)
    with pytest.raises(error, match=text):
        async with journal.open():
            pytest.fail("it was opened")
    with pytest.raises(RuntimeError, match="is not open"):
        await journal.identify()


async def test_what_is_no_journal_is_refused_with_what_to_do(path: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "journal.db"
    await refused(nowhere, ConfigError, "made: unable to open .*; there is no folder .*nowhere: make it first")
    await refused(tmp_path, ConfigError, "cannot be opened or made: .*; it is a folder: name a file in it")
    write_text(path, "this is no database, but a text of more than a hundred bytes" * 3)
    await refused(path, ConfigError, r"journal\.db is no SqliteJournal: file is not a database; name another file")
    await SqliteLease(tmp_path / "lease.db").identify()
    await refused(tmp_path / "lease.db", ConfigError, "is a database of something else .* a file of its own")


async def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:  # by hand: the superuser may write in every folder
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    monkeypatch.setattr("os.access", lambda *_: False)
    await refused(tmp_path / "journal.db", ConfigError, "to open .*; this process may not write in .*: allow it")


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_journal_without_a_file_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"expected the path of a file; a store in memory is MemoryJournal\(\)"):
        SqliteJournal(path)


async def test_tables_of_a_newer_version_are_left_alone(path: Path) -> None:
    await written(path, "a")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    await refused(path, ConfigError, "has tables of version 2, made by a newer casty; this one knows up to 1")


async def test_tables_are_migrated_once_and_keep_their_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(path, "a")
    added = ("CREATE TABLE more (x)", "INSERT INTO more VALUES (1)")
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, added))
    journals = [SqliteJournal(path) for _ in range(4)]
    async with journals[0].open(), journals[1].open(), journals[2].open(), journals[3].open():
        assert await seqs(journals[0], "a") == [1, 2, 3]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (1,)
        assert connection.execute("SELECT version FROM migrations").fetchall() == [(1,), (2,)]


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(path, "a")
    with monkeypatch.context() as patched:
        broken = ("CREATE TABLE more (x)", "INSERT INTO nowhere VALUES (1)")
        patched.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, broken))
        await refused(path, JournalUnavailable, "no such table: nowhere")
    journal = SqliteJournal(path)
    async with journal.open():
        assert await seqs(journal, "a") == [1, 2, 3]


async def test_several_that_make_the_file_at_one_time_agree(path: Path) -> None:
    found: list[str] = []

    async def identify() -> None:
        journal = SqliteJournal(path)
        async with journal.open():
            found.append(await journal.identify())

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(identify)
    assert len(found) == 6 and len(set(found)) == 1


@pytest.mark.parametrize("is_affected", [True, False])
async def test_a_file_with_two_writers_is_warned_of_once_where_sqlite_may_damage_it(
    is_affected: bool, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_workers, "has_wal_reset_bug", lambda _: is_affected)
    one, other = SqliteJournal(path), SqliteJournal(path)
    async with one.open(), other.open():
        await one.claim(["a"])
        assert "written by another" not in caplog.text
        for _ in range(3):
            await other.claim(["b"])
            await one.claim(["a"])
    assert caplog.text.count("written by another process or journal too") == 2 * is_affected


@pytest.mark.parametrize("version", ["3.44.6", "3.44.9", "3.50.7", "3.51.3", "3.52.0", "4.0.0"])
def test_mended_versions_of_sqlite_are_known(version: str) -> None:
    assert not sqlite_connection.has_wal_reset_bug(version)


@pytest.mark.parametrize("version", ["3.37.2", "3.44.5", "3.45.0", "3.46.1", "3.50.6", "3.51.2"])
def test_affected_versions_of_sqlite_are_known(version: str) -> None:
    assert sqlite_connection.has_wal_reset_bug(version)


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:50 / /data rw - nfs4 server:/data rw
31 22 0:51 / /data/with\\040space rw - ext4 /dev/sdb1 rw
32 22 0:52 / /far rw - fuse.sshfs user@host: rw
33 22 0:53 / /near rw - fuse.ntfs-3g /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/data/journal.db", "nfs4"),
        ("/data/deep/journal.db", "nfs4"),
        ("/far/journal.db", "fuse.sshfs"),
        ("/data/with space/journal.db", ""),
        ("/database/journal.db", ""),
        ("/near/journal.db", ""),
    ],
)
def test_a_network_file_system_is_refused(
    file: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "mounts")
    if kind:
        with pytest.raises(ConfigError, match=rf"is on a network file system \({kind}\)"):
            file_systems.refuse_network_file_system(Path(file))
    else:
        file_systems.refuse_network_file_system(Path(file))


def test_the_file_system_of_this_machine_is_known_or_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file_systems.MOUNTS.exists():
        assert file_systems.file_system_of(Path("/proc/self/mountinfo")) == "proc"
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "nothing")
    assert file_systems.file_system_of(tmp_path) == ""


async def test_the_log_stays_small(path: Path) -> None:
    journal = SqliteJournal(path)
    large = Record("test.Event", 1, bytes(250_000))
    log = path.with_name("journal.db-wal")
    async with journal.open():
        [claim] = await journal.claim(["a"])
        for after in range(0, 160, 4):
            await journal.append(claim, "a", after, [large] * 4)
            assert 0 < size_of(log) < sqlite_connection.WAL_BYTES_MAX
        assert len(await seqs(journal, "a")) == 160
    assert size_of(path) > 40_000_000 and size_of(log) == 0


async def test_commits_are_synced_and_the_log_is_write_ahead(shim: type[Shim], path: Path) -> None:
    modes: list[object] = []

    class Asking(Shim):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql == "COMMIT":
                modes.append(self.cursor().execute("PRAGMA synchronous").fetchone()[0])
                modes.append(self.cursor().execute("PRAGMA journal_mode").fetchone()[0])
            return super().execute(sql, parameters)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite3, "connect", Asking)
        await written(path, "a", events=1)
    assert set(modes) == {2, "wal"}


async def test_one_look_is_at_one_life_of_an_id(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = SqliteJournal(path)
    load, token = SqliteTables.load, trio.lowlevel.current_trio_token()

    async def begin_anew() -> None:
        await journal.erase(claim, "a")
        await journal.append(claim, "a", 0, [Record("new", 1, b"%d" % number) for number in (1, 2, 3)])

    def load_slowly(tables: SqliteTables, persistence_id: str) -> Sequence[StoredSnapshot]:
        found = load(tables, persistence_id)
        monkeypatch.undo()
        trio.from_thread.run(begin_anew, trio_token=token)
        return found

    async with journal.open():
        [claim] = await journal.claim(["a"])
        await journal.append(claim, "a", 0, [Record("old", 1, b"%d" % number) for number in (1, 2, 3)])
        await journal.save(claim, "a", 2, Record("state", 1, b"1+2"))
        monkeypatch.setattr(SqliteTables, "load", load_slowly)
        before, after = await journal.history("a"), await journal.history("a")
    assert before is not None and after is not None
    assert ([one.record.payload for one in before.snapshots], list(before.names)) == ([b"1+2"], ["old"])
    assert (list(after.snapshots), list(after.names)) == ([], ["new", "new", "new"])
