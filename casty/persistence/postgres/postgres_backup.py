"""Rows of a journal in PostgreSQL for a backup, and back into one: each in one transaction, by COPY.

Owns the statements. It does not know the file of the backup.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, cast

import psycopg
import trio
from psycopg.raw_cursor import AsyncRawCursor
from psycopg.rows import TupleRow

from casty.errors import ConfigError, JournalDamaged, JournalUnavailable
from casty.journal import Record, Stored, slice_of
from casty.persistence.arguments import check_text
from casty.persistence.backup_format import (
    BackupHead,
    BackupId,
    BackupRow,
    BackupScope,
    BackupSetting,
    BackupSnapshot,
    BackupValue,
)
from casty.persistence.postgres.connections import Connector, JournalConnection
from casty.persistence.postgres.group_commit import raise_outcome
from casty.persistence.postgres.packed_rows import byte_strings, int8s, pack_record, texts, unpack_record
from casty.persistence.postgres.steps import SCHEMA_LENGTH_MAX, check_made_tables, make_tables
from casty.persistence.refusals import misfit_events, missing_events, not_empty

BATCH_ROWS: Final = 256
BATCH_BYTES: Final = 1024 * 1024
"""Bytes of the payloads of a batch; it ends behind the first row beyond them."""

RECORD: Final = ("text", "int4", "bytea", "int8", "text")
"""Types of the columns name, version, payload, crc, command_id."""

FIND_GAP: Final = """
SELECT coalesce(i.persistence_id, e.persistence_id), coalesce(i.forgotten, 0), e.last, e.found
FROM ids i
FULL JOIN (
    SELECT persistence_id, count(*) AS found, min(seq) AS first, max(seq) AS last FROM events GROUP BY persistence_id
) e USING (persistence_id)
WHERE e.found IS NOT NULL
    AND (i.persistence_id IS NULL OR e.first <> i.forgotten + 1 OR e.last - e.first + 1 <> e.found)
