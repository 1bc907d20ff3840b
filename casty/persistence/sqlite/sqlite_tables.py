"""The tables of a journal in SQLite, as plain calls on a connection: `StoreTables`.

Owns the statements, and the rules for refusing a change. It must not know threads or transactions: a writer
begins and commits, and says in between by `begin` and `flush`.

Fences and heads of ids are remembered from one transaction to the next, as long as no other connection has written:
then an append costs one row in one `executemany`, and one more for its id.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from casty.errors import Fenced, JournalDamaged, SequenceConflict
from casty.journal import SLICES, Claim, Record, Stored, StoredHistory, StoredSnapshot, slice_of
from casty.persistence.journal_view import IdEntry, end_of_prefix
from casty.persistence.refusals import void_claim, wrong_deletion, wrong_event, wrong_revision, wrong_scope
from casty.persistence.sqlite.sqlite_connection import CORRUPT, code_of

if TYPE_CHECKING:
    import sqlite3

HEADS_MAX: Final = 65_536
"""Ids remembered by a writer, about 20 MB."""
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of the payloads of a page; it ends behind the first event beyond them."""
TAIL_BYTES_MAX: Final = 16 * 1024 * 1024

Row = tuple[Any, ...]

INSERT_EVENT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
READ_PAGE: Final = (
    "SELECT ids.last, ids.forgotten, seq, offset, written_at, name, version, command_id, crc, payload FROM ids "
    "LEFT JOIN events ON events.entity = ids.entity AND seq > ? AND seq <= ? WHERE persistence_id = ? "
    "ORDER BY seq LIMIT ?"
)
READ_HEAD: Final = (
    "SELECT entity, last, (SELECT max(seq) FROM snapshots WHERE snapshots.entity = ids.entity) FROM ids "
    "WHERE persistence_id = ?"
)
READ_EVENTS: Final = (
    "SELECT seq, name, version, command_id, crc, payload FROM events WHERE entity = ? AND seq > ? AND seq <= ? "
    "ORDER BY seq"
)
READ_TAIL: Final = (
    "SELECT persistence_id, seq, offset, written_at, name, version, command_id, crc, payload FROM events "
    "LEFT JOIN ids ON ids.entity = events.entity WHERE offset > ? AND slice >= ? AND slice < ? "
    "ORDER BY offset LIMIT ?"
)
READ_IDS: Final = (
    "SELECT persistence_id FROM ids WHERE persistence_id > ? AND scope >= ? AND substr(scope, 1, ?) = ? AND "
    "(last > forgotten OR EXISTS (SELECT 1 FROM snapshots WHERE snapshots.entity = ids.entity) OR EXISTS "
    "(SELECT 1 FROM states WHERE states.entity = ids.entity)) ORDER BY persistence_id LIMIT ?"
)
READ_ENTRIES: Final = (
    "SELECT persistence_id, scope, last - forgotten, last, (SELECT written_at FROM events WHERE events.entity = "
    "ids.entity ORDER BY seq DESC LIMIT 1), (SELECT count(*) FROM snapshots WHERE snapshots.entity = ids.entity), "
    "coalesce((SELECT revision FROM states WHERE states.entity = ids.entity), 0) FROM ids "
    "WHERE persistence_id > ?1 AND persistence_id >= ?2 AND (?3 IS NULL OR persistence_id < ?3) AND "
    "(last > forgotten OR EXISTS (SELECT 1 FROM snapshots WHERE snapshots.entity = ids.entity) OR EXISTS "
    "(SELECT 1 FROM states WHERE states.entity = ids.entity)) ORDER BY persistence_id LIMIT ?4"
)
SEQ_MAX: Final = 2**63 - 1


@dataclass(slots=True)
class Head:
    """Row of one persistence id, as the transaction under way leaves it."""

    entity: int
    scope: str
    last: int
    forgotten: int
    slice: int
    """Slice of the id: a hash, taken once."""


