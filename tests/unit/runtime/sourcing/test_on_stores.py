"""Event-sourced actors on the stores of the library: what was acknowledged is read by the next system."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from helpers.carts import Add, Cart, Get, apply, decide

from casty import ActorSystem, AskFailed, Behaviors, ConfigError, Every, MemoryJournal, SqliteJournal, SystemConfig
from casty.journal import Journal


def in_memory(_: Path) -> Callable[[], Journal]:
    journal = MemoryJournal()
    return lambda: journal


def in_a_file(folder: Path) -> Callable[[], Journal]:
    return partial(SqliteJournal, folder / "carts.db")


@pytest.mark.parametrize("store", [in_memory, in_a_file])
async def test_acknowledged_commands_are_there_in_the_next_system(
    store: Callable[[Path], Callable[[], Journal]], tmp_path: Path
) -> None:
    make, expected = store(tmp_path), dict[str, int]()
    cart = Behaviors.event_sourced(
        "cart-1", empty=Cart(), decide=decide, apply=apply, snapshots=Every(10, keep=2, forget=True)
    )
    for run in range(3):
        async with ActorSystem(config=SystemConfig(journal=make(), check_states=True)) as system:
            ref = system.spawn(cart, "cart")
            found: dict[str, int] = await system.ask(ref, Get)
            assert found == expected

            async def add(sku: str, system: ActorSystem = system) -> None:
                expected[sku] = await system.ask(system.lookup("/cart").of(Add), lambda to: Add(sku, 1, to))

            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(add, f"sku-{run}-{number}")
    assert len(expected) == 120


def damage_snapshots(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE snapshots SET payload = x'00'")
        connection.commit()


@pytest.mark.parametrize("forget", [True, False])
async def test_a_damaged_snapshot_without_events_is_no_empty_state(forget: bool, tmp_path: Path) -> None:
    path, name = tmp_path / "carts.db", "cart-1"
    cart = Behaviors.event_sourced(
        name, empty=Cart(), decide=decide, apply=apply, snapshots=Every(1, keep=1, forget=forget)
    )
    async with ActorSystem(config=SystemConfig(journal=SqliteJournal(path))) as system:
        assert await system.ask(system.spawn(cart, "cart"), lambda to: Add("tea", 1, to)) == 1
        journal = SqliteJournal(path)
        async with journal.open():
            with trio.fail_after(10):
                while not await journal.load(name) or (forget and [one async for one in journal.read(name)]):
                    await trio.lowlevel.checkpoint()
    damage_snapshots(path)
    async with ActorSystem(config=SystemConfig(journal=SqliteJournal(path))) as system:
        ref = system.spawn(cart, "cart")
        if not forget:
            assert await system.ask(ref, Get) == {"tea": 1}
            return
        with pytest.raises(AskFailed, match="no snapshot of 'cart-1' can be read") as caught:
            await system.ask(ref, Get)
        assert caught.value.failure == "failed"


def test_the_class_of_a_journal_is_none() -> None:
    journal: Any = MemoryJournal
    with pytest.raises(ConfigError, match=r"must be a casty\.Journal or None, got <class"):
        SystemConfig(journal=journal)
