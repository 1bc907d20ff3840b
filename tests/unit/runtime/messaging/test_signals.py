"""What bypasses the mailbox: in batches like messages, and a stop is seen whatever else there is."""

from __future__ import annotations

from typing import Never

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait, tell_all

from casty.behaviors import Behaviors
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import BATCH_MESSAGES
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem

Message = str | Terminated


async def ended(system: ActorSystem, count: int) -> list[ActorRef[Never]]:
    """Return refs of actors that have ended."""
    refs: list[ActorRef[Never]] = [system.spawn(Behaviors.ignore(), f"ended-{number}") for number in range(count)]
    for ref in refs:
        system.stop(ref)
    for ref in refs:
        await system.wait_stopped(ref)
    return refs


def handling(refs: list[ActorRef[Never]], turns: list[int]) -> Behavior[Message]:
    seen: list[Terminated] = []

    async def handle(ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
        if isinstance(message, Terminated):
            seen.append(message)
            return Behaviors.stopped() if len(seen) == len(refs) else Behaviors.same()
        for ref in refs:
            ctx.watch(ref)
        turns.clear()
        return Behaviors.same()

    return Behaviors.receive(handle)


def reading(refs: list[ActorRef[Never]], turns: list[int]) -> Behavior[Message]:
    async def main(ctx: ActorContext[Message], inbox: Inbox[Message]) -> None:
        left = len(refs)
        async for message in inbox:
            if isinstance(message, Terminated):
                left -= 1
                if not left:
                    return
            else:
                for ref in refs:
                    ctx.watch(ref)
                turns.clear()

    return Behaviors.task(main)


@pytest.mark.parametrize("style", [handling, reading])
async def test_an_actor_flooded_by_signals_lets_others_run(style) -> None:
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        refs = await ended(system, BATCH_MESSAGES * 10)
        ref = system.spawn(style(refs, turns), "flooded")
        nursery.start_soon(other)
        ref.tell("watch")
        await system.wait_stopped(ref)
        assert len(turns) >= 9
        nursery.cancel_scope.cancel()


async def test_an_actor_that_makes_a_signal_of_each_signal_can_be_stopped(system: ActorSystem) -> None:
    [target] = await ended(system, 1)
    rounds = 0

    async def again(ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
        nonlocal rounds
        rounds += 1
        assert rounds < 100_000, "nobody else has run in the meantime"
        ctx.watch(target)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(again), "again")
    ref.tell("begin")
    while not rounds:
        await trio.lowlevel.checkpoint()
    await stop_and_wait(system, ref)
    assert BATCH_MESSAGES / 8 <= rounds < 10 * BATCH_MESSAGES


async def test_a_message_that_waits_behind_signals_is_a_dead_letter_when_the_actor_is_stopped(
    system: ActorSystem,
) -> None:
    refs = await ended(system, BATCH_MESSAGES * 10)
    seen: list[str] = []

    async def handle(ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
        if message == "watch":
            for ref in refs:
                ctx.watch(ref)
        elif isinstance(message, str):
            seen.append(message)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "flooded")
    tell_all(ref, "watch", "after")
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    await stop_and_wait(system, ref)
    assert len(seen) + system.statistics().dead_letters.get("actor stopped", 0) == 1
