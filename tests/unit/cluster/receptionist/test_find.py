"""Finding services: what is there now, and waiting for enough of them."""

from __future__ import annotations

import re

import pytest
import trio

from casty import ActorRef, AskTimeoutError, Behaviors, ClusterTimeoutError, ServiceKey

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


LONE = "; this node has no seed_nodes of others, and is in a cluster of its own"


@pytest.mark.parametrize("seeds", ["", "a"])
async def test_a_node_without_seeds_of_others_says_so_where_members_or_services_are_missed(
    autojump_clock, nodes, seeds
):
    node = await nodes.start("a", seeds)
    with pytest.raises(ClusterTimeoutError) as caught:
        await node.system.find(KEY, at_least=1, timeout=1.0)
    assert str(caught.value) == f"0 of 1 instances of {KEY!r} were there after 1 s{LONE}"
    with pytest.raises(ClusterTimeoutError) as caught:
        await node.system.wait_for(3, timeout=1.0)
    assert str(caught.value) == f"1 of 3 members were up after 1 s{LONE}"


async def test_a_node_that_forgot_its_seeds_says_so_when_its_quorum_does_not_come(autojump_clock, nodes):
    with pytest.raises(ClusterTimeoutError) as caught:
        await nodes.start("a", required_quorum=2)
    assert str(caught.value) == f"'a' gave up after 60 s: 1 of 2 required members were up{LONE}"


async def test_nodes_that_have_found_each_other_say_nothing_of_seeds(autojump_clock, nodes):
    await nodes.join("a", "b")
    for name in "ab":
        with pytest.raises(ClusterTimeoutError) as caught:
            await nodes.handles[name].system.wait_for(3, timeout=1.0)
        assert str(caught.value) == "2 of 3 members were up after 1 s"


@pytest.mark.parametrize("at_least", [-1, "1", True, 1.5])
async def test_a_number_of_instances_that_makes_no_sense_is_named(autojump_clock, nodes, at_least):
    node = await nodes.start("a")
    with pytest.raises(ValueError, match=f"^at_least must be an integer of at least 0, got {at_least!r}$"):
        await node.system.find(KEY, at_least=at_least)


@pytest.mark.parametrize("count", [0, "2", True])
async def test_a_number_of_members_that_makes_no_sense_is_named(autojump_clock, nodes, count):
    node = await nodes.start("a")
    with pytest.raises(ValueError, match=f"^n must be an integer of at least 1, got {count!r}$"):
        await node.system.wait_for(count)


async def test_a_find_without_time_says_so(autojump_clock, nodes):
    node = await nodes.start("a")
    with pytest.raises(AskTimeoutError, match=r"was not asked: the time for its reply was 0 s$"):
        await node.system.find(KEY, timeout=0)


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        (("127.0.0.1", 5), "NodeAddress('127.0.0.1', 5)"),
        (["a", 5], "NodeAddress('a', 5)"),
        (5, "NodeAddress('10.0.0.1', 2551)"),
        (("a", "b", "c"), "NodeAddress('10.0.0.1', 2551)"),
    ],
)
async def test_an_address_of_the_wrong_kind_is_shown_as_it_should_be(autojump_clock, nodes, node, hint):
    system = (await nodes.start("a")).system
    with pytest.raises(TypeError, match=re.escape(f"write {hint}")):
        system.remote("/x", node)
    for act in (system.cluster.leave, system.cluster.down):
        with pytest.raises(TypeError, match=re.escape(f"write {hint}")):
            await act(node)


@pytest.mark.parametrize(
    ("node", "hint"), [("127.0.0.1:5", "NodeAddress('127.0.0.1', 5)"), ("[::1]:5", "NodeAddress('::1', 5)")]
)
async def test_an_address_as_a_text_is_taken_for_a_name_and_shown_as_it_should_be(autojump_clock, nodes, node, hint):
    system = (await nodes.start("a")).system
    with pytest.raises(LookupError, match=re.escape(f"for an address write {hint}")):
        system.remote("/x", node)
    with pytest.raises(TypeError, match=re.escape(f"write {hint}")):
        await system.cluster.leave(node)


async def test_a_name_that_looks_like_an_address_is_a_name(autojump_clock, nodes):
    await nodes.start("a", node_id="a:1")
    await nodes.start("b", "a")
    await nodes.sees("b", {"a:1": "up", "b": "up"})
    assert nodes.handles["b"].system.remote("/x", "a:1").address.host == "a"
