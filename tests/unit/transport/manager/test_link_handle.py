"""A route sends as the transport does, whatever has become of the link that it remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing
from helpers.tasks import in_background

from casty.address import UniqueAddress
from casty.transport.manager.link_handle import LinkHandle
from casty.transport.manager.peers import SENDS_BEFORE_YIELD
from casty.wire.frame import Lane
from tests.unit.transport.conftest import DEFAULT_LIMITS, Node, World, packed


def route(sender: Node, to: UniqueAddress) -> LinkHandle:
    return LinkHandle(sender.transport, to, Lane.ordinary)


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
    a.transport.link_manager.finish()
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


async def test_those_who_wait_for_room_keep_their_order_with_those_who_find_some(autojump_clock, world: World) -> None:
    limits = replace(DEFAULT_LIMITS, outbound_messages_max=2)
    a, b = await world.node("a", limits=limits), await world.node("b")
    way = route(a, b.me)
    await way.send_wait(packed(b"first"))
    await b.told.wait("frame")
    world.network.cut("a", "b")
    bodies = [bytes(1_000_000), *(bytes([number]) for number in range(20))]
    assert way.send(packed(bodies[0]))  # keeps the writer busy, and more than two have to wait
    await trio.testing.wait_all_tasks_blocked()
    async with trio.open_nursery() as nursery:
        for body in bodies[1:]:
            nursery.start_soon(way.send_wait, packed(body))
            await trio.testing.wait_all_tasks_blocked()
        assert not way.send(packed(b"pushes in"))
        world.network.heal("a", "b")
    await b.told.wait("frame", 22)
    assert b.told.bodies == [b"first", *bodies]


async def test_each_send_that_waits_is_a_point_of_cancellation_and_some_give_way(autojump_clock, world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    way = route(a, b.me)
    await way.send_wait(packed(b"first"))
    await b.told.wait("frame")
    for _ in range(2 * SENDS_BEFORE_YIELD):
        with trio.CancelScope() as scope:
            scope.cancel()
            await way.send_wait(packed(b"never"))
        assert scope.cancelled_caught
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with in_background(count_turns):
        await trio.lowlevel.checkpoint()
        turns = 0
        for _ in range(10 * SENDS_BEFORE_YIELD):
            await way.send_wait(packed(b"more"))
        sending = turns
    await b.told.wait("frame", 10 * SENDS_BEFORE_YIELD)
    assert 8 <= sending <= 12
    assert b"never" not in b.told.bodies
