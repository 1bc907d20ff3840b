"""Journals over tables that are changed and read by plain calls.

A store has tables (`StoreTables`), and says how a call of them is made: at once, by a thread, or after a latency drawn
from a seed.
"""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from casty.journal import Claim, Record, Stored, StoredHistory, StoredSnapshot
from casty.persistence.checked_journal import CheckedJournal
from casty.persistence.journal_view import IdEntry
from casty.persistence.paging import PAGE_ROWS, Fetch

T = TypeVar("T")


class ChangeSize(NamedTuple):
    """Size of a change, for the bounds of a store's batches."""

    records: int
    payload_bytes: int
    """Bytes of the payloads."""


LIGHT = ChangeSize(1, 0)


class StoreTables(Protocol):
    """Tables of one store. A change happens whole or raises; each is made by one task or thread."""

    def identify(self) -> str:
        """Return the identity of the store."""
        ...

    def settle(self, name: str, value: str) -> str:
        """Keep the first value of a name, and return it."""
        ...

    def setting(self, name: str) -> str | None:
        """Return the value settled under a name, None without one."""
        ...

    def claim(self, claimed: Sequence[tuple[str, bytes]], holder: str) -> Sequence[Claim]:
        """Replace the claims of some scopes, each by one with the given token."""
        ...

    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        """Append events, written at a time."""
        ...

    def page(self, persistence_id: str, after: int, upto: int | None, limit: int) -> tuple[Sequence[Stored], int]:
        """Return events behind a number, up to another or the last one; and the other one, for the next page."""
        ...

    def tail(self, after: int, limit: int, slices: range | None) -> Sequence[Stored]:
        """Return events of all ids behind an offset."""
        ...

    def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the first events of an id."""
        ...

    def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id but its scope."""
        ...

    def ids(self, scope_prefix: str, after: str, limit: int) -> Sequence[str]:
        """Return ids with anything stored behind an id, in order."""
        ...

    def entries(self, prefix: str, after: str, limit: int) -> Sequence[IdEntry]:
        """Return the rows of ids with anything stored that begin with a text, behind an id, in order."""
        ...

    def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Keep a snapshot."""
        ...

    def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Return the snapshots of an id, the newest first."""
        ...

    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        """Return the snapshots of an id and events behind the newest; None where one is missing or unreadable."""
        ...

    def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones."""
        ...

    def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Return a value with its revision."""
        ...

    def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Keep the next revision of a value."""
        ...

    def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove the value of a revision."""
        ...


class TableJournal(CheckedJournal):
    """A journal, snapshot store and state store over tables."""

    _made: TableCalls | None = None

    @property
    def _calls(self) -> TableCalls:
        made = self._made
        if made is None:  # one for all calls: an append is short
            made = self._made = TableCalls(self._change, self._look, self._make_token, self._read_clock)
        return made

    @abstractmethod
    async def _change(self, act: Callable[[StoreTables], T], size: ChangeSize = LIGHT) -> T:
        """Make one change durable, and return the result. RuntimeError where the journal is not open."""

    @abstractmethod
    async def _look(self, act: Callable[[StoreTables], T]) -> T:
        """Return the result of a look at the tables, without any change. RuntimeError as above."""

    def _make_token(self) -> bytes:
        return os.urandom(16)

    def _read_clock(self) -> float:
        return time.time()


class Changes(Protocol):
    """Way to make a change durable."""

    async def __call__(self, act: Callable[[StoreTables], T], size: ChangeSize = LIGHT, /) -> T:
        """Make a change, and return its result."""
        ...


class Looks(Protocol):
    """Way to look at the tables."""

    async def __call__(self, act: Callable[[StoreTables], T], /) -> T:
        """Return the result of a look."""
        ...


@dataclass(frozen=True, slots=True)
class TableCalls:
    """Calls of a journal over tables, each one change or one look."""

    change: Changes
    look: Looks
    make_token: Callable[[], bytes]
    read_clock: Callable[[], float]
    """Time of a record, for people."""

    async def identify(self) -> str:
        return await self.look(lambda tables: tables.identify())

    async def settle(self, name: str, value: str) -> str:
        return await self.change(lambda tables: tables.settle(name, value))

    async def setting(self, name: str) -> str | None:
        return await self.look(lambda tables: tables.setting(name))

    async def claim(self, scopes: Sequence[str], holder: str) -> Sequence[Claim]:
        claimed = [(scope, self.make_token()) for scope in scopes]
        return await self.change(lambda tables: tables.claim(claimed, holder))

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        change = AppendChange(claim, persistence_id, after, records, self.read_clock())
        await self.change(change, change.size)

    def reader(self, persistence_id: str, after: int) -> Fetch[Stored]:
        place = after
        upto: int | None = None

        async def fetch() -> Sequence[Stored]:
            nonlocal place, upto
            if upto is not None and place >= upto:
                return ()  # the page before ended with the last event
            start, end = place, upto
            page, upto = await self.look(lambda tables: tables.page(persistence_id, start, end, PAGE_ROWS))
            place = page[-1].seq if page else place
            return page

        return fetch

    async def tail(self, after: int, limit: int, slices: range | None) -> Sequence[Stored]:
        return await self.look(lambda tables: tables.tail(after, limit, slices))

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        await self.change(lambda tables: tables.forget(claim, persistence_id, upto))

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        await self.change(lambda tables: tables.erase(claim, persistence_id))

    async def ids_after(self, scope_prefix: str, after: str) -> Sequence[str]:
        return await self.look(lambda tables: tables.ids(scope_prefix, after, PAGE_ROWS))

    async def entries(self, prefix: str, after: str) -> Sequence[IdEntry]:
        return await self.look(lambda tables: tables.entries(prefix, after, PAGE_ROWS))

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        await self.change(lambda tables: tables.save(claim, persistence_id, seq, record), _size_of(record))

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        return await self.look(lambda tables: tables.load(persistence_id))

    async def history(self, persistence_id: str) -> StoredHistory | None:
        return await self.look(lambda tables: tables.history(persistence_id, PAGE_ROWS))

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        await self.change(lambda tables: tables.prune(claim, persistence_id, keep))

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        return await self.look(lambda tables: tables.load_state(persistence_id))

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        await self.change(lambda tables: tables.store_state(claim, persistence_id, revision, record), _size_of(record))

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        await self.change(lambda tables: tables.delete_state(claim, persistence_id, revision))


class AppendChange:
    """An append as a change, and its size."""

    __slots__ = ("_after", "_at", "_claim", "_persistence_id", "_records")

    def __init__(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        # not a lambda: its cells were half of what Python's collector counts of an append on its way
        self._claim = claim
        self._persistence_id = persistence_id
        self._after = after
        self._records = records
        self._at = at

    def __call__(self, tables: StoreTables) -> None:
        tables.append(self._claim, self._persistence_id, self._after, self._records, self._at)

    @property
    def size(self) -> ChangeSize:
        """Size for the bounds of a batch."""
        records = self._records
        return _size_of(records[0]) if len(records) == 1 else _size_of_all(records)


def _size_of(record: Record) -> ChangeSize:
    return ChangeSize(1, len(record.payload))


def _size_of_all(records: Sequence[Record]) -> ChangeSize:
    return ChangeSize(len(records), sum(len(record.payload) for record in records))
