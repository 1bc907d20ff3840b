"""Actors that cannot keep up with another node: it holds back, nothing is lost, and others notice nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import until
from helpers.messages import Blob, Get, Item, Keep
from helpers.tasks import in_background

import casty
from casty import ActorRef, Behaviors, ClusterSettings, Inbox, Mailbox, MailboxOverflowStrategy
from casty.cluster.remoting import receive_backpressure as backlogs_module
from casty.cluster.remoting.receive_backpressure import LARGE_BYTES_MIN
from casty.config import TransportLimits
from casty.testing.inspect import node_of
from casty.wire.control.pause import pause_frame
from casty.wire.frame import Lane


@casty.message("tests.pressure.Flood")
@dataclass(frozen=True)
class Flood:
    to: ActorRef[Blob]


FLOOD = 1_000
"""Blobs of which the first are far more than a node takes that nobody holds back for."""


class Sink:
    """An actor that handles nothing while its gate is closed."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.gate = trio.Event()

    def behavior(self, pause: float = 0.0):
        async def handle(ctx, message: Item | Get | Blob | Keep):
            await self.gate.wait()
            if pause:
                await trio.sleep(pause)
            if isinstance(message, Item | Blob):
                self.seen.append(message.number)
            else:
                message.reply_to.tell(len(self.seen))
            return Behaviors.same()

        return Behaviors.receive(handle)


def flooding():
    """Return an actor that sends blobs without end to whom it is told, one each 20 ms."""

    async def main(ctx, inbox: Inbox[Flood]):
        async for flood in inbox:
            for number in range(FLOOD):
                await flood.to.send(Blob(number, bytes(60_000)))
                await trio.sleep(0.02)

    return Behaviors.task(main)


async def pair(nodes, sink, mailbox, pause=0.0, **options):
    first, second = await nodes.join("a", "b", **options)
    first.system.spawn(sink.behavior(pause), "sink", mailbox=mailbox)
    return first, second, second.system.remote("/sink", "a").of(Item | Get | Blob | Keep)


def nothing_left(first, second) -> bool:
    receiver, sender = first.node.receive_backpressure, second.node.paused_sends
    return (receiver.by_path, receiver.bytes, sender.by_actor, sender.by_peer) == ({}, 0, {}, {})


@pytest.mark.parametrize("overflow", [MailboxOverflowStrategy.drop_new, MailboxOverflowStrategy.back_pressure])
async def test_send_waits_for_room_in_a_mailbox_of_another_node(autojump_clock, nodes, overflow):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(10, overflow))
    sent = []

    async def sending():
        for number in range(30_000):
            await ref.send(Item(number))
            sent.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sending)
        await trio.sleep(5)
        stuck = len(sent)
        assert 10 < stuck < 30_000
        await trio.sleep(5)
        assert len(sent) == stuck
        sink.gate.set()
    await until(lambda: len(sink.seen) == 30_000)
    assert sink.seen == sent
    assert first.system.statistics().dead_letters == second.system.statistics().dead_letters == {}
    await until(lambda: nothing_left(first, second))


async def test_tell_loses_only_what_the_queue_of_the_sender_has_no_room_for(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(10))
    ref.tell(Item(0))
    await trio.sleep(1)
    for number in range(1, 100):
        ref.tell(Item(number))
    await trio.sleep(1)
    for number in range(100, 6_000):
        ref.tell(Item(number))
    await trio.sleep(1)
    sink.gate.set()
    lost = second.system.statistics().dead_letters["outbound queue full"]
    await until(lambda: len(sink.seen) == 6_000 - lost)
    assert sink.seen == list(range(6_000 - lost))
    assert lost == 6_000 - 100 - 4_096
    assert first.system.statistics().dead_letters == {}
    await until(lambda: nothing_left(first, second))


async def test_a_mailbox_that_becomes_no_shorter_is_looked_at_seldom(autojump_clock, nodes, monkeypatch):
    seen, permits, looks = list[int](), trio.Semaphore(0), list[float]()
    is_long = backlogs_module.ReceiveBackpressure._is_long

    def look(receive_backpressure, mailbox, **bounds):
        looks.append(trio.current_time())
        return is_long(receive_backpressure, mailbox, **bounds)

    async def handle(ctx, message: Item):
        await permits.acquire()
        seen.append(message.number)
        return Behaviors.same()

    first, second, _ = await pair(nodes, Sink(), Mailbox(10))
    first.system.spawn(Behaviors.receive(handle), "slow", mailbox=Mailbox(10))
    slow = second.system.remote("/slow", "a").of(Item)
    for number in range(12):  # one in hand, ten in the mailbox, one beside it
        slow.tell(Item(number))
    await trio.sleep(1)
    permits.release()
    monkeypatch.setattr(backlogs_module.ReceiveBackpressure, "_is_long", look)
    await trio.sleep(50)
    assert seen == [0]
    assert 50 < len(looks) < 250
    for _ in range(99):
        permits.release()
    opened = trio.current_time()
    await until(lambda: not second.node.paused_sends.by_actor)
    assert trio.current_time() - opened < 2 * backlogs_module.LOOK_AGAIN_MAX
    await until(lambda: seen == list(range(12)))


