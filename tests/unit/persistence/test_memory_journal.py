"""The store in memory keeps all promises of a journal, snapshot store and state store."""

from __future__ import annotations

import pytest

from casty import Journal, MemoryJournal, SnapshotStore, StateStore
from casty.testing import HISTORY_PROMISES, JOURNAL_PROMISES, SNAPSHOT_PROMISES, STATE_PROMISES, check_journal


@pytest.mark.parametrize("promise", [*JOURNAL_PROMISES, *SNAPSHOT_PROMISES, *HISTORY_PROMISES, *STATE_PROMISES])
async def test_promise_of_a_journal(promise: str) -> None:
    await check_journal(MemoryJournal().handle, promise)


async def test_one_store_does_for_all_promises() -> None:
    await check_journal(MemoryJournal().handle)


def test_it_is_all_three_kinds_of_store() -> None:
    journal = MemoryJournal()
    assert isinstance(journal, Journal) and isinstance(journal, SnapshotStore) and isinstance(journal, StateStore)
    assert repr(journal) == "<MemoryJournal 0 ids, 0 events>"


async def test_before_its_block_it_says_how_it_is_opened() -> None:
    with pytest.raises(RuntimeError, match=r"MemoryJournal .* is not open: use it inside of `async with journal.open"):
        await MemoryJournal().identify()


async def test_two_stores_are_told_apart() -> None:
    one, two = MemoryJournal(), MemoryJournal()
    async with one.open(), two.open():
        assert await one.identify() != await two.identify()
