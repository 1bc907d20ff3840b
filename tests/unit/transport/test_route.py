"""A route sends as the transport does, whatever has become of the link that it remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.address import UniqueAddress
from casty.transport.route import Route
from casty.wire.frame import Lane
from tests.unit.transport.conftest import DEFAULT_LIMITS, Node, World, packed


def route(sender: Node, to: UniqueAddress) -> Route:
    return Route(sender.transport, to, Lane.ordinary)


@pytest.mark.parametrize("is_any_run", [False, True])
async def test_frames_arrive_in_order_before_and_after_a_link_is_lost(
    autojump_clock, world: World, is_any_run: bool
) -> None:
    a, b = await world.node("a"), await world.node("b", 2)
    way = route(a, UniqueAddress(b.me.address, 0) if is_any_run else b.me)
    assert way.send(packed(b"1")) and way.send(packed(b"2"))
    await b.told.wait("frame", 2)
    assert way.send(packed(b"3"))
    await b.told.wait("frame", 3)
    world.network.reset("a", "b")
    await a.told.wait("link_lost")
    assert way.send(packed(b"4")) and way.send(packed(b"5"))
    await b.told.wait("frame", 5)
    assert b.told.bodies == [b"1", b"2", b"3", b"4", b"5"]


async def test_a_full_queue_is_counted_once_for_each_frame(autojump_clock, world: World) -> None:
    limits = replace(DEFAULT_LIMITS, outbound_messages_max=2)
    a, b = await world.node("a", limits=limits), await world.node("b", 2)
    way = route(a, b.me)
    assert way.send(packed(b"first"))
    await b.told.wait("frame")
    assert [way.send(packed(b"x")) for _ in range(4)] == [True, True, False, False]
    assert a.transport.statistics().frames_rejected == 2


async def test_nothing_is_taken_once_the_node_says_goodbye(autojump_clock, world: World) -> None:
    a, b = await world.node("a"), await world.node("b", 2)
    way = route(a, b.me)
    assert way.send(packed(b"first"))
    await b.told.wait("frame")
    assert way.send(packed(b"second"))
    a.transport._exchange.finish()
    assert not way.send(packed(b"third"))


async def test_a_run_that_is_gone_gets_nothing_from_its_route(autojump_clock, world: World) -> None:
    a, b = await world.node("a"), await world.node("b", 2)
    way = route(a, b.me)
    assert way.send(packed(b"first"))
    await b.told.wait("frame")
    assert way.send(packed(b"second"))
    world.crash(b)
    again = await world.node("b", 3)
    assert a.transport.send(again.me, Lane.ordinary, packed(b"to the new one"))
    await again.told.wait("frame")
    assert not way.send(packed(b"third"))
    assert again.told.bodies == [b"to the new one"]


async def test_what_waits_for_strangers_is_bounded_on_a_route_too(autojump_clock, world: World) -> None:
    a = await world.node("a", limits=replace(DEFAULT_LIMITS, outbound_bytes_max=1000))
    others = [await world.node(name, number) for number, name in enumerate("bcd", 2)]
    ways = [route(a, node.me) for node in others]
    for way, node in zip(ways, others, strict=True):
        for count in (1, 2):
            assert way.send(packed(b"first"))
            await node.told.wait("frame", count)
    assert [way.send(packed(bytes(1100))) for way in ways] == [True, True, False]
    assert not ways[2].send(packed(b"small"))
    a.transport.keep([others[2].me])
    assert ways[2].send(packed(b"small"))
