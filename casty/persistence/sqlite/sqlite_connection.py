"""A connection to the file of a journal, and the names of SQLite's errors.

Owns the settings of a connection. It must not know the tables beyond their making.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from casty.errors import ConfigError, JournalUnavailable
from casty.persistence.sqlite.sqlite_schema import migrate

if TYPE_CHECKING:
    import sqlite3

BUSY_TIMEOUT: Final = 5.0
"""Seconds for another process to hold the file; its transactions take milliseconds."""

WAL_PAGES: Final = 1_000
"""Pages of 4 KiB in the write-ahead log, after which a commit moves them into the file."""

WAL_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of the log's file, beyond which it is cut once its pages are moved."""

CACHED_STATEMENTS: Final = 64

FULL, BUSY, LOCKED, CORRUPT, NOTADB = 13, 5, 6, 11, 26
"""Primary result codes, the low byte of an extended one."""

SETTINGS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = 1",  # where fsync alone leaves data in the disk's own cache; elsewhere nothing
    "PRAGMA checkpoint_fullfsync = 1",
    f"PRAGMA wal_autocheckpoint = {WAL_PAGES}",
    f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}",
    "PRAGMA cache_size = -16384",
    "PRAGMA temp_store = MEMORY",
)


def has_wal_reset_bug(version: str) -> bool:
    """Return whether a SQLite can damage a file that several connections write to, by its WAL-reset bug."""
    number = tuple(map(int, version.split(".")))
    return number < (3, 44, 6) or (3, 45) <= number < (3, 50, 7) or (3, 51) <= number < (3, 51, 3)


def connect(path: Path, *, is_reader: bool = False) -> sqlite3.Connection:
    """Open the file, made with its tables if it is not there; a reader only reads.

    Raises JournalUnavailable where it cannot be opened or made, and ConfigError where it is another program's file, of
    a newer version, or cannot have a write-ahead log, or no file can be made at the path.
    """
    import sqlite3  # noqa: PLC0415  # some builds of Python lack it, and few nodes need it

    mode = "rw" if is_reader else "rwc"
    uri = f"{path.as_uri()}?mode={mode}&psow=1"  # a failed write leaves the sectors before it alone
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=CACHED_STATEMENTS
        )
        if not is_reader:
            _begin_log(connection, path)
        for setting in SETTINGS:
            connection.execute(setting)
        if is_reader:
            connection.execute("PRAGMA query_only = 1")
        else:
            migrate(connection, path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error):
            raise
        if code_of(error) in (NOTADB, CORRUPT):
            raise ConfigError(f"{path} is no SqliteJournal: {error}; name another file, or restore a backup") from error
        text = f"the journal in {path} cannot be opened or made: {error}"
        advice = _advice(path)
        raise ConfigError(f"{text}; {advice}") if advice else JournalUnavailable(text) from error
    return connection


def _advice(path: Path) -> str:
    """Say what is to do about a path that SQLite cannot open, where that can be seen."""
    if path.is_dir():
        return "it is a folder: name a file in it"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}: make it first"
    if not os.access(path.parent, os.W_OK):
        return f"this process may not write in {path.parent}: allow it, or name another folder"
    return ""


def _begin_log(connection: sqlite3.Connection, path: Path) -> None:
    """Turn on the write-ahead log. Of several processes at one time one does, and SQLite tells the others at once."""
    import sqlite3  # noqa: PLC0415  # as above

    end = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if code_of(error) not in (BUSY, LOCKED) or time.monotonic() > end:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigError(f"{path} cannot have a write-ahead log ({mode!r}): name a file on a local disk")
        return


def code_of(error: Exception) -> int:
    """Return the primary result code of an error of SQLite, 0 where it has none."""
    code: object = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0
