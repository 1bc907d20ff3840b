"""Promises about sizes: large records, long histories and ids, arguments out of bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from casty.journal import Claim, Journal, Record
from casty.testing.journal_contract.trial import Handle, Trial, record, refused, require

MANY = 10_000
LARGE = (1_000_000, 5_000_000)
"""Bytes of payloads, beyond one write or one read of a store."""

ALIKE = (
    *("a", "A", " a", "a ", "a\t", "a\n", "\u00e4", "a\u0308", "\u00c4", "\u0430", "a\u200b", "\uff41", "%", "_", "'"),
    *('"', "\\", "\U0001f600", "\U0010ffff", "\ud7ff", "\ue000", "\u202e", "null", "1", "01", "1.0", "\u0001"),
)
"""Ids with the same looks, or with a meaning to somebody: they are as different as any others."""


async def large_records_are_read_as_they_were_written(trial: Trial) -> None:
    """Payloads of megabytes are kept whole, and small ones beside them."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        written = [Record("casty.large", 1, bytes([number + 1]) * size) for number, size in enumerate(LARGE)]
        await one.journal.append(claim, name, 0, [record("small"), *written])
        await one.journal.append(claim, name, 3, [record("small")])
    async with trial.open() as one:
        found = [stored.record async for stored in one.journal.read(name)]
        require([len(each.payload) for each in found] == [5, *LARGE, 5], "large payloads have other sizes")
        require(found == [record("small"), *written, record("small")], "large payloads are others")


async def ten_thousand_events_of_one_id_are_read_in_order(trial: Trial) -> None:
    """A long history is there from its first event to its last."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        for after in range(0, MANY, 500):
            await one.append(claim, name, after, *map(str, range(after, after + 500)))
        numbers = [int(stored.record.payload) async for stored in one.journal.read(name)]
        require(numbers == list(range(MANY)), f"{MANY} events were written, read {len(numbers)}, or in another order")


async def ids_are_told_apart_by_each_character(trial: Trial) -> None:
    """Ids with the same looks are different, and so are scopes; the longest ones are kept whole."""
    room = 600 - len(trial.name(""))
    long = ["\U0001f600" * room, "\U0001f600" * (room - 1) + "\U0001f601", "x" * room]
    names = [trial.name(text) for text in (*ALIKE, *long)]
    async with trial.open() as one:
        claims = await one.journal.claim(names)
        require([claim.number for claim in claims] == [1] * len(names), "scopes that look alike share their claims")
        for claim, name in zip(claims, names, strict=True):
            await one.append(claim, name, 0, name)
    async with trial.open() as one:
        for name in names:
            await one.holds(name, name, why="ids are told apart by each character")
        require(await one.ids(trial.name("")) == sorted(names), "ids that look alike are not all listed")


async def sixteen_thousand_scopes_are_claimed_at_once(trial: Trial) -> None:
    """A claim of all shards of a kind is one call, and gives each scope its own."""
    scopes = [trial.name(f"cart/{number}") for number in range(16_384)]
    async with trial.open() as one:
        claims = await one.journal.claim(scopes, "shop")
        require([claim.scope for claim in claims] == scopes, "16,384 claims are in another order than their scopes")
        again = await one.journal.claim(scopes[::500], "shop")
        require({claim.number for claim in again} == {2}, "some of 16,384 claims were not made")
        await one.append(claims[1], trial.name("an id"), 0, "a")


def bad_calls(one: Handle, claim: Claim, name: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return calls with an argument out of its bounds, each under the name of its fault."""
    journal: Journal = one.journal
    long, x = name + "x" * 600, record("x")
    return {
        "an empty persistence id": lambda: journal.append(claim, "", 0, [x]),
        "a persistence id of more than 600 characters": lambda: journal.append(claim, long, 0, [x]),
        "a persistence id with NUL": lambda: journal.append(claim, name + "\0", 0, [x]),
        "a persistence id with half a character": lambda: journal.append(claim, name + "\ud800", 0, [x]),
        "an append of no records": lambda: journal.append(claim, name, 0, []),
        "an append behind -1": lambda: journal.append(claim, name, -1, [x]),
        "a record of version 0": lambda: journal.append(claim, name, 0, [Record("a", 0, b"")]),
        "a record without a name": lambda: journal.append(claim, name, 0, [Record("", 1, b"")]),
        "a good record before a bad one": lambda: journal.append(claim, name, 0, [x, Record("", 1, b"")]),
        "reading behind -1": lambda: one.events(name, -1),
        "reading an empty id": lambda: one.events(""),
        "a tail behind -1": lambda: journal.tail(-1, 10),
        "a tail of no events": lambda: journal.tail(0, 0),
        "a tail of more than 10,000 events": lambda: journal.tail(0, 10_001),
        "slices beyond 1,024": lambda: journal.tail(0, 10, range(1_025)),
        "slices before 0": lambda: journal.tail(0, 10, range(-1, 5)),
        "slices in steps": lambda: journal.tail(0, 10, range(0, 10, 2)),
        "a claim of no scopes": lambda: journal.claim([]),
        "a claim of one scope twice": lambda: journal.claim([name, name]),
        "a claim of too many scopes": lambda: journal.claim([f"{name}{number}" for number in range(16_385)]),
        "a claim of an empty scope": lambda: journal.claim([""]),
        "a claim of a text": lambda: journal.claim(name),
        "a claim for a holder of 65 characters": lambda: journal.claim([name], "x" * 65),
        "forgetting up to -1": lambda: journal.forget(claim, name, -1),
        "settling an empty name": lambda: journal.settle("", "x"),
        "settling a long name": lambda: journal.settle(long, "x"),
        "settling a value of 601 characters": lambda: journal.settle(name, "x" * 601),
    }


async def what_is_out_of_bounds_is_refused(trial: Trial) -> None:
    """A bad argument is a ValueError, and nothing is done."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        for what, call in bad_calls(one, claim, name).items():
            async with refused(what, ValueError):
                await call()
        await one.holds(name, why="a bad argument writes nothing")
        await one.append(claim, name, 0, "a")


async def snapshots_out_of_bounds_are_refused(trial: Trial) -> None:
    """A snapshot without an event, and pruning to none, are a ValueError."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.snapshots.save(claim, name, 1, record("a"))
        async with refused("a snapshot of the event 0", ValueError):
            await one.snapshots.save(claim, name, 0, record("x"))
        async with refused("pruning to no snapshots", ValueError):
            await one.snapshots.prune(claim, name, 0)
        async with refused("a snapshot of an empty id", ValueError):
            await one.snapshots.load("")
        require(len(await one.snapshots.load(name)) == 1, "a bad argument changes snapshots")


async def values_out_of_bounds_are_refused(trial: Trial) -> None:
    """A revision 0 is a ValueError."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        async with refused("revision 0", ValueError):
            await one.states.store_state(claim, name, 0, record("x"))
        async with refused("deleting revision 0", ValueError):
            await one.states.delete_state(claim, name, 0)
        async with refused("a value of an empty id", ValueError):
            await one.states.load_state("")


PROMISES = (
    large_records_are_read_as_they_were_written,
    ten_thousand_events_of_one_id_are_read_in_order,
    ids_are_told_apart_by_each_character,
    sixteen_thousand_scopes_are_claimed_at_once,
    what_is_out_of_bounds_is_refused,
)
SNAPSHOT_PROMISES = (snapshots_out_of_bounds_are_refused,)
STATE_PROMISES = (values_out_of_bounds_are_refused,)
