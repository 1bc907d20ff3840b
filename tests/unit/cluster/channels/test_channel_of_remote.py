"""A channel to an actor of another node knows the own queue; and who asked from there is told of a failure once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import until
from helpers.messages import Item

import casty
from casty import ActorRef, AskFailed, Behaviors, ClusterSettings, Inbox, Mailbox, MailboxOverflowStrategy, channel_of
from casty.config import TransportLimits


@casty.message("tests.channel.Get")
@dataclass(frozen=True)
class Get:
    key: str
    reply_to: ActorRef[str]


NOT_UTF8 = "\ud800"
"""Found out only where the value is written, not by its type."""
QUEUE = 8
SMALL = {"settings": ClusterSettings(limits=TransportLimits(outbound_messages_max=QUEUE))}


async def pair(nodes):
    first, second = await nodes.start("a", **SMALL), await nodes.start("b", "a", **SMALL)
    await nodes.all_up("a", "b")
    return first, second


class Sink:
    def __init__(self):
        self.gate, self.seen = trio.Event(), list[int]()

    async def main(self, ctx, inbox: Inbox[Item]):
        await self.gate.wait()
        async for item in inbox:
            self.seen.append(item.number)


@pytest.mark.parametrize("overflow", [MailboxOverflowStrategy.drop_new, MailboxOverflowStrategy.back_pressure])
async def test_a_channel_to_another_node_would_block_and_waits_at_the_own_queue(autojump_clock, nodes, overflow):
    sink = Sink()
    first, second = await pair(nodes)
    first.system.spawn(Behaviors.task(sink.main), "sink", mailbox=Mailbox(1, overflow))
    channel, taken = channel_of(second.system.remote("/sink", "a").of(Item)), list[int]()
    assert isinstance(channel, trio.abc.SendChannel)
    refused = 0
    for number in range(100):  # in one step: nothing leaves the queue meanwhile
        try:
            channel.send_nowait(Item(number))
        except trio.WouldBlock:
            refused += 1
        else:
            taken.append(number)
    assert taken == list(range(100 - refused))
    assert 0 < refused < 100
    said = channel.statistics()
    assert (said.current_buffer_used, said.max_buffer_size) == (QUEUE, QUEUE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.send, Item(100))
        await trio.testing.wait_all_tasks_blocked()
        sink.gate.set()
    await until(lambda: sink.seen == [*taken, 100])
    assert first.system.statistics().dead_letters == second.system.statistics().dead_letters == {}


async def test_closing_ends_a_send_that_waits_and_nothing_of_it_arrives(autojump_clock, nodes):
    async def refused(channel):
        with pytest.raises(trio.ClosedResourceError):
            await channel.send(Item(-1))
        ended.set()

    ended, sink = trio.Event(), Sink()
    first, second = await pair(nodes)
    first.system.spawn(Behaviors.task(sink.main), "sink")
    ref = second.system.remote("/sink", "a").of(Item)
    one, other = channel_of(ref), channel_of(ref)
    async with trio.open_nursery() as nursery:
        number = 0
        with pytest.raises(trio.WouldBlock):
            while True:
                other.send_nowait(Item(number))
                number += 1
        nursery.start_soon(refused, one)
        await trio.lowlevel.checkpoint()
        one.close()
        await ended.wait()
    await other.send(Item(number))
    sink.gate.set()
    await until(lambda: sink.seen == list(range(number + 1)))


async def test_a_node_that_has_no_links_or_has_left_breaks_its_channels(autojump_clock, nodes):
    first, second = await pair(nodes)
    sink = Sink()
    ref = first.system.spawn(Behaviors.task(sink.main), "sink")
    channel = channel_of(second.system.remote("/sink", "a").of(Item))
    assert ref is not None
    await channel.send(Item(0))
    await nodes.stop("b")
    with pytest.raises(trio.BrokenResourceError):
        channel.send_nowait(Item(1))
    with pytest.raises(trio.BrokenResourceError):
        await channel.send(Item(1))
    sink.gate.set()


async def test_all_who_asked_from_another_node_are_told_of_a_failure_and_nobody_twice(autojump_clock, nodes):
    async def main(ctx, inbox: Inbox[Get]):
        taken = [await inbox.receive() for _ in range(3)]
        taken[1].reply_to.tell("answered")
        raise LookupError("in main")

    async def ask(key):
        try:
            answers[key] = await second.system.ask(ref, lambda reply_to: Get(key, reply_to), timeout=60.0)
        except AskFailed as error:
            answers[key] = str(error)

    answers = dict[str, str]()
    first, second = await pair(nodes)
    first.system.spawn(Behaviors.task(main), "t")
    ref, began = second.system.remote("/t", "a").of(Get), trio.current_time()
    async with trio.open_nursery() as nursery:
        for key in ("first", "second", "third"):
            nursery.start_soon(ask, key)
            await trio.sleep(0.1)
    assert answers == {"first": "LookupError: in main", "second": "answered", "third": "LookupError: in main"}
    assert trio.current_time() - began < 5.0
    await trio.sleep(1)
    assert first.system.statistics().dead_letters == second.system.statistics().dead_letters == {}


@pytest.mark.parametrize("way", ["tell", "send", "channel", "cancelled"])
async def test_who_asked_is_told_of_a_failure_where_the_reply_was_not_handed_over(autojump_clock, nodes, way):
    async def main(ctx, inbox: Inbox[Get]):
        first, _ = [await inbox.receive() for _ in range(2)]
        if way == "cancelled":
            with trio.CancelScope() as scope:
                scope.cancel()
                await first.reply_to.send("never")
            raise LookupError("in main")
        if way == "tell":
            first.reply_to.tell(NOT_UTF8)
        elif way == "send":
            await first.reply_to.send(NOT_UTF8)
        else:
            await channel_of(first.reply_to).send(NOT_UTF8)

    async def ask(key):
        with pytest.raises(AskFailed, match="in main" if way == "cancelled" else "surrogate|UTF-8|utf-8"):
            await second.system.ask(ref, lambda reply_to: Get(key, reply_to), timeout=60.0)

    first, second = await pair(nodes)
    first.system.spawn(Behaviors.task(main), "t")
    ref, began = second.system.remote("/t", "a").of(Get), trio.current_time()
    async with trio.open_nursery() as nursery:
        for key in ("first", "second"):
            nursery.start_soon(ask, key)
            await trio.sleep(0.1)
    assert trio.current_time() - began < 5.0
