"""Group look: the histories asked for while one statement is under way are read by the next one.

Owns the callers in wait, and the statement. PostgreSQL answers for 64 ids in hardly more time than for one, so the
start of many entities is not a round trip for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio
from psycopg.errors import DataCorrupted, IndexCorrupted
from psycopg.rows import TupleRow

from casty.errors import JournalUnavailable
from casty.journal import StoredHistory
from casty.persistence.paging import PAGE_ROWS
from casty.persistence.postgres.packed_rows import texts, unpack_history

IDS_MAX: Final = 64
"""Ids of one statement."""

HISTORY_BYTES_MAX: Final = 64 * 1024
"""Bytes of the snapshots of one id, and of its events, in one look; larger ones are read alone, in pages."""

WAITING_MAX: Final = 1_024
"""Looks waiting for the next statement; further callers wait for room."""

PACKED: Final = """
int8send(r.seq) || int8send(0) || float8send(0) || int4send(r.version) || int8send(r.crc)
|| int4send(octet_length(r.name)) || int4send(octet_length(r.command_id)) || int4send(octet_length(r.payload))
|| convert_to(r.name, 'UTF8') || convert_to(r.command_id, 'UTF8') || r.payload
"""

HISTORIES: Final = f"""
SELECT w.place, s.newest, s.packed, greatest(i.forgotten, (
    SELECT max(m.seq) FROM events m WHERE m.persistence_id = i.persistence_id
)), e.packed
FROM unnest($1) WITH ORDINALITY AS w (persistence_id, place)
JOIN ids i ON i.persistence_id = w.persistence_id
LEFT JOIN LATERAL (
    SELECT max(r.seq) AS newest, string_agg({PACKED}, ''::bytea ORDER BY r.seq DESC)
        FILTER (WHERE r.bytes <= {HISTORY_BYTES_MAX}) AS packed
    FROM (
        SELECT n.*, sum(octet_length(n.payload)) OVER () AS bytes
        FROM snapshots n WHERE n.persistence_id = i.persistence_id
    ) r
) s ON true
LEFT JOIN LATERAL (
    SELECT string_agg({PACKED}, ''::bytea ORDER BY r.seq) FILTER (WHERE r.bytes <= {HISTORY_BYTES_MAX}) AS packed
    FROM (
        SELECT n.*, sum(octet_length(n.payload)) OVER (ORDER BY n.seq) AS bytes
        FROM (
            SELECT * FROM events o WHERE o.persistence_id = i.persistence_id AND o.seq > coalesce(s.newest, 0)
            ORDER BY o.seq LIMIT {PAGE_ROWS}
        ) n
    ) r
) e ON true
"""
"""Read snapshots and events in the form of `unpack_history`, all of an id at one moment."""


class Select(Protocol):
    """Function to read rows."""

    def __call__(self, statement: str, *values: object, binary: bool = False) -> Awaitable[Sequence[TupleRow]]:
        """Return the rows of a statement. Raises JournalUnavailable."""
        ...


@dataclass(slots=True, eq=False)
class Look:
    """History in wait, with its caller."""

    persistence_id: str
    done: trio.Event = field(default_factory=trio.Event)
    history: StoredHistory | None = None
    error: str = ""
    is_wanted: bool = True


class GroupLook:
    """Task to read the histories for all callers.

    Parameters:
        select: Function to read rows.
    """

    def __init__(self, select: Select) -> None:
        self._select = select
        self._send, self._receive = trio.open_memory_channel[Look](WAITING_MAX)

    async def read(self, persistence_id: str) -> StoredHistory | None:
        """Return a history, as `HistoryStore.history` does."""
        look = Look(persistence_id)
        try:
            await self._send.send(look)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise JournalUnavailable("the journal is closed, or is about to close") from None
        try:
            await look.done.wait()
        finally:
            look.is_wanted = False
        if look.error:
            raise JournalUnavailable(look.error)
        return look.history

    def close(self) -> None:
        """Take nothing more; `run` ends with the last look taken before."""
        self._send.close()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Read group after group until it is closed."""
        looks: list[Look] = []
        try:
            async for look in self._receive:
                looks = self._gather(look)
                if looks:
                    await self._read(looks)
        finally:
            while self._receive.statistics().current_buffer_used:
                looks.append(self._receive.receive_nowait())
            self._receive.close()
            for look in looks:
                _end(look, "the journal was closed before this was read")

    def _gather(self, first: Look) -> list[Look]:
        looks = [first]
        while len(looks) < IDS_MAX:
            try:
                looks.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return [look for look in looks if look.is_wanted]

    async def _read(self, looks: Sequence[Look]) -> None:
        """Give each look its history; an error of one row is everybody's, and each finds out alone whose it is."""
        rows: Sequence[TupleRow] = ()
        error = ""
        try:
            rows = await self._select(HISTORIES, texts([look.persistence_id.encode() for look in looks]), binary=True)
        except (DataCorrupted, IndexCorrupted):
            pass
        except JournalUnavailable as failure:
            error = str(failure)
        else:
            for look in looks:
                look.history = StoredHistory()  # of an unknown id, which has no row
        for place, newest, snapshots, last, packed in rows:
            look = looks[int(place) - 1]
            look.history = unpack_history(look.persistence_id, newest, snapshots, last, packed)
        for look in looks:
            _end(look, error)


def _end(look: Look, error: str) -> None:
    """Wake the caller, unless that is done."""
    if not look.done.is_set():
        look.error = error
        look.done.set()
