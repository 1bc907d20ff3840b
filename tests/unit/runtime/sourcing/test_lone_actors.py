"""Lone event-sourced actors in a plain system: what was acknowledged survives."""

from __future__ import annotations

from helpers.carts import Add, Cart, CartCommand, Get, apply, decide
from helpers.journals import FaultyJournal

from casty import ActorRef, ActorSystem, Behavior, Behaviors, SystemConfig


def cart(persistence_id: str = "cart-1") -> Behavior[CartCommand]:
    return Behaviors.event_sourced(persistence_id, empty=Cart(), decide=decide, apply=apply)


def system_with(journal: FaultyJournal) -> ActorSystem:
    return ActorSystem(config=SystemConfig(journal=journal))


async def add(system: ActorSystem, ref: ActorRef[CartCommand], sku: str, count: int = 1) -> int:
    return await system.ask(ref, lambda reply_to: Add(sku, count, reply_to))


async def items(system: ActorSystem, ref: ActorRef[CartCommand]) -> dict[str, int]:
    found: dict[str, int] = await system.ask(ref, Get)
    return found


async def test_a_state_survives_a_restart_of_its_system() -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        assert await add(system, ref, "tea") == 1
        assert await add(system, ref, "tea", 2) == 3
        assert await items(system, ref) == {"tea": 3}
    assert not journal.is_open
    async with system_with(journal) as system:
        assert await items(system, system.spawn(cart(), "cart")) == {"tea": 3}
