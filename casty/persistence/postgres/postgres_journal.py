"""Journal in a PostgreSQL database, for the nodes of several hosts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, cast

import psycopg
import trio
from psycopg.errors import DataCorrupted, IndexCorrupted
from psycopg.raw_cursor import AsyncRawCursor
from psycopg.rows import TupleRow

from casty.errors import JournalDamaged, JournalUnavailable
from casty.journal import PERSISTENCE_ID_LENGTH_MAX, SLICES, Claim, Record, Stored, StoredSnapshot
from casty.persistence.arguments import (
    check_append,
    check_number,
    check_persistence_id,
    check_record,
    check_scopes,
    check_setting,
    check_tail,
    check_text,
    check_write,
)
from casty.persistence.paging import PAGE_ROWS, Pages
from casty.persistence.postgres.connections import ConnectionPool, Connector
from casty.persistence.postgres.frozen_holders import FrozenHolders
from casty.persistence.postgres.group_commit import GroupCommit, Write, raise_outcome, refusal
from casty.persistence.postgres.packed_rows import ADVICE, byte_strings, pack_record, texts, unpack_record
from casty.persistence.postgres.steps import SCHEMA_LENGTH_MAX, make_tables

logger = logging.getLogger("casty.persistence")

CONNECTIONS_MIN: Final = 2

CLOSE_TIMEOUT: Final = 5.0
"""Seconds at the end for writes under way."""

CLAIM: Final = """
INSERT INTO scopes AS s (scope, number, token, holder, history)
SELECT c.scope, 1, c.token, $3, $4 FROM unnest($1, $2) AS c (scope, token) ORDER BY c.scope COLLATE "C"
ON CONFLICT (scope) DO UPDATE SET number = s.number + 1, token = excluded.token, holder = excluded.holder,
    history = excluded.history
RETURNING scope, number
"""

SETTLE: Final = "INSERT INTO settled VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING name"

READ: Final = f"""
SELECT i.forgotten, (SELECT max(m.seq) FROM events m WHERE m.persistence_id = i.persistence_id),
    e.seq, e.position, e.written_at, e.name, e.version, e.payload, e.crc, e.command_id
FROM ids i
LEFT JOIN LATERAL (
    SELECT * FROM events r WHERE r.persistence_id = i.persistence_id AND r.seq > $2 ORDER BY r.seq LIMIT {PAGE_ROWS}
) e ON true
WHERE i.persistence_id = $1 ORDER BY e.seq
"""

TAIL: Final = """
SELECT persistence_id, seq, position, written_at, name, version, payload, crc, command_id
FROM events WHERE position > $1 AND slice >= $3 AND slice < $4 ORDER BY position LIMIT $2
"""

IDS: Final = f"""
SELECT i.persistence_id FROM ids i
WHERE i.persistence_id > $1 AND starts_with(i.scope, $2) AND (
    EXISTS (SELECT FROM events e WHERE e.persistence_id = i.persistence_id)
    OR EXISTS (SELECT FROM snapshots n WHERE n.persistence_id = i.persistence_id)
    OR EXISTS (SELECT FROM states v WHERE v.persistence_id = i.persistence_id))
