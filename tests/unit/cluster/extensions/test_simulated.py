"""An extension in a simulation: one for each start of a node, and what it does while nodes fail."""

from __future__ import annotations

import trio
from census import Census, CensusSettings, GetCensus

from casty import ClusteredActorSystem
from casty.testing.simulation import Crash, Played, Restart, Scenario, Simulation, simulate

SCENARIO = Scenario(3, ("a", "b", "c"), ((1.0, Crash("b")), (4.0, Restart("b"))))


async def counted(node: ClusteredActorSystem) -> set[str]:
    """Return the nodes whose counts a node knows."""
    actor = node.lookup("/_cluster/_census")
    assert actor is not None
    counts: dict[str, int] = await node.ask(actor.of(GetCensus), GetCensus)
    return set(counts)


def play(made: list[Census]) -> Played:
    """Play a crash and a restart; each node has counted all nodes in the end."""

    def extensions() -> list[Census]:
        made.append(Census(CensusSettings(interval=0.5)))
        return made[-1:]

    async def main(simulation: Simulation) -> None:
        await simulation.wait_recovered()
        assert simulation.extensions == {"a": (made[0],), "b": (made[3],), "c": (made[2],)}
        with trio.fail_after(1.5):  # three counts
            for node in simulation.systems.values():
                while await counted(node) != {"a:2551", "b:2551", "c:2551"}:  # noqa: ASYNC110  # virtual time: polling is free
                    await trio.sleep(0.1)

    return simulate(SCENARIO, extensions=extensions, main=main)


def test_each_start_of_a_node_has_extensions_of_its_own_and_plays_go_alike() -> None:
    made: list[Census] = []
    played = play(made)
    assert len(made) == 4
    assert play([]) == played
