"""The calls of a journal, with the checks of their arguments, the same for all stores.

A store makes the checked calls (`StoreCalls`): over tables (`table_store`), or over a connection to a server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from casty.journal import PERSISTENCE_ID_LENGTH_MAX, Claim, Record, Stored, StoredHistory, StoredSnapshot
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
from casty.persistence.paging import Fetch, Pages

NOT_OPEN = "{!r} is not open: use it inside of `async with journal.open()`, or give it to a system as its journal"
OPEN_ALREADY = "{!r} is open already: one object serves one system at a time"


class StoreCalls(Protocol):
    """Calls of one open store, with checked arguments. A change happens whole and is durable, or raises."""

    async def identify(self) -> str:
        """Return the identity of the store."""
        ...

    async def settle(self, name: str, value: str) -> str:
        """Keep the first value of a name, and return it."""
        ...

    async def claim(self, scopes: Sequence[str], holder: str) -> Sequence[Claim]:
        """Replace the claims of some scopes, in their order."""
        ...

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        """Append events."""
        ...

    def reader(self, persistence_id: str, after: int) -> Fetch[Stored]:
        """Return a function to read the next page of events, up to the last one at its first call."""
        ...

    async def tail(self, after: int, limit: int, slices: range | None) -> Sequence[Stored]:
        """Return events of all ids behind an offset."""
        ...

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the first events of an id."""
        ...

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id but its scope."""
        ...

    async def ids_after(self, scope_prefix: str, after: str) -> Sequence[str]:
        """Return a page of ids with anything stored behind an id, in order."""
        ...

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Keep a snapshot."""
        ...

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Return the snapshots of an id, the newest first."""
        ...

    async def history(self, persistence_id: str) -> StoredHistory | None:
        """Return the snapshots of an id and a page of the events behind the newest; None for unreadable ones."""
        ...

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones."""
        ...

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Return a value with its revision."""
        ...

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Keep the next revision of a value."""
        ...

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove the value of a revision."""
        ...


class CheckedJournal(ABC):
    """A journal, snapshot store and state store: arguments are checked here, before anything is done."""

    @property
    @abstractmethod
    def _calls(self) -> StoreCalls:
        """Calls of the open store. RuntimeError where it is not open, now or at a call."""

    async def identify(self) -> str:
        """Tell this store from others; all objects on one store say the same.

        Returns:
            16 random characters.

        Raises:
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        return await self._calls.identify()

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
        return await self._calls.settle(name, value)

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
        return await self._calls.claim(scopes, holder)

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
        await self._calls.append(claim, persistence_id, after, records)

    def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        """Read the events of one persistence id in order, up to the last one at its beginning.

        Parameters:
            persistence_id: Of the events.
            after: Number of an event; reading begins behind it.

        Returns:
            An iterator over the events, without gaps.

        Raises:
            ValueError: An argument is out of its bounds.
            JournalDamaged: A row cannot be read, or one in the middle is missing; those before it were given.
            JournalUnavailable: The store cannot be reached.
            RuntimeError: The journal is not open.
        """
        check_persistence_id(persistence_id)
        check_number("after", after, 0)
        return Pages(self._calls.reader(persistence_id, after))

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
        return await self._calls.tail(after, limit, slices)

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
        await self._calls.forget(claim, persistence_id, upto)

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
        await self._calls.erase(claim, persistence_id)

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
        calls, place = self._calls, ""

        async def fetch() -> Sequence[str]:
            nonlocal place
            page = await calls.ids_after(scope_prefix, place)
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
        await self._calls.save(claim, persistence_id, seq, record)

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
        return await self._calls.load(persistence_id)

    async def history(self, persistence_id: str) -> StoredHistory | None:
        """Read the snapshots of an id, and the events behind the newest one, up to a page of them.

        Parameters:
            persistence_id: Of the events and snapshots.

        Returns:
            The history, empty where nothing is stored. None where it is not one of readable rows without a gap.

        Raises:
            ValueError: The id is too long, or empty.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        check_persistence_id(persistence_id)
        return await self._calls.history(persistence_id)

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
        await self._calls.prune(claim, persistence_id, keep)

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Read a value and its revision.

        Parameters:
            persistence_id: Of the value.

        Returns:
            Revision and value; None where nothing is stored.

        Raises:
            ValueError: The id is too long, or empty.
            JournalDamaged: The row cannot be read.
            JournalUnavailable: The store cannot be reached, or has no room; nothing was done.
            RuntimeError: The journal is not open.
        """
        check_persistence_id(persistence_id)
        return await self._calls.load_state(persistence_id)

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
        await self._calls.store_state(claim, persistence_id, revision, record)

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
        await self._calls.delete_state(claim, persistence_id, revision)