async def test_other_actors_on_the_same_link_are_not_held_up(autojump_clock, nodes):
    sink, other = Sink(), Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(10))
    other.gate.set()
    first.system.spawn(other.behavior(), "other")
    for number in range(3_000):
        ref.tell(Item(number))
    with trio.fail_after(1):
        count: int = await second.system.ask(second.system.remote("/other", "a").of(Get), Get)
    assert count == 0
    for number in range(2_000):
        await second.system.remote("/other", "a").of(Item).send(Item(number))
    await until(lambda: len(other.seen) == 2_000)
    assert sink.seen == []
    sink.gate.set()
    await until(lambda: len(sink.seen) == 3_000)


async def test_a_long_mailbox_makes_other_nodes_hold_back_before_it_is_full(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(backlogs_module, "LONG", 500)
    monkeypatch.setattr(backlogs_module, "SHORT", 100)
    sink = Sink()
    first, second, ref = await pair(nodes, sink, None, pause=0.001)
    sink.gate.set()
    longest = 0

    async def watching():
        nonlocal longest
        while len(sink.seen) < 5_000:
            longest = max(longest, first.system.statistics().mailboxes.get("/sink", 0))
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watching)
        for number in range(5_000):
            await ref.send(Item(number))
            if number % 50 == 0:
                await trio.sleep(0.001)
    assert sink.seen == list(range(5_000))
    assert 500 < longest < 4_500
    await until(lambda: nothing_left(first, second))


SMALL_LIMITS = {
    "settings": ClusterSettings(
        limits=TransportLimits(
            frame_bytes_max=256 * 1024,
            message_bytes_max=1024 * 1024,
            outbound_bytes_max=512 * 1024,
            elements_max=32 * 1024,
        )
    )
}
"""A mebibyte of large messages makes a mailbox heavy, and what has 256 KiB travels in slices."""


@pytest.mark.parametrize("size", [LARGE_BYTES_MIN, 50_000, 280_000])
@pytest.mark.parametrize("kind", ["tell", "ask"])
async def test_a_heavy_mailbox_makes_other_nodes_hold_back_though_it_is_short(autojump_clock, nodes, size, kind):
    count = 6_000_000 // size
    sink = Sink()
    first, second, ref = await pair(nodes, sink, None, **SMALL_LIMITS)
    sent = 0

    async def sending():
        nonlocal sent
        for number in range(count):
            await ref.send(Blob(number, bytes(size)))
            sent += 1

    async def asking(number):
        nonlocal sent
        await second.system.ask(ref, lambda reply_to: Keep(bytes(size), reply_to), timeout=1_000)
        sent += 1

    async with trio.open_nursery() as nursery:
        if kind == "tell":
            nursery.start_soon(sending)
        else:
            for number in range(count):
                nursery.start_soon(asking, number)
                await trio.sleep(0.01)
        await trio.sleep(5)
        mailbox = first.system.lookup("/sink").mailbox
        waiting = len(mailbox)
        # What is heavy, an eighth of it until that is seen, and what was in the queue, or a write, of who heard of it.
        assert 1024 * 1024 < waiting * (size + 100) < 1024 * 1024 * 9 / 8 + 3 * 512 * 1024
        assert set(second.node.paused_sends.by_actor) == {(first.system.self_node, "/sink")}
        await trio.sleep(5)
        assert len(mailbox) == waiting
        sink.gate.set()
        await until(lambda: sent == count)
    if kind == "tell":
        await until(lambda: len(sink.seen) == count)
        assert sink.seen == list(range(count))
    assert first.system.statistics().dead_letters == second.system.statistics().dead_letters == {}
    await until(lambda: nothing_left(first, second))
    assert mailbox.weights.waiting(mailbox.queued()) == 0


async def test_what_a_mailbox_drops_makes_it_heavy_no_more(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(10, MailboxOverflowStrategy.drop_oldest), **SMALL_LIMITS)
    for number in range(500):
        ref.tell(Blob(number, bytes(10_000)))
        await trio.sleep(0.01)
    assert second.node.paused_sends.by_actor == {}
    assert first.system.statistics().dead_letters == {"mailbox full": 489}
    sink.gate.set()
    await until(lambda: len(sink.seen) == 11)
    assert sink.seen == [0, *range(490, 500)]


