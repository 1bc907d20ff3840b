"""A store in a file of SQLite, for the systems of one host."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from casty.journal import Claim, Record
from casty.persistence.arguments import check_append
from casty.persistence.checked_journal import NOT_OPEN, OPEN_ALREADY
from casty.persistence.sqlite.file_systems import refuse_network_file_system
from casty.persistence.sqlite.sqlite_workers import SqliteReader, SqliteWriter
from casty.persistence.sqlite.worker_thread import WorkerThread
from casty.persistence.table_store import LIGHT, AppendChange, ChangeSize, StoreTables, TableJournal
from casty.runtime.journaling.append_queue import BegunAppend

if TYPE_CHECKING:
    from outcome import Outcome

T = TypeVar("T")


class SqliteJournal(TableJournal):
    """A `casty.Journal`, `casty.SnapshotStore` and `casty.StateStore` in a file, without any server.

    >>> from casty import SqliteJournal
    >>> journal = SqliteJournal("shop.db")

    All waiting changes share one transaction and one fsync, up to 512 records or 1 MiB: many writers are faster than
    one. An acknowledged event outlives a killed process and a power cut, as far as the disk keeps its confirmations.

    The file is for one process: several on one file work, but one stopped in the middle of a transaction holds up all,
    and after 5 s their calls are `casty.JournalUnavailable`. Several also need a SQLite without the WAL-reset bug:
    3.51.3 or newer, 3.50.7 or 3.44.6. The file lies on a local disk, since SQLite's locks do not hold on network file
    systems. Two files beside it, ``-wal`` and ``-shm``, belong to it. A torn last row is put aside with a warning when
    the journal is opened; damage before it is `casty.JournalDamaged` for its readers, and for nobody else.

    Parameters:
        path: File of the journal; a relative path is resolved at once. The folder has to exist, the file is made.

    Raises:
        ValueError: ``path`` names no file, as ``":memory:"`` does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if os.fspath(path) in ("", ":memory:"):
            raise ValueError(
                f"SqliteJournal({path!r}): expected the path of a file; a store in memory is MemoryJournal()"
            )
        self._path = Path(path).absolute()
        self._writer: WorkerThread | None = None
        self._reader: WorkerThread | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the file for a block, with a thread for changes and a thread for looks.

        Yields:
            Nothing: the journal is used itself.

        Raises:
            RuntimeError: The journal is open already.
            JournalUnavailable: The file cannot be opened or made at the moment, such as a locked one.
            ConfigError: It is on a network file system, of another program, or of a newer version of casty, or its
                folder is not there or may not be written.
        """
        if self._writer is not None:
            raise RuntimeError(OPEN_ALREADY.format(self))
        refuse_network_file_system(self._path)
        writer = self._writer = WorkerThread("casty journal writer", SqliteWriter(self._path))
        reader = WorkerThread("casty journal reader", SqliteReader(self._path))
        try:
            await writer.start()
            try:
                await reader.start()
                self._reader = reader
                yield
            finally:
                self._reader = None
                await reader.stop()
        finally:
            self._writer = None
            await writer.stop()  # the last to close moves the log into the file

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], None],
    ) -> BegunAppend:
        """Begin an append, and have its outcome told: for entities of this package, without a task for each append.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            after: Number of the last event of this id.
            records: At least one.
            done: Function of the outcome, called in Trio's thread; it must not block or raise.

        Returns:
            The append, to be given up.

        Raises:
            ValueError: An argument is out of its bounds.
            RuntimeError: The journal is not open.
        """
        check_append(claim, persistence_id, after, records)
        if self._writer is None:
            raise RuntimeError(NOT_OPEN.format(self))
        change = AppendChange(claim, persistence_id, after, records, self._read_clock())
        return self._writer.begin(change, change.size, done)

    async def _change(self, act: Callable[[StoreTables], T], size: ChangeSize = LIGHT) -> T:
        if self._writer is None:
            raise RuntimeError(NOT_OPEN.format(self))
        return await self._writer.submit(act, size)

    async def _look(self, act: Callable[[StoreTables], T]) -> T:
        if self._reader is None:
            raise RuntimeError(NOT_OPEN.format(self))
        return await self._reader.submit(act, LIGHT)

    def __repr__(self) -> str:
        return f"<SqliteJournal {self._path}>"
