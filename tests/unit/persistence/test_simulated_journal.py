"""The simulated store keeps all promises, fails as it is told, forgets what was not synced, and repeats from a seed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest
import trio
from helpers.journals import append_begun

from casty import (
    Claim,
    Fenced,
    JournalDamaged,
    JournalUnavailable,
    JournalUncertain,
    Record,
    SequenceConflict,
)
from casty.testing import (
    HISTORY_PROMISES,
    JOURNAL_PROMISES,
    SNAPSHOT_PROMISES,
    STATE_PROMISES,
    SimulatedJournal,
    check_journal,
)

EVENT = Record("test.Event", 1, b"x")


@pytest.mark.parametrize("promise", [*JOURNAL_PROMISES, *SNAPSHOT_PROMISES, *HISTORY_PROMISES, *STATE_PROMISES])
async def test_promise_of_a_journal(promise: str, autojump_clock) -> None:
    journal = SimulatedJournal(seed=len(promise))
    await check_journal(journal.handle, promise, crash=journal.crash)


class Begun(SimulatedJournal):
    """Its appends are begun and told of, as those of entities, as often as there is room."""

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await append_begun(self, claim, persistence_id, after, records, or_else=super().append)


@pytest.mark.parametrize("promise", JOURNAL_PROMISES)
async def test_begun_appends_keep_the_promises(promise: str, autojump_clock) -> None:
    journal = Begun(seed=len(promise))
    await check_journal(journal.handle, promise, crash=journal.crash)


async def test_a_begun_append_given_up_is_made_all_the_same_unless_a_newer_claim_keeps_it_out(autojump_clock) -> None:
    journal = SimulatedJournal(seed=2, latency=1.0)
    async with journal.open():
        for number, is_claimed in enumerate((False, True) * 5):
            name = f"a{number}"
            [claim] = await journal.claim([name])
            begun = journal.begin_append(claim, name, 0, [EVENT], lambda _: pytest.fail("it was given up"))
            if begun is None:
                continue
            begun.give_up()
            if is_claimed:
                await journal.claim([name])
                found = await seqs(journal, name)
            await trio.sleep(6)
            assert await seqs(journal, name) == (found if is_claimed else [1])


async def test_a_forgetful_disk_is_found(autojump_clock) -> None:
    found = 0
    for seed in range(10):  # by chance it has synced after all
        journal = SimulatedJournal(seed=seed, is_forgetful=True)
        try:
            await check_journal(journal.handle, "what_was_acknowledged_outlives_the_journal", crash=journal.crash)
        except AssertionError as error:
            assert "what was acknowledged is there after a restart" in str(error)
            found += 1
    assert found >= 7


async def seqs(journal: SimulatedJournal, name: str) -> list[int]:
    return [stored.seq async for stored in journal.read(name)]


async def test_nothing_is_written_by_an_unavailable_store(autojump_clock) -> None:
    journal = SimulatedJournal()
    async with journal.open():
        [claim] = await journal.claim(["a"])
        journal.fault("unavailable")
        with pytest.raises(JournalUnavailable):
            await journal.append(claim, "a", 0, [EVENT])
        journal.fault("unavailable", 0)
        assert await seqs(journal, "a") == []


async def test_an_uncertain_append_is_there_or_not_and_is_settled_by_the_next_claim(autojump_clock) -> None:
    journal = SimulatedJournal(seed=3)
    found: set[tuple[int, int]] = set()
    async with journal.open():
        for number in range(60):
            name = f"a{number}"
            [claim] = await journal.claim([name])
            journal.fault("uncertain")
            with pytest.raises(JournalUncertain):
                await journal.append(claim, name, 0, [EVENT, EVENT])
            journal.fault("uncertain", 0)
            at_once = len(await seqs(journal, name))
            if number % 2:
                await trio.sleep(6)
            [claim] = await journal.claim([name])
            settled = await seqs(journal, name)
            await trio.sleep(6)
            assert await seqs(journal, name) == settled
            found.add((at_once, len(settled)))
    assert found == {(0, 0), (0, 2), (2, 2)}  # never, late, at once


async def test_a_late_change_is_refused_after_another_claim(autojump_clock) -> None:
    one = SimulatedJournal(seed=1)
    two = one.handle()
    async with one.open(), two.open():
        for number in range(30):
            name = f"a{number}"
            [old] = await one.claim([name])
            one.fault("uncertain")
            with pytest.raises(JournalUncertain):
                await one.append(old, name, 0, [EVENT])
            one.fault("uncertain", 0)
            [new] = await two.claim([name])
            found = await seqs(two, name)
            await two.append(new, name, len(found), [EVENT])
            await trio.sleep(6)
            assert len(await seqs(two, name)) == len(found) + 1
            with pytest.raises(Fenced):
                await one.append(old, name, len(found) + 1, [EVENT])


async def test_a_power_cut_keeps_a_prefix_with_all_that_was_acknowledged(autojump_clock) -> None:
    journal = SimulatedJournal(seed=5)
    lost = 0
    async with journal.open():
        [claim] = await journal.claim(["scope"])
        for round in range(20):
            acknowledged: list[int] = []
            uncertain: list[int] = []

            async def write(number: int, name: str, into: list[int], unknown: list[int]) -> None:
                try:
                    await journal.append(claim, f"{name} {number}", 0, [EVENT])
                    into.append(number)
                except JournalUncertain:
                    unknown.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(write, number, f"round {round}", acknowledged, uncertain)
                await trio.sleep(0.0007 * (1 + round % 5))
                journal.crash()
            for number in acknowledged:
                assert await seqs(journal, f"round {round} {number}") == [1]
            lost += sum([await seqs(journal, f"round {round} {number}") == [] for number in uncertain])
    assert lost > 0


async def test_a_torn_last_row_is_told_when_the_store_is_opened(
    autojump_clock, caplog: pytest.LogCaptureFixture
) -> None:
    journal = SimulatedJournal(seed=1)
    journal.fault("torn")
    torn = 0
    for _ in range(20):
        with caplog.at_level(logging.WARNING), trio.move_on_after(5):
            async with journal.open(), trio.open_nursery() as nursery:
                [claim] = await journal.claim(["a"])
                nursery.start_soon(journal.append, claim, "a", len(await seqs(journal, "a")), [EVENT])
                await trio.sleep(0.002)
                nursery.cancel_scope.cancel()
                journal.crash()
        torn += "was torn" in caplog.text
        caplog.clear()
    assert torn > 0


async def test_a_damaged_event_is_named_and_those_before_it_are_read(autojump_clock) -> None:
    journal = SimulatedJournal()
    async with journal.open():
        [claim] = await journal.claim(["a"])
        await journal.append(claim, "a", 0, [EVENT] * 5)
        journal.damage("a", 3)
        found: list[int] = []
        with pytest.raises(JournalDamaged, match="event 3 of 'a' cannot be read") as caught:
            async for stored in journal.read("a"):
                found.append(stored.seq)
        assert (found, caught.value.persistence_id, caught.value.seq) == ([1, 2], "a", 3)
        journal.fault("damaged")
        await journal.append(claim, "a", 5, [EVENT])
        with pytest.raises(JournalDamaged, match="event 6"):
            await anext(journal.read("a", 5))


async def test_a_slow_store_takes_a_hundred_times_as_long(autojump_clock) -> None:
    journal = SimulatedJournal(latency=1.0)
    async with journal.open():
        for name, least, most in (("slow", 3.0, 300.0), ("quick", 0.0, 3.0)):
            journal.fault("slow", float(name == "slow"))
            begin = trio.current_time()
            await journal.settle(name, "x")
            assert least < trio.current_time() - begin <= most


def history(seed: int) -> list[str]:
    """Return a history of two writers on a store with faults, in virtual time."""
    told: list[str] = []

    async def main() -> None:
        journal = SimulatedJournal(seed=seed)
        other = journal.handle()
        journal.fault("uncertain", 0.3)
        async with journal.open(), other.open():
            for number in range(30):
                [claim] = await other.claim([f"a{number % 3}"])
                try:
                    after = len(await seqs(other, claim.scope))
                    await journal.append(claim, claim.scope, after, [EVENT])
                    told.append(f"{trio.current_time()} {claim.token.hex()} {after}")
                except (JournalUncertain, SequenceConflict) as error:
                    told.append(f"{trio.current_time()} {error}")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return told


def test_one_seed_gives_one_history() -> None:
    assert history(1) == history(1)
    assert history(1) != history(2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: SimulatedJournal(latency=-1.0), "latency must be at least 0 seconds, got -1.0"),
        (lambda: SimulatedJournal().fault("uncertain", 1.5), "rate must be from 0 to 1, got 1.5"),
        (lambda: SimulatedJournal().fault("fire"), "expected a fault of unavailable, .*, got 'fire'"),  # type: ignore[arg-type]  # what is tested
    ],
)
def test_faults_without_sense_are_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
