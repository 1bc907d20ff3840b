"""Work of the two threads of a journal in SQLite: changes in batches, and looks beside them.

Owns transactions, and the answer to an error of SQLite: before the commit nothing was written, in the commit nobody
knows. It must not know tasks.

A commit is never tried again: after a failed fsync the kernel may have dropped the pages, and the next fsync succeeds
without them. The connection is closed and opened anew, and the whole log goes into the file by fresh writes before
anything is promised again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from casty.errors import JournalError, JournalUnavailable, JournalUncertain
from casty.persistence.sqlite.sqlite_connection import BUSY, FULL, LOCKED, code_of, connect, has_wal_reset_bug
from casty.persistence.sqlite.sqlite_tables import SqliteTables
from casty.persistence.sqlite.worker_thread import Job

if TYPE_CHECKING:
    import sqlite3

HARMLESS: Final = (BUSY, LOCKED, FULL)
"""Errors without blame for a connection: it goes on when there is room, or when another process is done."""

logger = logging.getLogger("casty.persistence")


class SqliteWriter:
    """Makes changes, as many as wait in one transaction.

    Parameters:
        path: File of the journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._tables: SqliteTables | None = None
        self._has_failed = False
        self._has_warned = False

    def prepare(self) -> None:
        """Open the file, made if it is not there, and put a torn last row aside."""
        connection, tables = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        torn = tables.put_torn_tail_aside()
        connection.execute("COMMIT")
        if torn is not None:
            logger.warning(
                "the last row of %s is torn: event %d to %d of %r was put aside into the table torn, and the journal "
                "goes on without", self._path, torn[1], torn[2], torn[0],
            )  # fmt: skip

    def run(self, jobs: Sequence[Job[object]]) -> None:
        """Make the changes of all jobs in one transaction. A refusal is of its own job; an error is of all."""
        jobs = [job for job in jobs if job.done is not None]
        if not jobs:
            return
        try:
            connection, tables = self._opened()
            connection.execute("BEGIN IMMEDIATE")
        except Exception as error:
            self._fail(jobs, JournalUnavailable(f"{self._path} cannot be written: {error}"), error)
            return
        try:
            tables.begin()
            if tables.has_company and not self._has_warned:
                self._warn_of_company(connection)
            for job in jobs:
                try:
                    job.run(tables)
                except JournalError as refusal:
                    job.fail(refusal)
            tables.flush()
        except Exception as error:
            self._roll_back(connection, tables)
            self._fail(jobs, JournalUnavailable(f"{self._path}: {error}; nothing was written"), error)
            return
        self._commit(connection, tables, jobs)

    def finish(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._close(self._connection)

    def _opened(self) -> tuple[sqlite3.Connection, SqliteTables]:
        if self._connection is None or self._tables is None:
            connection = connect(self._path)
            try:
                if self._has_failed:
                    is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    if is_busy:  # a commit behind a hole in the log would be lost with a power cut
                        raise TimeoutError("somebody reads it, so its log cannot be emptied after a failed write")
            except BaseException:
                self._close(connection)
                raise
            self._has_failed = False
            self._connection, self._tables = connection, SqliteTables(connection)
        return self._connection, self._tables

    def _warn_of_company(self, connection: sqlite3.Connection) -> None:
        self._has_warned = True
        (version,) = connection.execute("SELECT sqlite_version()").fetchone()
        if has_wal_reset_bug(version):
            logger.warning(
                "%s is written by another process or journal too, and SQLite %s has a bug by which that can lose "
                "committed events or damage the file: use one process for each file, SQLite 3.51.3 or newer (or "
                "3.50.7, or 3.44.6), or PostgreSQL", self._path, version,
            )  # fmt: skip

    def _commit(self, connection: sqlite3.Connection, tables: SqliteTables, jobs: Sequence[Job[object]]) -> None:
        try:
            connection.execute("COMMIT")
        except Exception as error:
            if code_of(error) == FULL:  # of a write, and so before the page that makes the transaction valid
                self._roll_back(connection, tables)
                self._fail(jobs, JournalUnavailable(f"{self._path}: {error}; nothing was written"), error)
            else:
                self._drop(connection)
                text = f"{self._path}: the commit failed, {error}; claim again, then read what was written"
                self._fail(jobs, JournalUncertain(text), error)

    def _roll_back(self, connection: sqlite3.Connection, tables: SqliteTables) -> None:
        tables.distrust()
        try:
            if connection.in_transaction:  # SQLite has rolled back by itself after some errors
                connection.execute("ROLLBACK")
        except Exception:
            logger.exception("%s: the transaction cannot be rolled back, the file is opened anew", self._path)
            self._drop(connection)

    def _fail(self, jobs: Sequence[Job[object]], failure: JournalError, cause: Exception) -> None:
        """Give all jobs an error of their own: tasks add to its traceback."""
        logger.warning("%s", failure)
        if code_of(cause) not in HARMLESS and self._connection is not None:
            self._drop(self._connection)
        for job in jobs:
            error = type(failure)(str(failure))
            error.__cause__ = cause
            job.fail(error)

    def _drop(self, connection: sqlite3.Connection) -> None:
        self._close(connection)
        self._connection = self._tables = None
        self._has_failed = True

    def _close(self, connection: sqlite3.Connection) -> None:
        try:
            connection.close()
        except Exception:
            logger.exception("%s cannot be closed", self._path)


class SqliteReader:
    """Looks at the tables beside the writer, without waiting for its commits.

    Parameters:
        path: File of the journal, made by then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def prepare(self) -> None:
        """Open the file."""
        self._connection = connect(self._path, is_reader=True)

    def run(self, jobs: Sequence[Job[object]]) -> None:
        """Give each job its look, all at one state of the store; after an error the file is opened anew."""
        for job in jobs:
            if job.done is None:
                continue
            try:
                connection = self._connection = self._connection or connect(self._path, is_reader=True)
                if not connection.in_transaction:
                    connection.execute("BEGIN")  # some looks are several statements: an id may be erased in between
                job.run(SqliteTables(connection))
            except JournalError as refusal:
                job.fail(refusal)
            except Exception as error:
                failure = JournalUnavailable(f"{self._path} cannot be read: {error}")
                failure.__cause__ = error
                job.fail(failure)
                if code_of(error) not in HARMLESS:
                    self.finish()
        if self._connection is not None and self._connection.in_transaction:
            self._end()

    def _end(self) -> None:
        """End the transaction of the looks, which holds back no writer but the shortening of the log."""
        assert self._connection is not None
        try:
            self._connection.execute("END")
        except Exception:
            logger.exception("%s cannot be read any more: it is opened anew", self._path)
            self.finish()

    def finish(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        except Exception:
            logger.exception("%s cannot be closed", self._path)