def checksum(persistence_id: str, number: int, record: Record) -> int:
    """Return the checksum of a row: of its place and of all its fields."""
    head = f"{persistence_id}\0{number}\0{record.version}\0{record.name}\0{record.command_id}\0"
    return crc32(record.payload, crc32(head.encode()))


class SqliteTables:
    """Calls on one connection.

    Parameters:
        connection: Of the thread of the calls.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._version = -1
        self._seen: int | None = None
        self.has_company = False
        """Whether another connection has written to the file meanwhile."""
        self._fences: dict[str, tuple[Claim, str]] = {}
        self._heads: dict[str, Head] = {}
        self._changed: dict[int, Head] = {}
        self._rows: list[Row] = []
        self._offset = 0
        self._flushed_offset = 0

    def begin(self) -> None:
        """Trust in the remembered rows, at the beginning of a transaction, if nobody else has written since."""
        (version,) = self._one("PRAGMA data_version") or (-1,)
        self.has_company = self.has_company or self._seen not in (None, version)
        self._seen = version
        if version != self._version or len(self._heads) > HEADS_MAX:
            self.distrust()
            self._version = version
            (self._offset,) = self._one("SELECT last_offset FROM store") or (0,)
            self._flushed_offset = self._offset

    def distrust(self) -> None:
        """Forget the remembered rows, such as after a transaction was rolled back."""
        self._version = -1
        self._fences.clear()
        self._heads.clear()
        self._changed.clear()
        self._rows.clear()

    def flush(self) -> None:
        """Write the rows of appends, before the commit or a change depending on them."""
        execute = self._connection.executemany
        if self._rows:
            execute(INSERT_EVENT, self._rows)
            self._rows.clear()
        if self._changed:
            heads = [(head.last, head.forgotten, head.entity) for head in self._changed.values()]
            execute("UPDATE ids SET last = ?, forgotten = ? WHERE entity = ?", heads)
            self._changed.clear()
        if self._offset != self._flushed_offset:
            self._execute("UPDATE store SET last_offset = ?", self._offset)
            self._flushed_offset = self._offset

    def identify(self) -> str:
        """Return the identity of the store."""
        (identity,) = self._one("SELECT identity FROM store") or ("",)
        return str(identity)

    def settle(self, name: str, value: str) -> str:
        """Keep the first value of a name, and return it."""
        self._execute("INSERT OR IGNORE INTO settled VALUES (?, ?)", name, value)
        return self.setting(name) or value

    def setting(self, name: str) -> str | None:
        """Return the value settled under a name, None without one."""
        row = self._one("SELECT value FROM settled WHERE name = ?", name)
        return None if row is None else str(row[0])

    def claim(self, claimed: Sequence[tuple[str, bytes]], holder: str) -> Sequence[Claim]:
        """Replace the claims of some scopes, each by one with the given token."""
        claims: list[Claim] = []
        for scope, token in claimed:
            newest, _ = self._fence(scope)
            claims.append(Claim(scope, newest.number + 1 if newest else 1, token))
        rows = [(claim.scope, claim.number, claim.token, holder) for claim in claims]
        self._connection.executemany("INSERT OR REPLACE INTO fences VALUES (?, ?, ?, ?)", rows)
        for claim in claims:
            self._fences.pop(claim.scope, None)
        return claims

    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        """Append events, written at a time."""
        head = self._of(claim, persistence_id)
        last = head.last if head else 0
        if last != after:
            raise SequenceConflict(wrong_event(persistence_id, last, after))
        head = head or self._bind(claim, persistence_id)
        part = head.slice
        for seq, each in enumerate(records, after + 1):
            self._offset += 1
            crc = checksum(persistence_id, seq, each)
            self._rows.append(
                (self._offset, head.entity, seq, after + 1, part, at, each.name, each.version, each.command_id, crc,
                 each.payload)
            )  # fmt: skip
        head.last += len(records)
        self._changed[head.entity] = head

    def page(self, persistence_id: str, after: int, upto: int | None, limit: int) -> tuple[Sequence[Stored], int]:
        """Return events behind a number, up to another or the last one; and the other one, for the next page."""
        found: list[Stored] = []
        size, expected, known, end = 0, after + 1, 0, upto or 0
        bound = SEQ_MAX if upto is None else upto
        try:
            with closing(self._execute(READ_PAGE, after, bound, persistence_id, limit)) as cursor:
                for known, forgotten, seq, offset, written_at, name, version, command_id, crc, payload in cursor:
                    if not found:
                        end = known if upto is None else upto
                        expected = max(after, forgotten) + 1
                        if seq is None:  # the id has no event behind the number
                            break
                    if seq != expected:
                        raise JournalDamaged(*_missing(persistence_id, expected))
                    record = read_record(persistence_id, seq, (name, version, command_id, crc, payload))
                    if record is None:
                        raise JournalDamaged(*unreadable(persistence_id, seq, "its checksum is wrong"))
                    found.append(Stored(persistence_id, seq, offset, record, written_at))
                    expected += 1
                    size += len(payload)
                    if size > PAGE_BYTES_MAX or len(found) == limit:
                        return found, end
            if expected <= min(end, known):
                raise JournalDamaged(*_missing(persistence_id, expected))
        except JournalDamaged:
            if not found:  # those before the damage are given first
                raise
        except Exception as error:
            if not is_damage(error):
                raise
            if not found:
                raise JournalDamaged(*unreadable(persistence_id, expected, str(error))) from error
        return found, end

    def tail(self, after: int, limit: int, slices: range | None) -> Sequence[Stored]:
        """Return events of all ids behind an offset."""
        part = range(SLICES) if slices is None else slices
        found: list[Stored] = []
        size = 0
        try:
            for name, seq, *rest in self._rows_of(READ_TAIL, after, part.start, part.stop, limit):
                found.append(read_stored(str(name), seq, rest))
                size += len(found[-1].record.payload)
                if size > TAIL_BYTES_MAX:
                    break
        except JournalDamaged:
            if not found:
                raise
        return found

    def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the first events of an id."""
        head = self._of(claim, persistence_id)
        if head is not None and min(upto, head.last) > head.forgotten:
            head.forgotten = min(upto, head.last)
            self._changed[head.entity] = head
            self.flush()
            self._execute("DELETE FROM events WHERE entity = ? AND seq <= ?", head.entity, head.forgotten)

    def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id but its scope."""
        head = self._of(claim, persistence_id)
        if head is not None:
            self.flush()
            for table in ("events", "snapshots", "states", "torn"):
                self._execute(f"DELETE FROM {table} WHERE entity = ?", head.entity)
            head.last = head.forgotten = 0
            self._changed[head.entity] = head

    def ids(self, scope_prefix: str, after: str, limit: int) -> Sequence[str]:
        """Return ids with anything stored behind an id, in order."""
        rows = self._rows_of(READ_IDS, after, scope_prefix, len(scope_prefix), scope_prefix, limit)
        return [str(name) for (name,) in rows]

    def entries(self, prefix: str, after: str, limit: int) -> Sequence[IdEntry]:
        """Return the rows of ids with anything stored that begin with a text, behind an id, in order."""
        return [IdEntry(*row) for row in self._rows_of(READ_ENTRIES, after, prefix, end_of_prefix(prefix), limit)]

    def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Keep a snapshot."""
        head = self._of(claim, persistence_id) or self._bind(claim, persistence_id)
        values = (record.name, record.version, record.command_id, checksum(persistence_id, seq, record), record.payload)
        self._execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", head.entity, seq, *values)

    def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Return the readable snapshots of an id, the newest first. Raise JournalDamaged where none of them is."""
        rows = self._rows_of(
            "SELECT seq, name, version, command_id, crc, payload FROM snapshots JOIN ids USING (entity) "
            "WHERE persistence_id = ? ORDER BY seq DESC",
            persistence_id,
        )
        found = [(seq, read_record(persistence_id, seq, rest)) for seq, *rest in rows]
        readable = [StoredSnapshot(seq, record) for seq, record in found if record is not None]
        if found and not readable:
            raise JournalDamaged(*unreadable(persistence_id, found[0][0], "its checksum is wrong"))
        return readable

    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        """Return the snapshots of an id and events behind the newest; None where one is missing or unreadable."""
        try:
            row = self._one(READ_HEAD, persistence_id)
            if row is None:
                return StoredHistory()
            entity, last, newest = row
            snapshots = self.load(persistence_id) if newest else ()
            after = snapshots[0].seq if snapshots else 0
            if after != (newest or 0):
                return None
            numbers = range(after + 1, min(last, after + limit) + 1)
            return self._history(persistence_id, entity, snapshots, numbers, last)
        except JournalDamaged:
            return None
        except Exception as error:
            if not is_damage(error):
                raise
            return None

    def _history(
        self, persistence_id: str, entity: int, snapshots: Sequence[StoredSnapshot], numbers: range, last: int
    ) -> StoredHistory | None:
        """Return the events of some numbers, up to the bytes of a page; None where one is missing or unreadable."""
        names: list[str] = []
        versions: list[int] = []
        payloads: list[bytes] = []
        size, expected = 0, numbers.start
        start = crc32(persistence_id.encode())
        with closing(self._execute(READ_EVENTS, entity, expected - 1, numbers.stop - 1)) as cursor:
            for seq, name, version, command_id, crc, payload in cursor:
                if seq != expected or type(payload) is not bytes:
                    return None
                head = f"\0{seq}\0{version}\0{name}\0{command_id}\0"
                if crc32(payload, crc32(head.encode(), start)) != crc:  # `checksum`, of one id
                    return None
                names.append(name)
                versions.append(version)
                payloads.append(payload)
                expected += 1
                size += len(payload)
                if size > PAGE_BYTES_MAX:
                    return StoredHistory(snapshots, names, versions, payloads, seq == last)
        return None if expected < numbers.stop else StoredHistory(snapshots, names, versions, payloads, expected > last)

    def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones."""
        head = self._of(claim, persistence_id)
        if head is not None:
            self._execute(
                "DELETE FROM snapshots WHERE entity = ?1 AND seq NOT IN "
                "(SELECT seq FROM snapshots WHERE entity = ?1 ORDER BY seq DESC LIMIT ?2)",
                head.entity,
                keep,
            )

    def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Return a value with its revision."""
        row = self._one(
            "SELECT revision, name, version, command_id, crc, payload FROM states JOIN ids USING (entity) "
            "WHERE persistence_id = ?",
            persistence_id,
        )
        if row is None:
            return None
        record = read_record(persistence_id, row[0], row[1:])
        if record is None:
            raise JournalDamaged(*unreadable(persistence_id, row[0], "its checksum is wrong"))
        return row[0], record

    def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Keep the next revision of a value."""
        head = self._of(claim, persistence_id)
        stored = self._revision(head)
        if revision != stored + 1:
            raise SequenceConflict(wrong_revision(persistence_id, stored, revision))
        head = head or self._bind(claim, persistence_id)
        crc = checksum(persistence_id, revision, record)
        values = (record.name, record.version, record.command_id, crc, record.payload)
        self._execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?, ?)", head.entity, revision, *values)

    def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove the value of a revision."""
        head = self._of(claim, persistence_id)
        stored = self._revision(head)
        if head is None or not stored or revision != stored:
            raise SequenceConflict(wrong_deletion(persistence_id, stored, revision))
        self._execute("DELETE FROM states WHERE entity = ?", head.entity)

    def put_torn_tail_aside(self) -> tuple[str, int, int] | None:
        """Move the last events of the journal aside where the last row is torn; return their id and numbers.

        Events of one append were written together, so they go together.
        """
        row = self._one(
            "SELECT persistence_id, seq, offset, written_at, name, version, command_id, crc, payload, events.entity, "
            "first FROM events LEFT JOIN ids ON ids.entity = events.entity ORDER BY offset DESC LIMIT 1"
        )
        if row is None or read_record(str(row[0]), row[1], row[4:9]) is not None:
            return None
        name, seq, entity, first = str(row[0]), row[1], row[9], row[10]
        which = "FROM events WHERE entity = ? AND seq >= ? AND first = ?"
        self._execute(f"INSERT INTO torn SELECT ?, * {which}", time.time(), entity, first, first)
        self._execute(f"DELETE {which}", entity, first, first)
        self._execute("UPDATE ids SET last = ? WHERE entity = ?", first - 1, entity)
        self.distrust()
        return name, first, seq

    def _of(self, claim: Claim, persistence_id: str) -> Head | None:
        """Return the row of an id, for a valid claim; None for a new one."""
        newest, holder = self._fence(claim.scope)
        if newest != claim:
            raise Fenced(void_claim(claim, newest.number if newest else 0, holder), holder)
        head = self._heads.get(persistence_id)
        if head is None:
            row = self._one("SELECT entity, scope, last, forgotten FROM ids WHERE persistence_id = ?", persistence_id)
            if row is None:
                return None
            entity, scope, last, forgotten = row
            head = self._heads[persistence_id] = Head(entity, scope, last, forgotten, slice_of(persistence_id))
        if head.scope != claim.scope:
            raise SequenceConflict(wrong_scope(persistence_id, head.scope, claim.scope))
        return head

    def _fence(self, scope: str) -> tuple[Claim | None, str]:
        known = self._fences.get(scope)
        if known is None:
            row = self._one("SELECT number, token, holder FROM fences WHERE scope = ?", scope)
            if row is None:
                return None, ""
            known = self._fences[scope] = (Claim(scope, row[0], row[1]), row[2])
        return known

    def _bind(self, claim: Claim, persistence_id: str) -> Head:
        cursor = self._execute(
            "INSERT INTO ids (persistence_id, scope, last, forgotten) VALUES (?, ?, 0, 0)", persistence_id, claim.scope
        )
        head = self._heads[persistence_id] = Head(cursor.lastrowid or 0, claim.scope, 0, 0, slice_of(persistence_id))
        return head

    def _revision(self, head: Head | None) -> int:
        row = self._one("SELECT revision FROM states WHERE entity = ?", head.entity) if head else None
        return row[0] if row else 0

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _one(self, statement: str, *values: object) -> Row | None:
        rows: list[Row] = self._execute(statement, *values).fetchall()
        return rows[0] if rows else None

    def _rows_of(self, statement: str, *values: object) -> Iterable[Row]:
        cursor = self._execute(statement, *values)
        try:
            yield from cursor
        finally:
            cursor.close()  # a statement in the middle of its rows keeps the log from being cut


def is_damage(error: Exception) -> bool:
    """Return whether an error tells of unreadable rows: of pages, or of text that is none."""
    return code_of(error) == CORRUPT or "decode to UTF-8" in str(error)


def read_stored(persistence_id: str, seq: int, rest: Sequence[Any]) -> Stored:
    offset, written_at = rest[:2]
    record = read_record(persistence_id, seq, rest[2:])
    if record is None:
        raise JournalDamaged(*unreadable(persistence_id, seq, "its checksum is wrong"))
    return Stored(persistence_id, seq, offset, record, written_at)


def read_record(persistence_id: str, number: int, fields: Sequence[Any]) -> Record | None:
    """Return the record of a row, None for a damaged one."""
    name, version, command_id, crc, payload = fields
    if not isinstance(payload, bytes):
        return None
    record = Record(name, version, payload, command_id)
    return record if checksum(persistence_id, number, record) == crc else None


def _missing(persistence_id: str, seq: int) -> tuple[str, str, int]:
    return f"event {seq} of {persistence_id!r} is missing, and later ones are stored", persistence_id, seq


def unreadable(persistence_id: str, seq: int, why: str) -> tuple[str, str, int]:
    return f"event, snapshot or value {seq} of {persistence_id!r} cannot be read: {why}", persistence_id, seq
