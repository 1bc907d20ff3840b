"""Messages that are larger than a frame: whole, in order, and out of the way of all others."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import trio
from helpers.behaviors import hanging, tell_all, until, waiting_for
from helpers.messages import Echo

import casty
from casty import (
    ActorContext,
    AskFailed,
    Behaviors,
    ClusterSettings,
    DeadLetter,
    EncodeError,
    Inbox,
    Mailbox,
    NodeAddress,
    Terminated,
)
from casty.cluster.remoting.paused_sends import FOR_MEMBERS
from casty.config import TransportLimits
from casty.wire.chunking.chunks import KEPT_SECONDS

MIB = 1024 * 1024
PORT = 2551


@casty.message("tests.large.Text")
@dataclass(frozen=True)
class Text:
    number: int
    text: str = ""


@casty.message("tests.large.End")
@dataclass(frozen=True)
class End:
    pass


def collecting(seen):
    async def handle(ctx, message: Text | Echo | End):
        match message:
            case Text(number, text):
                seen.append((number, len(text)))
            case Echo(text, reply_to):
                reply_to.tell(text[::-1])
            case End():
                return Behaviors.stopped()
        return Behaviors.same()

    return Behaviors.receive(handle)


async def pair(nodes, seen, **limits):
    settings = ClusterSettings(limits=TransportLimits(**limits))
    first = await nodes.start("a", settings=settings)
    second = await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    first.system.spawn(collecting(seen), "sink")
    return first, second, second.system.remote("/sink", "a").of(Text | Echo | End)


async def test_a_large_message_keeps_its_place_among_the_others(autojump_clock, nodes):
    seen = []
    _, second, ref = await pair(nodes, seen)
    nodes.network.delay("a", "b", 0.02)
    sizes = [10, 5 * MIB, 10, 20, 2 * MIB, 3 * MIB, 1]
    for number, size in enumerate(sizes):
        if size > MIB:
            await ref.send(Text(number, "x" * size))
        else:
            ref.tell(Text(number, "x" * size))
    await until(lambda: len(seen) == len(sizes))
    assert seen == list(enumerate(sizes))
    node = second.node
    assert (node.paused_sends.by_actor, node.paused_sends.by_peer, node.paused_sends.large) == ({}, {}, {})


async def test_other_actors_do_not_wait_for_it(autojump_clock, nodes):
    seen, others = [], []
    first, second, ref = await pair(nodes, seen)
    first.system.spawn(collecting(others), "other")
    other = second.system.remote("/other", "a").of(Text)
    nodes.network.delay("a", "b", 0.05)
    tell_all(ref, Text(0, "x" * 4 * MIB), Text(1))
    other.tell(Text(2))
    await until(lambda: others)
    assert (seen, others) == ([], [(2, 0)])
    await until(lambda: len(seen) == 2)
    assert seen == [(0, 4 * MIB), (1, 0)]


async def test_questions_and_answers_may_be_large(autojump_clock, nodes):
    _, second, ref = await pair(nodes, [])
    text = "ab" * 2 * MIB
    reply: str = await second.system.ask(ref, lambda reply_to: Echo(text, reply_to), timeout=30)
    assert reply == text[::-1]


async def test_what_is_over_the_limit_is_refused_where_it_is_sent(autojump_clock, nodes):
    _, _, ref = await pair(nodes, [])
    with pytest.raises(EncodeError, match=r"over the limit of 16777216 \(message_bytes_max\): send it in parts"):
        ref.tell(Text(0, "x" * 17 * MIB))


async def test_a_node_that_takes_less_says_so_and_the_rest_goes_on(autojump_clock, nodes):
    seen = []
    _, second, ref = await pair(nodes, seen, message_bytes_max=2 * MIB)
    tell_all(ref, Text(0, "x" * 3 * MIB), Text(1))
    await until(lambda: seen)
    assert seen == [(1, 0)]
    [dead] = [event for _, event in second.events if isinstance(event, DeadLetter)]
    assert dead.message == Text(0, "x" * 3 * MIB)
    assert dead.reason == "not sent: it is larger than the other node takes"


async def test_tell_finds_no_room_where_send_waits(autojump_clock, nodes):
    seen = []
    _, second, ref = await pair(nodes, seen)
    nodes.network.delay("a", "b", 0.1)
    tell_all(ref, Text(0, "x" * 6 * MIB), Text(1, "x" * 6 * MIB), Text(2))
    await ref.send(Text(3, "x" * 6 * MIB))
    await ref.send(Text(4))
    await until(lambda: seen and seen[-1][0] == 4)
    assert [number for number, _ in seen] == [0, 2, 3, 4]
    assert second.system.statistics().dead_letters == {"outbound queue full": 1}


async def test_a_cut_link_loses_what_was_on_it_and_nothing_that_comes_later(autojump_clock, nodes):
    seen = []
    first, second, ref = await pair(nodes, seen)
    nodes.network.delay("a", "b", 0.2)
    ref.tell(Text(0, "x" * 4 * MIB))
    await until(lambda: first.node.assembler.held_bytes)
    nodes.network.reset("a", "b")
    await until(lambda: second.system.statistics().dead_letters == {"not sent": 1})
    tell_all(ref, Text(1), Text(2, "x" * 4 * MIB))
    await until(lambda: len(seen) == 2)
    assert seen == [(1, 0), (2, 4 * MIB)]
    [dead] = [event for _, event in second.events if isinstance(event, DeadLetter)]
    assert dead.message == Text(0, "x" * 4 * MIB)


@pytest.mark.parametrize("seed", range(10))
async def test_order_and_account_hold_while_links_break(autojump_clock, nodes, seed):
    rng = random.Random(seed)
    seen = []
    _, second, ref = await pair(nodes, seen)
    nodes.network.delay("a", "b", 0.03)

    async def breaking():
        for _ in range(6):
            await trio.sleep(rng.uniform(0.1, 1.0))
            nodes.network.reset("a", "b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaking)
        for number in range(60):
            message = Text(number, "x" * rng.choice((0, 100, 1000, 2 * MIB)))
            if rng.random() < 0.5:
                await ref.send(message)
            else:
                ref.tell(message)
            await trio.sleep(rng.choice((0, 0, 0.05)))
    await trio.sleep(2 * KEPT_SECONDS)
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    whole = [number for number in range(100, 110)]
    for number in whole:
        await ref.send(Text(number, "x" * rng.choice((10, 2 * MIB))))
    await until(lambda: seen[-1][0] == whole[-1])
    assert [number for number, _ in seen] == [*numbers, *whole]
    node = second.node
    assert (node.paused_sends.by_actor, node.paused_sends.by_peer, node.paused_sends.large) == ({}, {}, {})
    assert nodes.handles["a"].node.assembler.held_bytes == 0


async def test_the_end_of_an_actor_comes_after_the_large_messages_that_it_sent(autojump_clock, nodes):
    order = []
    first, second, _ = await pair(nodes, [])
    nodes.network.delay("a", "b", 0.05)

    async def speaking(ctx, message: Echo | End):
        if isinstance(message, End):
            return Behaviors.stopped()
        ctx.system.remote("/watcher", "b").of(Text).tell(Text(0, "x" * 5 * MIB))
        return Behaviors.same()

    async def watcher(ctx: ActorContext[Text | Terminated], inbox: Inbox[Text | Terminated]) -> None:
        ctx.watch(second.system.remote("/speaker", "a"))
        async for message in inbox:
            order.append(type(message).__name__)

    first.system.spawn(Behaviors.receive(speaking), "speaker")
    second.system.spawn(Behaviors.task(watcher), "watcher")
    await trio.sleep(1)
    ref = second.system.remote("/speaker", "a").of(Echo | End)
    tell_all(ref, Echo("", ref.of(str)), End())
    await until(lambda: len(order) == 2)
    assert order == ["Text", "Terminated"]


@pytest.mark.parametrize("wait", [KEPT_SECONDS / 2 + 1, KEPT_SECONDS + 1, 10 * KEPT_SECONDS])
@pytest.mark.parametrize("is_reset", [False, True])
async def test_large_messages_outlast_an_actor_that_has_their_sender_hold_back(autojump_clock, nodes, wait, is_reset):
    seen, others, gate = [], [], trio.Event()
    first, second, _ = await pair(nodes, [])

    async def wait_at_the_gate(ctx, message: Text):
        await gate.wait()
        seen.append((message.number, len(message.text)))
        return Behaviors.same()

    first.system.spawn(Behaviors.receive(wait_at_the_gate), "slow", mailbox=Mailbox(2))
    first.system.spawn(collecting(others), "other")
    slow, other = (second.system.remote(path, "a").of(Text) for path in ("/slow", "/other"))
    for number in range(5):
        slow.tell(Text(number))
    await trio.sleep(1)
    tell_all(slow, Text(5, "x" * 2 * MIB), Text(6), Text(7, "x" * 3 * MIB), Text(8))
    await trio.sleep(wait)
    other.tell(Text(0, "x" * 2 * MIB))  # before it is taken, what has waited for too long is dropped
    await until(lambda: others)
    if is_reset:
        nodes.network.reset("a", "b")
    gate.set()
    await until(lambda: seen and seen[-1][0] == 8)
    lost = second.system.statistics().dead_letters.get("not sent", 0)
    assert lost == 0 or is_reset  # a link that is cut loses what is on its way once more
    sizes = [(number, {5: 2 * MIB, 7: 3 * MIB}.get(number, 0)) for number in range(9)]
    assert [size for size in sizes if size in seen] == seen
    assert len(seen) + lost == len(sizes)
    assert first.system.statistics().dead_letters == {}
    node = second.node
    await until(
        lambda: (node.paused_sends.by_actor, node.paused_sends.by_peer, node.paused_sends.large) == ({}, {}, {})
    )
    await trio.sleep(KEPT_SECONDS + 1)
    other.tell(Text(1, "x" * 2 * MIB))
    await until(lambda: len(others) == 2)
    assert first.node.assembler.held_bytes == 0


async def test_large_messages_go_once_more_to_a_node_that_has_no_room_but_for_them(autojump_clock, nodes):
    seen, gate = [], trio.Event()
    limits = TransportLimits(message_bytes_max=2 * MIB)
    first = await nodes.start("a", settings=ClusterSettings(limits=limits))
    second = await nodes.start("b", "a")
    await nodes.all_up("a", "b")

    async def wait_at_the_gate(ctx, message: Text):
        await gate.wait()
        seen.append((message.number, len(message.text)))
        return Behaviors.same()

    first.system.spawn(Behaviors.receive(wait_at_the_gate), "slow", mailbox=Mailbox(2))
    slow = second.system.remote("/slow", "a").of(Text)
    for number in range(5):
        slow.tell(Text(number))
    await trio.sleep(1)
    for number in range(5, 9):
        await slow.send(Text(number, "x" * (2 * MIB - 1_000)))
    await until(lambda: first.node.assembler.held_bytes > 4 * 2 * MIB - 10_000)
    await trio.sleep(KEPT_SECONDS / 2 + 1)
    gate.set()
    await until(lambda: seen and seen[-1][0] == 8)
    assert seen == [(number, 0 if number < 5 else 2 * MIB - 1_000) for number in range(9)]
    assert first.node.assembler.held_bytes == 0


async def test_large_messages_that_go_once_more_are_dead_letters_when_the_node_is_lost(autojump_clock, nodes):
    first, second, _ = await pair(nodes, [])

    first.system.spawn(hanging(), "slow", mailbox=Mailbox(2))
    slow = second.system.remote("/slow", "a").of(Text)
    for number in range(5):
        slow.tell(Text(number))
    await trio.sleep(1)
    for number in range(5, 8):
        slow.tell(Text(number, "x" * 2 * MIB))
    await trio.sleep(KEPT_SECONDS)
    nodes.crash("a")
    await until(lambda: second.system.statistics().dead_letters.get("not sent") == 3)
    node = second.node
    await until(
        lambda: (node.paused_sends.by_actor, node.paused_sends.by_peer, node.paused_sends.large) == ({}, {}, {})
    )


async def test_the_large_messages_of_a_removed_node_are_not_kept(autojump_clock, nodes):
    first, second, _ = await pair(nodes, [])
    gate = trio.Event()

    first.system.spawn(waiting_for(gate), "slow", mailbox=Mailbox(2))
    slow, assembler = second.system.remote("/slow", "a").of(Text), first.node.assembler
    for number in range(5):
        slow.tell(Text(number))
    await trio.sleep(1)
    slow.tell(Text(5, "x" * 2 * MIB))
    await until(lambda: assembler.held_bytes > 2 * MIB)
    nodes.crash("b")
    await nodes.sees("a", {"a": "up"})
    assert (assembler.held_bytes, assembler.by_peer) == (0, {})


async def test_a_node_that_leaves_sends_its_large_messages_first(autojump_clock, nodes):
    seen = []
    _, _, ref = await pair(nodes, seen)
    nodes.network.delay("a", "b", 0.01)
    tell_all(ref, Text(0, "x" * 7 * MIB), Text(1))
    await nodes.stop("b")
    assert seen == [(0, 7 * MIB), (1, 0)]


def answering(how):
    """Answer an ask with as many letters as its text says, by ``tell`` or by ``send``."""

    async def handle(ctx, message: Echo):
        reply = "x" * int(message.text)
        if how == "tell":
            message.reply_to.tell(reply)
        else:
            await message.reply_to.send(reply)
        return Behaviors.same()

    return Behaviors.receive(handle)


@pytest.mark.parametrize("how", ["tell", "send"])
async def test_a_large_reply_to_who_is_no_member_is_refused_at_once_and_not_kept(autojump_clock, nodes, how):
    first, stranger = await nodes.start("a"), await nodes.start("b")
    first.system.spawn(answering(how), "sink")
    ref = stranger.system.remote("/sink", NodeAddress("a", PORT)).of(Echo)
    assert await stranger.system.ask(ref, lambda reply_to: Echo("9", reply_to)) == "x" * 9
    for _ in range(3):
        with pytest.raises(AskFailed, match="the reply was not sent: the node there is no member"):
            await stranger.system.ask(ref, lambda reply_to: Echo(str(3 * MIB), reply_to))
    node = first.node
    assert not (node.paused_sends.large or node.paused_sends.by_actor or node.paused_sends.by_peer)
    assert first.system.statistics().dead_letters == {"not sent": 3}
    letters = [event for _, event in first.events if isinstance(event, DeadLetter)]
    assert [letter.reason for letter in letters] == [f"not sent: {FOR_MEMBERS}"] * 3
    assert {letter.message.name for letter in letters} == {"str"}
    assert all(3 * MIB < letter.message.size_bytes < 3 * MIB + 100 for letter in letters)
    assert await stranger.system.ask(ref, lambda reply_to: Echo("9", reply_to)) == "x" * 9


async def test_a_large_message_to_who_is_no_member_is_a_dead_letter_of_its_sender(autojump_clock, nodes):
    seen = []
    first, stranger = await nodes.start("a"), await nodes.start("b")
    first.system.spawn(collecting(seen), "sink")
    ref = stranger.system.remote("/sink", NodeAddress("a", PORT)).of(Text | Echo)
    ref.tell(Text(1, "x" * 2 * MIB))
    await ref.send(Text(2, "x" * 2 * MIB))
    with pytest.raises(AskFailed, match="the node there is no member"):
        await stranger.system.ask(ref, lambda reply_to: Echo("x" * 2 * MIB, reply_to))
    ref.tell(Text(3))
    await until(lambda: seen)
    assert (seen, stranger.system.statistics().dead_letters) == ([(3, 0)], {"not sent": 3})


async def test_who_has_just_joined_gets_large_replies_of_all_members(autojump_clock, nodes):
    for name in "abc":
        handle = await nodes.start(name, "" if name == "a" else "a")
        handle.system.spawn(answering("tell"), "sink")
        for other in nodes.handles:
            ref = handle.system.remote("/sink", other).of(Echo)
            assert len(await handle.system.ask(ref, lambda reply_to: Echo(str(2 * MIB), reply_to))) == 2 * MIB
