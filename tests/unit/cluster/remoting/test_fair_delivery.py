"""An actor to which one node sends too much: that node waits for itself, and nobody else for it."""

from __future__ import annotations

import msgpack
import pytest
import trio
from helpers.messages import Get, Sent

import casty
from casty import ActorContext, Behavior, Behaviors, Inbox
from casty.cluster.remoting import receive_backpressure as backlogs_module
from casty.runtime.messaging.mailbox import DIRECT_MAX
from casty.runtime.messaging.queueing.fair_queue import QUANTUM
from casty.wire.frame import FrameKind


class Slow:
    """An actor that takes a millisecond for an item, and nothing for an ask, which it answers with what it has seen."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.gate = trio.Event()
        self.gate.set()

    async def take(self, message: Sent | Get) -> None:
        await self.gate.wait()
        if isinstance(message, Get):
            message.reply_to.tell(len(self.seen))
        else:
            await trio.sleep(0.001)
            self.seen.append((message.sender, message.number))

    def handler(self) -> Behavior[Sent | Get]:
        async def handle(ctx: ActorContext[Sent | Get], message: Sent | Get) -> Behavior[Sent | Get]:
            await self.take(message)
            return Behaviors.same()

        return Behaviors.receive(handle)

    def task(self) -> Behavior[Sent | Get]:
        async def main(ctx: ActorContext[Sent | Get], inbox: Inbox[Sent | Get]) -> None:
            async for message in inbox:
                await self.take(message)

        return Behaviors.task(main)


def body(number: int, sender: str) -> bytes:
    """Return the body of an envelope with an item for the actor."""
    head = msgpack.packb(["/slow", 0, "tests.Sent"])
    return len(head).to_bytes(2, "big") + head + msgpack.packb({"number": number, "sender": sender})


async def three(nodes, slow: Slow, form: str = "handler"):
    handles = [await nodes.start("a"), *[await nodes.start(name, "a") for name in "bc"]]
    await nodes.all_up("a", "b", "c")
    handles[0].system.spawn(getattr(slow, form)(), "slow")
    return handles


def ref_at(handle):
    return handle.system.remote("/slow", "a").of(Sent | Get)


async def answered_after(handle) -> float:
    """Return how long an ask of a node takes."""
    began = trio.current_time()
    await handle.system.ask(ref_at(handle), Get, timeout=100.0)
    return trio.current_time() - began


@pytest.mark.parametrize("form", ["handler", "task"])
async def test_asks_of_one_node_do_not_wait_behind_the_flood_of_another(autojump_clock, nodes, form):
    slow = Slow()
    _, flood, honest = await three(nodes, slow, form)
    await answered_after(honest)
    took: list[float] = []

    async def flooding() -> None:
        for number in range(8_000):
            await ref_at(flood).send(Sent(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flooding)
        await trio.sleep(0.5)
        while len(slow.seen) < 6_000:
            took.append(await answered_after(honest))
            await trio.sleep(0.05)
    assert len(took) > 20
    # What was on its way when nobody else had sent anything, and two turns of the flood: a millisecond each.
    assert max(took) < (DIRECT_MAX + 3 * QUANTUM) * 0.0011
    await trio.sleep(10)
    assert slow.seen == [("b", number) for number in range(8_000)]


@pytest.mark.parametrize("way", ["quick", "long"])
async def test_only_who_sends_much_is_asked_to_hold_back(autojump_clock, nodes, monkeypatch, way):
    monkeypatch.setattr(backlogs_module, "LONG", 500)
    monkeypatch.setattr(backlogs_module, "SHORT", 100)
    slow = Slow()
    first, flood, honest = await three(nodes, slow)
    await answered_after(flood)
    slow.gate = trio.Event()
    node = first.node
    for number in range(1_500):
        frames = [(FrameKind.ENVELOPE, body(number, "b"))]
        if way == "quick":
            first.inbound.envelopes(flood.run, frames, 0)
        else:
            first.inbound._envelope(flood.run, frames[0][1])
    for number in range(200):
        ref_at(honest).tell(Sent(number, "c"))
    await trio.sleep(1)
    backlog = node.receive_backpressure.by_path["/slow"]
    assert set(backlog.paused) == {flood.run}
    assert not honest.node.paused_sends.by_actor
    assert node.receive_backpressure.bytes > 0
    slow.gate.set()
    await answered_after(honest)
    assert len(slow.seen) < 700
    await trio.sleep(10)
    for sender, count in (("b", 1_500), ("c", 200)):
        assert [number for one, number in slow.seen if one == sender] == list(range(count))
    assert (node.receive_backpressure.by_path, node.receive_backpressure.bytes) == ({}, 0)
    assert not flood.node.paused_sends.by_actor
    assert not first.system.statistics().dead_letters


async def test_who_does_not_hold_back_loses_its_own_messages_and_nobody_elses(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(backlogs_module, "LONG", 500)
    monkeypatch.setattr(backlogs_module, "SHORT", 100)
    slow = Slow()
    first, flood, honest = await three(nodes, slow)
    monkeypatch.setattr(first.node.receive_backpressure, "_backlog_max", 100_000)
    slow.gate = trio.Event()
    for number in range(5_000):
        first.inbound.envelopes(flood.run, [(FrameKind.ENVELOPE, body(number, "b"))], 0)
    for number in range(300):
        ref_at(honest).tell(Sent(number, "c"))
    await trio.sleep(1)
    lost = first.system.statistics().dead_letters["mailbox full"]
    assert 1_000 < lost < 4_500
    slow.gate.set()
    await trio.sleep(10)
    assert [number for sender, number in slow.seen if sender == "b"] == list(range(5_000 - lost))
    assert [number for sender, number in slow.seen if sender == "c"] == list(range(300))
    assert first.node.receive_backpressure.bytes == 0


async def test_who_holds_back_goes_on_though_another_does_not(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(backlogs_module, "LONG", 200)
    monkeypatch.setattr(backlogs_module, "SHORT", 100)
    slow = Slow()
    first, flood, honest = await three(nodes, slow)
    run, done = flood.run, trio.Event()

    async def flooding() -> None:
        number = 0
        while not done.is_set():
            for _ in range(20):
                first.inbound.envelopes(run, [(FrameKind.ENVELOPE, body(number, "b"))], 0)
                number += 1
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flooding)
        with trio.fail_after(30):
            for number in range(2_000):
                await ref_at(honest).send(Sent(number, "c"))
            while ("c", 1_999) not in slow.seen[-1_000:]:  # noqa: ASYNC110  # an actor's doings have no event
                await trio.sleep(0.1)
        done.set()
    assert [number for sender, number in slow.seen if sender == "c"] == list(range(2_000))


async def test_a_mailbox_that_is_full_of_one_node_lets_others_in_in_turn(autojump_clock, nodes):
    slow = Slow()
    first, flood, honest = await three(nodes, slow)
    slow.gate = trio.Event()
    first.system.spawn(slow.handler(), "small", mailbox=casty.Mailbox(10))
    for handle, sender in ((flood, "b"), (honest, "c")):
        for number in range(500):
            handle.system.remote("/small", "a").of(Sent).tell(Sent(number, sender))
        await trio.sleep(1)
    slow.gate.set()
    await trio.sleep(5)
    assert slow.seen.index(("c", 0)) <= 15
    for sender in "bc":
        assert [number for one, number in slow.seen if one == sender] == list(range(500))


async def test_the_end_of_an_actor_is_told_after_all_that_it_has_sent_though_others_flood(autojump_clock, nodes):
    told, gate = list[object](), trio.Event()

    async def handle(ctx: ActorContext[object], message: Sent | casty.Terminated) -> Behavior[object]:
        await gate.wait()
        told.append("end" if isinstance(message, casty.Terminated) else message.sender)
        return Behaviors.same()

    async def watching(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.watch(source)
        return Behaviors.receive(handle)

    slow = Slow()
    first, flood, other = await three(nodes, slow)

    async def send(ctx: ActorContext[Sent], item: Sent) -> Behavior[Sent]:
        for number in range(item.number):
            other.system.remote("/watcher", "a").of(Sent).tell(Sent(number, "c"))
        return Behaviors.stopped()

    other.system.spawn(Behaviors.receive(send), "source")
    source = first.system.remote("/source", "c").of(Sent)
    first.system.spawn(Behaviors.setup(watching), "watcher")
    await trio.sleep(1)
    for number in range(1_000):
        flood.system.remote("/watcher", "a").of(Sent).tell(Sent(number, "b"))
    await trio.sleep(1)
    source.tell(Sent(500))
    await trio.sleep(3)
    gate.set()
    await trio.sleep(3)
    assert len(told) == 1_501
    assert [sender for sender in told if sender != "b"] == [*["c"] * 500, "end"]
