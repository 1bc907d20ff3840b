"""Calls of a journal in PostgreSQL: statements, and what their rows mean.

Owns the statements and the pages of readers. It does not check arguments, and does not know when the journal is open:
those are the journal's.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import psycopg
from outcome import Outcome
from psycopg.errors import DataCorrupted, IndexCorrupted
from psycopg.raw_cursor import AsyncRawCursor
from psycopg.rows import TupleRow

from casty.errors import JournalDamaged, JournalUnavailable
from casty.journal import SLICES, Claim, Record, Stored, StoredHistory, StoredSnapshot
from casty.persistence.journal_view import IdEntry, end_of_prefix
from casty.persistence.paging import PAGE_ROWS, Fetch
from casty.persistence.postgres.connections import ConnectionPool
from casty.persistence.postgres.frozen_holders import FrozenHolders
from casty.persistence.postgres.group_commit import GroupCommit, Write, raise_outcome, refusal
from casty.persistence.postgres.group_look import GroupLook
from casty.persistence.postgres.packed_rows import (
    byte_strings,
    pack_record,
    texts,
    unpack_events,
    unpack_record,
)

logger = logging.getLogger("casty.persistence")

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of the payloads of a page; it ends behind the first event beyond them. A value of PostgreSQL holds 1 GiB."""

CLAIM: Final = """
INSERT INTO scopes AS s (scope, number, token, holder, history)
SELECT c.scope, 1, c.token, $3, $4 FROM unnest($1, $2) AS c (scope, token) ORDER BY c.scope COLLATE "C"
ON CONFLICT (scope) DO UPDATE SET number = s.number + 1, token = excluded.token, holder = excluded.holder,
    history = excluded.history
RETURNING scope, number
"""

SETTLE: Final = "INSERT INTO settled VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING name"

READ: Final = f"""
SELECT i.forgotten, (SELECT max(m.seq) FROM events m WHERE m.persistence_id = i.persistence_id), e.packed
FROM ids i
LEFT JOIN LATERAL (
    SELECT string_agg(
        int8send(r.seq) || int8send(r.position) || float8send(r.written_at) || int4send(r.version) || int8send(r.crc)
        || int4send(octet_length(r.name)) || int4send(octet_length(r.command_id)) || int4send(octet_length(r.payload))
        || convert_to(r.name, 'UTF8') || convert_to(r.command_id, 'UTF8') || r.payload, ''::bytea ORDER BY r.seq
    ) FILTER (WHERE r.bytes_before < {PAGE_BYTES_MAX}) AS packed
    FROM (
        SELECT n.*, sum(octet_length(n.payload)) OVER (ORDER BY n.seq) - octet_length(n.payload) AS bytes_before
        FROM (
            SELECT * FROM events o WHERE o.persistence_id = i.persistence_id AND o.seq > $2
            ORDER BY o.seq LIMIT {PAGE_ROWS}
        ) n
    ) r
) e ON true
WHERE i.persistence_id = $1
"""
"""Read a page as one value, in the form of `unpack_events`: psycopg without C makes each value of a row in Python."""

TAIL: Final = """
SELECT persistence_id, seq, position, written_at, name, version, payload, crc, command_id
FROM events WHERE position > $1 AND slice >= $3 AND slice < $4 ORDER BY position LIMIT $2
"""

SNAPSHOTS: Final = (
    "SELECT seq, name, version, payload, crc, command_id FROM snapshots WHERE persistence_id = $1 ORDER BY seq DESC"
)

STATE: Final = "SELECT revision, name, version, payload, crc, command_id FROM states WHERE persistence_id = $1"

IDS: Final = f"""
SELECT i.persistence_id FROM ids i
WHERE i.persistence_id > $1 AND starts_with(i.scope, $2) AND (
    EXISTS (SELECT FROM events e WHERE e.persistence_id = i.persistence_id)
    OR EXISTS (SELECT FROM snapshots n WHERE n.persistence_id = i.persistence_id)
    OR EXISTS (SELECT FROM states v WHERE v.persistence_id = i.persistence_id))
ORDER BY i.persistence_id LIMIT {PAGE_ROWS}
"""


