"""Simulates counters.py. Look at `check_linearizable`: no reply in the whole run may contradict another."""

from __future__ import annotations

from functools import partial
from random import Random

import trio
from counters import Counter, Counters
from counting import COUNTERS, Add, Receipt, Total

from casty import CastyError
from casty.testing import History, SimulatedJournal, check_linearizable
from casty.testing.simulation import Played, Scenario, Simulation, check, partition_scenario, simulate


def model(total: int, command: Add | Total) -> tuple[int, int]:
    """Return the next total and the reply, as of a counter without nodes, journal or faults."""
    total += command.amount if isinstance(command, Add) else 0
    return total, total


async def client(simulation: Simulation, history: History, number: int) -> None:
    """Add to counters and ask for totals, from any node, until the cluster has recovered."""
    rng = Random(f"{simulation.scenario.seed} {number}")
    while not simulation.is_recovered:
        for node in list(simulation.systems.values()):
            command = partial(Add, rng.randint(1, 9)) if rng.random() < 0.6 else Total
            try:
                await history.ask(node, node.entity(COUNTERS, rng.choice("pqrs")), command, timeout=2.0)
            except CastyError:
                await trio.sleep(3.0)  # many open outcomes at one time are hard to judge
        await trio.sleep(rng.uniform(0.0, 0.6))


async def clients(simulation: Simulation, printed: list[Receipt]) -> None:
    """Let three clients work, and judge what they have seen."""
    history = History()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(client, simulation, history, number)
    check_linearizable(history, model, initial=0)
    if len(set(printed)) < len(printed):
        simulation.fail("no receipt is printed twice", f"{printed}")


def play(scenario: Scenario, kind: type[Counter] = Counter) -> Played:
    """Play a scenario with counters on each node, and one store for all of them."""
    service = Counters(kind=kind)
    return simulate(
        scenario,
        on_node=service.run,
        main=lambda simulation: clients(simulation, service.printed),
        journal=SimulatedJournal(seed=scenario.seed),
    )


def test_every_reply_is_that_of_one_counter() -> None:
    check((partition_scenario(seed, nodes=("a", "b", "c"), journal_faults=True) for seed in range(10)), play=play)
