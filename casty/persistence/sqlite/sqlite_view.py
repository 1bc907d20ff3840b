"""A file of a journal, opened for reading: nothing is claimed, made, migrated or left beside it.

Owns the way of opening, and the signs of another process that writes. It does not know the tables.

How it works: a file with a log beside it is open elsewhere, or was not closed: it is read with SQLite's own locks, as
every reader does. Without a log, all is in the file itself, and SQLite is told that nobody changes it: otherwise it
would make a log and leave it there. If the file has changed by the end of a look, or has a log then, the look is
taken again, with locks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from casty.errors import ConfigError, JournalError, JournalUnavailable
from casty.persistence.journal_view import JournalView
from casty.persistence.sqlite.file_systems import refuse_network_file_system
from casty.persistence.sqlite.sqlite_connection import BUSY_TIMEOUT, CORRUPT, NOTADB, code_of
from casty.persistence.sqlite.sqlite_schema import check_tables
from casty.persistence.sqlite.sqlite_tables import SqliteTables
from casty.persistence.sqlite.worker_thread import Job, WorkerThread
from casty.persistence.table_store import LIGHT, ChangeSize, StoreTables, TableCalls

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

CHANGES_MAX: Final = 10
"""Times that a file may change its owner during one look."""

Stamp = tuple[int, int, int, bool]


@asynccontextmanager
async def open_file_view(path: Path) -> AsyncGenerator[JournalView]:
    """Open the file of a journal for looking at, for the time of a block.

    Raises ConfigError where it is no such file, and JournalUnavailable where it cannot be read.
    """
    refuse_network_file_system(path)
    viewer = SqliteViewer(path)
    thread = WorkerThread("casty journal view", viewer)

    async def look(act: Callable[[StoreTables], T]) -> T:
        return await thread.submit(act, LIGHT)

    async def is_in_use() -> bool:
        await look(lambda tables: tables.identify())
        return viewer.is_in_use

    await thread.start()
    try:
        yield JournalView(TableCalls(_refuse, look, _no_token, _no_clock), is_in_use)
    finally:
        await thread.stop()


class SqliteViewer:
    """Looks at a file that others may write.

    Parameters:
        path: File of a journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._stamp: Stamp | None = None
        """Sight of an unused file at its opening; None with locks."""
        self._data_version = 0
        self.is_in_use = False
        """Whether another process has written meanwhile, or seems to have the file open."""

    def prepare(self) -> None:
        """Open the file."""
        self._open()

    def run(self, jobs: Sequence[Job[object]]) -> None:
        """Give each job its look."""
        for job in jobs:
            if job.done is None:
                continue
            try:
                self._look(job)
            except JournalError as refusal:
                job.fail(refusal)
            except Exception as error:
                failure = JournalUnavailable(f"{self._path} cannot be read: {error}")
                failure.__cause__ = error
                job.fail(failure)

    def finish(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self, job: Job[object]) -> None:
        for _ in range(CHANGES_MAX):
            connection = self._open() if self._connection is None else self._connection
            if self._stamp is None:
                job.run(SqliteTables(connection))
                self._note_writers(connection)
                return
            failure: Exception | None = None
            try:
                job.run(SqliteTables(connection))
            except Exception as error:  # of a file that changed meanwhile it says nothing
                failure = error
            if self._stamp == stamp_of(self._path):
                if failure is not None:
                    raise failure
                return
            self.finish()
        raise JournalUnavailable(f"{self._path} was opened and closed by others {CHANGES_MAX} times during one look")

    def _note_writers(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        self.is_in_use = self.is_in_use or version != self._data_version

    def _open(self) -> sqlite3.Connection:
        stamp = stamp_of(self._path)
        self._connection = connect_for_reading(self._path, is_unused=not stamp[-1])
        self._stamp = None if stamp[-1] else stamp
        self.is_in_use = self.is_in_use or stamp[-1]
        (self._data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return self._connection


def stamp_of(path: Path) -> Stamp:
    """Return the sight of a file, and whether it has a log. ConfigError where there is no file.

    A directory is told by SQLite as an error of the disk, and the open of a pipe never returns.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name the file of a journal") from None
    if not stat.S_ISREG(found.st_mode):
        what = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ConfigError(f"{path} is {what}: name the file of a journal")
    return found.st_ino, found.st_size, found.st_mtime_ns, os.path.exists(f"{path}-wal")


def connect_for_reading(path: Path, *, is_unused: bool) -> sqlite3.Connection:
    """Open a file of a journal, which must be there, for reading only; an unused one without any lock.

    Raises ConfigError where it is no journal of this version, and JournalUnavailable where it cannot be read.
    """
    import sqlite3  # noqa: PLC0415  # some builds of Python lack it, and few nodes need it

    uri = f"{path.as_uri()}?mode=ro" + ("&immutable=1" if is_unused else "")
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
        connection.execute("PRAGMA query_only = 1")
        check_tables(connection, path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error):
            raise
        if code_of(error) in (NOTADB, CORRUPT):
            raise ConfigError(f"{path} is no SqliteJournal: {error}; name the file of a journal") from error
        raise JournalUnavailable(f"the journal in {path} cannot be opened: {error}") from error
    return connection


async def _refuse(act: Callable[[StoreTables], T], size: ChangeSize = LIGHT) -> T:
    raise RuntimeError(f"a view changes nothing, got {act!r} of {size}")


def _no_token() -> NoReturn:
    raise RuntimeError("a view claims nothing")


def _no_clock() -> NoReturn:
    raise RuntimeError("a view writes nothing")
