"""Entities on stores made of others: none starts from a history that its store shows otherwise elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from helpers.carts import Add, Cart, CartCommand, Get, apply, decide

from casty import (
    ActorSystem,
    AskFailed,
    Behavior,
    Behaviors,
    Claim,
    Every,
    MemoryJournal,
    Record,
    Stored,
    StoredHistory,
    StoredSnapshot,
    SystemConfig,
)
from casty.runtime.journaling.histories import histories_of
from casty.testing import check_journal

EXPECTED = {"tea": 1, "milk": 2, "rice": 3}


def cart() -> Behavior[CartCommand]:
    return Behaviors.event_sourced("cart-1", empty=Cart(), decide=decide, apply=apply, snapshots=Every(2))


async def fill(journal: Any) -> None:
    async with ActorSystem(config=SystemConfig(journal=journal)) as system:
        ref = system.spawn(cart(), "cart")
        for sku, count in EXPECTED.items():
            await system.ask(ref, lambda to, sku=sku, count=count: Add(sku, count, to))


async def found(journal: Any) -> dict[str, int]:
    async with ActorSystem(config=SystemConfig(journal=journal)) as system:
        items: dict[str, int] = await system.ask(system.spawn(cart(), "cart"), Get)
        return items


def turned(record: Record) -> Record:
    return replace(record, payload=bytes(byte ^ 0x5A for byte in record.payload))


class SealsEvents(MemoryJournal):
    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await super().append(claim, persistence_id, after, [turned(record) for record in records])

    async def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        async for stored in super().read(persistence_id, after):
            yield replace(stored, record=turned(stored.record))


class RenamesInSnapshots(MemoryJournal):
    async def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        renamed = replace(record, payload=record.payload.replace(b"tea", b"TEA"))
        await super().save(claim, persistence_id, seq, renamed)

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        return [
            replace(each, record=replace(each.record, payload=each.record.payload.replace(b"TEA", b"tea")))
            for each in await super().load(persistence_id)
        ]


class Opens:
    """Mixin."""

    async def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        rows: AsyncIterator[Stored] = super().read(persistence_id, after)
        async for stored in rows:
            yield replace(stored, record=turned(stored.record))


class SealsByMixin(Opens, MemoryJournal):
    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await super().append(claim, persistence_id, after, [turned(record) for record in records])


def handed_on(name: str) -> Any:
    def call(self: Around, *args: Any) -> Any:
        return getattr(self.inner, name)(*args)

    return call


class Around:
    """Wrapper of a store; what it does not know, such as `history`, it leaves to the store."""

    open, identify, settle, claim = map(handed_on, ("open", "identify", "settle", "claim"))
    tail, ids, forget, erase = map(handed_on, ("tail", "ids", "forget", "erase"))
    save, load, prune = map(handed_on, ("save", "load", "prune"))

    def __init__(self, inner: MemoryJournal) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await self.inner.append(claim, persistence_id, after, [turned(record) for record in records])

    async def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        async for stored in self.inner.read(persistence_id, after):
            yield replace(stored, record=turned(stored.record))


def patched() -> Any:
    """Return a store with methods of the object itself."""
    journal: Any = MemoryJournal()
    append, read = journal.append, journal.read

    async def seal(claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await append(claim, persistence_id, after, [turned(record) for record in records])

    async def unseal(persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        async for stored in read(persistence_id, after):
            yield replace(stored, record=turned(stored.record))

    journal.append, journal.read = seal, unseal
    return journal


OTHERS = {
    "class with a read": SealsEvents,
    "class with a load": RenamesInSnapshots,
    "mixin with a read": SealsByMixin,
    "wrapper": lambda: Around(MemoryJournal()),
    "object with a read": patched,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
async def test_entities_start_from_read_and_load_where_history_knows_nothing_of_them(make: Any) -> None:
    journal = make()
    await fill(journal)
    assert await found(journal) == EXPECTED


class Counts(MemoryJournal):
    """Looks that were asked for."""

    looks = 0

    async def history(self, persistence_id: str) -> StoredHistory | None:
        self.looks += 1
        return await super().history(persistence_id)


class CountsByBoth(SealsEvents):
    looks = 0

    async def history(self, persistence_id: str) -> StoredHistory | None:
        self.looks += 1
        history = await super().history(persistence_id)
        return history and replace(history, payloads=[bytes(byte ^ 0x5A for byte in each) for each in history.payloads])


@pytest.mark.parametrize("make", [Counts, CountsByBoth])
async def test_a_history_of_the_newest_class_is_asked_for(make: type[Counts | CountsByBoth]) -> None:
    journal = make()
    await fill(journal)
    before = journal.looks
    assert await found(journal) == EXPECTED
    assert journal.looks == before + 1


WRONG: dict[str, tuple[Any, str]] = {
    "no history": (lambda history: {"names": []}, r"expected a StoredHistory or None, found \{'names': \[\]\}"),
    "short column": (
        lambda history: replace(history, versions=history.versions[1:]),
        "expected a name, a version and a payload for each event, found 1 names, 0 versions, 1 payloads",
    ),
    "oldest first": (
        lambda history: replace(
            history, snapshots=(*history.snapshots, StoredSnapshot(3, history.snapshots[0].record))
        ),
        r"expected each snapshot once, the newest first, found snapshots \[2, 3\]",
    ),
    "twice": (
        lambda history: replace(history, snapshots=2 * tuple(history.snapshots)),
        r"expected each snapshot once, the newest first, found snapshots \[2, 2\]",
    ),
}


@pytest.mark.parametrize(("change", "text"), WRONG.values(), ids=WRONG)
async def test_a_history_of_another_shape_is_refused_by_its_error(change: Any, text: str) -> None:
    class Lies(MemoryJournal):
        async def history(self, persistence_id: str) -> StoredHistory | None:
            history: Any = await super().history(persistence_id)
            return change(history) if history.snapshots else history

    journal = Lies()
    await fill(journal)
    async with ActorSystem(config=SystemConfig(journal=journal)) as system:
        ref = system.spawn(cart(), "cart")
        with pytest.raises(AskFailed, match="gives a wrong history of 'cart-1': " + text):
            await system.ask(ref, Get)


async def test_the_contract_asks_for_no_history_that_entities_do_not_start_from() -> None:
    class Reads(MemoryJournal):
        def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
            return super().read(persistence_id, after)

    promise = "a_history_is_what_the_other_calls_read"
    await check_journal(MemoryJournal().handle, promise)
    with pytest.raises(TypeError, match=f"{promise} is for a store of another kind"):
        await check_journal(Reads().handle, promise)


def test_a_store_without_snapshots_or_without_a_history_is_no_riddle() -> None:
    class Bare:
        def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
            raise NotImplementedError

    class Looks(Bare):
        async def history(self, persistence_id: str) -> StoredHistory | None:
            return None

    assert histories_of(Looks()) is not None
    assert histories_of(Bare()) is None
    one: Any = Looks()
    one.history = MemoryJournal().history
    assert histories_of(one) is None
