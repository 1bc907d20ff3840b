"""Interfaces of the stores of durable state: journal, snapshots, last values.

A store fences: each write shows a `Claim`, and the store compares it with the newest claim of the scope in the
very transaction of the write. So a writer replaced while it slept changes nothing, whatever it believes.

An entity's scope is its shard, claimed once before its first entity; the scope of a lone actor is its own persistence
id. A persistence id belongs to one scope for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol, runtime_checkable

from casty.schema.names import message

SLICES: Final = 1_024
"""Parts of a journal by persistence id, for readers sharing its tail."""

PERSISTENCE_ID_LENGTH_MAX: Final = 600
"""Characters of a persistence id or a scope: a key, a mark and an entity's id, each of at most 255, and room."""


CLUSTER_SETTING: Final = "casty.cluster"
"""Name of the settled name of the cluster whose store it is."""


def slice_of(persistence_id: str) -> int:
    """Return the slice of a persistence id: the same at every node, in every store, for ever.

    Parameters:
        persistence_id: Of events.

    Returns:
        A number of 0 to 1,023.
    """
    return int.from_bytes(blake2b(persistence_id.encode(), digest_size=8).digest(), "big") % SLICES


@message("casty.Claim")
@dataclass(frozen=True, slots=True)
class Claim:
    """Right of one writer to one scope, until the next claim of that scope.

    The number alone proves nothing: a store set back to an earlier time gives numbers twice. The token is
    random.
    """

    scope: str
    """Claimed part of the journal: a shard of a kind, or the persistence id of a lone actor."""
    number: int
    """Position among the claims of this scope, from 1."""
    token: bytes
    """16 random bytes, made by the store with the claim."""


@message("casty.Record")
@dataclass(frozen=True, slots=True)
class Record:
    """Event, snapshot or value in the stored form: names and plain values, never a class."""

    name: str
    """Stored name of the class, as of `casty.event`."""
    version: int
    """Version of its fields, from 1."""
    payload: bytes
    """Its fields by name, as msgpack."""
    command_id: str = ""
    """Id of the command behind it; "" for none."""


@message("casty.Stored")
@dataclass(frozen=True, slots=True)
class Stored:
    """Record of a journal with its place in it."""

    persistence_id: str
    """Persistence id of the event."""
    seq: int
    """Number among the events of its persistence id, from 1 and without gaps."""
    offset: int
    """Number among all events of the journal. It grows; numbers may be left out, none is filled in later."""
    record: Record
    """The event."""
    written_at: float
    """Wall clock at the writer, in seconds since 1970: for people, nothing is decided by it."""


@message("casty.StoredSnapshot")
@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """State after an event."""

    seq: int
    """Number of the last event in it."""
    record: Record
    """The state."""


@message("casty.StoredHistory")
@dataclass(frozen=True, slots=True)
class StoredHistory:
    """Snapshots of one persistence id, with the events behind the newest one, of one look at the store.

    Events are columns of one length: a thousand small objects for each page are the collector's work, not a reader's.
    """

    snapshots: Sequence[StoredSnapshot] = ()
    """Readable snapshots, the newest first."""
    names: Sequence[str] = ()
    """Stored names of the events, from the one after the newest snapshot, or from the first one."""
    versions: Sequence[int] = ()
    """Versions of their fields."""
    payloads: Sequence[bytes] = ()
    """Their fields by name, as msgpack."""
    is_whole: bool = True
    """Whether these are all events; `Journal.read` has the others."""

    @property
    def first(self) -> int:
        """Number of the first event in the columns."""
        return self.snapshots[0].seq + 1 if self.snapshots else 1


@message("casty.JournalRewound")
@dataclass(frozen=True, slots=True)
class JournalRewound:
    """A store has another history than before: failed over, or restored.

    Its newest events may be missing. All claims from before are void; entities are refused, claim anew, and recover
    from what there is.
    """

    store: str
    """Place of the store, without a password."""
    expected: str
    """History seen before, as the store names it."""
    found: str
    """History there now."""


