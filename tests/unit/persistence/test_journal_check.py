"""A journal that lies is found: each lie is a store in memory with one rule broken, each named by a promise."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from casty import Claim, MemoryJournal, Record, SequenceConflict, Stored, StoredHistory, StoredSnapshot
from casty.persistence.table_store import LIGHT, ChangeSize, StoreTables
from casty.persistence.tables import Kept, MemoryTables
from casty.testing import JOURNAL_PROMISES, check_journal


class Broken(MemoryJournal):
    """A store in memory with tables that lie."""

    tables: type[MemoryTables] = MemoryTables

    def __init__(self) -> None:
        super().__init__()
        self._tables = self.tables(secrets.token_hex(8))


def with_tables(kind: type[MemoryTables]) -> Broken:
    class Lying(Broken):
        tables = kind

    return Lying()


class WritesLater(MemoryJournal):
    """Acknowledges an append, and writes it with the next call that is not one."""

    later: Callable[[StoreTables], object] | None = None

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await self._begin()
        type(self).later = lambda tables: tables.append(claim, persistence_id, after, records, 0.0)

    async def _begin(self) -> None:
        act, type(self).later = type(self).later, None
        if act is not None:
            await super()._change(act)

    async def claim(self, scopes: Sequence[str], holder: str = "") -> Sequence[Claim]:
        await self._begin()
        return await super().claim(scopes, holder)


class WritesAfterAll(MemoryJournal):
    """Goes on with an append that was given up, some steps later, and looks at no fence by then."""

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        try:
            await super().append(claim, persistence_id, after, records)
        except trio.Cancelled:
            trio.lowlevel.spawn_system_task(self._write_late, persistence_id, records)
            raise

    async def _write_late(self, persistence_id: str, records: Sequence[Record]) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        kept = self._tables.kept[persistence_id]
        for each in records:
            kept.last += 1
            stored = Stored(persistence_id, kept.last, len(self._tables.log) + 1, each, 0.0)
            self._tables.log.append(stored)
            kept.events[kept.last] = stored


class WaitsForNobody(MemoryJournal):
    """Looks at the fence, and writes some steps later without another look."""

    async def _change(self, act: Callable[[StoreTables], object], size: ChangeSize = LIGHT) -> object:  # type: ignore[override]  # lies of any type
        if size is LIGHT:
            return await super()._change(act, size)
        tables = self._tables
        fences = dict(tables.fences)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        newest = tables.fences
        tables.fences = fences
        try:
            return act(tables)
        finally:
            tables.fences = newest


class AnotherIdentity(MemoryJournal):
    """Says something else each time."""

    async def identify(self) -> str:
        return secrets.token_hex(8)


class ForgetsClaims(MemoryJournal):
    """Does not keep its claims when it is closed."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        async with super().open():
            yield
        self._tables.fences.clear()


class NeverFences(MemoryTables):
    def _of(self, claim: Claim, persistence_id: str) -> Kept:
        self.fences[claim.scope] = (claim, "")
        return super()._of(claim, persistence_id)


class ComparesNumbers(MemoryTables):
    def _of(self, claim: Claim, persistence_id: str) -> Kept:
        newest, _ = self.fences.get(claim.scope, (claim, ""))
        return super()._of(newest if newest.number == claim.number else claim, persistence_id)


class KeepsTheFirstClaim(MemoryTables):
    def claim(self, claimed: Sequence[tuple[str, bytes]], holder: str) -> Sequence[Claim]:
        before = dict(self.fences)
        made = super().claim(claimed, holder)
        self.fences.update(before)
        return made


class ForgetsUnfenced(MemoryTables):
    def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        super().forget(self._newest(claim), persistence_id, upto)

    def _newest(self, claim: Claim) -> Claim:
        return self.fences.get(claim.scope, (claim, ""))[0]


class ErasesUnfenced(ForgetsUnfenced):
    forget = MemoryTables.forget

    def erase(self, claim: Claim, persistence_id: str) -> None:
        super().erase(self._newest(claim), persistence_id)


class SavesUnfenced(ErasesUnfenced):
    erase = MemoryTables.erase

    def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        super().save(self._newest(claim), persistence_id, seq, record)


class PrunesUnfenced(ErasesUnfenced):
    erase = MemoryTables.erase

    def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        super().prune(self._newest(claim), persistence_id, keep)


