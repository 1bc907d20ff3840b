"""Simulates orders.py. Look at `customer`: it asks until somebody answers, while nodes are cut off and crash."""

from __future__ import annotations

import trio
from orders import ORDERS, Desk, Place

from casty import CastyError
from casty.testing.simulation import Played, Scenario, Simulation, check, partition_scenario, simulate


async def place(simulation: Simulation, number: int) -> int:
    """Place an order, again and again until somebody has accepted it."""
    while True:
        for node in list(simulation.systems.values()):
            try:
                listing = await node.find(ORDERS, at_least=1)
                ref = listing.refs[number % len(listing.refs)]
                accepted: int = await node.ask(ref, lambda reply_to: Place(number, reply_to), timeout=1.0)
                return accepted
            except CastyError:
                continue  # no answer in time, or the node has just ended: the next one may know better
        await trio.sleep(0.1)


async def customer(simulation: Simulation, database: set[int]) -> None:
    """Place orders until the cluster has recovered; none that was accepted may be missing then."""
    accepted: set[int] = set()
    while not simulation.is_recovered:
        accepted.add(await place(simulation, len(accepted)))
        await trio.sleep(0.1)
    await trio.sleep(1.0)  # whatever still writes has written by then
    if accepted - database:
        simulation.fail("no accepted order is lost", f"{sorted(accepted - database)} of {len(accepted)} are missing")


def play(scenario: Scenario, desk: type[Desk] = Desk) -> Played:
    """Play a scenario with a desk on each node."""
    database: set[int] = set()
    return simulate(
        scenario,
        on_node=lambda node: desk(database).run(node),
        main=lambda simulation: customer(simulation, database),
    )


def draw(seed: int) -> Scenario:
    """Return three nodes, of which some are cut off for a while; one may leave, crash or start again before."""
    return partition_scenario(seed, nodes=("a", "b", "c"))


def test_no_accepted_order_is_lost() -> None:
    check(map(draw, range(12)), play=play)
