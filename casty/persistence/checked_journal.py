"""The calls of a journal, with the checks of their arguments.

A store has tables, changed and read by plain calls. It says how such a call is made: at once, by a thread, or after a
latency drawn from a seed.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from casty.journal import PERSISTENCE_ID_LENGTH_MAX, Claim, Record, Stored, StoredSnapshot
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

T = TypeVar("T")

NOT_OPEN = "{!r} is not open: use it inside of `async with journal.open()`, or give it to a system as its journal"
OPEN_ALREADY = "{!r} is open already: one object serves one system at a time"


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

    def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Keep a snapshot."""
        ...

    def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Return the snapshots of an id, the newest first."""
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


class CheckedJournal(ABC):
    """A journal, snapshot store and state store over tables: arguments are checked here, before anything is done."""

    async def identify(self) -> str:
        """Tell this store from others; all objects on one store say the same.

        Returns:
            16 random characters.

        Raises:
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        return await self._look(lambda tables: tables.identify())

    async def settle(self, name: str, value: str) -> str:
        """Write ``value`` under ``name`` for ever, unless another value stands there already.

        Parameters:
            name: 1 to 600 characters.
            value: At most 600 characters.

        Returns:
            The standing value, ``value`` or an earlier one.

        Raises:
            ValueError: Name or value are too long.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_setting(name, value)
        return await self._change(lambda tables: tables.settle(name, value))

    async def claim(self, scopes: Sequence[str], holder: str = "") -> Sequence[Claim]:
        """Make all earlier claims of these scopes void.

        Parameters:
            scopes: 1 to 16,384 different scopes.
            holder: Cluster of the claimant, up to 64 characters.

        Returns:
            A claim for each scope, in the order of ``scopes``.

        Raises:
            ValueError: There are no scopes, too many, or two of one name.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        scopes = scopes if isinstance(scopes, str) else tuple(scopes)
        check_scopes(scopes, holder)
        claimed = [(scope, self._make_token()) for scope in scopes]
        return await self._change(lambda tables: tables.claim(claimed, holder))

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        """Append events of one persistence id, all or none.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: 1 to 600 characters.
            after: Number of the last event of this id, 0 for none.
            records: At least one.

        Raises:
            Fenced: The claim is void; nothing was written.
            SequenceConflict: ``after`` is not the last event, or the id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        records = tuple(records)
        check_append(claim, persistence_id, after, records)
        at = self._read_clock()
        size = ChangeSize(len(records), sum(len(record.payload) for record in records))
        await self._change(lambda tables: tables.append(claim, persistence_id, after, records, at), size)

    def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        """Read the events of one persistence id in order, up to the last one at its beginning.

        Parameters:
            persistence_id: Of the events.
            after: Number of an event; reading begins behind it.

        Returns:
            An iterator over the events, without gaps.

        Raises:
            ValueError: An argument is out of its bounds.
        """
        check_persistence_id(persistence_id)
        check_number("after", after, 0)
        place = after
        upto: int | None = None

        async def fetch() -> Sequence[Stored]:
            nonlocal place, upto
            if upto is not None and place >= upto:
                return ()  # the page before ended with the last event
            start, end = place, upto
            page, upto = await self._look(lambda tables: tables.page(persistence_id, start, end, PAGE_ROWS))
            place = page[-1].seq if page else place
            return page

        return Pages(fetch)

    async def tail(self, after: int, limit: int, slices: range | None = None) -> Sequence[Stored]:
        """Read events of all persistence ids by offset. They are complete: none comes later before one of them.

        Parameters:
            after: Offset of an event; reading begins behind it.
            limit: Most events to give, 1 to 10,000.
            slices: Of 1,024: only ids of these slices. None for all.

        Returns:
            Events in the order of their offsets; empty at the end.

        Raises:
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        check_tail(after, limit, slices)
        return await self._look(lambda tables: tables.tail(after, limit, slices))

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the events of an id up to a number, fenced as an append. Later numbers stay as they are.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            upto: Number of the last event to remove.

        Raises:
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_write(claim, persistence_id)
        check_number("upto", upto, 0)
        await self._change(lambda tables: tables.forget(claim, persistence_id, upto))

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id: events, snapshots, value. Its next event has the number 1 again.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events, snapshots and value.

        Raises:
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_write(claim, persistence_id)
        await self._change(lambda tables: tables.erase(claim, persistence_id))

    def ids(self, scope_prefix: str = "") -> AsyncIterator[str]:
        """Read the persistence ids with anything stored, of the scopes beginning with a text, in order.

        Parameters:
            scope_prefix: Beginning of the scopes; "" for all.

        Returns:
            An iterator over the ids.

        Raises:
            ValueError: The text is too long.
        """
        check_text("scope_prefix", scope_prefix, PERSISTENCE_ID_LENGTH_MAX, least=0)
        place = ""

        async def fetch() -> Sequence[str]:
            nonlocal place
            start = place
            page = await self._look(lambda tables: tables.ids(scope_prefix, start, PAGE_ROWS))
            place = page[-1] if page else place
            return page

        return Pages(fetch)

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Store the state after the event ``seq``; one of the same number is replaced.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the state.
            seq: Number of the last event in it, from 1.
            record: The state.

        Raises:
            Fenced: The claim is void; nothing was written.
            SequenceConflict: The id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_write(claim, persistence_id)
        check_number("seq", seq, 1)
        check_record(record)
        await self._change(
            lambda tables: tables.save(claim, persistence_id, seq, record), ChangeSize(1, len(record.payload))
        )

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Read the snapshots of an id, the newest first; a damaged one is left out.

        Parameters:
            persistence_id: Of the snapshots.

        Returns:
            The readable snapshots.

        Raises:
            ValueError: The id is too long, or empty.
            JournalDamaged: There are snapshots, and none of them can be read.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        check_persistence_id(persistence_id)
        return await self._look(lambda tables: tables.load(persistence_id))

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the snapshots.
            keep: Snapshots to keep, at least 1.

        Raises:
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: The id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_write(claim, persistence_id)
        check_number("keep", keep, 1)
        await self._change(lambda tables: tables.prune(claim, persistence_id, keep))

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Read a value and its revision.

        Parameters:
            persistence_id: Of the value.

        Returns:
            Revision and value; None where nothing is stored.

        Raises:
            ValueError: The id is too long, or empty.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        check_persistence_id(persistence_id)
        return await self._look(lambda tables: tables.load_state(persistence_id))

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Store a value as the next revision.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the value.
            revision: Of this value: one above the stored revision, 1 where there is none.
            record: The value.

        Raises:
            Fenced: The claim is void; nothing was written.
            SequenceConflict: ``revision`` is not the next one, or the id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_write(claim, persistence_id)
        check_number("revision", revision, 1)
        check_record(record)
        await self._change(
            lambda tables: tables.store_state(claim, persistence_id, revision, record),
            ChangeSize(1, len(record.payload)),
        )

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove a value.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the value.
            revision: The stored revision.

        Raises:
            Fenced: The claim is void; nothing was removed.
            SequenceConflict: Another revision is stored, or none, or the id belongs to another scope.
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            JournalUncertain: The store failed while it committed, and nobody knows.
            RuntimeError: The journal is not open.
        """
        check_write(claim, persistence_id)
        check_number("revision", revision, 1)
        await self._change(lambda tables: tables.delete_state(claim, persistence_id, revision))

    @abstractmethod
    async def _change(self, act: Callable[[StoreTables], T], size: ChangeSize = LIGHT) -> T:
        """Make one change durable, and return the result."""

    @abstractmethod
    async def _look(self, act: Callable[[StoreTables], T]) -> T:
        """Return the result of a look at the tables, without any change."""

    def _make_token(self) -> bytes:
        return os.urandom(16)

    def _read_clock(self) -> float:
        return time.time()
