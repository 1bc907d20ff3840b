"""Orders of operators: a node is emptied of its shards and stays, and the loads of a kind are evened out."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
import trio
from helpers.entities import CARTS, Ledger, add, homes, host

from casty import ClusterTimeoutError, NodeAddress
from casty.cluster.sharding.sharding import Sharding


async def places(system) -> set[str]:
    return set((await homes(system, 40)).values())


async def under_callers(system, ledger: Ledger, work) -> None:
    """Do something while one node calls 64 entities; then check that nothing was lost."""
    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(ledger.call, system, f"cart-{number}", 0.1)
        await trio.sleep(4)
        await work()
        await trio.sleep(2)
        ledger.is_over = True
    await trio.sleep(2)
    ledger.check()


@pytest.mark.parametrize("drained", ["a", "c"])
async def test_a_drained_node_has_no_shard_and_stays_and_no_ask_fails(autojump_clock, nodes, drained):
    a, b, c = systems = await nodes.systems("a", "b", "c")
    ledger = Ledger()
    for system in systems:
        ledger.host(system)
    target = nodes.handles[drained].system
    driver = target.cluster

    async def drain() -> None:
        await b.cluster.drain(driver.self_node)
        await trio.sleep(6)

    await under_callers(b, ledger, drain)
    held = spread(nodes)
    assert set(held) == {"a", "b", "c"} - {drained} and sum(held.values()) == 16
    assert driver.is_up


def spread(nodes) -> Counter[str]:
    """Return how many shards of the carts each node has, as b knows them."""
    sharding = cast("Sharding", nodes.handles["b"].node.kernel.hooks.entity_host)
    return Counter(run.address.host for run, _ in sharding.routers["carts"].routes.routes.values())


async def test_a_drained_node_gets_shards_again_when_it_is_undrained(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    host(b)
    await trio.sleep(5)
    assert await places(a) == {"a", "b"}
    await b.cluster.drain(b.self_node)
    await trio.sleep(3)
    assert await places(a) == {"a"}
    await a.cluster.undrain(b.self_node)
    await trio.sleep(30)
    assert await places(a) == {"a", "b"}


async def test_a_node_that_starts_again_is_drained_no_more(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    host(b)
    await a.cluster.drain(b.self_node)
    await nodes.stop("b")
    await nodes.sees("a", {"a": "up"})
    host((await nodes.start("b", ["a"])).system)
    await trio.sleep(30)
    assert await places(a) == {"a", "b"}


async def test_the_only_host_keeps_its_shards_though_it_is_drained(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(b)
    assert await add(a, "cart-1") == 1
    await a.cluster.drain(b.self_node)
    await trio.sleep(5)
    assert await add(a, "cart-1") == 2
    host(a)
    await trio.sleep(5)
    assert await places(b) == {"a"}


async def test_a_drained_node_takes_the_shards_of_a_dead_one_when_no_other_host_is_left(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    host(a)
    host(b)
    await a.cluster.drain(a.self_node)
    await trio.sleep(5)
    assert await places(c) == {"b"}
    nodes.crash("b")
    await trio.sleep(12)
    assert await places(c) == {"a"}
    host(c)
    await trio.sleep(5)
    assert await places(c) == {"c"}


async def test_an_order_to_a_silent_node_times_out_and_one_to_nobody_is_refused(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    nodes.network.freeze("b")
    with pytest.raises(ClusterTimeoutError, match="b:2551 did not answer the order to drain within 1 s"):
        await a.cluster.drain(b.self_node, timeout=1.0)
    nodes.network.thaw("b")
    with pytest.raises(LookupError, match="no member is at x:1"):
        await a.cluster.drain(NodeAddress("x", 1))
    with pytest.raises(TypeError, match="expected the address of a member"):
        await a.cluster.undrain(cast("NodeAddress", "b"))


async def test_rebalance_evens_out_what_is_left_uneven_else(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a, num_shards=200)
    await add(b, "cart-1")
    host(b, num_shards=200)
    await trio.sleep(60)
    before = spread(nodes)
    assert max(before.values()) - min(before.values()) > 1
    await b.cluster.rebalance(CARTS)
    await trio.sleep(5)
    assert spread(nodes) == {"a": 100, "b": 100}
    with pytest.raises(TypeError, match="EntityKey"):
        await b.cluster.rebalance(cast("Any", "carts"))