@runtime_checkable
class Journal(Protocol):
    """Store of events: appended, read in order, forgotten from the front.

    One object serves one system at a time. All methods but `open` are called between entering and leaving of the
    block, by many tasks at once; they may be cancelled. A cancelled append has an unknown outcome, as after
    `JournalUncertain`. An argument out of its bounds is a ValueError, and nothing was done; before and after the block
    each of them is a RuntimeError.

    Knowledge after each error:

    - `Fenced`, `SequenceConflict`, `JournalUnavailable`: certainly not written.
    - `JournalUncertain`: unknown. After the next claim of the scope it is settled: a late write is either read then, or
      refused for ever.
    - `JournalDamaged`: a row cannot be read; it names id and number.
    """

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the journal for a block; leaving it waits for writes under way, at most some seconds.

        Returns:
            The block.

        Raises:
            RuntimeError: The journal is open already.
            JournalUnavailable: The store cannot be reached or made; the text tells the attempt.
            ConfigError: The store cannot work as it is, such as a file on a network file system.
        """
        ...

    async def identify(self) -> str:
        """Tell this store from others; nodes of a cluster with different stores refuse each other.

        Returns:
            The store's identity, up to 32 characters, the same for ever.
        """
        ...

    async def settle(self, name: str, value: str) -> str:
        """Write ``value`` under ``name`` for ever, unless another value stands there already.

        The number of shards of a kind stands there: another number would put an entity into another scope. So does
        the name of the cluster: two on one store would fence each other.

        Parameters:
            name: 1 to 600 characters.
            value: At most 600 characters.

        Returns:
            The standing value, ``value`` or an earlier one.
        """
        ...

    async def claim(self, scopes: Sequence[str], holder: str = "") -> Sequence[Claim]:
        """Make all earlier claims of these scopes void, in one durable commit.

        It waits for writes under way, and they are read afterwards; writes begun later under an earlier claim are
        refused.

        Parameters:
            scopes: 1 to 16,384 different scopes.
            holder: Cluster of the claimant, told by `Fenced` to the replaced one: up to 64 characters.

        Returns:
            A claim for each scope, in the order of ``scopes``.
        """
        ...

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        """Append events of one persistence id, all or none; when it returns they are durable.

        Parameters:
            claim: Of the scope of the persistence id. The first append binds the id to the scope.
            persistence_id: 1 to 600 characters.
            after: Number of the last event of this id, 0 for none.
            records: At least one.

        Raises:
            Fenced: The claim is void; nothing was written.
            SequenceConflict: ``after`` is not the last event, or the id belongs to another scope; nothing was written.
            JournalUnavailable: Certainly nothing was written.
            JournalUncertain: Nobody knows; claim again and read.
        """
        ...

    def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        """Read the events of one persistence id in order, up to the last one at its beginning.

        Parameters:
            persistence_id: Of the events.
            after: Number of an event; reading begins behind it.

        Returns:
            An iterator over the events, without gaps.

        Raises:
            JournalDamaged: A row cannot be read, or one in the middle is missing; those before it were given.
            JournalUnavailable: The store cannot be reached.
        """
        ...

    async def tail(self, after: int, limit: int, slices: range | None = None) -> Sequence[Stored]:
        """Read events of all persistence ids by offset. They are complete: none comes later before one of them.

        Parameters:
            after: Offset of an event; reading begins behind it.
            limit: Most events to give, 1 to 10,000.
            slices: Of `SLICES`: only ids of these slices (`slice_of`). None for all.

        Returns:
            Events in the order of their offsets; empty at the end.
        """
        ...

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the events of an id up to a number, fenced as an append. Later numbers stay as they are.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            upto: Number of the last event to remove.
        """
        ...

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id: events, snapshots, value. Its next event has the number 1 again.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events, snapshots and value.
        """
        ...

    def ids(self, scope_prefix: str = "") -> AsyncIterator[str]:
        """Read the persistence ids with anything stored, of the scopes beginning with a text, in order.

        Parameters:
            scope_prefix: Beginning of the scopes; "" for all.

        Returns:
            An iterator over the ids.
        """
        ...


@runtime_checkable
class SnapshotStore(Protocol):
    """Store of states, to spare readers the events before them. Fenced like a journal, and usually one."""

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Store the state after the event ``seq``; one of the same number is replaced.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the state.
            seq: Number of the last event in it, from 1.
            record: The state.
        """
        ...

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Read the snapshots of an id, the newest first; a damaged one is left out.

        Parameters:
            persistence_id: Of the snapshots.

        Returns:
            The readable snapshots.

        Raises:
            JournalDamaged: There are snapshots, and none of them can be read; it has the number of the newest.
        """
        ...

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the snapshots.
            keep: Snapshots to keep, at least 1.
        """
        ...


@runtime_checkable
class HistoryStore(Protocol):
    """Journal and snapshot store with all that an entity starts from in one look.

    A store need not be one: entities of other stores start from `SnapshotStore.load` and `Journal.read`. Where many
    start at one time, it saves a way to the store for each of them. A class with a `read` or `load` of its own needs a
    `history` of its own too: an inherited one, or one behind `__getattr__`, is not asked for.

    >>> from casty import MemoryJournal, Record
    >>> journal = MemoryJournal()
    >>> async with journal.open():
    ...     [claim] = await journal.claim(["cart/7"])
    ...     await journal.append(claim, "cart/7", 0, [Record("cart.Added", 1, b"milk")])
    ...     history = await journal.history("cart/7")
    >>> history.first, history.payloads, history.is_whole
    (1, [b'milk'], True)
    """

    async def history(self, persistence_id: str) -> StoredHistory | None:
        """Read the snapshots of an id, and the events behind the newest one, up to a page of them.

        Parameters:
            persistence_id: Of the events and snapshots.

        Returns:
            The history, empty where nothing is stored. None where it is not one of readable rows without a gap: then
            the other calls tell what is wrong with it.

        Raises:
            JournalUnavailable: The store cannot be reached.
        """
        ...


@runtime_checkable
class StateStore(Protocol):
    """Store of last values. Fenced like a journal, and usually one."""

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Read a value and its revision.

        Parameters:
            persistence_id: Of the value.

        Returns:
            Revision and value; None where nothing is stored.

        Raises:
            JournalDamaged: The row cannot be read.
        """
        ...

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Store a value as the next revision; when it returns it is durable. Errors are those of `Journal.append`.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the value.
            revision: Of this value: one above the stored revision, 1 where there is none.
            record: The value.
        """
        ...

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove a value. Errors are those of `Journal.append`.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the value.
            revision: The stored revision.
        """
        ...