async def test_messages_of_the_largest_size_come_through_one_after_the_other(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, None, pause=0.1, **SMALL_LIMITS)
    sink.gate.set()
    for number in range(5):
        await ref.send(Blob(number, bytes(1024 * 1024 - 100)))
    await until(lambda: len(sink.seen) == 5)
    assert sink.seen == [0, 1, 2, 3, 4]
    await until(lambda: nothing_left(first, second))


async def test_the_largest_messages_wait_beside_a_small_mailbox(autojump_clock, nodes):
    sink, size = Sink(), 17 * 1024 * 1024
    limits = TransportLimits(message_bytes_max=32 * 1024 * 1024)
    first, second, ref = await pair(nodes, sink, Mailbox(2), settings=ClusterSettings(limits=limits))
    nodes.network.delay("a", "b", 0.5)  # several are under way before the first word of the full mailbox comes

    async def sending():
        for number in range(5):
            await ref.send(Blob(number, bytes(size)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sending)
        await trio.sleep(20)
        sink.gate.set()
    await until(lambda: len(sink.seen) == 5)
    assert sink.seen == [0, 1, 2, 3, 4]
    assert first.system.statistics().dead_letters == second.system.statistics().dead_letters == {}
    await until(lambda: nothing_left(first, second))


async def test_nothing_is_noted_of_actors_that_get_small_messages(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, None)
    for number in range(100):
        ref.tell(Blob(number, bytes(LARGE_BYTES_MIN - 200)))
    await trio.sleep(1)
    mailbox = first.system.lookup("/sink").mailbox
    assert (len(mailbox), mailbox.weights) == (99, None)
    ref.tell(Blob(100, bytes(LARGE_BYTES_MIN)))
    await trio.sleep(1)
    assert mailbox.weights.waiting(mailbox.queued()) > LARGE_BYTES_MIN
    sink.gate.set()
    await until(lambda: len(sink.seen) == 101)


async def test_requests_wait_too_and_expire_where_they_wait(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(5))
    for number in range(50):
        ref.tell(Item(number))
    with pytest.raises(casty.AskTimeoutError):
        await second.system.ask(ref, Get, timeout=1.0)
    sink.gate.set()
    await until(lambda: len(sink.seen) == 50)
    count: int = await second.system.ask(ref, Get, timeout=1.0)
    assert count == 50
    assert first.system.statistics().dead_letters == {"request expired": 1}
    await until(lambda: nothing_left(first, second))


async def test_an_actor_that_stops_gives_back_what_waited_for_it(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(5))
    for number in range(50):
        ref.tell(Item(number))
    await trio.sleep(1)
    first.system.stop(first.system.lookup("/sink"))
    sink.gate.set()
    await until(lambda: nothing_left(first, second))
    lost = sum(first.system.statistics().dead_letters.values())
    assert len(sink.seen) + lost == 50


async def test_an_actor_that_takes_a_path_over_is_told_nothing_by_the_backlog_before(
    autojump_clock, nodes, monkeypatch
):
    monkeypatch.setattr(backlogs_module, "LONG", 50)
    monkeypatch.setattr(backlogs_module, "SHORT", 10)
    before, after = Sink(), Sink()
    first, second, ref = await pair(nodes, before, None)
    third = await nodes.start("c", "a")
    await nodes.all_up("a", "b", "c")
    for number in range(500):
        ref.tell(Item(number))
    await trio.sleep(1)
    receive_backpressure = first.node.receive_backpressure
    old = receive_backpressure.by_path["/sink"]
    assert set(old.paused) == {second.run}
    local = first.system.lookup("/sink")
    first.system.stop(local)
    before.gate.set()
    await first.system.wait_stopped(local)
    first.system.spawn(after.behavior(), "sink", mailbox=Mailbox(2))
    lost = first.system.statistics().dead_letters
    for number in range(20):
        third.system.remote("/sink", "a").of(Item).tell(Item(number))
    await trio.testing.wait_all_tasks_blocked()  # no time passes: the old one looks again later
    backlog = receive_backpressure.by_path["/sink"]
    assert (old.paused, len(backlog.waiting)) == ({}, 17)
    assert set(backlog.paused) == {handle.run for handle in (second, third)}
    await trio.sleep(1)
    assert receive_backpressure.by_path["/sink"] is backlog
    after.gate.set()
    await until(lambda: len(after.seen) == 20)
    assert after.seen == list(range(20))
    assert first.system.statistics().dead_letters == lost
    await until(lambda: nothing_left(first, second) and nothing_left(first, third))


@pytest.mark.parametrize("seed", range(10))
async def test_a_lost_link_resumes_and_order_holds(autojump_clock, nodes, seed):
    rng = random.Random(seed)
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(20), pause=0.001)
    sink.gate.set()

    async def breaking():
        for _ in range(5):
            await trio.sleep(rng.uniform(0.05, 0.5))
            nodes.network.reset("a", "b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaking)
        for number in range(1_500):
            await ref.send(Item(number))
            if rng.random() < 0.02:
                await trio.sleep(rng.uniform(0.0, 0.1))
    await trio.sleep(30)
    assert sink.seen == sorted(set(sink.seen))
    await ref.send(Item(10_000))
    await until(lambda: sink.seen[-1] == 10_000)
    await until(lambda: nothing_left(first, second))


async def test_a_new_link_is_told_again_to_hold_back(autojump_clock, nodes):
    sink = Sink()
    _, _, ref = await pair(nodes, sink, Mailbox(5))
    sent = 0

    async def sending():
        nonlocal sent
        while sent < 100_000:
            await ref.send(Item(sent))
            sent += 1

    async with in_background(sending):
        await trio.sleep(2)
        nodes.network.reset("a", "b")
        await trio.sleep(2)
        stuck = sent
        await trio.sleep(2)
        assert sent == stuck < 50_000


async def test_what_was_asked_of_a_link_that_is_lost_before_it_was_written_is_taken_back_on_the_next(
    autojump_clock, nodes
):
    sink, other = Sink(), Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(5))
    second.system.spawn(other.behavior(), "other")
    there = first.system.remote("/other", "b").of(Blob)
    there.tell(Blob(0, b""))
    ref.tell(Item(0))
    await trio.sleep(1)
    nodes.network.cut("a", "b", one_way=True)
    for number in range(1, 9):
        there.tell(Blob(number, bytes(60_000)))
    await trio.sleep(0.1)
    for number in range(1, 50):
        ref.tell(Item(number))
    await trio.sleep(0.1)
    transport, peer = node_of(first.system).transport, second.run
    assert [link.queued_messages for link in transport.statistics().links if link.lane is Lane.ordinary] == [1]
    nodes.network.reset("a", "b")
    sink.gate.set()
    await until(lambda: len(sink.seen) == 50)
    await trio.sleep(0.1)
    assert not transport.is_up(peer, Lane.ordinary)
    nodes.network.heal("a", "b")
    await trio.sleep(1)
    assert transport.is_up(peer, Lane.ordinary)
    assert nothing_left(first, second)
    await ref.send(Item(50))
    await until(lambda: len(sink.seen) == 51)


