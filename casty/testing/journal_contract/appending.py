"""Promises about events: written whole, in order, once, and for good."""

from __future__ import annotations

from casty.errors import SequenceConflict
from casty.journal import Record
from casty.testing.journal_contract.trial import Trial, record, refused, require, texts


async def events_are_read_as_they_were_written(trial: Trial) -> None:
    """Events come back whole, with numbers from 1 and growing offsets."""
    name = trial.name("a")
    records = [
        Record("casty.contract", 1, b"\x00\xff payload", "command 1"),
        Record("other.name", 7, b"", ""),
        Record("casty.contract", 2**31 - 1, bytes(range(256)), "\u00e9\U0001f600"),
    ]
    async with trial.open() as one:
        claim = await one.claim(name)
        for after, each in enumerate(records):
            await one.journal.append(claim, name, after, [each])
        found = await one.events(name)
        require([each.record for each in found] == records, f"written was {records}, read {found}")
        require([each.seq for each in found] == [1, 2, 3], f"three events are numbered {[each.seq for each in found]}")
        require(all(each.persistence_id == name for each in found), f"events of {name!r} have other ids: {found}")
        offsets = [each.offset for each in found]
        require(offsets == sorted(set(offsets)) and offsets[0] > 0, f"three events have the offsets {offsets}")
        require(await one.events(trial.name("nothing")) == [], "an id without events has some")


async def a_batch_is_whole_and_in_order(trial: Trial) -> None:
    """Events of one call follow each other, also more of them than a page holds."""
    name, written = trial.name("a"), [f"event {number}" for number in range(700)]
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.append(claim, name, 0, *written[:3])
        await one.append(claim, name, 3, *written[3:690])
        await one.append(claim, name, 690, *written[690:])
        found = await one.events(name)
        require(texts(found) == written, f"written were 700 events, read {len(found)}, or in another order")
        offsets = [each.offset for each in found]
        require(offsets == sorted(offsets), "offsets of one id do not grow with its numbers")


async def reading_begins_behind_a_number(trial: Trial) -> None:
    """A reader gets the events behind a number, and none at or behind the end."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.append(claim, name, 0, *"abcdefg")
        for after in range(10):
            found = await one.events(name, after)
            require(texts(found) == list("abcdefg"[after:]), f"of a to g, behind {after}, are {texts(found)}")
            require(not found or found[0].seq == after + 1, f"behind {after} is the event {found[:1]}")


async def another_number_than_the_last_is_a_conflict(trial: Trial) -> None:
    """A writer with too few events, or too many, writes nothing; nor does one with the same append twice."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        async with refused("an append behind an event that is not there", SequenceConflict):
            await one.append(claim, name, 1, "never")
        await one.append(claim, name, 0, "a", "b")
        for after in (0, 1, 3):
            async with refused(f"an append behind {after} where 2 is the last", SequenceConflict):
                await one.append(claim, name, after, "never")
        await one.holds(name, "a", "b", why="a refused append writes nothing")
        await one.append(claim, name, 2, "c")
        async with refused("the same append once more", SequenceConflict):
            await one.append(claim, name, 2, "c")
        await one.holds(name, "a", "b", "c", why="an append is written once")


async def what_was_acknowledged_is_read_at_once(trial: Trial) -> None:
    """Each event is there when its append returns."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        for number in range(20):
            await one.append(claim, name, number, str(number))
            found = texts(await one.events(name, number))
            require(found == [str(number)], f"event {number + 1} was acknowledged, and read is {found}")


async def what_was_acknowledged_outlives_the_journal(trial: Trial) -> None:
    """Events are there when the store is opened again, also if it lost everything not durable."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.append(claim, name, 0, "a", "b")
        await one.append(claim, name, 2, "c")
        trial.crash()
    async with trial.open() as one:
        await one.holds(name, "a", "b", "c", why="what was acknowledged is there after a restart")
        claim = await one.claim(name)
        await one.append(claim, name, 3, "d")
        await one.holds(name, "a", "b", "c", "d", why="after a restart it goes on behind the last event")


async def reading_ends_with_the_last_event_of_its_beginning(trial: Trial) -> None:
    """A reader is given the events of its beginning, though more are written behind them meanwhile."""
    name, written = trial.name("a"), [str(number) for number in range(600)]
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.append(claim, name, 0, *written)
        found: list[str] = []
        async for stored in one.journal.read(name):
            if not found:
                await one.append(claim, name, 600, "later")
            found.append(stored.record.payload.decode())
        require(found == written, f"600 events were there when reading began, read were {len(found)}")
        async for stored in one.journal.read(name):
            require(stored.seq == 1, f"the first event of a reading is {stored.seq}")
            break  # a reader may leave at any place


async def a_journal_works_inside_of_its_block_only(trial: Trial) -> None:
    """Calls before and after are a RuntimeError, and so is a second opening."""
    name = trial.name("a")
    async with trial.open() as one:
        journal = one.journal
        claim = await one.claim(name)
        async with refused("opening an open journal", RuntimeError), journal.open():
            require(False, "an open journal is opened once more")
    async with refused("an append after the end", RuntimeError):
        await journal.append(claim, name, 0, [record("never")])
    async with refused("reading after the end", RuntimeError):
        await one.events(name)
    async with trial.open() as one:
        await one.holds(name, why="nothing is written after the end")


PROMISES = (
    events_are_read_as_they_were_written,
    a_batch_is_whole_and_in_order,
    reading_begins_behind_a_number,
    another_number_than_the_last_is_a_conflict,
    what_was_acknowledged_is_read_at_once,
    what_was_acknowledged_outlives_the_journal,
    reading_ends_with_the_last_event_of_its_beginning,
    a_journal_works_inside_of_its_block_only,
)
