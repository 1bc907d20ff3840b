"""Journal in memory with faults on demand, for tests of what stands on a journal."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import outcome
import trio

from casty.errors import Fenced, JournalUnavailable, JournalUncertain, SequenceConflict
from casty.journal import Claim, Record, Stored, StoredSnapshot
from casty.runtime.journaling.append_queue import AppendQueue

Fault = Literal["unavailable", "uncertain and lost", "uncertain and written"]


@dataclass
class FaultyJournal:
    """Journal, snapshots and values; each entry of ``faults`` meets one write, None lets it pass."""

    faults: deque[Fault | None] = field(default_factory=deque)
    claim_faults: deque[Fault | None] = field(default_factory=deque)
    events: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    forgotten: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Numbers of the last events removed."""
    snapshots: dict[str, list[StoredSnapshot]] = field(default_factory=lambda: defaultdict(list))
    values: dict[str, tuple[int, Record]] = field(default_factory=dict)
    scopes: dict[str, Claim] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    appends: list[tuple[str, int]] = field(default_factory=list)
    """Id and number of records of each append that was tried."""
    claims: list[str] = field(default_factory=list)
    loads: int = 0
    reading: int = 0
    reading_most: int = 0
    before_append: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    before_read: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    identity: str = "faulty"
    is_open: bool = False
    is_shared: bool = False
    """Whether several systems of a test may open it at one time."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self.is_open and not self.is_shared:
            raise RuntimeError("the journal is open already")
        self.is_open = True
        try:
            yield
        finally:
            self.is_open = self.is_shared

    async def identify(self) -> str:
        await trio.lowlevel.checkpoint()
        return self.identity

    async def settle(self, name: str, value: str) -> str:
        await trio.lowlevel.checkpoint()
        return self.settled.setdefault(name, value)

    async def claim(self, scopes: Sequence[str], holder: str = "") -> Sequence[Claim]:
        assert self.is_open
        await trio.lowlevel.checkpoint()
        if fault := self.claim_faults.popleft() if self.claim_faults else None:
            raise JournalUnavailable(fault) if fault == "unavailable" else JournalUncertain(fault)
        return [self.take(scope) for scope in scopes]

    def take(self, scope: str) -> Claim:
        """Claim at once, as another system would."""
        number = self.scopes[scope].number + 1 if scope in self.scopes else 1
        self.claims.append(scope)
        self.scopes[scope] = Claim(scope, number, str(number).encode())
        return self.scopes[scope]

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await self._write(claim, persistence_id, len(records), lambda: self._insert(persistence_id, after, records))

    async def _write(self, claim: Claim, persistence_id: str, size: int, act: Callable[[], None]) -> None:
        assert self.is_open
        self.appends.append((persistence_id, size))
        await self.before_append()
        fault = self.faults.popleft() if self.faults else None
        if fault == "unavailable":
            raise JournalUnavailable("the disk is full")
        if fault == "uncertain and lost":
            raise JournalUncertain("the connection broke")
        self.check(claim, persistence_id)
        act()
        if fault is not None:
            raise JournalUncertain("the connection broke")

    def check(self, claim: Claim, persistence_id: str) -> None:
        if self.scopes.get(claim.scope) != claim:
            raise Fenced(f"{claim.scope} was claimed again")
        if self.owners.setdefault(persistence_id, claim.scope) != claim.scope:
            raise SequenceConflict(f"{persistence_id} belongs to {self.owners[persistence_id]}")

    def last(self, persistence_id: str) -> int:
        return self.forgotten[persistence_id] + len(self.events[persistence_id])

    def _insert(self, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        if after != self.last(persistence_id):
            raise SequenceConflict(f"{persistence_id} ends at {self.last(persistence_id)}, not at {after}")
        self.events[persistence_id] += records

    async def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        assert self.is_open
        self.loads += 1
        self.reading += 1
        self.reading_most = max(self.reading, self.reading_most)
        try:
            await self.before_read()
            first = self.forgotten[persistence_id] + 1
            for seq, record in enumerate(list(self.events[persistence_id]), first):
                if seq > after:
                    yield Stored(persistence_id, seq, seq, record, 0.0)
        finally:
            self.reading -= 1

    async def tail(self, after: int, limit: int, slices: range | None = None) -> Sequence[Stored]:
        raise NotImplementedError

    async def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        await trio.lowlevel.checkpoint()
        self.check(claim, persistence_id)
        gone = upto - self.forgotten[persistence_id]
        del self.events[persistence_id][:gone]
        self.forgotten[persistence_id] = upto

    async def erase(self, claim: Claim, persistence_id: str) -> None:
        raise NotImplementedError

    async def ids(self, scope_prefix: str = "") -> AsyncIterator[str]:
        await trio.lowlevel.checkpoint()
        for persistence_id in sorted(self.events):
            yield persistence_id

    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        await trio.lowlevel.checkpoint()
        self.check(claim, persistence_id)
        self.snapshots[persistence_id].insert(0, StoredSnapshot(seq, record))

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        await trio.lowlevel.checkpoint()
        return list(self.snapshots[persistence_id])

    async def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        await trio.lowlevel.checkpoint()
        self.check(claim, persistence_id)
        del self.snapshots[persistence_id][keep:]

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        await trio.lowlevel.checkpoint()
        return self.values.get(persistence_id)

    async def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        def put() -> None:
            stored, _ = self.values.get(persistence_id, (0, None))
            if revision != stored + 1:
                raise SequenceConflict(f"{persistence_id} has revision {stored}, not {revision - 1}")
            self.values[persistence_id] = revision, record

        await self._write(claim, persistence_id, 1, put)

    async def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        raise NotImplementedError


class BegunWrite:
    """Append that tells of its outcome unless it is given up; its fate is its own."""

    def __init__(self, done: Callable[[outcome.Outcome[None]], None], act: Callable[[], Awaitable[None]]) -> None:
        self._done = done
        self._act = act
        self.is_given_up = False

    def give_up(self) -> None:
        self.is_given_up = True

    async def run(self) -> None:
        self.tell(await outcome.acapture(self._act))

    def tell(self, found: outcome.Outcome[None]) -> None:
        if not self.is_given_up:
            self._done(found)


@dataclass
class CallingJournal(FaultyJournal):
    """The same, calling back with the outcomes of appends."""

    begun: list[BegunWrite] = field(default_factory=list)
    is_held: bool = False
    """Whether a test runs and ends the appends itself."""
    is_full: bool = False
    nurseries: list[trio.Nursery] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with super().open(), trio.open_nursery() as nursery:
            writer: trio.Nursery = await nursery.start(self._write_begun)
            try:
                yield
            finally:
                self.nurseries.remove(writer)
                writer.cancel_scope.cancel()

    async def _write_begun(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        with trio.CancelScope(shield=True):  # as a thread or a server, it ends what was begun
            async with trio.open_nursery() as writer:
                self.nurseries.append(writer)
                task_status.started(writer)
                await trio.sleep_forever()

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[outcome.Outcome[None]], None],
    ) -> BegunWrite | None:
        if self.is_full:
            return None
        begun = BegunWrite(done, lambda: self.append(claim, persistence_id, after, records))
        self.begun.append(begun)
        if not self.is_held:
            self.nurseries[0].start_soon(begun.run)
        return begun


async def append_begun(
    journal: AppendQueue,
    claim: Claim,
    persistence_id: str,
    after: int,
    records: Sequence[Record],
    or_else: Callable[[Claim, str, int, Sequence[Record]], Awaitable[None]] | None = None,
) -> None:
    """Begin an append, wait until its outcome is told, and raise it; a cancelled caller gives the append up.

    Where there is no room it is awaited by ``or_else``.
    """
    found: list[outcome.Outcome[None]] = []
    is_told = trio.Event()

    def done(told: outcome.Outcome[None]) -> None:
        found.append(told)
        is_told.set()

    await trio.lowlevel.checkpoint_if_cancelled()
    begun = journal.begin_append(claim, persistence_id, after, records, done)
    if begun is None:
        assert or_else is not None, "there is no room"
        await or_else(claim, persistence_id, after, records)
        return
    try:
        await is_told.wait()
    finally:
        begun.give_up()
    (told,) = found
    told.unwrap()


async def looks(journal: Any, *ids: str) -> list[int | None]:
    """Return the events in one look at each id, all at one time; None where there is no readable history."""
    found: dict[int, int | None] = {}

    async def look(place: int, name: str) -> None:
        history = await journal.history(name)
        found[place] = history and len(history.names)

    async with trio.open_nursery() as nursery:
        for place, name in enumerate(ids):
            nursery.start_soon(look, place, name)
    return [found[place] for place in range(len(ids))]
