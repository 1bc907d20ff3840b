"""Messages for entities without a node in reach wait, and what ends undelivered says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from helpers.entities import CARTS, Add, Command, Ledger, Note, Notes, add, homes, host

from casty import AskTimeoutError, ClusterSettings, EntityKey, MemberLeft, NoHost, NotSent, ShardBufferFull

ORDERS = EntityKey[Command]("orders")


async def of_node(system, name: str) -> list[str]:
    """Return the entities, of forty, that live on a node."""
    return [one for one, node in (await homes(system, 40)).items() if node == name]


@pytest.mark.parametrize("seconds", [0.05, 0.5, 3.0])
async def test_asks_begun_after_the_owner_was_killed_wait_for_the_next_one(autojump_clock, nodes, seconds):
    a, b, c = await nodes.systems("a", "b", "c")
    for system in (a, b, c):
        host(system)
    await trio.sleep(20)
    of_b = await of_node(c, "b")
    nodes.crash("b")
    await trio.sleep(seconds)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for one in of_b:
            for _ in range(3):
                nursery.start_soon(add, c, one, 1, 30.0)
    assert trio.current_time() - began < 12
    assert [await add(a, one) for one in of_b] == [4] * len(of_b)
    assert not nodes.handles["c"].letters


async def test_messages_told_after_the_owner_was_killed_reach_the_next_one_in_order(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    for system in (a, b, c):
        host(system)
    await trio.sleep(20)
    of_b = await of_node(c, "b")
    nodes.crash("b")
    await trio.sleep(0.01)
    for number in range(60):
        for one in of_b:
            c.entity(CARTS, one).tell(Note(number))
        await trio.sleep(0.1)
    await trio.sleep(12)
    for one in of_b:
        assert await c.ask(c.entity(CARTS, one), Notes) == list(range(60))


async def test_messages_for_an_owner_cut_off_for_a_while_wait_and_stay_in_order(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    ledger = Ledger()
    for system in (a, b, c):
        ledger.host(system)
    await trio.sleep(20)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ledger.call, c, f"cart-{number}", 0.05)
        await trio.sleep(2)
        nodes.network.freeze("b")
        await trio.sleep(7)
        nodes.network.thaw("b")
        await trio.sleep(10)
        ledger.is_over = True
    await trio.sleep(5)
    ledger.check()


async def test_an_ask_held_until_its_time_is_over_was_not_sent(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    host(b)
    host(c)
    await trio.sleep(20)
    of_b = await of_node(a, "b")
    nodes.crash("b")
    await trio.sleep(3)
    began = trio.current_time()
    with pytest.raises(NotSent, match=r"carts/cart-\d+ had no node in reach within 1.5 s, so .* not sent") as it:
        await add(a, of_b[0], timeout=1.5)
    assert 1.4 < trio.current_time() - began < 1.6
    assert isinstance(it.value, AskTimeoutError) and it.value.certainly_not_handled
    assert await add(a, of_b[0], timeout=30.0) == 1


async def test_a_held_ask_goes_with_the_rest_of_its_time(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _ask():
            assert await add(a, "cart-1", timeout=4.0) == 1

        await trio.sleep(2)
        host(b)
    assert 2.0 < trio.current_time() - began < 4.0


async def test_an_ask_given_up_while_it_is_held_is_never_handled(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    with trio.move_on_after(1):
        await add(a, "cart-1", 5, timeout=30.0)
    with pytest.raises(NoHost):
        await add(a, "cart-1", 7, timeout=1.0)
    host(b)
    assert await add(a, "cart-1", 1) == 1


async def test_an_ask_for_a_kind_without_host_says_who_hosts_what(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    with pytest.raises(
        NoHost, match=r"no node hosts .*'orders'.*, so orders/order-1 was not asked within 1.0 s: nor any other kind$"
    ) as none:
        await a.ask(a.entity(ORDERS, "order-1"), lambda to: Add(1, to), timeout=1.0)
    assert none.value.failure == "no_host" and none.value.certainly_not_handled
    host(b)
    await add(a, "cart-1")
    with pytest.raises(NoHost, match=r"within 1.0 s: b:2551 hosts 'carts'"):
        await a.ask(a.entity(ORDERS, "order-1"), lambda to: Add(1, to), timeout=1.0)


async def test_an_ask_says_that_there_is_no_host_any_more(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(b)
    await add(a, "cart-1")
    await nodes.stop("b")
    with pytest.raises(NoHost, match="no node hosts"):
        await add(a, "cart-1", timeout=2.0)


async def test_messages_told_to_a_kind_without_host_end_after_half_a_minute(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    for number in range(1_010):
        a.entity(CARTS, "cart-1").tell(Note(number))
    await trio.sleep(1)
    letters = nodes.handles["a"].letters
    assert [letter.reason for letter in letters] == ["shard buffer full"] * 10
    await trio.sleep(30)
    assert [letter.reason for letter in letters] == ["shard buffer full"] * 10
    assert [letter.reason for letter in nodes.handles["a"].letters[10:]] == ["held too long"] * 1_000


async def test_beyond_the_buffer_asks_fail_at_once_and_send_waits(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    ref = a.entity(CARTS, "cart-1")
    for number in range(1_000):
        ref.tell(Note(number))
    with pytest.raises(ShardBufferFull):
        await add(a, "cart-1", timeout=10.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.send, Note(1_000))
        await trio.sleep(1)
        host(a)
    assert await a.ask(ref, Notes) == list(range(1_001))


async def test_a_node_that_leaves_makes_dead_letters_of_what_it_holds(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    ref = a.entity(CARTS, "cart-1")
    ref.tell(Note(1))
    began = trio.current_time()
    await nodes.stop("a")
    assert trio.current_time() - began < 1
    ref.tell(Note(2))
    assert a.statistics().dead_letters["held too long"] == 2


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a")])
async def test_a_removed_owner_may_serve_for_a_while_and_until_then_nobody_has_its_shards(autojump_clock, nodes, names):
    """The oldest coordinates, the first by address removes: the one hears of a removal that the other has made."""
    first, lost, last = names
    for system in await nodes.systems(*names, settings=replace(ClusterSettings(), stable_after=1.0)):
        host(system)
    await trio.sleep(20)
    caller = nodes.handles[last].system
    of_lost = await of_node(caller, lost)
    nodes.crash(lost)
    began = trio.current_time()
    await trio.sleep(0.05)  # what is asked in the very moment may have been written into the breaking link
    await add(caller, of_lost[0], timeout=30.0)
    assert 4.4 < trio.current_time() - began < 12
    (left,) = [at for at, event in nodes.handles[first].events if isinstance(event, MemberLeft)]
    assert left - began < 4.0
