"""An ask waits for room on its way to another node, as long as its time-out; what is told meanwhile is not lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from helpers.behaviors import forwarding, until

from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusterSettings,
    Mailbox,
    message,
)
from casty.config import TransportLimits
from casty.testing.inspect import links_of, node_of
from casty.wire.frame import Lane

KIB, MIB = 1024, 1024 * 1024

SMALL = {"settings": ClusterSettings(limits=TransportLimits(outbound_messages_max=4))}
"""Room for four frames for each node."""


@message("tests.waiting.Ask")
@dataclass(frozen=True)
class Ask:
    number: int
    data: bytes
    reply_to: ActorRef[int]


@message("tests.waiting.Left")
@dataclass(frozen=True)
class Left:
    """Ask how much time is left."""

    data: bytes
    reply_to: ActorRef[float]


@message("tests.waiting.Item")
@dataclass(frozen=True)
class Item:
    number: int
    data: bytes = b""


@dataclass
class Desk:
    """An actor that answers at once, and keeps the numbers of what it has handled, unless its gate is closed."""

    seen: list[int] = field(default_factory=list)
    gate: trio.Event = field(default_factory=trio.Event)

    def behavior(self) -> Behavior[Ask | Left | Item]:
        async def handle(ctx: ActorContext[Ask | Left | Item], told: Ask | Left | Item) -> Behavior[Ask | Left | Item]:
            await self.gate.wait()
            if isinstance(told, Left):
                told.reply_to.tell(ctx.deadline - trio.current_time())
            else:
                self.seen.append(told.number)
                if isinstance(told, Ask):
                    told.reply_to.tell(told.number)
            return Behaviors.same()

        return Behaviors.receive(handle)


async def pair(nodes, *, is_open=True, mailbox=None, **options):
    """Return two nodes, a desk on the first one, and the ref to it on the second."""
    first, second = await nodes.join("a", "b", **options)
    desk = Desk()
    if is_open:
        desk.gate.set()
    first.system.spawn(desk.behavior(), "desk", mailbox=mailbox)
    ref = second.system.remote("/desk", "a").of(Ask | Left | Item)
    ref.tell(Item(0))
    await until(lambda: not is_open or desk.seen == [0])
    return first.system, second.system, desk, ref


async def ask(system, ref, number, *, size=0, timeout=5.0) -> int:
    return await system.ask(ref, lambda reply_to: Ask(number, bytes(size), reply_to), timeout=timeout)


def links(system, lane=Lane.ordinary):
    return [link for link in links_of(system) if link.lane is lane]


def waiting(system, lane=Lane.ordinary) -> int:
    return sum(link.waiting_senders for link in links(system, lane))


async def fill(ref) -> list[int]:
    """Let the writer get stuck at the network, which is cut, and fill the queue behind it; return what was told."""
    numbers = list(range(1, 9))
    for number in numbers:
        ref.tell(Item(number, bytes(80 * KIB)))  # the network takes 256 KiB
        await trio.testing.wait_all_tasks_blocked()
    return numbers


@pytest.mark.parametrize("size", [MIB, 3 * MIB])
async def test_large_asks_that_begin_together_are_all_answered_from_both_sides(autojump_clock, nodes, size):
    first, second, _, there = await pair(nodes)
    desk = Desk()
    desk.gate.set()
    second.spawn(desk.behavior(), "desk")
    here = first.remote("/desk", "b").of(Ask | Left | Item)
    nodes.network.delay("a", "b", 0.005)
    answers: Counter[int] = Counter()
    told = 0

    async def one(system, ref, number) -> None:
        answers[await ask(system, ref, number, size=size)] += 1

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(one, second, there, number)
            nursery.start_soon(one, first, here, number)
        while sum(answers.values()) < 24:
            told += 1
            other = second.remote("/nothing-waits-for-it", "a").of(Item)
            other.tell(Item(told))
            await trio.sleep(0.001)
    assert answers == {number: 2 for number in range(12)}
    await trio.sleep(1)
    assert told > 12
    assert first.statistics().dead_letters == {}
    assert second.statistics().dead_letters == {"not delivered: no_actor": told}


async def test_an_ask_that_found_no_room_in_its_time_says_so_and_was_not_sent(autojump_clock, nodes):
    first, second, desk, ref = await pair(nodes, **SMALL)
    nodes.network.cut("a", "b")
    numbers = await fill(ref)
    rejected = node_of(second).transport.statistics().frames_rejected
    began = trio.current_time()
    with pytest.raises(
        AskTimeoutError, match=r"^no reply from /desk within 0\.5 s: for lack of room in the queue it was"
    ):
        await ask(second, ref, 99, timeout=0.5)
    assert trio.current_time() - began == pytest.approx(0.5)
    statistics = second.statistics()
    assert (statistics.asks_timed_out, statistics.asks_pending, statistics.dead_letters) == (1, 0, {})
    assert (waiting(second), node_of(second).transport.statistics().frames_rejected) == (0, rejected)
    nodes.network.heal("a", "b")
    await until(lambda: desk.seen[-1] == numbers[-1])
    assert await ask(second, ref, 100) == 100
    assert desk.seen == [0, *numbers, 100]


async def test_an_ask_that_is_cancelled_while_it_waits_was_not_sent(autojump_clock, nodes):
    first, second, desk, ref = await pair(nodes, **SMALL)
    nodes.network.cut("a", "b")
    numbers = await fill(ref)
    async with trio.open_nursery() as nursery:
        for number in (97, 98, 99):
            nursery.start_soon(ask, second, ref, number)
        await trio.testing.wait_all_tasks_blocked()
        assert (waiting(second), second.statistics().asks_pending) == (3, 3)
        nursery.cancel_scope.cancel()
    assert (waiting(second), second.statistics().asks_pending) == (0, 0)
    nodes.network.heal("a", "b")
    await until(lambda: desk.seen[-1] == numbers[-1])
    await trio.sleep(1)
    assert desk.seen == [0, *numbers]
    assert first.statistics().dead_letters == second.statistics().dead_letters == {}


async def test_asks_and_those_who_send_wait_in_one_line(autojump_clock, nodes):
    _, second, desk, ref = await pair(nodes, **SMALL)
    nodes.network.cut("a", "b")
    numbers = await fill(ref)
    async with trio.open_nursery() as nursery:
        for number in range(20, 26):
            nursery.start_soon(ask, second, ref, number)
            await trio.testing.wait_all_tasks_blocked()
        for number in range(30, 33):
            nursery.start_soon(ref.send, Item(number))
            await trio.testing.wait_all_tasks_blocked()
        assert waiting(second) == 9
        nodes.network.heal("a", "b")
    await until(lambda: desk.seen[-1] == 32)
    assert desk.seen == [0, *numbers, *range(20, 26), 30, 31, 32]


async def test_an_ask_has_its_turn_while_others_send_without_end(autojump_clock, nodes):
    _, second, _, ref = await pair(nodes, **SMALL)
    nodes.network.delay("a", "b", 0.01)
    sent = 0

    async def sending() -> None:
        nonlocal sent
        while True:
            sent += 1
            await ref.send(Item(1000 + sent, bytes(80 * KIB)))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(sending)
        await trio.sleep(1)
        for number in range(5):
            assert await ask(second, ref, number, timeout=1.0) == number
        assert waiting(second) > 1
        nursery.cancel_scope.cancel()
    assert sent > 100


async def test_what_is_told_goes_before_an_ask_that_is_too_large_for_the_room_there_is(autojump_clock, nodes):
    limits = TransportLimits(outbound_bytes_max=600 * KIB)
    _, second, desk, ref = await pair(nodes, settings=ClusterSettings(limits=limits))
    nodes.network.cut("a", "b")
    numbers = await fill(ref)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: ask(second, ref, 20, size=500 * KIB))
        await trio.testing.wait_all_tasks_blocked()
        assert waiting(second) == 1
        ref.tell(Item(21))
        nodes.network.heal("a", "b")
    assert desk.seen == [0, *numbers, 21, 20]
    assert second.statistics().dead_letters == {}


async def test_a_lost_link_keeps_an_ask_waiting_for_the_next_one(autojump_clock, nodes):
    _, second, desk, ref = await pair(nodes, **SMALL)
    nodes.network.cut("a", "b")
    await fill(ref)
    async with trio.open_nursery() as nursery:
        for number in (20, 21):
            nursery.start_soon(ask, second, ref, number)
        await trio.testing.wait_all_tasks_blocked()
        nodes.network.reset("a", "b")
        await trio.sleep(0.2)
        assert waiting(second) == 2
        nodes.network.heal("a", "b")
    assert sorted(desk.seen[-2:]) == [20, 21]


async def test_an_ask_that_waits_for_a_node_which_is_removed_fails_at_once(autojump_clock, nodes):
    _, second, _, ref = await pair(nodes, **SMALL)
    nodes.network.cut("a", "b")
    await fill(ref)
    reasons: list[str] = []

    async def failing(number) -> None:
        with pytest.raises(AskFailed) as failed:
            await ask(second, ref, number, timeout=1_000.0)
        reasons.append(str(failed.value))

    async with trio.open_nursery() as nursery:
        for number in (20, 21):
            nursery.start_soon(failing, number)
        await trio.testing.wait_all_tasks_blocked()
        assert waiting(second) == 2
        node_of(second).forget(links(second)[0].peer)
        await trio.testing.wait_all_tasks_blocked()
        assert len(reasons) == 2
    assert all(
        "/desk on a:2551 did not get the request: not sent: the node was removed" in reason for reason in reasons
    ), reasons
    assert second.statistics().asks_pending == 0


async def test_an_ask_that_waits_when_its_system_ends_fails(autojump_clock, nodes):
    _, second, _, ref = await pair(nodes, **SMALL)
    nodes.network.cut("a", "b")
    await fill(ref)
    failed: list[float] = []

    async def failing() -> None:
        with pytest.raises(AskFailed):
            await ask(second, ref, 20, timeout=1_000.0)
        failed.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(failing)
        await trio.testing.wait_all_tasks_blocked()
        await nodes.stop("b")
        ended = trio.current_time()
    assert failed and failed[0] <= ended


async def test_the_time_for_which_an_ask_has_waited_for_room_is_not_left_to_the_actor(autojump_clock, nodes):
    _, second, _, ref = await pair(nodes, **SMALL)
    for size in (0, 200 * KIB):
        nodes.network.cut("a", "b")
        await fill(ref)
        assert await left_after(nodes, second, ref, size, lambda: waiting(second) == 1) == pytest.approx(1.5, abs=0.1)
        await trio.sleep(1)


LARGE = 3 * MIB


@pytest.mark.parametrize("lane", [None, Lane.large])
async def test_nor_is_that_for_which_a_large_one_has_waited(autojump_clock, nodes, lane):
    bytes_max = 4 * MIB if lane is None else 2 * LARGE + 700  # for two messages, but not for the heads of their slices
    limits = TransportLimits(outbound_bytes_max=bytes_max)
    _, second, _, ref = await pair(nodes, settings=ClusterSettings(limits=limits))
    nodes.network.cut("a", "b")
    ref.tell(Item(1, bytes(LARGE)))
    [peer] = node_of(second).paused_sends.by_peer.values()

    def waits() -> bool:
        return len(peer.room) == 1 if lane is None else waiting(second, lane) == 1

    assert await left_after(nodes, second, ref, LARGE, waits) == pytest.approx(1.5, abs=0.1)
    assert second.statistics().dead_letters == {}


async def left_after(nodes, system, ref, size, waits) -> float:
    """Ask how much of 3 seconds is left, with a network that is cut for 1.5 of them, so that the request waits."""
    left: list[float] = []

    async def asking() -> None:
        left.append(await system.ask(ref, lambda reply_to: Left(bytes(size), reply_to), timeout=3.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking)
        await trio.sleep(1.5)
        assert waits()
        nodes.network.heal("a", "b")
    return left[0]


async def test_asks_wait_too_for_an_actor_that_its_node_holds_messages_back_from(autojump_clock, nodes):
    first, second, desk, ref = await pair(nodes, is_open=False, mailbox=Mailbox(2), **SMALL)
    other = Desk()
    other.gate.set()
    first.spawn(other.behavior(), "other")
    for number in range(1, 8):
        ref.tell(Item(number))
        await trio.sleep(0.1)
    holds = node_of(second).paused_sends
    assert [len(hold.waiting) for hold in holds.by_actor.values()] == [4]
    with pytest.raises(AskTimeoutError, match="for lack of room in the queue it was not sent to a:2551$"):
        await ask(second, ref, 99, timeout=0.5)
    async with trio.open_nursery() as nursery:
        for number in (20, 21):
            nursery.start_soon(ask, second, ref, number)
        await trio.testing.wait_all_tasks_blocked()
        [peer] = holds.by_peer.values()
        assert (len(peer.room), peer.senders) == (2, 0)
        assert await ask(second, second.remote("/other", "a").of(Ask | Item), 1) == 1
        desk.gate.set()
    assert desk.seen[:8] == list(range(8))
    assert sorted(desk.seen[8:]) == [20, 21]
    assert second.statistics().dead_letters == {}
    await until(lambda: not holds.by_actor and not holds.by_peer)


async def test_actors_that_ask_each_other_in_their_handlers_do_not_hold_up_the_link(autojump_clock, nodes):
    limits = TransportLimits(outbound_bytes_max=700 * KIB)  # for three requests, and for replies beside them
    first, second, _, _ = await pair(nodes, settings=ClusterSettings(limits=limits))
    done: list[int] = []

    async def asks_back(ctx: ActorContext[Item], told: Item) -> Behavior[Item]:
        node = "a" if ctx.system is second else "b"
        ref = ctx.system.remote("/answers", node).of(Ask | Left | Item)
        number: int = await ctx.ask(ref, lambda reply_to: Ask(told.number, bytes(200 * KIB), reply_to))
        done.append(number)
        return Behaviors.same()

    for system in (first, second):
        for name in range(10):
            system.spawn(Behaviors.receive(asks_back), f"asker-{name}")
        answers = Desk()
        answers.gate.set()
        system.spawn(answers.behavior(), "answers")
    for system in (first, second):
        for name in range(10):
            for number in range(5):
                system.lookup(f"/asker-{name}").of(Item).tell(Item(number))
    await until(lambda: len(done) == 100)
    assert first.statistics().dead_letters == second.statistics().dead_letters == {}


async def test_a_router_does_not_wait_for_room_and_its_asker_is_told(autojump_clock, nodes):
    _, second, _, ref = await pair(nodes, **SMALL)

    door = second.spawn(forwarding(ref), "door")
    nodes.network.cut("a", "b")
    await fill(ref)
    with pytest.raises(AskFailed, match="/desk on a:2551 did not get the request: outbound queue full"):
        await ask(second, door, 20)
    nodes.network.heal("a", "b")
    await until(lambda: not links(second)[0].queued_messages)
    assert await ask(second, door, 21) == 21
