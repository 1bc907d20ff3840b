"""What a restart replaces is one object, and what outlasts it is the cell's."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait
from helpers.systems import Offers

from casty import (
    ActorSystem,
    Behavior,
    Behaviors,
    Restart,
    Resume,
    ServiceKey,
    SupervisionStrategy,
)
from casty.runtime.actor.cell import Cell
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.system.context import ActorContext


def cell_of(ref: object) -> Cell:
    assert isinstance(ref, LocalRef)
    cell = ref.cell
    assert isinstance(cell, Cell)
    return cell


async def fail(ctx: ActorContext[str], message: str) -> Behavior[str]:
    if message == "fail":
        raise ValueError(message)
    return Behaviors.same()


@pytest.mark.parametrize("strategy", [Restart(), Resume()])
async def test_a_restart_begins_another_life_and_a_resumption_does_not(
    system: ActorSystem, autojump_clock: object, strategy: SupervisionStrategy
) -> None:
    ref = system.spawn(Behaviors.supervise(Behaviors.receive(fail), strategy), "a")
    await trio.testing.wait_all_tasks_blocked()
    cell, first = cell_of(ref), cell_of(ref).life
    cell.own_timers().once("t", "later", 60.0)
    ref.tell("fail")
    await trio.sleep(10)
    is_restarted = isinstance(strategy, Restart)
    assert (cell.life is not first) == is_restarted
    assert cell.own_timers().is_active("t") != is_restarted
    assert (cell.ref, cell.life.verdict, cell.life.in_hand) == (ref, None, first.in_hand)
    assert cell.life.strategies == [strategy]


async def test_a_setup_that_fails_after_a_restart_is_judged_by_the_strategies_of_the_life_before(
    system: ActorSystem,
    autojump_clock: object,
) -> None:
    begun: list[bool] = []

    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        begun.append(True)
        if len(begun) == 2:
            raise OSError("not yet")
        return Behaviors.supervise(Behaviors.receive(fail), Restart())

    ref = system.spawn(Behaviors.setup(make), "a")
    ref.tell("fail")
    await trio.sleep(10)
    assert len(begun) == 3
    assert not cell_of(ref).ended


async def test_the_cell_of_an_actor_that_has_ended_holds_no_life(system: ActorSystem, autojump_clock: object) -> None:
    refs = [system.spawn(Behaviors.receive(fail), name) for name in "ab"]
    await trio.testing.wait_all_tasks_blocked()
    lives = [cell_of(ref).life for ref in refs]
    for ref in refs:
        await stop_and_wait(system, ref)
    ended = {cell_of(ref).life for ref in refs}
    assert len(ended) == 1
    assert not ended & set(lives)


async def test_a_service_key_around_same_is_offered_at_once(system: ActorSystem) -> None:
    offers = Offers()
    key = ServiceKey[str]("late")

    async def offer(ctx: ActorContext[str], message: str) -> Behavior[str]:
        return Behaviors.discoverable(Behaviors.same(), key=key) if message == "offer" else Behaviors.same()

    system.add_lifecycle_listener(offers)
    ref = system.spawn(Behaviors.receive(offer), "a")
    ref.tell("wait")
    await trio.testing.wait_all_tasks_blocked()
    assert offers.seen == []
    ref.tell("offer")
    await trio.testing.wait_all_tasks_blocked()
    assert offers.seen == [(key, "/a")]