class StoresUnfenced(ErasesUnfenced):
    erase = MemoryTables.erase

    def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        super().store_state(self._newest(claim), persistence_id, revision, record)


class DeletesUnfenced(ErasesUnfenced):
    erase = MemoryTables.erase

    def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        super().delete_state(self._newest(claim), persistence_id, revision)


class Rewrites(MemoryTables):
    """Appends other records than it was given."""

    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        super().append(claim, persistence_id, after, self.changed(records), at)

    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return records


class Reorders(Rewrites):
    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return records[::-1]


class Tears(Rewrites):
    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return records[: (len(records) + 1) // 2]


class Doubles(Rewrites):
    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return [*records, records[-1]]


class LosesTheLast(Rewrites):
    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return records[:-1]


class CutsLargePayloads(Rewrites):
    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return [Record(each.name, each.version, each.payload[:65_536], each.command_id) for each in records]


class LosesCommandIds(Rewrites):
    def changed(self, records: Sequence[Record]) -> Sequence[Record]:
        return [Record(each.name, each.version, each.payload) for each in records]


class SwallowsConflicts(MemoryTables):
    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        try:
            super().append(claim, persistence_id, after, records, at)
        except SequenceConflict:
            return


class AppendsAnywhere(MemoryTables):
    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        kept = self.kept.get(persistence_id)
        super().append(claim, persistence_id, kept.last if kept else 0, records, at)


class BindsNoScope(MemoryTables):
    def _of(self, claim: Claim, persistence_id: str) -> Kept:
        if persistence_id in self.kept:
            self.kept[persistence_id].scope = claim.scope
        return super()._of(claim, persistence_id)


class ComesLate(MemoryTables):
    """Shows every fifth event of the tail only once a later one was given."""

    def tail(self, after: int, limit: int, slices: range | None) -> list[Stored]:
        found = super().tail(after, limit, slices)
        return [each for each in found if each.offset % 5 or each.offset < len(self.log) - 6]


class GivesTwice(MemoryTables):
    def tail(self, after: int, limit: int, slices: range | None) -> list[Stored]:
        return super().tail(max(after - 1, 0), limit, slices) if after < len(self.log) else []


class IgnoresSlices(MemoryTables):
    def tail(self, after: int, limit: int, slices: range | None) -> list[Stored]:
        return super().tail(after, limit, None)


class ForgetsTooMuch(MemoryTables):
    def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        super().forget(claim, persistence_id, upto + 1)


class ForgetsNumbers(MemoryTables):
    def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        super().forget(claim, persistence_id, upto)
        if persistence_id in self.kept and not self.kept[persistence_id].events:
            self.kept[persistence_id].last = 0


class ErasesEventsOnly(MemoryTables):
    def erase(self, claim: Claim, persistence_id: str) -> None:
        before = self.kept.get(persistence_id)
        super().erase(claim, persistence_id)
        if before is not None:
            self.kept[persistence_id].snapshots = before.snapshots


class ReadsOn(MemoryTables):
    def page(self, persistence_id: str, after: int, upto: int | None, limit: int) -> tuple[Sequence[Stored], int]:
        return super().page(persistence_id, after, None, limit)


class MixesSnapshots(MemoryTables):
    def load(self, persistence_id: str) -> list[StoredSnapshot]:
        found = [each for name in self.kept if name[:9] == persistence_id[:9] for each in super_load(self, name)]
        return sorted(found, key=lambda each: each.seq, reverse=True)


def super_load(tables: MemoryTables, name: str) -> list[StoredSnapshot]:
    return list(MemoryTables.load(tables, name))


class PrunesTheNewest(MemoryTables):
    def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        kept = self._of(claim, persistence_id)
        for seq in sorted(kept.snapshots)[keep:]:
            del kept.snapshots[seq]


class SettlesTwice(MemoryTables):
    def settle(self, name: str, value: str) -> str:
        self._settled[name] = value
        return value


class StoresAnyRevision(MemoryTables):
    def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        kept = self._of(claim, persistence_id)
        self.kept[persistence_id] = kept
        kept.value = (revision, record)


class FoldsCase(MemoryTables):
    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        super().append(claim, persistence_id.casefold(), after, records, at)

    def page(self, persistence_id: str, after: int, upto: int | None, limit: int) -> tuple[Sequence[Stored], int]:
        return super().page(persistence_id.casefold(), after, upto, limit)


class ListsErased(MemoryTables):
    def ids(self, scope_prefix: str, after: str, limit: int) -> Sequence[str]:
        names = sorted(name for name, kept in self.kept.items() if name > after and kept.scope.startswith(scope_prefix))
        return names[:limit]


class MixesHistories(MemoryTables):
    looked = ""

    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        before, self.looked = self.looked or persistence_id, persistence_id
        return super().history(before, limit)


class TakesAPageForAll(MemoryTables):
    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        found = super().history(persistence_id, limit)
        return found and replace(found, is_whole=True)


class BeginsBehindTheGap(MemoryTables):
    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        snapshots = self.load(persistence_id)
        stored, _ = self.page(persistence_id, snapshots[0].seq if snapshots else 0, None, limit)
        columns = zip(*[(one.record.name, one.record.version, one.record.payload) for one in stored], strict=True)
        return StoredHistory(snapshots, *columns)


class LooksPastSnapshots(MemoryTables):
    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        kept = self.kept.get(persistence_id)
        if kept is None:
            return StoredHistory()
        snapshots, kept.snapshots = kept.snapshots, {}
        found = super().history(persistence_id, limit)
        kept.snapshots = snapshots
        return found


class RemembersTheFirstLook(MemoryTables):
    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        return self.seen.setdefault(persistence_id, super().history(persistence_id, limit))

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.seen: dict[str, StoredHistory | None] = {}


class TellsNothing(MemoryTables):
    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        return None


LIES: dict[str, tuple[MemoryJournal, str]] = {
    "acknowledges what it has not written": (WritesLater(), "what_was_acknowledged_is_read_at_once"),
    "writes what was given up, after the claim": (
        WritesAfterAll(),
        "appends_that_were_given_up_are_settled_by_a_claim",
    ),
    "claims without waiting for appends": (WaitsForNobody(), "a_claim_waits_for_appends_under_way"),
    "has another identity each time": (AnotherIdentity(), "a_store_has_one_identity"),
    "forgets claims when it is closed": (ForgetsClaims(), "claims_outlive_the_journal"),
    "fences nobody": (with_tables(NeverFences), "an_earlier_claim_writes_nothing"),
    "compares the number of a claim alone": (
        with_tables(ComparesNumbers),
        "a_claim_that_was_never_made_writes_nothing",
    ),
    "keeps the claim when another claims": (with_tables(KeepsTheFirstClaim), "an_earlier_claim_writes_nothing"),
    "forgets without a fence": (with_tables(ForgetsUnfenced), "an_earlier_claim_writes_nothing"),
    "erases without a fence": (with_tables(ErasesUnfenced), "an_earlier_claim_writes_nothing"),
    "saves snapshots without a fence": (with_tables(SavesUnfenced), "snapshots_are_fenced"),
    "prunes without a fence": (with_tables(PrunesUnfenced), "snapshots_are_fenced"),
    "stores values without a fence": (with_tables(StoresUnfenced), "values_are_fenced"),
    "deletes values without a fence": (with_tables(DeletesUnfenced), "values_are_fenced"),
    "reorders": (with_tables(Reorders), "a_batch_is_whole_and_in_order"),
    "tears a batch": (with_tables(Tears), "a_batch_is_whole_and_in_order"),
    "doubles": (with_tables(Doubles), "another_number_than_the_last_is_a_conflict"),
    "loses the last": (with_tables(LosesTheLast), "what_was_acknowledged_is_read_at_once"),
    "cuts large payloads": (with_tables(CutsLargePayloads), "large_records_are_read_as_they_were_written"),
    "loses the ids of commands": (with_tables(LosesCommandIds), "events_are_read_as_they_were_written"),
    "answers a conflict with success": (with_tables(SwallowsConflicts), "another_number_than_the_last_is_a_conflict"),
    "appends behind any number": (with_tables(AppendsAnywhere), "of_rivals_for_one_number_one_wins"),
    "binds no scope": (with_tables(BindsNoScope), "an_id_belongs_to_one_scope"),
    "gives events of the tail late": (with_tables(ComesLate), "no_event_of_the_tail_comes_late"),
    "gives events of the tail twice": (with_tables(GivesTwice), "the_tail_has_all_ids_in_one_order"),
    "ignores slices": (with_tables(IgnoresSlices), "slices_part_the_tail"),
    "forgets too much": (with_tables(ForgetsTooMuch), "forgotten_events_are_gone_and_numbers_go_on"),
    "forgets the number with the last event": (
        with_tables(ForgetsNumbers),
        "forgotten_events_are_gone_and_numbers_go_on",
    ),
    "erases events and nothing else": (with_tables(ErasesEventsOnly), "pruning_keeps_the_newest_snapshots"),
    "reads beyond the end of its beginning": (
        with_tables(ReadsOn),
        "reading_ends_with_the_last_event_of_its_beginning",
    ),
    "gives a snapshot of another id": (with_tables(MixesSnapshots), "snapshots_are_read_the_newest_first"),
    "prunes the newest snapshots": (with_tables(PrunesTheNewest), "pruning_keeps_the_newest_snapshots"),
    "settles twice": (with_tables(SettlesTwice), "the_first_value_of_a_name_stands"),
    "stores any revision": (with_tables(StoresAnyRevision), "values_have_revisions"),
    "folds the case of ids": (with_tables(FoldsCase), "ids_are_told_apart_by_each_character"),
    "gives the history of another id": (with_tables(MixesHistories), "histories_of_many_at_once_are_not_mixed"),
    "takes a page of a history for all": (with_tables(TakesAPageForAll), "a_long_history_goes_on_by_reading"),
    "begins a history behind a gap": (with_tables(BeginsBehindTheGap), "a_history_with_a_gap_is_none"),
    "leaves snapshots out of a history": (with_tables(LooksPastSnapshots), "a_history_is_what_the_other_calls_read"),
    "remembers the first look at a history": (
        with_tables(RemembersTheFirstLook),
        "a_history_is_what_the_other_calls_read",
    ),
    "tells of no history": (with_tables(TellsNothing), "a_history_is_what_the_other_calls_read"),
    "lists ids without anything": (with_tables(ListsErased), "ids_are_listed_in_order_by_scope"),
}


@pytest.mark.parametrize(("store", "promise"), LIES.values(), ids=LIES)
async def test_a_journal_that_lies_is_found(store: MemoryJournal, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise.replace("_", " ")):
        await check_journal(store.handle, promise)


@pytest.mark.parametrize(("store", "promise"), LIES.values(), ids=LIES)
async def test_a_lie_is_found_by_the_whole_check(store: MemoryJournal, promise: str) -> None:
    with pytest.raises(AssertionError):
        await check_journal(store.handle)


async def test_a_factory_of_one_open_journal_is_told_so() -> None:
    store = MemoryJournal()
    with pytest.raises(AssertionError, match="hands out one open journal twice, .*: make a new one on the same store"):
        await check_journal(lambda: store, "a_claim_fences_writers_of_other_handles")


async def test_arguments_without_sense_are_refused() -> None:
    store = MemoryJournal()
    with pytest.raises(ValueError, match="expected one of the promises events_are_read.*, got 'all'"):
        await check_journal(store.handle, "all")
    with pytest.raises(TypeError, match="check_journal needs a function that makes another journal"):
        await check_journal(store)  # type: ignore[arg-type]  # what is tested


async def test_a_journal_that_never_answers_is_given_up(autojump_clock) -> None:
    class Silent(MemoryJournal):
        async def identify(self) -> str:
            await trio.sleep_forever()
            return ""

    with pytest.raises(TimeoutError, match="a store has one identity: not done within 5 s"):
        await check_journal(Silent, "a_store_has_one_identity", timeout=5.0)


async def test_promises_of_another_kind_of_store_are_a_mistake_where_they_are_named() -> None:
    store = MemoryJournal()

    class EventsOnly:
        """A journal that keeps no snapshots and no values."""

        def __init__(self) -> None:
            handle = store.handle()
            for name in ("open", "identify", "settle", "claim", "append", "read", "tail", "forget", "erase", "ids"):
                setattr(self, name, getattr(handle, name))

    await check_journal(EventsOnly, *JOURNAL_PROMISES)  # type: ignore[arg-type]  # its methods are not declared
    await check_journal(EventsOnly)  # type: ignore[arg-type]  # as above
    with pytest.raises(TypeError, match="snapshots_are_fenced is for a store of another kind"):
        await check_journal(EventsOnly, "snapshots_are_fenced")  # type: ignore[arg-type]  # as above
