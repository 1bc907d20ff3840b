"""Promises about removal, and about the list of ids."""

from __future__ import annotations

from casty.errors import SequenceConflict
from casty.testing.journal_contract.trial import Trial, refused, require, texts


async def forgotten_events_are_gone_and_numbers_go_on(trial: Trial) -> None:
    """Events up to a number go, no others do, and the next event is numbered as if they were there."""
    name, other = trial.name("a"), trial.name("b")
    async with trial.open() as one:
        claim = await one.claim(name)
        start = await one.end()
        await one.append(claim, other, 0, *"uvw")
        await one.append(claim, name, 0, *"abcdef")
        await one.journal.forget(claim, name, 0)
        await one.holds(name, *"abcdef", why="forgetting up to 0 removes nothing")
        await one.journal.forget(claim, name, 2)
        await one.holds(name, *"cdef", why="forgetting up to 2 removes two events")
        found = await one.events(name)
        require(found[0].seq == 3, f"the first event behind 2 is {found[0].seq}")
        require(texts(await one.events(name, 4)) == ["e", "f"], "reading behind 4 after forgetting up to 2 gives e, f")
        await one.journal.forget(claim, name, 1)
        await one.holds(name, *"cdef", why="forgetting again, less, removes nothing")
        require(texts(await one.tail(start)) == [*"uvwcdef"], "the tail gives what is left")
        await one.journal.forget(claim, name, 6)
        await one.holds(name, why="forgetting up to the last removes all")
        for after in (0, 5):
            async with refused(f"an append behind {after}, where 6 was the last,", SequenceConflict):
                await one.append(claim, name, after, "never")
        trial.crash()
    async with trial.open() as one:
        await one.append(claim, name, 6, "g")
        found = await one.events(name)
        require([stored.seq for stored in found] == [7], f"the event behind six forgotten ones is {found}")
        await one.journal.forget(claim, name, 100)
        await one.holds(name, why="forgetting beyond the last removes all")
        await one.append(claim, name, 7, "h")
        await one.journal.forget(claim, trial.name("nothing"), 5)
        await one.holds(other, *"uvw", why="events of another id stay")


async def a_reader_is_given_what_is_not_forgotten_meanwhile(trial: Trial) -> None:
    """Events forgotten while they are read are left out, and those behind them are given."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.append(claim, name, 0, *map(str, range(1, 901)))
        numbers: list[int] = []
        async for stored in one.journal.read(name):
            if not numbers:
                await one.journal.forget(claim, name, 850)
            numbers.append(stored.seq)
        require(numbers == sorted(set(numbers)), "a reader gets events in their order")
        require(numbers[-50:] == list(range(851, 901)), f"the last events that a reader gets are {numbers[-3:]}")


async def an_erased_id_begins_anew(trial: Trial) -> None:
    """Nothing of it is read, and its next event has the number 1; others of its scope stay."""
    name, other, scope = trial.name("a"), trial.name("a2"), trial.name("scope")
    async with trial.open() as one:
        claim = await one.claim(scope)
        start = await one.end()
        await one.append(claim, name, 0, *"abc")
        await one.append(claim, other, 0, "x")
        offset = (await one.events(name))[-1].offset
        await one.journal.erase(claim, name)
        await one.holds(name, why="an erased id holds nothing")
        require(texts(await one.tail(start)) == ["x"], "the tail gives nothing of an erased id")
        require(await one.ids(scope) == [other], "an erased id is in the list of ids")
        async with refused("an append behind an erased event", SequenceConflict):
            await one.append(claim, name, 3, "never")
        trial.crash()
    async with trial.open() as one:
        await one.append(claim, name, 0, "d")
        found = await one.events(name)
        require([(each.seq, *texts([each])) for each in found] == [(1, "d")], f"an erased id begins with {found}")
        require(found[0].offset > offset, f"offset {found[0].offset} follows {offset}: a reader of the tail misses it")
        await one.holds(other, "x", why="another id of the scope stays")
        await one.journal.erase(claim, trial.name("nothing"))


async def ids_are_listed_in_order_by_scope(trial: Trial) -> None:
    """All ids with something stored are given, sorted by their characters, for the scopes beginning with a text."""
    letters = ["B", "a", "b ", "b", "\u00e9", "z", "\U0001f600", "%", "_", "A", "aa"]
    names = sorted(trial.name(letter) for letter in letters)
    async with trial.open() as one:
        scopes = [trial.name("kind/1"), trial.name("kind/12"), trial.name("kind%"), trial.name("Kind/1")]
        claims = await one.journal.claim(scopes)
        for name in reversed(names):
            await one.append(claims[0], name, 0, "x")
        for place, claim in enumerate(claims[1:]):
            await one.append(claim, trial.name(f"other {place}"), 0, "x")
        many = sorted(trial.name(f"many/{number}") for number in range(600))
        for name in many:
            await one.append(claims[1], name, 0, "x")
        require(await one.ids(trial.name("kind/1")) == sorted([*names, trial.name("other 0"), *many]), "ids of kind/1")
        require(await one.ids(scopes[1]) == sorted([trial.name("other 0"), *many]), "ids of kind/12")
        require(await one.ids(scopes[2]) == [trial.name("other 1")], "a % in a prefix is no pattern")
        require(await one.ids(scopes[3]) == [trial.name("other 2")], "a prefix tells capital letters from small ones")
        require(await one.ids(trial.name("nobody")) == [], "a prefix of no scope gives some id")
        listed = await one.ids("")
        require(listed == sorted(set(listed)) and set(names) < set(listed), "all ids are listed, in order, once")
        await one.journal.forget(claims[2], trial.name("other 1"), 1)
        require(await one.ids(scopes[2]) == [], "an id without anything is listed")


PROMISES = (
    forgotten_events_are_gone_and_numbers_go_on,
    a_reader_is_given_what_is_not_forgotten_meanwhile,
    an_erased_id_begins_anew,
    ids_are_listed_in_order_by_scope,
)
