"""Nodes that leave hand their shards over first: planned moves fail no ask, and lose and reorder no message."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from helpers.behaviors import hanging
from helpers.entities import CARTS, Carts, Command, Ledger, Note, add, homes, host

from casty import (
    ActorContext,
    ActorSystem,
    Behavior,
    Behaviors,
    Cluster,
    ClusterConfig,
    ClusteredActorSystem,
    ClusterSettings,
)
from casty.transport.manager.peers import RemoteTransport

IN_FLIGHT = 64


@asynccontextmanager
async def under_load(caller: ClusteredActorSystem) -> AsyncGenerator[Ledger]:
    """Have one node call entities, 64 asks in flight, until the block ends; then check that each was answered."""
    ledger = Ledger()
    async with trio.open_nursery() as nursery:
        for number in range(IN_FLIGHT):
            nursery.start_soon(ledger.call, caller, f"cart-{number}")
        yield ledger
        await trio.sleep(2)
        ledger.is_over = True
    await trio.sleep(2)
    ledger.check()


async def end_block(nodes, name):
    await nodes.stop(name)


async def shut_down(nodes, name):
    await nodes.handles[name].system.cluster.shutdown()


async def ask_to_leave(nodes, name):
    leaving = nodes.handles[name]
    other = next(handle for handle in nodes.handles.values() if handle is not leaving)
    await other.system.cluster.leave(leaving.system.self_node)
    await leaving.ended.wait()


@pytest.mark.parametrize(("way", "leaver"), [(end_block, "c"), (shut_down, "a"), (ask_to_leave, "a")])
async def test_a_leave_and_a_join_fail_no_ask_and_lose_and_reorder_nothing(autojump_clock, nodes, way, leaver):
    a, b, c = await nodes.systems("a", "b", "c")
    async with under_load(b) as ledger:
        for system in (a, b, c):
            ledger.host(system)
        await trio.sleep(5)
        await way(nodes, leaver)
        assert nodes.handles[leaver].error is None
        ledger.host((await nodes.start("d", ["b"])).system)
        await trio.sleep(6)


async def test_a_node_that_leaves_answers_callers_of_its_own_until_it_is_gone(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    async with under_load(b) as ledger:
        ledger.host(a)
        ledger.host(b)
        await trio.sleep(5)
        ledger.is_over = True
        await trio.sleep(1)
        ledger.is_over = False
        async with trio.open_nursery() as nursery:
            for number in range(IN_FLIGHT):
                nursery.start_soon(ledger.call, a, f"cart-{number}")
            await trio.sleep(1)
            ledger.is_over = True  # each has had its last answer when the block of the node goes on
        await nodes.stop("a")
        ledger.is_over = False


@pytest.mark.parametrize("coordinator", ["a", "e"])
async def test_three_nodes_that_leave_within_100_ms_lose_nothing(autojump_clock, nodes, coordinator):
    names = ["a", "b", "c", "d", "e"] if coordinator == "a" else ["e", "d", "c", "b", "a"]
    systems = await nodes.systems(*names)
    async with under_load(nodes.handles["e"].system if coordinator == "a" else systems[0]) as ledger:
        for system in systems:
            ledger.host(system)
        await trio.sleep(6)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(nodes.stop, name)
                await trio.sleep(0.03)
        assert trio.current_time() - began < 10


async def test_the_state_of_who_leaves_is_there_until_its_shards_are_elsewhere(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    carts = {system.cluster_config.node_id: host(system) for system in (a, b)}
    await trio.sleep(5)
    places = await homes(b, 20)
    of_a = [one for one, node in places.items() if node == "a"]
    for one in of_a:
        assert await add(b, one) == 1
    await nodes.stop("a")
    for one in of_a:
        assert await add(b, one) == 1  # another activation, from nothing
        assert (carts["a"].starts[one], carts["b"].starts[one]) == (1, 1)


async def test_the_actors_of_a_node_stop_when_its_shards_have_moved(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen: list[tuple[str, object]] = []

    async def stopped(ctx: ActorContext[int]) -> None:
        seen.append(("stopped", set((await homes(a, 20)).values())))

    async def ignore(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.same()

    a.spawn(Behaviors.with_lifecycle(Behaviors.receive(ignore), post_stop=stopped), "witness")
    host(a)
    host(b)
    await trio.sleep(5)
    assert set((await homes(b, 20)).values()) == {"a", "b"}
    await nodes.stop("a")
    assert seen == [("stopped", {"b"})]


@pytest.mark.parametrize("is_host", [True, False])
async def test_a_lone_node_leaves_at_once(autojump_clock, nodes, is_host):
    (a,) = await nodes.systems("a")
    if is_host:
        host(a)
        await homes(a, 20)
    began = trio.current_time()
    await nodes.stop("a")
    assert trio.current_time() - began < 1


async def test_all_nodes_leave_at_once_and_the_last_waits_for_nobody(autojump_clock, nodes):
    systems = await nodes.systems("a", "b", "c")
    for system in systems:
        host(system)
    await homes(systems[0], 20)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(nodes.stop, name)
    assert trio.current_time() - began < 8


@pytest.mark.parametrize("leaver", ["a", "b"])
async def test_a_node_that_hosts_nothing_leaves_at_once_and_no_ask_fails(autojump_clock, nodes, leaver):
    a, b, c = await nodes.systems("a", "b", "c")
    async with under_load(c) as ledger:
        ledger.host(c)
        await trio.sleep(5)
        began = trio.current_time()
        await nodes.stop(leaver)
        assert trio.current_time() - began < 2


async def test_the_only_host_leaves_although_nobody_can_take_over(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    await homes(b, 20)
    began = trio.current_time()
    await nodes.stop("a")
    assert trio.current_time() - began < 3
    b.entity(CARTS, "cart-1").tell(Note(1))
    host(b)
    assert await add(b, "cart-1") == 1


async def test_an_entity_that_does_not_end_is_cancelled_and_its_node_leaves(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")

    a.spawn(Behaviors.sharded(lambda entity_id: hanging(), CARTS, num_shards=4), "carts")
    b.entity(CARTS, "cart-1").tell(Note(1))
    await trio.sleep(2)
    host(b, num_shards=4)
    began = trio.current_time()
    await nodes.stop("a")
    assert 9 < trio.current_time() - began < 14
    assert await add(b, "cart-1") == 1


async def test_the_hand_over_has_a_bound_and_says_what_is_left(autojump_clock, nodes, caplog):
    settings = replace(ClusterSettings(), handover_timeout=1.5)
    a, b = await nodes.systems("a", "b", settings=settings)

    def slow(entity_id: str) -> Behavior[Command]:
        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            await trio.sleep(5)
            return Behaviors.same()

        return Behaviors.receive(handle)

    a.spawn(Behaviors.sharded(slow, CARTS, num_shards=4), "carts")
    await trio.sleep(2)
    b.entity(CARTS, "cart-1").tell(Note(1))
    host(b, num_shards=4)
    await trio.sleep(0.5)
    with caplog.at_level(logging.ERROR, "casty.cluster"):
        await nodes.stop("a")
    (told,) = [record.getMessage() for record in caplog.records if "hand-over" in record.getMessage()]
    assert told == (
        "the hand-over did not end within 1.5 s, and the node leaves with shards of its own: 1 of 'carts', "
        "and 0 messages for others'"
    )


async def test_messages_held_back_for_others_leave_before_their_node_goes(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    ledger = Ledger()
    ledger.host(b)
    ledger.host(c)
    await trio.sleep(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nodes.stop, "b")
        await trio.sleep(0.05)
        for number in range(1, 51):
            for one in range(20):
                a.entity(CARTS, f"cart-{one}").tell(Note(number))
        nursery.start_soon(nodes.stop, "a")
    await trio.sleep(2)
    assert ledger.handled == {f"cart-{one}": list(range(1, 51)) for one in range(20)}


async def test_a_handle_without_a_block_hands_over_when_it_is_asked_to_leave(autojump_clock, nodes):
    (b,) = await nodes.systems("b")
    host(b)
    async with ActorSystem("shop") as system:
        cluster = Cluster(
            system,
            ClusterConfig("z", 2551, node_id="z", seed_nodes=(("b", 2551),)),
            remote_transport=RemoteTransport(nodes.network.host("z")),
        )
        await cluster.start()
        await nodes.sees("b", {"b": "up", "z": "up"})
        system.spawn(Behaviors.sharded(Carts("z").make, CARTS, num_shards=16), "carts")
        await trio.sleep(6)
        assert set((await homes(b, 20)).values()) == {"b", "z"}
        await b.cluster.leave(cluster.self_node)
        await cluster.wait_ended()
        began = trio.current_time()
        assert set((await homes(b, 20)).values()) == {"b"}
        assert trio.current_time() - began < 1


async def test_a_node_whose_entities_fail_at_every_message_leaves_as_soon_as_they_have_had_them(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")

    async def fail(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        raise LookupError("as always")

    for system in (a, b):
        system.spawn(Behaviors.sharded(lambda _: Behaviors.receive(fail), CARTS, num_shards=16), "carts")
    await trio.sleep(3)
    for number in range(320):
        a.entity(CARTS, f"cart-{number % 32}").tell(Note(number))
    await trio.sleep(0.1)
    begun = trio.current_time()
    await nodes.stop("b")
    assert trio.current_time() - begun < 1


async def test_a_host_that_ends_behind_its_node_logs_no_error(autojump_clock, nodes, caplog):
    (a,) = await nodes.systems("a")
    host(a)
    await trio.sleep(5)
    await a.cluster.shutdown()
    await nodes.stop("a")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
