"""The store in a file keeps all promises of a journal, snapshot store and state store, through restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.journals import append_begun

from casty import Claim, Journal, Record, SnapshotStore, SqliteJournal, StateStore
from casty.testing import HISTORY_PROMISES, JOURNAL_PROMISES, SNAPSHOT_PROMISES, STATE_PROMISES, check_journal


@pytest.mark.parametrize("promise", [*JOURNAL_PROMISES, *SNAPSHOT_PROMISES, *HISTORY_PROMISES, *STATE_PROMISES])
async def test_promise_of_a_journal(promise: str, tmp_path: Path) -> None:
    await check_journal(lambda: SqliteJournal(tmp_path / "journal.db"), promise)


class Begun(SqliteJournal):
    """Its appends are begun and told of, as those of entities."""

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await append_begun(self, claim, persistence_id, after, records)


@pytest.mark.parametrize("promise", JOURNAL_PROMISES)
async def test_begun_appends_keep_the_promises(promise: str, tmp_path: Path) -> None:
    await check_journal(lambda: Begun(tmp_path / "journal.db"), promise)


def test_it_is_all_three_kinds_of_store() -> None:
    journal = SqliteJournal("journal.db")
    assert isinstance(journal, Journal) and isinstance(journal, SnapshotStore) and isinstance(journal, StateStore)
    assert repr(journal) == f"<SqliteJournal {Path('journal.db').absolute()}>"
