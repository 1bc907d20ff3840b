"""How much a node suspects others can be asked."""

from __future__ import annotations

import trio
import trio.testing

from casty import ClusteredActorSystem, MemoryNetwork
from casty.cluster.commands import GetSuspicions, Suspicions


def node(network: MemoryNetwork, name: str, *seeds: tuple[str, int]) -> ClusteredActorSystem:
    return ClusteredActorSystem(
        name="shop", host=name, port=2551, node_id=name, seed_nodes=seeds, network=network.host(name)
    )


async def suspicions(system: ClusteredActorSystem) -> Suspicions:
    reply: Suspicions = await system.ask(system.cluster.ref, GetSuspicions)
    return reply


async def test_a_node_alone_suspects_nobody(autojump_clock) -> None:
    async with node(MemoryNetwork(), "a") as a:
        assert await suspicions(a) == Suspicions({})


async def test_a_node_whose_peer_answers_hardly_suspects_it_and_itself_not_at_all(autojump_clock) -> None:
    network = MemoryNetwork()
    async with node(network, "a") as a, node(network, "b", ("a", 2551)) as b:
        await a.wait_for(2)
        await trio.sleep(5)
        told = await suspicions(a)
        assert list(told.phi) == [b.self_node]
        assert 0 <= told.phi[b.self_node] < 0.1
