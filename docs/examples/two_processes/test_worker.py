"""Tests of worker.py: two nodes in one process, real bytes between them, and no second is really waited for."""

from __future__ import annotations

from collections.abc import Sequence

from trio.testing import MockClock
from worker import COUNTER, Count, counter

from casty import Behaviors, ClusteredActorSystem, MemoryNetwork, UnreachableMember


def node(network: MemoryNetwork, name: str, seeds: Sequence[str] = ()) -> ClusteredActorSystem:
    """Return a node that lives on a host of its own."""
    seed_nodes = [(seed, 2551) for seed in seeds]
    return ClusteredActorSystem(
        name="words", host=name, port=2551, node_id=name, seed_nodes=seed_nodes, network=network.host(name)
    )


async def test_words_are_counted_for_another_node(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with node(network, "front") as front, node(network, "worker", ["front"]) as worker:
        worker.spawn(Behaviors.discoverable(Behaviors.receive(counter), key=COUNTER), "counter")
        listing = await front.find(COUNTER, at_least=1)
        count: int = await front.ask(listing.refs[0], lambda reply_to: Count("one two three", reply_to))
        assert count == 3


async def test_a_worker_behind_a_cut_is_not_listed_until_the_cut_heals(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with node(network, "front") as front, node(network, "worker", ["front"]) as worker:
        worker.spawn(Behaviors.discoverable(Behaviors.receive(counter), key=COUNTER), "counter")
        await front.find(COUNTER, at_least=1)
        async with front.events(UnreachableMember) as events:
            network.cut("front", "worker")
            async for event in events:
                assert event.member.id == "worker"
                break
        assert (await front.find(COUNTER)).refs == ()
        network.heal("front", "worker")
        await front.find(COUNTER, at_least=1, timeout=10)
