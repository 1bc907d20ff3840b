"""Promises about the tail: all events of all ids in one order, without late ones."""

from __future__ import annotations

from collections import Counter

import trio

from casty.journal import SLICES, Stored, slice_of
from casty.testing.journal_contract.trial import Handle, Trial, require, texts

WRITERS = 12
APPENDS = 15


async def the_tail_has_all_ids_in_one_order(trial: Trial) -> None:
    """The tail gives the same events as reading does, whatever the page, and ends."""
    names = [trial.name(letter) for letter in "abc"]
    async with trial.open() as one:
        start = await one.end()
        claim = await one.claim(trial.name("scope"))
        for number in range(40):
            for name in names:
                await one.append(claim, name, 2 * number, f"{name} {2 * number + 1}", f"{name} {2 * number + 2}")
        found = await one.tail(start)
        for name in names:
            own = [stored for stored in found if stored.persistence_id == name]
            require(own == await one.events(name), f"the tail and reading differ in events of {name!r}")
        require(len(found) == 240, f"240 events were written, the tail gives {len(found)}")
        written = [
            f"{name} {each}" for number in range(40) for name in names for each in (2 * number + 1, 2 * number + 2)
        ]
        require(texts(found) == written, "appends that came one after the other have offsets in another order")
        for limit in (1, 7, 10_000):
            page = await one.journal.tail(start, limit)
            require(list(page) == found[:limit], f"the first {limit} events of the tail are others")
        require(list(await one.journal.tail(found[100].offset, 5)) == found[101:106], "behind an offset are others")
        require(list(await one.journal.tail(found[-1].offset, 5)) == [], "something is behind the last event")


async def no_event_of_the_tail_comes_late(trial: Trial) -> None:
    """A reader going on behind its last offset sees each event, while many write at once."""
    seen: list[Stored] = []
    async with trial.open() as one, trial.open() as two, trial.open() as three:
        start = await one.end()
        is_over = trio.Event()

        async def follow() -> None:
            while True:
                was_over = is_over.is_set()
                page = await three.journal.tail(seen[-1].offset if seen else start, 50)
                seen.extend(page)
                if was_over and not page:
                    return
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as readers:
            readers.start_soon(follow)
            async with trio.open_nursery() as writers:
                for number in range(WRITERS):
                    writers.start_soon(write_some, (one, two)[number % 2], trial.name(str(number)), number)
            is_over.set()
        await complete(one, seen, [trial.name(str(number)) for number in range(WRITERS)])


async def write_some(handle: Handle, name: str, number: int) -> None:
    """Append to an id of one's own, in batches of several sizes."""
    claim = await handle.claim(name)
    after = 0
    for step in range(APPENDS):
        count = 1 + (number + step) % 3
        await handle.append(claim, name, after, *(f"{after + each}" for each in range(count)))
        after += count


async def complete(handle: Handle, seen: list[Stored], names: list[str]) -> None:
    """Require a reader of the tail to have seen the events of some ids, each once and in order."""
    numbers: dict[str, list[int]] = {name: [] for name in names}
    for stored in seen:
        if stored.persistence_id in numbers:
            numbers[stored.persistence_id].append(stored.seq)
    for name in names:
        written = [stored.seq for stored in await handle.events(name)]
        twice = [seq for seq, count in Counter(numbers[name]).items() if count > 1]
        missing = sorted(set(written) - set(numbers[name]))
        require(not twice, f"the tail gave events {twice} of {name!r} twice")
        require(not missing, f"the tail never gave events {missing} of {name!r}: they came behind later offsets")
        require(numbers[name] == written, f"the tail gave events of {name!r} in the order {numbers[name]}")


async def slices_part_the_tail(trial: Trial) -> None:
    """Readers of different slices see different ids, and together all of them."""
    names = [trial.name(str(number)) for number in range(60)]
    async with trial.open() as one:
        start = await one.end()
        claim = await one.claim(trial.name("scope"))
        for name in names:
            await one.append(claim, name, 0, name)
        for name in names:
            await one.append(claim, name, 1, name, name)
        whole = await one.tail(start)
        parts = [range(0), range(300), range(300, 301), range(301, SLICES)]
        found = [await one.tail(start, part) for part in parts]
        for part, events in zip(parts, found, strict=True):
            outside = [stored for stored in events if slice_of(stored.persistence_id) not in part]
            require(not outside, f"slices {part} gave ids of other slices: {outside[:3]}")
        together = sorted((stored for events in found for stored in events), key=lambda stored: stored.offset)
        require(together == whole, f"slices gave {len(together)} of {len(whole)} events")
        require(await one.tail(start, range(SLICES)) == whole, "all slices are not the whole tail")


PROMISES = (the_tail_has_all_ids_in_one_order, no_event_of_the_tail_comes_late, slices_part_the_tail)
