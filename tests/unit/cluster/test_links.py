"""Which links a node keeps: those with members."""

from __future__ import annotations

import trio

from casty import ResolveNode
from casty.wire.frame import Lane


async def test_links_between_members_outlive_quiet_minutes(autojump_clock, nodes):
    await nodes.start("a")
    await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    a, b = nodes.handles["a"].system, nodes.handles["b"].system
    answer = await b.ask(
        b.remote("/_cluster", "a").of(ResolveNode), lambda reply_to: ResolveNode("b", reply_to), timeout=5
    )
    assert answer == b.self_node
    before = a.cluster._transport.statistics().links
    assert {link.lane for link in before} == {Lane.control, Lane.ordinary}
    await trio.sleep(600)
    after = {(link.peer, link.lane): link for link in a.cluster._transport.statistics().links}
    for link in before:
        assert after[link.peer, link.lane].frames_received >= link.frames_received
