"""One trial of a journal: handles on the store, ids of its own, and calls with their expectations.

Owns the opening and closing of handles. It must not know any promise, nor the kind of a store.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from casty.errors import Fenced, JournalError, SequenceConflict
from casty.journal import Claim, HistoryStore, Journal, Record, SnapshotStore, StateStore, Stored

TAIL_PAGE = 100


def require(is_kept: bool, text: str) -> None:
    """Raise AssertionError with a text unless something holds."""
    if not is_kept:
        raise AssertionError(text)


def record(text: str, command_id: str = "") -> Record:
    """Return a record with a text as its payload."""
    return Record("casty.contract", 1, text.encode(), command_id)


def texts(stored: Sequence[Stored]) -> list[str]:
    """Return the payloads of events as texts."""
    return [each.record.payload.decode(errors="replace") for each in stored]


@dataclass(frozen=True, slots=True)
class Handle:
    """An open journal, with calls in the words of promises."""

    journal: Journal

    async def claim(self, scope: str, holder: str = "") -> Claim:
        """Claim one scope."""
        claims = await self.journal.claim([scope], holder)
        require(len(claims) == 1, f"a claim of one scope gave {len(claims)} claims")
        return claims[0]

    async def append(self, claim: Claim, persistence_id: str, after: int, *payloads: str) -> None:
        """Append events of some payloads."""
        await self.journal.append(claim, persistence_id, after, [record(text) for text in payloads])

    async def events(self, persistence_id: str, after: int = 0) -> list[Stored]:
        """Return the events of an id, checked for their numbers."""
        found = [stored async for stored in self.journal.read(persistence_id, after)]
        numbers = [stored.seq for stored in found]
        require(
            numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True,
            f"events of {persistence_id!r} are numbered {numbers}, not one after the other",
        )
        return found

    async def holds(self, persistence_id: str, *payloads: str, why: str) -> None:
        """Require the events of an id to be those of some payloads."""
        found = texts(await self.events(persistence_id))
        require(found == list(payloads), f"{why}: {persistence_id!r} holds {found}, expected {list(payloads)}")

    async def end(self) -> int:
        """Return the offset of the last event of the journal."""
        found = await self.tail(0)
        return found[-1].offset if found else 0

    async def tail(self, after: int, slices: range | None = None) -> list[Stored]:
        """Return all events behind an offset, read in pages."""
        found: list[Stored] = []
        while page := await self.journal.tail(found[-1].offset if found else after, TAIL_PAGE, slices):
            require(len(page) <= TAIL_PAGE, f"tail gave {len(page)} events, where {TAIL_PAGE} were the limit")
            offsets = [found[-1].offset if found else after, *(stored.offset for stored in page)]
            require(
                all(one < other for one, other in zip(offsets, offsets[1:], strict=False)),
                f"tail behind {offsets[0]} gave the offsets {offsets[1:]}, which do not grow",
            )
            found += page
        return found

    async def ids(self, scope_prefix: str) -> list[str]:
        """Return the ids of the scopes beginning with a text."""
        return [name async for name in self.journal.ids(scope_prefix)]

    @property
    def snapshots(self) -> SnapshotStore:
        """The journal, as a store of snapshots."""
        if not isinstance(self.journal, SnapshotStore):
            raise TypeError(f"{self.journal!r} is no SnapshotStore")
        return self.journal

    @property
    def histories(self) -> HistoryStore:
        """The journal, as a store of histories."""
        if not isinstance(self.journal, HistoryStore):
            raise TypeError(f"{self.journal!r} is no HistoryStore")
        return self.journal

    @property
    def states(self) -> StateStore:
        """The journal, as a store of values."""
        if not isinstance(self.journal, StateStore):
            raise TypeError(f"{self.journal!r} is no StateStore")
        return self.journal


class Trial:
    """Handles on one store for one promise.

    Parameters:
        factory: Function to make another journal on the store.
        crash: Function to lose everything not yet durable; None where nothing can be lost so.
    """

    def __init__(self, factory: Callable[[], Journal], crash: Callable[[], object] | None) -> None:
        self._factory = factory
        self._crash = crash
        self._run = secrets.token_hex(4)
        self._open: list[Journal] = []

    def name(self, text: str) -> str:
        """Return a scope or an id of this trial alone, among all trials of the store."""
        return f"{self._run}/{text}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Handle]:
        """Open another handle on the store."""
        journal = self._factory()
        is_journal = isinstance(cast("object", journal), Journal)
        require(is_journal, f"the factory makes no Journal, but {journal!r}")
        require(
            not any(journal is other for other in self._open),
            f"the factory hands out one open journal twice, {journal!r}: make a new one on the same store in each "
            "call, such as lambda: MyJournal(path)",
        )
        async with journal.open():
            self._open.append(journal)
            try:
                yield Handle(journal)
            finally:
                self._open.remove(journal)

    def crash(self) -> None:
        """Lose everything not yet durable."""
        if self._crash is not None:
            self._crash()


@asynccontextmanager
async def refused(why: str, *errors: type[Exception]) -> AsyncGenerator[None]:
    """Require a block to end with one of some errors."""
    names = " or ".join(error.__name__ for error in errors)
    try:
        yield
    except errors:
        return
    except Exception as error:
        raise AssertionError(f"{why} is {names}, got {type(error).__name__}: {error}") from error
    raise AssertionError(f"{why} is {names}, and nothing was raised")


async def attempt(call: Awaitable[object]) -> type[JournalError] | None:
    """Wait for a call; return its refusal, or None for success."""
    try:
        await call
    except (Fenced, SequenceConflict) as error:
        return type(error)
    return None
