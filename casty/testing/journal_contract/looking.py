"""Promises about histories, all that an entity starts from in one look: what the calls one by one say, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from casty.journal import Claim, Record, Stored, StoredHistory
from casty.testing.journal_contract.trial import Handle, Trial, record, refused, require

IDS = 100
LONG = 700
LARGE = 3_000_000
"""Bytes of a payload, beyond one look at many ids."""


async def same(one: Handle, name: str, why: str) -> StoredHistory:
    """Require the history of an id to be what its snapshots and events are, and return it."""
    history = await one.histories.history(name)
    require(history is not None, f"{why}: {name!r} has a readable history, and None is given for it")
    assert history is not None
    snapshots = list(await one.snapshots.load(name))
    require(list(history.snapshots) == snapshots, f"{why}: snapshots are {snapshots}, in one look {history.snapshots}")
    after = snapshots[0].seq if snapshots else 0
    require(history.first == after + 1, f"{why}: the first event behind {after} has the number {history.first}")
    events = await one.events(name, after)
    count = len(history.names)
    require(columns(history) == fields(events[:count]), f"{why}: events behind {after} of {name!r} are others")
    require(
        history.is_whole == (count == len(events)),
        f"{why}: of {len(events)} events behind {after} a look has {count}, and is_whole is {history.is_whole}",
    )
    return history


def columns(history: StoredHistory) -> list[tuple[str, int, bytes]]:
    """Return the events of a history."""
    return list(zip(history.names, history.versions, history.payloads, strict=True))


def fields(events: Sequence[Stored]) -> list[tuple[str, int, bytes]]:
    """Return the columns of some events."""
    return [(stored.record.name, stored.record.version, stored.record.payload) for stored in events]


async def a_history_is_what_the_other_calls_read(trial: Trial) -> None:
    """Events behind the newest snapshot, with all snapshots, at each moment; empty where nothing is stored."""
    name = trial.name("a")
    async with trial.open() as one:
        found = await same(one, name, "nothing is stored")
        require(found.is_whole, "an id without events has some")
        claim = await one.claim(name)
        written = [
            Record("casty.contract", 1, b"\x00\xff payload", "command 1"),
            Record("other.name", 7, b""),
            Record("\u00e9\U0001f600\x1f,\n", 2**31 - 1, bytes(range(256)), "\u00e9\x1f,"),
        ]
        for after, each in enumerate(written):
            await one.journal.append(claim, name, after, [each])
            found = await same(one, name, "an append was acknowledged")
            require(found.is_whole and len(found.names) == after + 1, f"{after + 1} small events are not in one look")
        for seq in (2, 3, 1):
            await one.snapshots.save(claim, name, seq, Record("casty.state", seq, b"\x00" * seq, "command"))
            await same(one, name, f"the snapshot {seq} was saved")
        await one.append(claim, name, 3, *"def")
        await same(one, name, "three events are behind the newest snapshot")
        await one.journal.forget(claim, name, 3)
        found = await same(one, name, "the events in the newest snapshot are forgotten")
        require(len(found.names) == 3, f"three events are behind the forgotten ones, a look has {len(found.names)}")
        await one.snapshots.prune(claim, name, 1)
        await same(one, name, "one snapshot was kept")
        trial.crash()
    async with trial.open() as one:
        await same(one, name, "the store was opened again")
        claim = await one.claim(name)
        await one.journal.erase(claim, name)
        found = await same(one, name, "an id was erased")
        require(found.is_whole and not found.snapshots, "an erased id has a snapshot or an event")
        await one.append(claim, name, 0, "anew")
        await same(one, name, "an erased id begins anew")


async def a_history_with_a_gap_is_none(trial: Trial) -> None:
    """A look does not begin with later events where those behind the newest snapshot are forgotten."""
    name, bare = trial.name("a"), trial.name("b")
    async with trial.open() as one:
        claim = await one.claim(trial.name("scope"))
        for each in (name, bare):
            await one.append(claim, each, 0, *"abcdef")
        await one.snapshots.save(claim, name, 2, record("2"))
        for upto in (4, 6):
            for each in (name, bare):
                await one.journal.forget(claim, each, upto)
                found = await one.histories.history(each)
                require(found is None, f"events 3 to {upto} are missing, and one look at {each!r} has {found}")


async def a_long_history_goes_on_by_reading(trial: Trial) -> None:
    """One look has the first events of many or of large ones, without a gap; reading has the others."""
    name, large = trial.name("a"), trial.name("b")
    async with trial.open() as one:
        claim = await one.claim(trial.name("scope"))
        await one.append(claim, name, 0, *map(str, range(LONG)))
        for after in range(4):
            await one.journal.append(claim, large, after, [Record("casty.large", 1, bytes([after]) * LARGE)])
            if await one.histories.history(large) is not None:  # it may leave all large ones to reading
                await same(one, large, f"{after + 1} large events")
        await same(one, name, f"{LONG} events")
        await one.snapshots.save(claim, name, LONG - 2, record("x" * LARGE))
        if await one.histories.history(name) is not None:
            await same(one, name, "a large snapshot")


async def histories_of_many_at_once_are_not_mixed(trial: Trial) -> None:
    """Looks at many ids at one time give each its own, while others write, and while callers give up."""
    async with trial.open() as one, trial.open() as two:
        claim = await one.claim(trial.name("scope"))
        names = [trial.name(f"{number}") for number in range(IDS)]
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                nursery.start_soon(write, one, claim, name, number % 7)
        for patience in range(0, 12, 3):
            async with trio.open_nursery() as nursery:
                for number, name in enumerate(names):
                    nursery.start_soon(look, (one, two)[number % 2], name, number % 7)
                nursery.start_soon(write, one, claim, trial.name(f"later {patience}"), 7)
                async with trio.open_nursery() as impatient:
                    for name in names[::3]:
                        impatient.start_soon(one.histories.history, name)
                    for _ in range(patience):
                        await trio.lowlevel.checkpoint()
                    impatient.cancel_scope.cancel()


async def write(one: Handle, claim: Claim, name: str, count: int) -> None:
    """Write a snapshot and some events behind it, each with the name in it."""
    await one.append(claim, name, 0, *[f"{name} {number}" for number in range(count + 1)])
    await one.snapshots.save(claim, name, 1, record(f"{name} snapshot"))


async def look(one: Handle, name: str, count: int) -> None:
    """Look at an id, and require its own history."""
    found = await one.histories.history(name)
    require(found is not None, f"{name!r} has a readable history, and None is given for it")
    assert found is not None
    expected = [f"{name} {number}".encode() for number in range(1, count + 1)]
    kept = [each.record.payload for each in found.snapshots]
    require(kept == [f"{name} snapshot".encode()], f"the snapshot of {name!r} is {kept}")
    require(list(found.payloads) == expected, f"events of {name!r} are {expected}, one look has {found.payloads}")


async def a_history_out_of_bounds_is_refused(trial: Trial) -> None:
    """A look at a bad id is a ValueError; after the block it is a RuntimeError."""
    async with trial.open() as one:
        for bad in ("", "x" * 601, "a\0"):
            async with refused(f"a look at the id {bad[:10]!r}", ValueError):
                await one.histories.history(bad)
    async with refused("a look after the end", RuntimeError):
        await one.histories.history(trial.name("a"))


HISTORY_PROMISES = (
    a_history_is_what_the_other_calls_read,
    a_history_with_a_gap_is_none,
    a_long_history_goes_on_by_reading,
    histories_of_many_at_once_are_not_mixed,
    a_history_out_of_bounds_is_refused,
)
