"""How much a node suspects others can be asked."""

from __future__ import annotations

import trio
import trio.testing

from casty import ClusteredActorSystem, MemoryNetwork, NodeDowned, UnreachableMember
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


async def test_a_bad_link_is_seen_a_second_later_because_others_hear_both_and_costs_both_its_ends(
    autojump_clock, nodes
) -> None:
    await nodes.join(*"abcde")
    await trio.sleep(30)
    cut_at = trio.current_time()
    nodes.network.cut("d", "e")
    await trio.sleep(20)
    for name in "abc":
        seen = [
            (at, event.member.id) for at, event in nodes.handles[name].events if isinstance(event, UnreachableMember)
        ]
        assert sorted(subject for _, subject in seen) == ["d", "e"]
        assert all(cut_at + 4.5 < at < cut_at + 6.0 for at, _ in seen)
    for name in "de":
        error = nodes.handles[name].error
        assert isinstance(error, NodeDowned)
    await nodes.all_up(*"abc")


async def test_a_node_that_is_cut_off_is_seen_without_delay(autojump_clock, nodes) -> None:
    await nodes.join(*"abcde")
    await trio.sleep(30)
    cut_at = trio.current_time()
    for name in "abcd":
        nodes.network.cut("e", name)
    await trio.sleep(6)
    for name in "abcd":
        (at,) = [at for at, event in nodes.handles[name].events if isinstance(event, UnreachableMember)]
        assert at < cut_at + 4.5
