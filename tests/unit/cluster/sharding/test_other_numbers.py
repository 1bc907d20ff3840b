"""Hosts that give a kind another number of shards than the running ones."""

from __future__ import annotations

import trio
from helpers.entities import add, host

from casty import ConfigError


async def serves_on(nodes, b):
    """Let the third node die, and require that the kind's first host serves all of its shards."""
    nodes.crash("c")
    await trio.sleep(30)
    for number in range(40):
        await add(b, f"cart-{number}")


async def test_a_newcomer_with_another_number_leaves_the_running_hosts_their_shards(autojump_clock, nodes, caplog):
    b, c = await nodes.systems("b", "c")
    host(b)
    host(c)
    assert await add(b, "cart-1") == 1
    a = await nodes.start("a", ("b",))  # the lowest of all addresses
    host(a.system, num_shards=8)  # at once: whether it has heard of the others yet is left to the draw
    await trio.sleep(20)
    assert "num_shards=8 here" in caplog.text
    assert {"ERROR"} == {each.levelname for each in caplog.records if "carts" in each.getMessage()}
    await serves_on(nodes, b)


async def test_a_newcomer_that_has_heard_of_the_number_hosts_nothing(autojump_clock, nodes, caplog):
    b, c = await nodes.systems("b", "c")
    host(b)
    host(c)
    assert await add(b, "cart-1") == 1
    a = await nodes.start("a", ("b",))
    assert await add(a.system, "cart-1") == 2
    host(a.system, num_shards=8)
    await trio.sleep(20)
    (failed,) = [record.exc_info[1] for record in caplog.records if "/carts failed" in record.getMessage()]
    assert isinstance(failed, ConfigError) and "num_shards=8 here" in str(failed)
    await serves_on(nodes, b)
