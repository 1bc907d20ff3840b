"""Promises about many at once: writers, readers, and callers giving up."""

from __future__ import annotations

import trio

from casty.errors import SequenceConflict
from casty.testing.journal_contract.trial import Handle, Trial, attempt, record, require, texts

WRITERS = 64
APPENDS = 10
RIVALS = 16
GIVEN_UP = 24
HISTORY = 340


async def many_writers_lose_nothing(trial: Trial) -> None:
    """Events of many ids at one time are all there, each in its place."""
    async with trial.open() as one:
        claim = await one.claim(trial.name("scope"))

        async def write(name: str) -> None:
            for number in range(APPENDS):
                await one.append(claim, name, 2 * number, f"{name} {number} a", f"{name} {number} b")

        names = [trial.name(str(number)) for number in range(WRITERS)]
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(write, name)
        for name in names:
            expected = [f"{name} {number} {letter}" for number in range(APPENDS) for letter in "ab"]
            await one.holds(name, *expected, why="many wrote at one time")


async def of_rivals_for_one_number_one_wins(trial: Trial) -> None:
    """Appends behind the same event, by several at one time, are written once; the others learn it."""
    name = trial.name("a")
    async with trial.open() as one, trial.open() as two:
        claim = await one.claim(name)
        for after in range(5):
            outcomes: list[object] = []

            async def compete(handle: Handle, number: int, at: int = after, into: list[object] = outcomes) -> None:
                into.append(await attempt(handle.append(claim, name, at, f"{at} {number}")) or number)

            async with trio.open_nursery() as nursery:
                for number, handle in enumerate((one, two) * (RIVALS // 2)):
                    nursery.start_soon(compete, handle, number)
            won = [outcome for outcome in outcomes if outcome is not SequenceConflict]
            require(len(won) == 1, f"of {RIVALS} appends behind {after}, {len(won)} were acknowledged: {outcomes}")
            found = texts(await one.events(name, after))
            require(found == [f"{after} {won[0]}"], f"the append of {won[0]} was acknowledged, read is {found}")


async def appends_that_were_given_up_are_settled_by_a_claim(trial: Trial) -> None:
    """A cancelled append is there whole or not at all, and once the scope is claimed, nothing of it comes later."""
    async with trial.open() as one:
        for steps in range(GIVEN_UP):
            name = trial.name(f"a {steps}")
            claim = await one.claim(name)
            await one.append(claim, name, 0, "a")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.journal.append, claim, name, 1, [record("b"), record("c"), record("d")])
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            claim = await one.claim(name)
            found = texts(await one.events(name))
            require(found in (["a"], ["a", "b", "c", "d"]), f"of an append that was given up, read is {found}")
            await one.append(claim, name, len(found), "e")
            await one.holds(name, *found, "e", why="an append that was given up is settled by a claim")


async def readers_and_writers_do_not_disturb_each_other(trial: Trial) -> None:
    """A reader of many pages gets a history without holes, while its id and others grow."""
    async with trial.open() as one, trial.open() as two:
        names = [trial.name(str(number)) for number in range(4)]
        claim = await one.claim(trial.name("scope"))
        for name in names:
            await one.append(claim, name, 0, *map(str, range(300)))
        is_over = trio.Event()

        async def write(name: str) -> None:
            for number in range(300, HISTORY):
                await one.append(claim, name, number, str(number))

        async with trio.open_nursery() as readers:
            for name in names:
                readers.start_soon(read_again, one, name, is_over)
                readers.start_soon(read_again, two, name, is_over)
            async with trio.open_nursery() as writers:
                for name in names:
                    writers.start_soon(write, name)
            is_over.set()


async def read_again(handle: Handle, name: str, is_over: trio.Event) -> None:
    """Read a growing history until it is complete."""
    before = 0
    while before < HISTORY:
        was_over = is_over.is_set()
        found = texts(await handle.events(name))
        require(found == [*map(str, range(len(found)))], f"a reader of {name!r} got a history with holes")
        require(len(found) >= before, f"a reader of {name!r} got {len(found)} events after {before}")
        before = len(found)
        require(before == HISTORY or not was_over, f"{name!r} has {HISTORY} events, read {before}")


PROMISES = (
    many_writers_lose_nothing,
    of_rivals_for_one_number_one_wins,
    appends_that_were_given_up_are_settled_by_a_claim,
    readers_and_writers_do_not_disturb_each_other,
)
