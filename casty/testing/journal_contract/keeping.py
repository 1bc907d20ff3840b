"""Promises about snapshots and about values."""

from __future__ import annotations

from collections.abc import Sequence

from casty.errors import Fenced, SequenceConflict
from casty.journal import Record, StoredSnapshot
from casty.testing.journal_contract.trial import Trial, record, refused, require


def shown(snapshots: Sequence[StoredSnapshot]) -> list[tuple[int, str]]:
    """Return the numbers and payloads of snapshots."""
    return [(each.seq, each.record.payload.decode(errors="replace")) for each in snapshots]


async def snapshots_are_read_the_newest_first(trial: Trial) -> None:
    """Each id has its own; one of the same number is replaced; all are there after a restart."""
    name, other = trial.name("a"), trial.name("b")
    whole = Record("casty.state", 3, b"\x00\xff" * 300, "command")
    async with trial.open() as one:
        claim = await one.claim(trial.name("scope"))
        store = one.snapshots
        require(list(await store.load(name)) == [], "an id without snapshots has some")
        await store.save(claim, name, 100, record("100"))
        await store.save(claim, name, 300, record("300"))
        await store.save(claim, name, 200, whole)
        await store.save(claim, other, 250, record("of another"))
        await store.save(claim, name, 300, record("300 again"))
        found = await store.load(name)
        require([each.seq for each in found] == [300, 200, 100], f"snapshots 100, 200, 300 are read as {found}")
        require(found[1].record == whole, f"a snapshot {whole} is read as {found[1].record}")
        require(shown(found)[0] == (300, "300 again"), f"a snapshot that was replaced is read as {found[0]}")
        require(shown(await store.load(other)) == [(250, "of another")], "snapshots of another id are mixed in")
        require(await one.events(name) == [], "a snapshot is no event")
        require(await one.ids(trial.name("scope")) == [name, other], "an id with a snapshot alone is not listed")
        trial.crash()
    async with trial.open() as one:
        found = await one.snapshots.load(name)
        require(len(found) == 3, f"three snapshots were kept, after a restart there are {shown(found)}")


async def pruning_keeps_the_newest_snapshots(trial: Trial) -> None:
    """All but some go, of this id; fewer stay as they are."""
    name, other = trial.name("a"), trial.name("b")
    async with trial.open() as one:
        claim = await one.claim(trial.name("scope"))
        store = one.snapshots
        for seq in (1, 9, 10, 100):
            await store.save(claim, name, seq, record(str(seq)))
            await store.save(claim, other, seq, record(str(seq)))
        await store.prune(claim, name, 5)
        require(len(await store.load(name)) == 4, "pruning to five of four removes some")
        await store.prune(claim, name, 2)
        require(
            shown(await store.load(name)) == [(100, "100"), (10, "10")], "pruning to two leaves others than 100, 10"
        )
        await store.prune(claim, name, 1)
        require(shown(await store.load(name)) == [(100, "100")], "pruning to one leaves another than 100")
        require(len(await store.load(other)) == 4, "pruning removes snapshots of another id")
        await one.append(claim, name, 0, "a")
        await one.journal.forget(claim, name, 1)
        require(len(await store.load(name)) == 1, "forgetting events removes a snapshot")
        await one.journal.erase(claim, name)
        require(list(await store.load(name)) == [], "an erased id has a snapshot")
        require(len(await store.load(other)) == 4, "erasing removes snapshots of another id")


async def snapshots_are_fenced(trial: Trial) -> None:
    """Under a void claim, or one of another scope, none is saved and none pruned."""
    name = trial.name("a")
    async with trial.open() as one:
        old, other = await one.journal.claim([trial.name("scope"), trial.name("other")])
        store = one.snapshots
        await store.save(old, name, 1, record("1"))
        await store.save(old, name, 2, record("2"))
        new = await one.claim(trial.name("scope"))
        for claim, error in ((old, Fenced), (other, SequenceConflict)):
            async with refused(f"saving a snapshot under {claim}", error):
                await store.save(claim, name, 2, record("never"))
            async with refused(f"pruning under {claim}", error):
                await store.prune(claim, name, 1)
        require(shown(await store.load(name)) == [(2, "2"), (1, "1")], "a void claim changes snapshots")
        await store.prune(new, name, 1)
        async with refused("an append of an id that a snapshot has bound to another scope", SequenceConflict):
            await one.append(other, name, 0, "never")


async def values_have_revisions(trial: Trial) -> None:
    """Revisions count from 1; another than the next one is a conflict; a deleted value begins anew."""
    name, other = trial.name("a"), trial.name("b")
    whole = Record("casty.value", 9, bytes(range(256)), "command")
    async with trial.open() as one:
        claim = await one.claim(trial.name("scope"))
        store = one.states
        require(await store.load_state(name) is None, "an id without a value has one")
        async with refused("a second revision where there is none", SequenceConflict):
            await store.store_state(claim, name, 2, record("never"))
        async with refused("deleting a value that is not there", SequenceConflict):
            await store.delete_state(claim, name, 1)
        await store.store_state(claim, name, 1, record("one"))
        for revision in (1, 3):
            async with refused(f"revision {revision} behind 1", SequenceConflict):
                await store.store_state(claim, name, revision, record("never"))
        await store.store_state(claim, name, 2, whole)
        require(await store.load_state(name) == (2, whole), f"the second revision is {await store.load_state(name)}")
        require(await store.load_state(other) is None, "another id has the value")
        require(await one.ids(trial.name("scope")) == [name], "an id with a value alone is not listed")
        trial.crash()
    async with trial.open() as one:
        store = one.states
        require(await store.load_state(name) == (2, whole), "a value is another one after a restart")
        await one.append(claim, name, 0, "an event")
        async with refused("deleting another revision", SequenceConflict):
            await store.delete_state(claim, name, 1)
        await store.delete_state(claim, name, 2)
        require(await store.load_state(name) is None, "a deleted value is there")
        await one.holds(name, "an event", why="deleting a value leaves events")
        await store.store_state(claim, name, 1, record("anew"))
        await one.journal.erase(claim, name)
        require(await store.load_state(name) is None, "an erased id has a value")
        await store.store_state(claim, name, 1, record("anew"))


async def values_are_fenced(trial: Trial) -> None:
    """Under a void claim, or one of another scope, none is stored and none deleted."""
    name = trial.name("a")
    async with trial.open() as one:
        old, other = await one.journal.claim([trial.name("scope"), trial.name("other")])
        store = one.states
        await store.store_state(old, name, 1, record("one"))
        new = await one.claim(trial.name("scope"))
        for claim, error in ((old, Fenced), (other, SequenceConflict)):
            async with refused(f"storing a value under {claim}", error):
                await store.store_state(claim, name, 2, record("never"))
            async with refused(f"deleting a value under {claim}", error):
                await store.delete_state(claim, name, 1)
        require(await store.load_state(name) == (1, record("one")), "a void claim changes a value")
        await store.store_state(new, name, 2, record("two"))
        require(await store.load_state(name) == (2, record("two")), "the newest claim stores a value")


SNAPSHOT_PROMISES = (snapshots_are_read_the_newest_first, pruning_keeps_the_newest_snapshots, snapshots_are_fenced)
STATE_PROMISES = (values_have_revisions, values_are_fenced)
