"""Hosts that give a kind another number of shards than the running ones."""

from __future__ import annotations

import trio
from helpers.entities import add, host


async def test_a_newcomer_with_another_number_leaves_the_running_hosts_their_shards(autojump_clock, nodes, caplog):
    b, c = await nodes.systems("b", "c")
    host(b)
    host(c)
    assert await add(b, "cart-1") == 1
    a = await nodes.start("a", ("b",))  # the lowest of all addresses
    host(a.system, num_shards=8)  # at once: it has not heard of the others yet
    await trio.sleep(20)
    (told,) = [record for record in caplog.records if "num_shards=8 here" in record.getMessage()]
    assert told.levelname == "ERROR" and "this node gets none of it" in told.getMessage()
    nodes.crash("c")
    await trio.sleep(30)
    for number in range(40):
        await add(b, f"cart-{number}")
