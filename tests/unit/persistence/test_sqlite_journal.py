"""The store in a file keeps all promises of a journal, snapshot store and state store, through restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from casty import Journal, SnapshotStore, SqliteJournal, StateStore
from casty.testing import HISTORY_PROMISES, JOURNAL_PROMISES, SNAPSHOT_PROMISES, STATE_PROMISES, check_journal


@pytest.mark.parametrize("promise", [*JOURNAL_PROMISES, *SNAPSHOT_PROMISES, *HISTORY_PROMISES, *STATE_PROMISES])
async def test_promise_of_a_journal(promise: str, tmp_path: Path) -> None:
    await check_journal(lambda: SqliteJournal(tmp_path / "journal.db"), promise)


def test_it_is_all_three_kinds_of_store() -> None:
    journal = SqliteJournal("journal.db")
    assert isinstance(journal, Journal) and isinstance(journal, SnapshotStore) and isinstance(journal, StateStore)
    assert repr(journal) == f"<SqliteJournal {Path('journal.db').absolute()}>"