ENTRIES: Final = f"""
SELECT i.persistence_id, i.scope, greatest(m.last, i.forgotten) - i.forgotten, greatest(m.last, i.forgotten),
    (SELECT e.written_at FROM events e WHERE e.persistence_id = i.persistence_id AND e.seq = m.last),
    (SELECT count(*) FROM snapshots n WHERE n.persistence_id = i.persistence_id),
    coalesce((SELECT v.revision FROM states v WHERE v.persistence_id = i.persistence_id), 0)
FROM ids i
LEFT JOIN LATERAL (SELECT max(e.seq) AS last FROM events e WHERE e.persistence_id = i.persistence_id) m ON true
WHERE i.persistence_id > $1 AND i.persistence_id >= $2 AND ($3::text IS NULL OR i.persistence_id < $3) AND (
    m.last IS NOT NULL
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
            rows = await self._select(READ, self._id, self._after, binary=True)
        except (DataCorrupted, IndexCorrupted) as error:
            text = f"PostgreSQL cannot read the events of {self._id!r}: {error}"
            raise JournalDamaged(text, self._id, self._after + 1) from error
        if not rows:
            return []
        ((forgotten, last, packed),) = rows
        upto: int = (last or 0) if self._last is None else self._last
        self._last = upto
        self._after = max(self._after, forgotten)  # it may have grown since the page before
        found: list[Stored] = []
        try:
            for stored in unpack_events(self._id, self._after, packed or b""):
                if stored.seq > upto:
                    break
                found.append(stored)
                self._after = stored.seq
        except JournalDamaged as damage:
            self._damage = damage
        if self._damage is not None and not found:
            raise self._damage
        return found


@dataclass(slots=True, eq=False)
class PostgresStore:
    """Calls of an open journal."""

    pool: ConnectionPool
    """For all but events."""
    holders: FrozenHolders
    lanes: Mapping[str, GroupCommit]
    """Group commits of events, snapshots and states."""
    is_open: bool = True
    """Whether the journal's block lasts: a reader may be left over from it."""
    looks: GroupLook = field(init=False)
    """Group looks at histories."""

    def __post_init__(self) -> None:
        self.looks = GroupLook(self._select)

    @property
    def groups(self) -> Sequence[GroupCommit | GroupLook]:
        """All that runs in a task while the journal is open."""
        return [*self.lanes.values(), self.looks]

    async def identify(self) -> str:
        ((identity,),) = await self._select("SELECT identity FROM journal")
        return str(identity)

    async def settle(self, name: str, value: str) -> str:
        await self._change(SETTLE, lambda _: [name, value])
        return await self.setting(name) or value

    async def setting(self, name: str) -> str | None:
        rows = await self._select("SELECT value FROM settled WHERE name = $1", name)
        return str(rows[0][0]) if rows else None

    async def claim(self, scopes: Sequence[str], holder: str) -> Sequence[Claim]:
        tokens = {scope: secrets.token_bytes(16) for scope in scopes}
        packed = texts([scope.encode() for scope in tokens]), byte_strings(list(tokens.values()))
        rows = await self._change(CLAIM, lambda history: [*packed, holder, history])
        numbers: dict[str, int] = dict(cast(list[tuple[str, int]], rows))
        return [Claim(scope, numbers[scope], token) for scope, token in tokens.items()]

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await self._write("events", claim, persistence_id, after, records, may_bind=after == 0)

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], object],
    ) -> Write | None:
        """Begin an append, and have its outcome told; None where there is no room."""
        write = _write_of(claim, persistence_id, after, records, may_bind=after == 0)
        write.done = done
        return write if self.lanes["events"].begin(write) else None

    def reader(self, persistence_id: str, after: int) -> Fetch[Stored]:
        return _EventReader(self._select, persistence_id, after).fetch

    async def tail(self, after: int, limit: int, slices: range | None) -> Sequence[Stored]:
        every = range(SLICES) if slices is None else slices
        rows = await self._select(TAIL, after, limit, every.start, every.stop)
        return [
            Stored(name, seq, position, unpack_record(name, seq, cast(Any, fields)), written_at)
            for name, seq, position, written_at, *fields in rows
        ]

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        await self._fenced("forget", claim, persistence_id, upto)

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        await self._fenced("erase", claim, persistence_id, 0)

    async def ids_after(self, scope_prefix: str, after: str) -> Sequence[str]:
        return [row[0] for row in await self._select(IDS, after, scope_prefix)]

    async def entries(self, prefix: str, after: str) -> Sequence[IdEntry]:
        rows = await self._select(ENTRIES, after, prefix, end_of_prefix(prefix))
        return [IdEntry(*row) for row in rows]

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        await self._write("snapshots", claim, persistence_id, seq - 1, [record], may_bind=True)

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        rows = await self._select(SNAPSHOTS, persistence_id)
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

    async def history(self, persistence_id: str) -> StoredHistory | None:
        return await self.looks.read(persistence_id)

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        await self._fenced("prune", claim, persistence_id, keep)

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        for revision, *fields in await self._select(STATE, persistence_id):
            return revision, unpack_record(persistence_id, revision, cast(Any, fields))
        return None

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        await self._write("states", claim, persistence_id, revision - 1, [record], may_bind=revision == 1)

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        await self._fenced("delete_state", claim, persistence_id, revision)

    async def _write(
        self, lane: str, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], *, may_bind: bool
    ) -> None:
        await self.lanes[lane].write(_write_of(claim, persistence_id, after, records, may_bind=may_bind))

    async def _fenced(self, function: str, claim: Claim, persistence_id: str, number: int) -> None:
        statement = f"SELECT place, reason, holder, found FROM {function}($1, $2, $3, $4, $5, $6)"
        values = claim.scope, claim.number, claim.token, persistence_id, number
        for row in await self._change(statement, lambda history: [history, *values]):
            raise refusal(row, Write(claim, persistence_id, number, [], may_bind=False))

    async def _select(self, statement: str, *values: object, binary: bool = False) -> list[TupleRow]:
        """Read; once more where the first connection had been lost. ``binary`` asks for values in that form."""
        if not self.is_open:
            raise RuntimeError("the journal has been closed since this reader was made")
        is_first = True
        while True:
            async with self.pool.use() as connection:
                try:
                    cursor = AsyncRawCursor(connection)
                    await cursor.execute(statement.encode(), values, prepare=True, binary=binary)
                    return await cursor.fetchall()
                except (DataCorrupted, IndexCorrupted):
                    raise
                except psycopg.Error as error:
                    if not (connection.closed and is_first):
                        raise JournalUnavailable(f"PostgreSQL has not answered: {str(error).strip()}") from error
            is_first = False

    async def _change(self, statement: str, values: Callable[[str], Sequence[object]]) -> list[TupleRow]:
        """Change something by one statement, with values made for the history of the connection."""
        async with self.pool.use() as connection:
            try:
                with self.holders.watching(connection):
                    cursor = AsyncRawCursor(connection)
                    await cursor.execute(statement.encode(), values(connection.history), prepare=True)
                    return await cursor.fetchall()
            except psycopg.Error as error:
                await raise_outcome(error, connection)


def _write_of(claim: Claim, persistence_id: str, after: int, records: Sequence[Record], *, may_bind: bool) -> Write:
    rows = [pack_record(persistence_id, seq, record) for seq, record in enumerate(records, after + 1)]
    return Write(claim, persistence_id, after, rows, may_bind)
