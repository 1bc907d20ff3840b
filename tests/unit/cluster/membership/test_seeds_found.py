"""Seeds that are told to a node that was made, or waits."""

from __future__ import annotations

import pytest
import trio

from casty import ActorSystem, Cluster, ClusterConfig, ClusteredActorSystem, ConfigError


async def test_node_that_waits_for_seeds_that_are_gone_joins_by_others(autojump_clock, nodes):
    await nodes.start_all("a", "b")
    system = ClusteredActorSystem(
        name="shop", host="c", port=2551, node_id="c", seed_nodes=[("x", 2551)], network=nodes.network.host("c")
    )

    async def find() -> None:
        await trio.sleep(30)
        assert not system.cluster.is_member
        system.cluster.add_seeds([("x", 2551), ("b", 2551)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(find)
        with trio.fail_after(35):
            async with system:
                assert 30 <= trio.current_time() < 35
                await nodes.sees("a", dict.fromkeys("abc", "up"))


async def test_who_waits_says_of_them_too_what_they_answered(autojump_clock, nodes, caplog):
    system = ClusteredActorSystem(
        name="shop", host="c", port=2551, node_id="c", seed_nodes=[("x", 2551)], network=nodes.network.host("c")
    )
    system.cluster.add_seeds([("y", 2551)])
    with trio.move_on_after(5):
        async with system:
            raise AssertionError("nobody lets it in")
    assert "x:2551" in caplog.text
    assert "y:2551" in caplog.text


@pytest.mark.parametrize("seeds", [[("a", 0)], ("a", 2551), ["a:2551"], [("a b", 2551)], None])
async def test_what_is_no_seed_is_refused(nodes, seeds):
    a = await nodes.start("a")
    with pytest.raises(ConfigError):
        a.system.cluster.add_seeds(seeds)


async def test_node_without_transport_says_that_it_asks_nobody():
    async with ActorSystem("shop") as system:
        with pytest.raises(RuntimeError, match="without a remote transport this node is a cluster of one"):
            Cluster(system, ClusterConfig("a", 2551, "a")).add_seeds([("b", 2551)])