LIMIT 1
"""


def _record(persistence_id: str, number: int, fields: Sequence[Any]) -> Record:
    return unpack_record(persistence_id, number, cast("Any", tuple(fields)))


def _event(fields: Sequence[Any]) -> BackupRow:
    name, seq, position, written_at, *record = fields
    return Stored(name, seq, position, _record(name, seq, record), written_at)


def _snapshot(fields: Sequence[Any]) -> BackupRow:
    name, seq, *record = fields
    return BackupSnapshot(name, seq, _record(name, seq, record))


def _value(fields: Sequence[Any]) -> BackupRow:
    name, revision, *record = fields
    return BackupValue(name, revision, _record(name, revision, record))


@dataclass(frozen=True, slots=True)
class TableRead:
    """Way to read the rows of one kind."""

    statement: str
    types: Sequence[str]
    """Types of its columns."""
    make: Callable[[Sequence[Any]], BackupRow]
    """Function from the columns to the row."""


READS: Final = (
    TableRead("SELECT name, value FROM settled ORDER BY name", ("text", "text"), lambda row: BackupSetting(*row)),
    TableRead("SELECT scope, number FROM scopes ORDER BY scope", ("text", "int8"), lambda row: BackupScope(*row)),
    TableRead(
        "SELECT i.persistence_id, i.scope, greatest(i.forgotten, (SELECT max(e.seq) FROM events e WHERE "
        "e.persistence_id = i.persistence_id)), i.forgotten FROM ids i ORDER BY i.persistence_id",
        ("text", "text", "int8", "int8"),
        lambda row: BackupId(*row),
    ),
    TableRead(
        "SELECT persistence_id, seq, position, written_at, name, version, payload, crc, command_id FROM events "
        "ORDER BY position",
        ("text", "int8", "int8", "float8", *RECORD),
        _event,
    ),
    TableRead(
        "SELECT persistence_id, seq, name, version, payload, crc, command_id FROM snapshots ORDER BY persistence_id, "
        "seq",
        ("text", "int8", *RECORD),
        _snapshot,
    ),
    TableRead(
        "SELECT persistence_id, revision, name, version, payload, crc, command_id FROM states ORDER BY persistence_id",
        ("text", "int8", *RECORD),
        _value,
    ),
)
"""Reads in the order of a backup."""

LOCK: Final = "LOCK TABLE scopes, ids, events, snapshots, states, settled, journal, position_order IN EXCLUSIVE MODE"
"""Scopes first, as writers do: those under way end before, and later ones find their claims void."""
WIDE_PLANS: Final = "SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
"""Whole tables are read here, and not rows by an index."""
EMPTY: Final = (
    *(f"DELETE FROM {table}" for table in ("events", "snapshots", "states", "ids", "settled")),
    "UPDATE scopes SET number = number + 1, token = uuid_send(gen_random_uuid()), holder = '', history = ''",
)
"""Statements to take all out of a store. Scopes stay, with claims of no history, that nobody has."""
WRITE_SCOPES: Final = """
INSERT INTO scopes AS s (scope, number, token, holder, history)
SELECT c.scope, c.number, c.token, '', '' FROM unnest($1, $2, $3) AS c (scope, number, token)
ON CONFLICT (scope) DO UPDATE SET number = greatest(s.number, excluded.number)
"""


async def dump_server(dsn: str, schema: str, write: Callable[[Sequence[BackupRow]], Awaitable[None]]) -> None:
    """Give all rows of a journal as they are at one moment, in batches, whatever is written meanwhile.

    Raises ConfigError where there is no journal, JournalDamaged for a row that cannot be read, and JournalUnavailable.

    Parameters:
        dsn: Connection string, also of a standby.
        schema: PostgreSQL's schema of the tables.
        write: Function for each batch.
    """
    async with _connection(dsn, schema, is_reader=True) as connection:
        try:
            await check_made_tables(connection, schema)
            await connection.execute("SET idle_in_transaction_session_timeout = 0")
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(WIDE_PLANS)
            for name, forgotten, last, found in await _rows(connection, FIND_GAP):
                raise JournalDamaged(missing_events(name, forgotten, last, found), name, forgotten + 1)
            ((identity, position),) = await _rows(connection, "SELECT identity, last_value FROM journal, positions")
            await write([BackupHead(identity, time.time(), position)])
            for table in READS:
                await _dump_table(connection, table, write)
        except psycopg.Error as error:
            raise JournalUnavailable(f"the journal in PostgreSQL cannot be read: {str(error).strip()}") from error


async def _dump_table(
    connection: JournalConnection, table: TableRead, write: Callable[[Sequence[BackupRow]], Awaitable[None]]
) -> None:
    batch: list[BackupRow] = []
    size = 0
    async with AsyncRawCursor(connection).copy(f"COPY ({table.statement}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
        copy.set_types(table.types)
        while (fields := await copy.read_row()) is not None:  # a generator would be left open by an error
            batch.append(table.make(fields))
            size += sum(len(field) for field in fields if isinstance(field, bytes))
            if len(batch) == BATCH_ROWS or size > BATCH_BYTES:
                await write(batch)
                batch, size = [], 0
    if batch:
        await write(batch)


async def load_server(
    dsn: str, schema: str, read: Callable[[], Awaitable[Sequence[BackupRow]]], *, is_forced: bool
) -> str:
    """Put all rows into a journal, made if there is none, and return its new identity; after an error it is as before.

    Raises ConfigError where it is not empty and ``is_forced`` is False; JournalUnavailable where it cannot be written,
    JournalUncertain where the connection broke, and what ``read`` raises.

    Parameters:
        dsn: Connection string.
        schema: PostgreSQL's schema of the tables.
        read: Function for the next rows; none is the end.
        is_forced: Whether to replace all that is there.
    """
    identity = secrets.token_hex(8)
    async with _connection(dsn, schema) as connection:
        try:
            await make_tables(connection, schema)
            async with connection.transaction():
                await _load(connection, read, is_forced=is_forced)
                await _rows(connection, "UPDATE journal SET identity = $1 RETURNING 1", identity)
        except psycopg.Error as error:
            await raise_outcome(error, connection)
    return identity


async def _load(
    connection: JournalConnection, read: Callable[[], Awaitable[Sequence[BackupRow]]], *, is_forced: bool
) -> None:
    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    await connection.execute(LOCK)
    await connection.execute(WIDE_PLANS)
    (found,) = await _rows(
        connection,
        "SELECT (SELECT count(*) FROM ids), (SELECT count(*) FROM scopes), (SELECT count(*) FROM settled)",
    )
    if any(found) and not is_forced:
        raise ConfigError(not_empty("the journal", *cast("tuple[int, int, int]", found)))
    for statement in EMPTY:
        await connection.execute(statement.encode())
    position = 0
    while batch := await read():
        for kind, rows in groupby(batch, type):
            if kind is BackupHead:
                position = max(cast("BackupHead", row).last_offset for row in rows)
            elif kind is BackupScope:
                await _write_scopes(connection, [cast("BackupScope", row) for row in rows])
            else:
                await _copy(connection, list(rows))
    for name, *_ in await _rows(connection, FIND_GAP):
        raise ConfigError(misfit_events(name))
    # not undone by a rollback, so it comes last: numbers may be left out, none is given twice
    await _rows(connection, "SELECT setval('positions', greatest(last_value, $1::bigint)) FROM positions", position)


async def _write_scopes(connection: JournalConnection, rows: Sequence[BackupScope]) -> None:
    names = texts([row.scope.encode() for row in rows])
    tokens = byte_strings([secrets.token_bytes(16) for _ in rows])
    await AsyncRawCursor(connection).execute(
        WRITE_SCOPES.encode(), [names, int8s([row.number + 1 for row in rows]), tokens]
    )


async def _copy(connection: JournalConnection, rows: Sequence[BackupRow]) -> None:
    """Copy rows of one kind into their table."""
    into, types = _TABLES[type(rows[0])]
    async with AsyncRawCursor(connection).copy(f"COPY {into} FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(_fields(row))


_RECORD_COLUMNS: Final = "name, version, payload, crc, command_id"
_TABLES: Final[dict[type, tuple[str, Sequence[str]]]] = {
    BackupSetting: ("settled (name, value)", ("text", "text")),
    BackupId: ("ids (persistence_id, scope, forgotten)", ("text", "text", "int8")),
    Stored: (
        f"events (persistence_id, seq, position, slice, written_at, {_RECORD_COLUMNS})",
        ("text", "int8", "int8", "int4", "float8", *RECORD),
    ),
    BackupSnapshot: (f"snapshots (persistence_id, seq, {_RECORD_COLUMNS})", ("text", "int8", *RECORD)),
    BackupValue: (f"states (persistence_id, revision, {_RECORD_COLUMNS})", ("text", "int8", *RECORD)),
}


def _fields(row: BackupRow) -> Sequence[object]:
    match row:
        case BackupSetting():
            return row.name, row.value
        case BackupId():
            return row.persistence_id, row.scope, row.forgotten
        case Stored():
            head = (row.persistence_id, row.seq, row.offset, slice_of(row.persistence_id), row.written_at)
            return *head, *_packed(row.persistence_id, row.seq, row.record)
        case BackupSnapshot():
            return row.persistence_id, row.seq, *_packed(row.persistence_id, row.seq, row.record)
        case BackupValue():
            return row.persistence_id, row.revision, *_packed(row.persistence_id, row.revision, row.record)
        case BackupHead() | BackupScope():
            raise TypeError(f"a row for no COPY: {row!r}")


def _packed(persistence_id: str, number: int, record: Record) -> tuple[object, ...]:
    crc = pack_record(persistence_id, number, record).crc
    return record.name, record.version, record.payload, crc, record.command_id


async def _rows(connection: JournalConnection, statement: str, *values: object) -> list[TupleRow]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(statement.encode(), values)
    return await cursor.fetchall()


@asynccontextmanager
async def _connection(dsn: str, schema: str, *, is_reader: bool = False) -> AsyncGenerator[JournalConnection]:
    check_text("schema", schema, SCHEMA_LENGTH_MAX)
    connection = await Connector(dsn, schema, is_reader=is_reader).connect()
    try:
        yield connection
    finally:
        with trio.CancelScope(shield=True):
            await connection.close()
