"""Nodes of a simulation with a journal: one store, a handle for each run, and faults at the times of a scenario."""

from __future__ import annotations

import pytest
import trio
from helpers.carts import Add, Cart, CartCommand, apply, decide

from casty import (
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ConfigError,
    EntityKey,
    JournalUnavailable,
)
from casty.testing import SimulatedJournal
from casty.testing.simulation import (
    Crash,
    JournalFault,
    Restart,
    Scenario,
    Simulation,
    simulate,
)
from casty.testing.simulation import play as play_protocol
from casty.testing.simulation.scenario.shrinking import shrunk

CARTS = EntityKey[CartCommand]("simulated-carts")
Outcomes = list[tuple[float, object]]


async def host(node: ClusteredActorSystem) -> None:
    def cart(_: str) -> Behavior[CartCommand]:
        return Behaviors.event_sourced(empty=Cart(), decide=decide, apply=apply)

    node.spawn(Behaviors.sharded(cart, CARTS, num_shards=1), "carts")


async def add_each_second(simulation: Simulation, outcomes: Outcomes) -> None:
    began = trio.current_time()
    for second in range(10):
        await trio.sleep_until(began + second + 0.5)
        node = next(iter(simulation.systems.values()))
        try:
            total: object = await node.ask(node.entity(CARTS, "1"), lambda to: Add("tea", 1, to), timeout=0.4)
        except AskFailed as failed:
            total = failed.failure
        except AskTimeoutError:
            total = "late"
        outcomes.append((second, total))


def outcomes_of(scenario: Scenario, journal: SimulatedJournal) -> list[object]:
    outcomes: Outcomes = []
    simulate(scenario, on_node=host, main=lambda one: add_each_second(one, outcomes), journal=journal)
    return [outcome for _, outcome in outcomes]


def test_a_fault_begins_and_ends_at_its_time_and_at_its_node_alone() -> None:
    fault, over, other = (JournalFault("a", "unavailable", rate) for rate in (1.0, 0.0, 1.0))
    scenario = Scenario(1, ("a",), ((2.0, fault), (5.0, over), (20.0, other)))
    assert outcomes_of(scenario, SimulatedJournal()) == [1, 2, *["journal_unavailable"] * 3, 3, 4, 5, 6, 7]


def test_a_fault_lasts_over_a_restart_and_ends_with_the_scenario() -> None:
    faults = ((0.0, JournalFault("a", "unavailable")), (2.0, Restart("a")), (5.0, JournalFault("a", "slow", 0.0)))
    outcomes: Outcomes = []

    async def main(simulation: Simulation) -> None:
        await trio.sleep(4.0)
        assert not simulation.systems  # a node that cannot name its store does not join
        await simulation.wait_recovered()
        await add_each_second(simulation, outcomes)

    simulate(Scenario(1, ("a",), faults), on_node=host, main=main, journal=SimulatedJournal())
    assert [total for _, total in outcomes] == [*range(1, 11)]


def test_what_is_stored_outlives_the_crash_of_a_node_and_of_its_store() -> None:
    journal = SimulatedJournal()
    outcomes = outcomes_of(Scenario(1, ("a",), ((5.2, Crash("a")), (5.21, Restart("a")))), journal)
    assert [one for one in outcomes if isinstance(one, int)] == [*range(1, len(outcomes) + 1)][: len(outcomes)]


def test_an_error_of_the_store_in_the_users_function_is_told() -> None:
    journal = SimulatedJournal()

    async def on_node(_: ClusteredActorSystem) -> None:
        of_its_own = journal.handle()
        of_its_own.fault("unavailable")
        async with of_its_own.open():
            await of_its_own.identify()

    with pytest.raises(JournalUnavailable, match="cannot be reached"):
        simulate(Scenario(1, ("a",)), on_node=on_node, journal=journal)


def test_faults_of_a_journal_need_one_and_each_play_a_new_one() -> None:
    scenario, journal = Scenario(1, ("a",), ((1.0, JournalFault("a", "slow")),)), SimulatedJournal()
    with pytest.raises(ConfigError, match=r"there is no journal; write simulate\(..., journal=SimulatedJournal\(\)\)"):
        simulate(scenario)
    with pytest.raises(ConfigError, match="the protocol alone has no journal"):
        play_protocol(scenario)
    with pytest.raises(TypeError, match="expected a SimulatedJournal as journal, got 'journal'"):
        simulate(scenario, journal="journal")  # type: ignore[arg-type]  # the slip this is about
    outcomes_of(scenario, journal)
    with pytest.raises(ValueError, match="1 ids> was used before, and a play begins with an empty one"):
        simulate(scenario, journal=journal)


def test_a_failing_scenario_is_made_smaller_down_to_the_needed_fault_of_the_journal() -> None:
    needed, other = JournalFault("a", "unavailable"), JournalFault("b", "slow", 0.2)
    scenario = Scenario(1, ("a", "b"), ((0.0, other), (1.0, Crash("a")), (2.25, needed), (3.0, other)))
    smallest = shrunk(scenario, lambda one: any(fault == needed for _, fault in one.faults))
    assert smallest == Scenario(1, ("a",), ((2.0, needed),))
