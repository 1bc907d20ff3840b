"""Which links a node keeps: those that heartbeats or messages cross."""

from __future__ import annotations

import logging

import trio

from casty import ResolveNode
from casty.testing.inspect import links_of
from casty.wire.frame import Lane


async def test_quiet_minutes_end_the_link_of_messages_and_not_that_of_heartbeats(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")

    async def resolve() -> None:
        ref = b.remote("/_cluster", "a").of(ResolveNode)
        assert await b.ask(ref, lambda reply_to: ResolveNode("b", reply_to), timeout=5) == b.self_node

    def links():
        return {link.lane: link for link in links_of(a)}

    await resolve()
    before = links()
    assert before.keys() == {Lane.control, Lane.ordinary}
    await trio.sleep(600)
    after = links()
    assert after.keys() == {Lane.control}
    assert after[Lane.control].frames_received >= before[Lane.control].frames_received + 600
    await resolve()
    assert links().keys() == before.keys()


async def test_a_connection_that_ends_before_its_hello_is_nothing_to_act_on(autojump_clock, nodes, caplog):
    node = (await nodes.start("a")).system
    with caplog.at_level(logging.DEBUG, logger="casty.transport"):
        await (await nodes.network.host("x").connect(node.self_node)).aclose()
        await trio.sleep(1)
    (said,) = [record for record in caplog.records if "a connection from there" in record.getMessage()]
    assert said.getMessage() == "x: a connection from there ended: it was closed again before its hello"
    assert said.levelno == logging.DEBUG
