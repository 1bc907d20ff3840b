"""Rows of a journal in SQLite for a backup, and back into one: each in one transaction, in one thread.

Owns the statements. It does not know the file of the backup.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from casty.errors import ConfigError, JournalDamaged, JournalUnavailable, JournalUncertain
from casty.journal import Record, Stored, slice_of
from casty.persistence.backup_format import (
    BackupHead,
    BackupId,
    BackupRow,
    BackupScope,
    BackupSetting,
    BackupSnapshot,
    BackupValue,
)
from casty.persistence.refusals import misfit_events, missing_events, not_empty
from casty.persistence.sqlite.file_systems import refuse_network_file_system
from casty.persistence.sqlite.sqlite_connection import FULL, code_of, connect
from casty.persistence.sqlite.sqlite_tables import checksum, read_record, read_stored, unreadable
from casty.persistence.sqlite.sqlite_view import CHANGES_MAX, connect_for_reading, stamp_of

if TYPE_CHECKING:
    import sqlite3

FIND_GAP: Final = (
    "SELECT persistence_id, forgotten, last, found FROM (SELECT persistence_id, forgotten, last, (SELECT count(*) "
    "FROM events WHERE events.entity = ids.entity AND seq > forgotten AND seq <= last) AS found FROM ids) "
    "WHERE found <> last - forgotten LIMIT 1"
)
COUNT_STRAY: Final = "SELECT (SELECT count(*) FROM events) - (SELECT coalesce(sum(last - forgotten), 0) FROM ids)"
READ_EVENTS: Final = (
    "SELECT persistence_id, seq, offset, written_at, name, version, command_id, crc, payload FROM events "
    "LEFT JOIN ids ON ids.entity = events.entity ORDER BY offset"
)
READ_SNAPSHOTS: Final = (
    "SELECT persistence_id, seq, name, version, command_id, crc, payload FROM ids CROSS JOIN snapshots "
    "ON snapshots.entity = ids.entity ORDER BY persistence_id, seq"
)
READ_VALUES: Final = (
    "SELECT persistence_id, revision, name, version, command_id, crc, payload FROM ids CROSS JOIN states "
    "ON states.entity = ids.entity ORDER BY persistence_id"
)
WRITE_EVENT: Final = (
    "INSERT INTO events SELECT ?1, entity, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM ids WHERE persistence_id = ?10"
)
"""Each event is taken for one append: a restored row is on the disk already, and is not torn by a power cut."""
WRITE_SNAPSHOT: Final = "INSERT INTO snapshots SELECT entity, ?1, ?2, ?3, ?4, ?5, ?6 FROM ids WHERE persistence_id = ?7"
WRITE_VALUE: Final = "INSERT INTO states SELECT entity, ?1, ?2, ?3, ?4, ?5, ?6 FROM ids WHERE persistence_id = ?7"
EMPTY: Final = (
    *(f"DELETE FROM {table}" for table in ("events", "snapshots", "states", "torn", "ids", "settled")),
    "UPDATE fences SET number = number + 1, token = randomblob(16), holder = ''",
)
"""Statements to take all out of a store. Scopes stay, with claims that nobody has."""
WRITE_SCOPE: Final = (
    "INSERT INTO fences VALUES (?, ?, randomblob(16), '') "
    "ON CONFLICT (scope) DO UPDATE SET number = max(number, excluded.number)"
)


def dump_file(path: Path, begin: Callable[[], Callable[[BackupRow], None]]) -> None:
    """Give all rows of a file as they are at one moment, whatever is written meanwhile.

    Raises ConfigError where it is no journal, JournalDamaged for a row that cannot be read, and JournalUnavailable.

    Parameters:
        path: File of the journal.
        begin: Function to begin anew with the rows, where others have opened a file that was unused; it returns the
            function for each row.
    """
    refuse_network_file_system(path)
    for _ in range(CHANGES_MAX):
        stamp = stamp_of(path)
        is_unused = not stamp[-1]
        connection = connect_for_reading(path, is_unused=is_unused)
        failure: Exception | None = None
        try:
            _dump(connection, begin())
        except Exception as error:  # of a file that changed meanwhile it says nothing
            failure = error
        finally:
            connection.close()
        if is_unused and stamp_of(path) != stamp:
            continue
        if failure is None:
            return
        if code_of(failure):
            raise JournalUnavailable(f"{path} cannot be read: {failure}") from failure
        raise failure
    raise JournalUnavailable(f"{path} was opened and closed by others {CHANGES_MAX} times during the backup")


def _dump(connection: sqlite3.Connection, write: Callable[[BackupRow], None]) -> None:
    connection.execute("BEGIN")
    for row in connection.execute(FIND_GAP):
        raise JournalDamaged(missing_events(*row), row[0], row[1] + 1)
    ((identity, last_offset),) = connection.execute("SELECT identity, last_offset FROM store").fetchall()
    write(BackupHead(identity, time.time(), last_offset))
    for row in connection.execute("SELECT name, value FROM settled ORDER BY name"):
        write(BackupSetting(*row))
    for row in connection.execute("SELECT scope, number FROM fences ORDER BY scope"):
        write(BackupScope(*row))
    for row in connection.execute("SELECT persistence_id, scope, last, forgotten FROM ids ORDER BY persistence_id"):
        write(BackupId(*row))
    for name, seq, *rest in connection.execute(READ_EVENTS):
        write(read_stored(str(name), seq, rest))
    for name, seq, *rest in connection.execute(READ_SNAPSHOTS):
        write(BackupSnapshot(name, seq, _read(name, seq, rest)))
    for name, revision, *rest in connection.execute(READ_VALUES):
        write(BackupValue(name, revision, _read(name, revision, rest)))


def _read(persistence_id: str, number: int, fields: list[object]) -> Record:
    record = read_record(persistence_id, number, fields)
    if record is None:
        raise JournalDamaged(*unreadable(persistence_id, number, "its checksum is wrong"))
    return record


def load_file(path: Path, rows: Iterable[BackupRow], *, is_forced: bool) -> str:
    """Put all rows into a file, made if it is not there, and return its new identity; after an error it is as before.

    Raises ConfigError where it is no journal, or is not empty and ``is_forced`` is False; JournalUnavailable where it
    cannot be written, JournalUncertain where its commit failed, and what ``rows`` raises.
    """
    refuse_network_file_system(path)
    connection = connect(path)
    identity = secrets.token_hex(8)
    try:
        connection.execute("BEGIN IMMEDIATE")
        _load(connection, path, rows, is_forced=is_forced)
        connection.execute("UPDATE store SET identity = ?", (identity,))
    except BaseException as error:
        connection.close()  # which rolls back
        if isinstance(error, Exception) and code_of(error):
            raise JournalUnavailable(f"{path} cannot be restored: {error}; it is as it was") from error
        raise
    try:
        connection.execute("COMMIT")
    except Exception as error:
        if code_of(error) == FULL:  # of a write, and so before the page that makes the transaction valid
            raise JournalUnavailable(f"{path} cannot be restored: {error}; it is as it was") from error
        text = f"{path}: the commit failed, {error}; nobody knows whether it was restored: restore again, with --force"
        raise JournalUncertain(text) from error
    finally:
        connection.close()
    return identity


def _load(connection: sqlite3.Connection, path: Path, rows: Iterable[BackupRow], *, is_forced: bool) -> None:
    (found,) = connection.execute(
        "SELECT (SELECT count(*) FROM ids), (SELECT count(*) FROM fences), (SELECT count(*) FROM settled)"
    ).fetchall()
    if any(found) and not is_forced:
        raise ConfigError(not_empty(str(path), *found))
    for statement in EMPTY:
        connection.execute(statement)
    for row in rows:
        _write(connection, row)
    stray: int
    ((stray,),) = connection.execute(COUNT_STRAY).fetchall()
    for name, *_ in connection.execute(FIND_GAP):
        raise ConfigError(misfit_events(name))
    if stray:
        raise ConfigError(misfit_events(""))


def _write(connection: sqlite3.Connection, row: BackupRow) -> None:
    execute = connection.execute
    match row:
        case BackupHead():
            execute("UPDATE store SET last_offset = max(last_offset, ?)", (row.last_offset,))
        case BackupSetting():
            execute("INSERT INTO settled VALUES (?, ?)", (row.name, row.value))
        case BackupScope():
            execute(WRITE_SCOPE, (row.scope, row.number + 1))
        case BackupId():
            execute(
                "INSERT INTO ids (persistence_id, scope, last, forgotten) VALUES (?, ?, ?, ?)",
                (row.persistence_id, row.scope, row.last, row.forgotten),
            )
        case Stored():
            head = (row.offset, row.seq, slice_of(row.persistence_id), row.written_at)
            execute(WRITE_EVENT, (*head, *_fields(row.persistence_id, row.seq, row.record)))
        case BackupSnapshot():
            execute(WRITE_SNAPSHOT, (row.seq, *_fields(row.persistence_id, row.seq, row.record)))
        case BackupValue():
            execute(WRITE_VALUE, (row.revision, *_fields(row.persistence_id, row.revision, row.record)))
        case _ as never:
            assert_never(never)


def _fields(persistence_id: str, number: int, record: Record) -> tuple[object, ...]:
    crc = checksum(persistence_id, number, record)
    return record.name, record.version, record.command_id, crc, record.payload, persistence_id