ORDER BY i.persistence_id LIMIT {PAGE_ROWS}
"""


class _EventReader:
    """Pages of the events of one id, up to the last one at its beginning."""

    def __init__(self, select: Callable[..., Awaitable[Sequence[TupleRow]]], persistence_id: str, after: int) -> None:
        self._select = select
        self._id = persistence_id
        self._after = after
        self._last: int | None = None
        self._damage: JournalDamaged | None = None

    async def fetch(self) -> Sequence[Stored]:
        """Return the next page, up to a damaged row, JournalDamaged there."""
        if self._damage is not None:
            raise self._damage
        if self._last is not None and self._after >= self._last:
            return []
        try:
            rows = await self._select(READ, self._id, self._after)
        except (DataCorrupted, IndexCorrupted) as error:
            text = f"PostgreSQL cannot read the events of {self._id!r}: {error}"
            raise JournalDamaged(text, self._id, self._after + 1) from error
        if not rows:
            return []
        forgotten, last = rows[0][0], rows[0][1] or 0
        self._last = last if self._last is None else self._last
        self._after = max(self._after, forgotten)  # it may have grown since the page before
        found: list[Stored] = []
        for _, _, seq, position, written_at, *fields in rows:
            if seq is None or seq > self._last:
                break
            try:
                if seq != self._after + 1:
                    raise JournalDamaged(
                        f"the event {self._after + 1} of {self._id!r} is missing, and there is {seq}. {ADVICE}",
                        *(self._id, self._after + 1),
                    )
                record = unpack_record(self._id, seq, cast(Any, fields))
            except JournalDamaged as damage:
                self._damage = damage
                break
            found.append(Stored(self._id, seq, position, record, written_at))
            self._after = seq
        if self._damage is not None and not found:
            raise self._damage
        return found


class PostgresJournal:
    """Journal, snapshots and last values in a PostgreSQL database, shared by the nodes of several hosts.

    It needs PostgreSQL 14 or newer with UTF-8, and the extra ``postgres`` of this package. Tables are made by the first
    node. All waiting writes go into one statement (group commit), durable when PostgreSQL says so: keep its
    ``fsync`` and ``synchronous_commit`` on.

    >>> from casty.persistence.postgres import PostgresJournal
    >>> PostgresJournal("postgresql://shop:secret@db.example/shop")
    <PostgresJournal host=db.example dbname=shop user=shop schema=casty>

    Parameters:
        dsn: Connection string or URI, as psql takes it; of several hosts in it the one taking
            writes is used. A pooler between has to keep sessions apart.
        schema: PostgreSQL's schema of the tables: other ones are other journals.
        connections: Connections of this object, at least 2: one writes events, the others do all else.

    Raises:
        ConfigError: The connection string cannot be read.
        ValueError: There are fewer connections than 2, or the schema has no name.
    """

    def __init__(self, dsn: str, *, schema: str = "casty", connections: int = 4) -> None:
        if connections < CONNECTIONS_MIN:
            raise ValueError(f"connections must be at least {CONNECTIONS_MIN}, got {connections}")
        check_text("schema", schema, SCHEMA_LENGTH_MAX)
        self._schema = schema
        self._connector = Connector(dsn, schema)
        self._others = connections - 1
        self._pool: ConnectionPool | None = None
        self._holders = FrozenHolders(self._connector)
        self._lanes: dict[str, GroupCommit] = {}

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the journal for a block; leaving it waits for writes under way, at most 5 s.

        Returns:
            The block.

        Raises:
            RuntimeError: The journal is open already.
            JournalUnavailable: PostgreSQL cannot be reached, or takes no writes; the text tells the attempt.
            ConfigError: The tables are of a newer version, or the database does not store UTF-8.
        """
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        if self._pool is not None:
            raise RuntimeError(f"{self!r} is open already: one object serves one system at a time")
        others, own = ConnectionPool(self._connector, self._others), ConnectionPool(self._connector, 1)
        self._pool = others
        try:
            await self._make_tables()
            self._lanes = {
                "events": GroupCommit("write_events", own, self._holders, chained=True),
                "snapshots": GroupCommit("write_snapshots", others, self._holders),
                "states": GroupCommit("write_states", others, self._holders),
            }
            lanes = trio.CancelScope(shield=True)  # they end what was begun, also for a caller that is cancelled
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._run_lanes, lanes)
                    try:
                        yield
                    finally:
                        for lane in self._lanes.values():
                            lane.close()
                        lanes.deadline = trio.current_time() + CLOSE_TIMEOUT
            except BaseExceptionGroup as group:
                if len(group.exceptions) > 1:
                    raise
                for alone in group.exceptions:  # an error of the body leaves as it was
                    raise alone from alone.__cause__
        finally:
            self._pool = None
            with trio.CancelScope(shield=True):
                await others.close()
                await own.close()

    async def _run_lanes(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as watch:
                watch.start_soon(self._holders.run)
                async with trio.open_nursery() as nursery:
                    for lane in self._lanes.values():
                        nursery.start_soon(lane.run)
                watch.cancel_scope.cancel()

    async def _make_tables(self) -> None:
        async with self._opened().use() as connection:
            try:
                await make_tables(connection, self._schema)
            except psycopg.Error as error:
                raise JournalUnavailable(
                    f"the tables of the journal cannot be made at {self._connector.place}: {str(error).strip()}"
                ) from error

    def _opened(self) -> ConnectionPool:
        if self._pool is None:
            raise RuntimeError(f"{self!r} is not open: enter its open() first")
        return self._pool

    async def identify(self) -> str:
        """Read the random id of the journal, made with its tables.

        Returns:
            The id, 16 characters.

        Raises:
            RuntimeError: The journal is not open.
            JournalUnavailable: PostgreSQL cannot be reached.
        """
        ((identity,),) = await self._select("SELECT identity FROM journal")
        return str(identity)

    async def settle(self, name: str, value: str) -> str:
        """Write ``value`` under ``name`` for ever, unless another value stands there already.

        Parameters:
            name: 1 to 600 characters.
            value: At most 600 characters.

        Returns:
            The standing value, ``value`` or an earlier one.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalUnavailable: Certainly nothing was written.
            JournalUncertain: Nobody knows; settle again.
        """
        self._opened()
        check_setting(name, value)
        await self._change(SETTLE, lambda _: [name, value])
        ((found,),) = await self._select("SELECT value FROM settled WHERE name = $1", name)
        return str(found)

    async def claim(self, scopes: Sequence[str], holder: str = "") -> Sequence[Claim]:
        """Make all earlier claims of these scopes void, in one durable commit after the writes under way.

        Parameters:
            scopes: 1 to 16,384 different scopes.
            holder: Cluster of the claimant, up to 64 characters.

        Returns:
            A claim for each scope, in the order of ``scopes``.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalUnavailable: PostgreSQL cannot be reached, or a write holds the scope for 10 s.
            JournalUncertain: Nobody knows; claim again.
        """
        self._opened()
        check_scopes(scopes, holder)
        tokens = {scope: secrets.token_bytes(16) for scope in scopes}
        packed = texts([scope.encode() for scope in tokens]), byte_strings(list(tokens.values()))
        rows = await self._change(CLAIM, lambda history: [*packed, holder, history])
        numbers: dict[str, int] = dict(cast(list[tuple[str, int]], rows))
        return [Claim(scope, numbers[scope], token) for scope, token in tokens.items()]

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        """Append events of one persistence id, all or none; when it returns they are durable.

        Parameters:
            claim: Of the scope of the persistence id. The first append binds the id to the scope.
            persistence_id: 1 to 600 characters, without NUL.
            after: Number of the last event of this id, 0 for none.
            records: At least one.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was written.
            SequenceConflict: ``after`` is not the last event, or the id belongs to another scope; nothing was written.
            JournalUnavailable: Certainly nothing was written.
            JournalUncertain: Nobody knows; claim again and read.
        """
        check_append(claim, persistence_id, after, records)
        await self._write("events", claim, persistence_id, after, records, may_bind=after == 0)

    async def _write(
        self, lane: str, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], *, may_bind: bool
    ) -> None:
        self._opened()
        rows = [pack_record(persistence_id, seq, record) for seq, record in enumerate(records, after + 1)]
        await self._lanes[lane].write(Write(claim, persistence_id, after, rows, may_bind))

    def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        """Read the events of one persistence id in order, up to the last one at its beginning.

        Parameters:
            persistence_id: Of the events.
            after: Number of an event; reading begins behind it.

        Returns:
            An iterator over the events, without gaps.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalDamaged: A row cannot be read, or one in the middle is missing; those before it were given.
            JournalUnavailable: The store cannot be reached.
        """
        self._opened()
        check_persistence_id(persistence_id)
        check_number("after", after, 0)
        return Pages(_EventReader(self._select, persistence_id, after).fetch)

    async def tail(self, after: int, limit: int, slices: range | None = None) -> Sequence[Stored]:
        """Read events of all persistence ids by offset. They are complete: none comes later before one of them.

        Parameters:
            after: Offset of an event; reading begins behind it.
            limit: Most events to give, 1 to 10,000.
            slices: Of `SLICES`: only ids of these slices. None for all.

        Returns:
            Events in the order of their offsets; empty at the end.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalDamaged: A row cannot be read.
            JournalUnavailable: The store cannot be reached.
        """
        check_tail(after, limit, slices)
        every = range(SLICES) if slices is None else slices
        rows = await self._select(TAIL, after, limit, every.start, every.stop)
        return [
            Stored(name, seq, position, unpack_record(name, seq, cast(Any, fields)), written_at)
            for name, seq, position, written_at, *fields in rows
        ]

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the events of an id up to a number, fenced as an append. Later numbers stay as they are.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            upto: Number of the last event to remove.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The id belongs to another scope; nothing was removed.
            JournalUnavailable: Certainly nothing was removed.
            JournalUncertain: Nobody knows; forget again.
        """
        check_number("upto", upto, 0)
        await self._fenced("forget", claim, persistence_id, upto)

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id: events, snapshots, value. Its next event has the number 1 again.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events, snapshots and value.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The id belongs to another scope; nothing was removed.
            JournalUnavailable: Certainly nothing was removed.
            JournalUncertain: Nobody knows; erase again.
        """
        await self._fenced("erase", claim, persistence_id, 0)

    def ids(self, scope_prefix: str = "") -> AsyncIterator[str]:
        """Read the persistence ids with anything stored, of the scopes beginning with a text, in order.

        Parameters:
            scope_prefix: Beginning of the scopes; "" for all.

        Returns:
            An iterator over the ids.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalUnavailable: The store cannot be reached.
        """
        self._opened()
        check_text("scope_prefix", scope_prefix, PERSISTENCE_ID_LENGTH_MAX, least=0)
        after = ""

        async def fetch() -> Sequence[str]:
            nonlocal after
            rows = await self._select(IDS, after, scope_prefix)
            after = rows[-1][0] if rows else after
            return [row[0] for row in rows]

        return Pages(fetch)

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Store the state after the event ``seq``; one of the same number is replaced.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the state.
            seq: Number of the last event in it, from 1.
            record: The state.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was written.
            SequenceConflict: The id belongs to another scope; nothing was written.
            JournalUnavailable: Certainly nothing was written.
            JournalUncertain: Nobody knows; save again.
        """
        check_write(claim, persistence_id)
        check_number("seq", seq, 1)
        check_record(record)
        await self._write("snapshots", claim, persistence_id, seq - 1, [record], may_bind=True)

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Read the snapshots of an id, the newest first; a damaged one is left out.

        Parameters:
            persistence_id: Of the snapshots.

        Returns:
            The readable snapshots.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalDamaged: There are snapshots, and none of them can be read.
            JournalUnavailable: The store cannot be reached.
        """
        check_persistence_id(persistence_id)
        rows = await self._select(
            "SELECT seq, name, version, payload, crc, command_id FROM snapshots WHERE persistence_id = $1 "
            "ORDER BY seq DESC",
            persistence_id,
        )
        found: list[StoredSnapshot] = []
        newest: JournalDamaged | None = None
        for seq, *fields in rows:
            try:
                found.append(StoredSnapshot(seq, unpack_record(persistence_id, seq, cast(Any, fields))))
            except JournalDamaged as damage:
                logger.warning("a snapshot is left out: %s", damage)
                newest = newest or damage
        if newest is not None and not found:
            raise newest
        return found

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the snapshots.
            keep: Snapshots to keep, at least 1.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The id belongs to another scope; nothing was removed.
            JournalUnavailable: Certainly nothing was removed.
            JournalUncertain: Nobody knows; prune again.
        """
        check_number("keep", keep, 1)
        await self._fenced("prune", claim, persistence_id, keep)

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Read a value and its revision.

        Parameters:
            persistence_id: Of the value.

        Returns:
            Revision and value; None where nothing is stored.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            JournalDamaged: The row cannot be read.
            JournalUnavailable: The store cannot be reached.
        """
        check_persistence_id(persistence_id)
        rows = await self._select(
            "SELECT revision, name, version, payload, crc, command_id FROM states WHERE persistence_id = $1",
            persistence_id,
        )
        for revision, *fields in rows:
            return revision, unpack_record(persistence_id, revision, cast(Any, fields))
        return None

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Store a value as the next revision; when it returns it is durable.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the value.
            revision: Of this value: one above the stored revision, 1 where there is none.
            record: The value.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was written.
            SequenceConflict: The revision is not the next one, or the id belongs to another scope.
            JournalUnavailable: Certainly nothing was written.
            JournalUncertain: Nobody knows; claim again and load.
        """
        check_write(claim, persistence_id)
        check_number("revision", revision, 1)
        check_record(record)
        await self._write("states", claim, persistence_id, revision - 1, [record], may_bind=revision == 1)

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove a value.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the value.
            revision: The stored revision.

        Raises:
            ValueError: An argument is out of its bounds; nothing was done.
            RuntimeError: The journal is not open.
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The revision is not the stored one, or the id belongs to another scope.
            JournalUnavailable: Certainly nothing was removed.
            JournalUncertain: Nobody knows; claim again and load.
        """
        check_number("revision", revision, 1)
        await self._fenced("delete_state", claim, persistence_id, revision)

    async def _fenced(self, function: str, claim: Claim, persistence_id: str, number: int) -> None:
        self._opened()
        check_write(claim, persistence_id)
        statement = f"SELECT place, reason, holder, found FROM {function}($1, $2, $3, $4, $5, $6)"
        values = claim.scope, claim.number, claim.token, persistence_id, number
        for row in await self._change(statement, lambda history: [history, *values]):
            raise refusal(row, Write(claim, persistence_id, number, [], may_bind=False))

    async def _select(self, statement: str, *values: object) -> list[TupleRow]:
        """Read; once more where the first connection had been lost."""
        is_first = True
        while True:
            async with self._opened().use() as connection:
                try:
                    cursor = AsyncRawCursor(connection)
                    await cursor.execute(statement.encode(), values, prepare=True)
                    return await cursor.fetchall()
                except (DataCorrupted, IndexCorrupted):
                    raise
                except psycopg.Error as error:
                    if not (connection.closed and is_first):
                        raise JournalUnavailable(f"PostgreSQL has not answered: {str(error).strip()}") from error
            is_first = False

    async def _change(self, statement: str, values: Callable[[str], Sequence[object]]) -> list[TupleRow]:
        """Change something by one statement, with values made for the history of the connection."""
        async with self._opened().use() as connection:
            try:
                with self._holders.watching(connection):
                    cursor = AsyncRawCursor(connection)
                    await cursor.execute(statement.encode(), values(connection.history), prepare=True)
                    return await cursor.fetchall()
            except psycopg.Error as error:
                await raise_outcome(error, connection)

    def __repr__(self) -> str:
        return f"<PostgresJournal {self._connector.place} schema={self._schema}>"
