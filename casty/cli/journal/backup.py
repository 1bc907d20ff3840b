"""``casty journal backup`` and ``restore``: a store into a file, and a file into a store of either kind.

Owns the file: made beside its place and moved there when it is whole and on the disk, read twice by a restore, first to
the end without any store. It does not know the form of the rows, or databases.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Final

import trio

from casty.cli.exits import ExitCode
from casty.cli.journal.stores import WITHOUT_EXTRA, StoreName
from casty.errors import CastyError, ConfigError
from casty.journal import CLUSTER_SETTING, Stored
from casty.persistence.backup_format import (
    BackupReader,
    BackupRow,
    BackupSetting,
    BackupSnapshot,
    BackupValue,
    BackupWriter,
    describe,
)
from casty.persistence.sqlite.sqlite_backup import dump_file, load_file

PACE: Final = 256
"""Rows between two looks whether a signal has come."""
BATCH_BYTES: Final = 1024 * 1024
"""Bytes of the payloads of a batch for a server; it ends behind the first row beyond them."""


async def back_up(store: StoreName, file: Path) -> ExitCode:
    """Write a store into a file, and tell how much. After an error there is no file."""
    with _growing(file) as stream:
        target = _Target(stream)
        if store.is_server:

            async def write(batch: Sequence[BackupRow]) -> None:
                await trio.to_thread.run_sync(target.write_all, batch)

            target.begin()
            await _server().dump_server(store.text, store.schema, write)
        else:
            await trio.to_thread.run_sync(dump_file, store.path, target.begin)
        await trio.to_thread.run_sync(target.finish)
    print(f"{file} is written: {describe(target.writer.counts)}")
    return ExitCode.ok


async def restore(file: Path, store: StoreName, *, is_forced: bool) -> ExitCode:
    """Put a file into a store, and tell how much. After an error the store is as it was."""
    with _opened(file) as stream:
        await trio.to_thread.run_sync(_read_through, stream, str(file))
        reader = BackupReader(stream, str(file))
        rows = (row for row in _paced(reader) if not _is_owner(row))
        if store.is_server:

            async def read() -> Sequence[BackupRow]:
                return await trio.to_thread.run_sync(_batch, rows)

            identity: str = await _server().load_server(store.text, store.schema, read, is_forced=is_forced)
        else:
            load = partial(load_file, is_forced=is_forced)
            identity = await trio.to_thread.run_sync(load, store.path, rows)
    print(f"{store.place} is restored: {describe(reader.counts)}; it is the store {identity} now")
    return ExitCode.ok


class _Target:
    """Backup under way.

    Parameters:
        stream: File, open for writing.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rows = 0
        self.writer: BackupWriter

    def begin(self) -> Callable[[BackupRow], None]:
        """Begin with the first byte, and return the function for each row."""
        self._stream.seek(0)
        self._stream.truncate()
        self.writer = BackupWriter(self._stream)
        return self.write

    def write(self, row: BackupRow) -> None:
        """Write a row; a signal ends it."""
        self._rows += 1
        if self._rows % PACE == 0:
            trio.from_thread.check_cancelled()
        self.writer.write(row)

    def write_all(self, rows: Sequence[BackupRow]) -> None:
        """Write a batch."""
        for row in rows:
            self.writer.write(row)

    def finish(self) -> None:
        """Write the end, and wait for the disk."""
        self.writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def _growing(file: Path) -> Generator[BinaryIO]:
    """Make a file beside its place, readable for its owner only, and move it there when the block is done."""
    if os.path.lexists(file):
        raise ConfigError(f"{file} is there already: name a new file, or remove it")
    beside = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        stream = os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be made: {error.strerror}; name a file in a folder you may write in"
        ) from None
    try:
        with stream:
            yield stream
        os.replace(beside, file)
        _sync_folder(file.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BackupFailed(f"{file} cannot be written: {error.strerror}; there is no backup") from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class BackupFailed(CastyError):
    """The file of a backup cannot be written; it is removed."""


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _opened(file: Path) -> BinaryIO:
    try:
        return open(file, "rb")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; name a file of `casty journal backup`") from None


def _read_through(stream: BinaryIO, name: str) -> None:
    """Read a file to its end, so that a damaged one meets no store; then go back to its beginning."""
    for _ in _paced(BackupReader(stream, name)):
        pass
    stream.seek(0)


def _paced(rows: Iterable[BackupRow]) -> Iterator[BackupRow]:
    for number, row in enumerate(rows):
        if number % PACE == 0:
            trio.from_thread.check_cancelled()
        yield row


def _is_owner(row: BackupRow) -> bool:
    """Return whether a row names the cluster of the store: the restored one belongs to the first that uses it."""
    return isinstance(row, BackupSetting) and row.name == CLUSTER_SETTING


def _batch(rows: Iterator[BackupRow]) -> Sequence[BackupRow]:
    batch: list[BackupRow] = []
    size = 0
    for row in islice(rows, PACE):
        batch.append(row)
        size += len(row.record.payload) if isinstance(row, (Stored, BackupSnapshot, BackupValue)) else 0
        if size > BATCH_BYTES:
            break
    return batch


def _server() -> ModuleType:
    try:
        from casty.persistence.postgres import postgres_backup  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError(WITHOUT_EXTRA.format(error.name or "psycopg")) from None
    return postgres_backup