async def test_a_node_that_is_removed_releases_who_waits_for_it(autojump_clock, nodes):
    sink = Sink()
    first, second, ref = await pair(nodes, sink, Mailbox(5))
    transport = node_of(first.system).transport
    transport.send_if_up(second.run, Lane.ordinary, pause_frame("/sink"))
    ref.tell(Item(0))
    await trio.sleep(1)
    transport.send_if_up(second.run, Lane.ordinary, pause_frame("/nobody"))
    await trio.sleep(1)
    assert set(second.node.paused_sends.by_actor) == {(first.system.self_node, "/nobody")}
    second.system.remote("/nobody", "a").of(Item).tell(Item(1))
    await nodes.stop("a")
    await until(lambda: not second.node.paused_sends.by_actor)


async def test_a_node_holds_back_for_one_that_it_gets_to_know_as_a_member_only_later(autojump_clock, nodes):
    sink = Sink()
    rare = ClusterSettings(gossip_interval=30.0)
    await nodes.start("a", settings=rare)
    second = await nodes.start("b", "a", settings=rare)
    await nodes.all_up("a", "b")
    second.system.spawn(flooding(), "source")
    nodes.network.cut("a", "b")  # that "c" joins is not heard of on "b"
    third = await nodes.start("c", "a", settings=rare)
    here = third.system.spawn(sink.behavior(), "sink", mailbox=Mailbox(10))
    third.system.remote("/source", "b").of(Flood).tell(Flood(here))
    receive_backpressure, sender = third.node.receive_backpressure, second.node
    await until(lambda: receive_backpressure.by_path)
    assert not sender.is_member(third.run)
    nodes.network.heal("a", "b")
    await until(lambda: sender.is_member(third.run))
    await until(lambda: sender.paused_sends.by_actor)
    waiting = receive_backpressure.bytes
    await trio.sleep(10)
    assert receive_backpressure.bytes == waiting
    sink.gate.set()
    await until(lambda: len(sink.seen) == FLOOD)
    assert third.system.statistics().dead_letters == second.system.statistics().dead_letters == {}
    await until(lambda: nothing_left(third, second))
