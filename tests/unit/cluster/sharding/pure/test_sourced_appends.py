"""Appends of entities at a store that calls back: who is killed, ends or finds no room meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import outcome
import pytest
import trio
from helpers.carts import Add, CartCommand, Get, cart
from helpers.journals import CallingJournal, FaultyJournal
from trio.testing import wait_all_tasks_blocked

from casty import (
    AskFailed,
    Behaviors,
    Claim,
    ClusteredActorSystem,
    EntityKey,
    MemoryJournal,
    Record,
    SqliteJournal,
)
from casty.cluster.sharding.pure import pure_entities
from casty.errors import JournalUncertain
from casty.runtime.journaling.append_queue import append_queue_of

STORED = EntityKey[CartCommand]("stored-carts")


async def started(nodes: Any, journal: FaultyJournal) -> ClusteredActorSystem:
    """Return a node with an entity that has one event."""
    (system,) = await nodes.systems("a", journal=journal)
    system.spawn(Behaviors.sharded(cart, STORED, num_shards=1), "carts")
    assert await add(system) == 1
    return system


async def add(system: ClusteredActorSystem, entity_id: str = "cart-1") -> int | str:
    """Return the new total of an entity, or the failure."""
    try:
        total: int = await system.ask(system.entity(STORED, entity_id), lambda to: Add("tea", 1, to), timeout=30.0)
    except AskFailed as failed:
        return failed.failure
    return total


async def total(system: ClusteredActorSystem) -> int:
    found: dict[str, int] = await system.ask(system.entity(STORED, "cart-1"), Get, timeout=30.0)
    return sum(found.values())


async def note(outcomes: list[int | str], system: ClusteredActorSystem, entity_id: str = "cart-1") -> None:
    outcomes.append(await add(system, entity_id))


def kill(system: ClusteredActorSystem) -> None:
    ref: Any = system.lookup("/carts/cart-1")
    ref.cell.kill()


async def test_a_killed_entity_gives_its_append_up_and_the_next_claim_settles_it(autojump_clock, nodes):
    journal, outcomes = CallingJournal(), list[int | str]()
    system = await started(nodes, journal)
    journal.is_held = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, outcomes, system)
        await wait_all_tasks_blocked()
        kill(system)
    assert (outcomes, journal.begun[-1].is_given_up) == (["outcome_unknown"], True)
    journal.is_held = False
    assert await add(system) == 2
    assert journal.claims == ["stored-carts#0"] * 2
    await journal.begun[-2].run()  # too late: its claim is void
    assert await total(system) == 2


async def test_an_append_known_to_be_stored_is_answered_though_its_entity_is_killed(autojump_clock, nodes):
    journal, outcomes = CallingJournal(), list[int | str]()
    system = await started(nodes, journal)
    journal.is_held = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, outcomes, system)
        await wait_all_tasks_blocked()
        await journal.begun[-1].run()
        kill(system)
    assert (outcomes, journal.claims) == ([2], ["stored-carts#0"])
    assert await total(system) == 2


@pytest.mark.parametrize("is_known", [False, True])
async def test_the_region_s_end_by_force_settles_what_is_known_and_gives_up_the_rest(autojump_clock, nodes, is_known):
    journal, outcomes = CallingJournal(), list[int | str]()
    system = await started(nodes, journal)
    journal.is_held = True
    region: Any = system.lookup("/carts")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, outcomes, system)
        await wait_all_tasks_blocked()
        if is_known:
            await journal.begun[-1].run()
        region.cell.kill()
    assert outcomes == [2 if is_known else "outcome_unknown"]
    assert journal.begun[-1].is_given_up is not is_known


@pytest.mark.parametrize("steps", range(6, 14))
async def test_entities_killed_while_their_region_ends_begin_nothing(autojump_clock, nodes, steps):
    outcomes = list[int | str]()
    system = await started(nodes, CallingJournal())
    region: Any = system.lookup("/carts")
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(note, outcomes, system, f"cart-{number % 20}")
        await trio.lowlevel.checkpoint()
        region.cell.kill()
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        for number in range(20):
            entity: Any = system.lookup(f"/carts/cart-{number}")
            if entity is not None:
                entity.cell.kill()
    assert len(outcomes) == 40
    assert not {one for one in outcomes if isinstance(one, str)} - {"outcome_unknown", "moved", "stopped", "no_host"}


async def test_an_append_fenced_by_a_newer_claim_of_this_node_is_tried_again(autojump_clock, nodes):
    journal, outcomes = CallingJournal(), list[int | str]()
    system = await started(nodes, journal)
    assert await add(system, "cart-2") == 1
    journal.is_held = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, outcomes, system)
        nursery.start_soon(note, outcomes, system, "cart-2")
        await wait_all_tasks_blocked()
        first, second = journal.begun[-2:]
        first.tell(outcome.Error(JournalUncertain("the connection broke")))
        await wait_all_tasks_blocked()
        await second.run()
    assert sorted(map(str, outcomes)) == ["2", "outcome_unknown"]
    assert journal.claims == ["stored-carts#0"] * 2


@pytest.mark.parametrize("is_store_full", [False, True])
async def test_appends_beyond_the_bound_or_without_room_are_waited_for(
    autojump_clock, nodes, monkeypatch, is_store_full
):
    monkeypatch.setattr(pure_entities, "WRITES_MAX", 2)
    journal, outcomes, gate = CallingJournal(), list[int | str](), trio.Event()
    system = await started(nodes, journal)
    for number in range(2, 8):
        assert await add(system, f"cart-{number}") == 1
    begun = len(journal.begun)
    journal.is_full, journal.before_append = is_store_full, gate.wait
    async with trio.open_nursery() as nursery:
        for number in range(1, 8):
            nursery.start_soon(note, outcomes, system, f"cart-{number}")
        await wait_all_tasks_blocked()
        assert len(journal.begun) - begun == (0 if is_store_full else 2)
        gate.set()
    assert outcomes == [2] * 7


async def test_many_outcomes_are_settled_in_batches(autojump_clock, nodes):
    journal, outcomes = CallingJournal(), list[int | str]()
    system = await started(nodes, journal)
    for number in range(200):
        await add(system, f"cart-{number}")
    count, gate = len(journal.begun), trio.Event()
    journal.before_append = gate.wait
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(note, outcomes, system, f"cart-{number}")
        await wait_all_tasks_blocked()
        assert len(journal.begun) == count + 200
        gate.set()
    assert len(outcomes) == 200 and "outcome_unknown" not in outcomes


async def test_entities_append_to_a_file_without_a_task(nodes, tmp_path):
    journal = SqliteJournal(tmp_path / "shop.db")
    (system,) = await nodes.systems("a", journal=journal)
    system.spawn(Behaviors.sharded(cart, STORED, num_shards=1), "carts")
    assert [await add(system) for _ in range(3)] == [1, 2, 3]
    assert await total(system) == 3


def test_the_append_of_a_derived_class_is_not_passed_by(tmp_path):
    class Counts(SqliteJournal):
        async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
            await super().append(claim, persistence_id, after, records)

    journal, derived = SqliteJournal(tmp_path / "a.db"), Counts(tmp_path / "b.db")
    assert append_queue_of(journal) is journal
    assert append_queue_of(derived) is None
    assert append_queue_of(MemoryJournal()) is None
