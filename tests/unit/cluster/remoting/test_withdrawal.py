"""A cancelled ask withdraws its request on another node too, where the request has not been started."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio
from helpers.behaviors import answering, forwarding
from helpers.messages import Busy, Get
from helpers.tasks import in_background

from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    Behavior,
    Behaviors,
    DeadLetter,
    Mailbox,
    MailboxOverflowStrategy,
    StashBuffer,
    message,
)
from casty.errors import FrameError
from casty.runtime.system.system import kernel_of
from casty.testing.inspect import inbound_of, node_of
from casty.wire.control.cancel_request import decode_withdraw, withdraw_frame
from casty.wire.frame import HEADER_BYTES, FrameDecoder, FrameKind, Lane


@dataclass(frozen=True)
class Large:
    """Ask for a number with much to say."""

    text: bytes
    reply_to: ActorRef[int]


@message("withdrawal.Wanted")
@dataclass(frozen=True)
class Wanted:
    """Ask for a number in other words."""

    reply_to: ActorRef[int]


def slow(asked, asker, **options) -> tuple[list[str], ActorRef[Get | Busy]]:
    """Return what an actor of one node has begun with, and a ref to it on another."""
    started: list[str] = []
    asked.spawn(answering(started), "slow", **options)
    return started, asker.remote("/slow", "a").of(Get | Busy)


def waiting(system) -> int:
    return sum(map(len, kernel_of(system).requests.values()))


@pytest.mark.parametrize("timeout", [30.0, math.inf])
async def test_a_cancelled_ask_withdraws_its_request_on_another_node(autojump_clock, nodes, timeout):
    asked, asker = await nodes.systems("a", "b")
    started, ref = slow(asked, asker)
    ref.tell(Busy(5.0))
    async with asked.events(DeadLetter) as letters:
        with trio.move_on_after(1.0):
            await asker.ask(ref, Get, timeout=timeout)
        letter = await anext(letters)
    assert isinstance(letter.message, Get)
    assert (letter.intended_ref.path, letter.reason) == ("/slow", "request withdrawn")
    assert asked.statistics().mailbox_size == 0
    assert waiting(asked) == 0
    await trio.sleep(10)
    assert started == ["Busy"]
    assert await asker.ask(ref, Get, timeout=timeout) == 1
    assert waiting(asked) == 0


async def test_a_request_that_was_started_there_is_not_interrupted(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")

    async def slow(ctx: ActorContext[Get], get: Get) -> Behavior[Get]:
        await trio.sleep(2.0)
        get.reply_to.tell(1)
        return Behaviors.same()

    asked.spawn(Behaviors.receive(slow), "slow")
    with trio.move_on_after(1.0):
        await asker.ask(asker.remote("/slow", "a").of(Get), Get)
    async with asker.events(DeadLetter) as letters:
        letter = await anext(letters)
    assert (letter.message, letter.reason) == (1, "ask finished")
    assert not asked.statistics().dead_letters
    assert waiting(asked) == 0


ASKS = 500


@pytest.mark.parametrize("overflow", MailboxOverflowStrategy)
async def test_many_that_are_cancelled_at_once_make_room_and_leave_nothing(autojump_clock, nodes, overflow):
    asked, asker = await nodes.systems("a", "b")
    started, ref = slow(asked, asker, mailbox=Mailbox(100, overflow))
    ref.tell(Busy(5.0))
    await trio.sleep(0.5)
    async with trio.open_nursery() as nursery:
        for _ in range(ASKS):
            nursery.start_soon(ask_or_fail, asker, ref)
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    await trio.sleep(1.0)
    assert asked.statistics().mailbox_size == 0
    ref.tell(Busy(0.0))
    await trio.sleep(10)
    assert started == ["Busy", "Busy"]
    letters = asked.statistics().dead_letters
    assert letters.pop("request withdrawn") + letters.pop("mailbox full", 0) == ASKS
    assert not letters
    assert waiting(asked) == 0
    assert not kernel_of(asker).asks


async def test_a_withdrawal_waits_behind_its_request_while_the_other_node_has_no_room(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    started, ref = slow(asked, asker, mailbox=Mailbox(1))
    for _ in range(4):
        ref.tell(Busy(1.0))
    await trio.sleep(0.5)  # the other node has asked for a pause
    with trio.move_on_after(1.0):
        await asker.ask(ref, Get)
    await trio.sleep(10)
    assert started == ["Busy"] * 4
    assert asked.statistics().dead_letters == {"request withdrawn": 1}
    assert waiting(asked) == 0


async def test_a_request_that_is_stashed_handed_on_or_adapted_there_can_be_withdrawn(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    started: list[str] = []
    slow = asked.spawn(answering(started), "slow")
    slow.tell(Busy(8.0))
    adapters: list[ActorRef[Wanted]] = []

    async def keep(stash: StashBuffer[Get]) -> Behavior[Get]:
        async def handle(ctx: ActorContext[Get], get: Get) -> Behavior[Get]:
            stash.stash(get)
            return Behaviors.same()

        return Behaviors.receive(handle)

    def as_get(wanted: Wanted) -> Get:
        return Get(wanted.reply_to)

    async def make(ctx: ActorContext[Get | Busy]) -> Behavior[Get | Busy]:
        adapters.append(ctx.message_adapter(as_get))
        return answering(started)

    asked.spawn(forwarding(slow), "door")
    asked.spawn(Behaviors.with_stash(10, keep), "stash")
    asked.spawn(Behaviors.setup(make), "adapted").tell(Busy(8.0))
    await trio.sleep(1)

    for path in ("/door", "/stash"):
        with trio.move_on_after(1.0):
            await asker.ask(asker.remote(path, "a").of(Get), Get)
    with trio.move_on_after(1.0):
        await asker.ask(asker.remote(adapters[0].path, "a").of(Wanted), Wanted)
    await trio.sleep(0.5)
    assert asked.statistics().dead_letters == {"request withdrawn": 3}
    assert waiting(asked) == 0
    await trio.sleep(10)
    assert started == ["Busy", "Busy"]


async def test_an_ask_that_an_actor_here_hands_on_to_another_node_is_withdrawn_there(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    started: list[str] = []
    asked.spawn(answering(started), "slow").tell(Busy(5.0))
    far = asker.remote("/slow", "a").of(Get | Busy)
    door = asker.spawn(forwarding(far), "door")
    with trio.move_on_after(1.0):
        await asker.ask(door, Get)
    await trio.sleep(10)
    assert started == ["Busy"]
    assert asked.statistics().dead_letters == {"request withdrawn": 1}


async def test_an_ask_that_a_third_node_hands_on_is_withdrawn_where_it_waits(autojump_clock, nodes):
    asked, asker, third = await nodes.systems("a", "b", "c")
    started, far = slow(asked, third)
    far.tell(Busy(5.0))
    third.spawn(forwarding(far), "door")
    with trio.move_on_after(1.0):
        await asker.ask(asker.remote("/door", "c").of(Get), Get)
    await trio.sleep(10)
    assert started == ["Busy"]
    assert asked.statistics().dead_letters == {"request withdrawn": 1}


async def test_an_ask_that_was_handed_on_is_withdrawn_over_the_link_after_the_one_it_came_by(autojump_clock, nodes):
    asked, asker, third = await nodes.systems("a", "b", "c")
    started, far = slow(asked, third)
    far.tell(Busy(5.0))
    third.spawn(forwarding(far), "door")
    third.spawn(answering([]), "other")
    async with in_background(ask_or_fail, asker, asker.remote("/door", "c").of(Get | Busy)):
        await trio.sleep(1.0)
        nodes.network.reset("b", "c")
        await trio.sleep(0.5)  # both have noticed
        assert await asker.ask(asker.remote("/other", "c").of(Get | Busy), Get) == 1
    await trio.sleep(10)
    assert started == ["Busy"]
    assert asked.statistics().dead_letters == {"request withdrawn": 1}
    assert not kernel_of(third)._relayed


async def test_of_requests_that_were_handed_on_only_the_latest_are_remembered(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr("casty.runtime.system.kernel.RELAYED_MAX", 3)
    asked, asker = await nodes.systems("a", "b")
    far = asked.remote("/nobody", "b").of(Get | Busy)
    asked.spawn(forwarding(far), "door")
    door = asker.remote("/door", "a").of(Get)
    for _ in range(10):
        with pytest.raises(AskFailed, match="no such actor"):
            await asker.ask(door, Get)
    assert len(kernel_of(asked)._relayed) == 3


@pytest.mark.parametrize("after", [0.0, 0.001, 0.1, 1.0])
async def test_a_large_request_is_withdrawn_wherever_it_has_come_to(autojump_clock, nodes, after):
    asked, asker = await nodes.systems("a", "b")
    started: list[str] = []

    async def handle(ctx: ActorContext[Large | Busy], message: Large | Busy) -> Behavior[Large | Busy]:
        started.append(type(message).__name__)
        if isinstance(message, Busy):
            await trio.sleep(message.seconds)
        return Behaviors.same()

    asked.spawn(Behaviors.receive(handle), "slow").tell(Busy(5.0))
    ref = asker.remote("/slow", "a").of(Large | Busy)

    def large(reply_to: ActorRef[int]) -> Large:
        return Large(bytes(12_000_000), reply_to)

    with trio.move_on_after(after):
        await asker.ask(ref, large)
    await trio.sleep(10)
    assert started == ["Busy"]
    assert asked.statistics().dead_letters == ({"request withdrawn": 1} if after else {})  # that one was never sent


async def test_requests_of_another_node_leave_nothing_behind_when_their_actor_stops(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    slow = asked.spawn(answering([]), "slow")
    ref = asker.remote("/slow", "a").of(Get | Busy)
    ref.tell(Busy(1.0))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(refused, asker, ref)
        await trio.sleep(0.5)
        assert waiting(asked) == 3
        asked.stop(slow)
    assert waiting(asked) == 0


async def ask_or_fail(asker, ref) -> None:
    with suppress(AskFailed):
        await asker.ask(ref, Get)


async def refused(asker, ref) -> None:
    with pytest.raises(AskFailed):
        await asker.ask(ref, Get)


async def test_a_withdrawal_of_what_is_unknown_does_nothing(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    started, ref = slow(asked, asker)
    ref.withdraw(2**64 - 1)
    assert await asker.ask(ref, Get) == 1


def test_the_number_of_an_ask_has_eight_bytes() -> None:
    ((kind, body),) = FrameDecoder(64).feed(withdraw_frame(2**64 - 1))
    assert kind is FrameKind.WITHDRAW
    assert decode_withdraw(body) == 2**64 - 1
    with pytest.raises(FrameError, match="has 8 bytes, got 7"):
        decode_withdraw(body[1:])


async def test_only_the_node_that_asked_withdraws_its_request(autojump_clock, nodes):
    asked, asker, other = await nodes.systems("a", "b", "c")
    started, ref = slow(asked, asker)
    ref.tell(Busy(5.0))
    inbound = inbound_of(asked)
    replies: list[int] = []

    async def ask() -> None:
        replies.append(await asker.ask(ref, Get, timeout=30.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        (number,) = next(iter(kernel_of(asked).requests.values()))
        for peer in (node_of(other).self_node, node_of(asked).self_node):
            inbound.frame(peer, Lane.ordinary, FrameKind.WITHDRAW, withdraw_frame(number)[HEADER_BYTES:])
        assert waiting(asked) == 1
    assert replies == [1]
    assert not asked.statistics().dead_letters


async def test_nothing_is_kept_of_a_node_that_asked_and_has_gone(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    asked.spawn(answering([]), "slow")
    assert await asker.ask(asker.remote("/slow", "a").of(Get), Get) == 1
    assert await asker.ask(asker.remote("/slow", "a").of(Get), Get) == 1
    assert len(kernel_of(asked).requests) == 1
    await nodes.stop("b")
    await nodes.all_up("a")
    assert not kernel_of(asked).requests


async def test_what_was_kept_of_a_node_goes_once_none_of_its_requests_waits(autojump_clock, nodes):
    asked, asker = await nodes.systems("a", "b")
    kernel = kernel_of(asked)
    gone = node_of(asker).self_node
    kernel.requests_of(gone)[1] = object()  # one that waits
    kernel.forget_asker(gone)
    assert gone in kernel.requests
    del kernel.requests[gone][1]
    kernel.forget_asker(node_of(asked).self_node)  # another link is lost later
    assert gone not in kernel.requests
    assert kernel.requests_of(gone) is kernel.requests[gone]  # and it may come back
