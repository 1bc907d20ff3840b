"""Finding services: what is there now, and waiting for enough of them."""

from __future__ import annotations

import pytest
import trio

from casty import ActorRef, Behaviors, ClusterTimeoutError, ServiceKey

KEY = ServiceKey[ActorRef[str]]("echo")


def offer(handle, name):
    return handle.system.spawn(Behaviors.discoverable(Behaviors.ignore(), key=KEY), name)


async def test_find_answers_at_once_with_nobody(autojump_clock, nodes):
    node = await nodes.start("a")
    assert (await node.system.find(KEY)).refs == ()


async def test_a_node_that_has_just_joined_waits_for_services_of_another(autojump_clock, nodes):
    first = await nodes.start("a")
    ref = offer(first, "echo")
    second = await nodes.start("b", "a")
    listing = await second.system.find(KEY, at_least=1)
    assert [one.ref.path for one in listing.instances] == [ref.path]


async def test_find_waits_until_enough_instances_are_there(autojump_clock, nodes):
    node = await nodes.start("a")
    offer(node, "echo-1")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _later():
            await trio.sleep(3)
            offer(node, "echo-2")

        listing = await node.system.find(KEY, at_least=2)
    assert len(listing.refs) == 2


async def test_find_gives_up_with_what_it_saw_and_leaves_no_actor(autojump_clock, nodes):
    node = await nodes.start("a")
    offer(node, "echo-1")
    actors = node.system.statistics().actors
    started = trio.current_time()
    with pytest.raises(ClusterTimeoutError, match=r"1 of 2 instances of .*'echo'.* after 1.5 s"):
        await node.system.find(KEY, at_least=2, timeout=1.5)
    assert trio.current_time() - started == pytest.approx(1.5, abs=0.1)
    await trio.sleep(1)
    assert node.system.statistics().actors == actors


async def test_finds_at_the_same_time_do_not_disturb_each_other(autojump_clock, nodes):
    node = await nodes.start("a")
    found = []

    async def find(count):
        found.append((count, len((await node.system.find(KEY, at_least=count)).refs)))

    async with trio.open_nursery() as nursery:
        for count in (1, 2, 1):
            nursery.start_soon(find, count)
        for name in ("echo-1", "echo-2"):
            await trio.sleep(1)
            offer(node, name)
    assert sorted(found) == [(1, 1), (1, 1), (2, 2)]
