"""Actors that ask each other, or themselves, in their handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import trio
import trio.testing
from helpers.messages import Get

from casty.behaviors import Behaviors
from casty.errors import AskFailed, AskTimeoutError
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem


@dataclass(frozen=True)
class AskThen:
    """Ask ``ref`` in the handler, and note what came of it."""

    ref: ActorRef[Get]
    timeout: float = 5.0


@dataclass(frozen=True)
class Rest:
    """Be busy for a second."""


Command = Get | AskThen | Rest


def asking(outcomes: dict[str, object], on_get: Callable[[Get], None] | None = None) -> Behavior[Command]:
    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        match message:
            case Get(reply_to) if on_get is None:
                reply_to.tell(1)
            case Get():
                on_get(message)
            case AskThen(ref, timeout):
                try:
                    outcomes[ctx.self.path] = await ctx.ask(ref, Get, timeout=timeout)
                except (AskFailed, AskTimeoutError) as error:
                    outcomes[ctx.self.path] = error
            case Rest():
                await trio.sleep(1)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def test_an_actor_that_asks_itself_in_a_handler_is_told_at_once(autojump_clock: object) -> None:
    outcomes: dict[str, object] = {}
    began = trio.current_time()
    async with ActorSystem() as system:
        ref = system.spawn(asking(outcomes), "a")
        ref.tell(AskThen(ref))
        assert await system.ask(ref, Get) == 1
        assert trio.current_time() == began
        assert (system.statistics().asks_pending, system.statistics().dead_letters) == (0, {})
    assert isinstance(outcomes["/a"], AskFailed)
    assert str(outcomes["/a"]) == (
        "/a asks /a, and takes no message before its handler ends, so no reply can come: "
        "ask in a task of its own, with ctx.pipe_to_self, or tell and answer later"
    )


async def test_a_setup_that_asks_its_own_actor_fails_at_once(system: ActorSystem, autojump_clock: object) -> None:
    async def make(ctx: ActorContext[Get]) -> Behavior[Get]:
        await ctx.ask(ctx.self, Get)
        return Behaviors.ignore()

    began = trio.current_time()
    await system.wait_stopped(system.spawn(Behaviors.setup(make), "a"))
    assert trio.current_time() == began


@pytest.mark.parametrize("length", [2, 3, 10])
async def test_the_last_of_a_circle_of_busy_actors_is_told_at_once(autojump_clock: object, length: int) -> None:
    outcomes: dict[str, object] = {}
    async with ActorSystem() as system:
        refs = [system.spawn(asking(outcomes), f"a{number}") for number in range(length)]
        for number, ref in enumerate(refs):
            ref.tell(Rest())  # so that nobody takes a request before it asks itself
            ref.tell(AskThen(refs[(number + 1) % length], timeout=50.0))
        began = trio.current_time()
        await trio.sleep(2)
        assert trio.current_time() - began < 3
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, AskFailed)]
    assert len(failed) == 1
    assert str(failed[0]).count("which waits for") == length - 1
    assert sum(outcome == 1 for outcome in outcomes.values()) == length - 1


async def test_two_that_wait_for_each_other_are_named_when_the_time_is_up(
    system: ActorSystem, autojump_clock: object
) -> None:
    outcomes: dict[str, object] = {}

    async def asks_back(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        if isinstance(message, Get):
            message.reply_to.tell(await ctx.ask(first, Get, timeout=50.0))
        return Behaviors.same()

    first = system.spawn(asking(outcomes), "first")
    second = system.spawn(Behaviors.receive(asks_back), "second")
    first.tell(AskThen(second, timeout=1.0))
    await trio.sleep(2)
    assert system.statistics().asks_pending == 0
    assert str(outcomes["/first"]) == (
        "no reply from /second within 1.0 s: "
        "/second, which waits for a reply of /first, which waits for a reply of /second"
    )


async def test_a_request_that_was_passed_on_may_be_answered_while_its_taker_asks_back(
    system: ActorSystem, autojump_clock: object
) -> None:
    outcomes: dict[str, object] = {}

    async def passes_on(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        if isinstance(message, Get):
            third.tell(message)
            outcomes["/second"] = await ctx.ask(first, Get)
        return Behaviors.same()

    first = system.spawn(asking(outcomes), "first")
    second = system.spawn(Behaviors.receive(passes_on), "second")
    third = system.spawn(asking(outcomes), "third")
    first.tell(AskThen(second))
    await trio.sleep(1)
    assert outcomes == {"/first": 1, "/second": 1}


async def test_a_task_of_an_actor_may_ask_it_and_so_may_a_main_that_lets_another_task_read(
    system: ActorSystem,
    autojump_clock: object,
) -> None:
    outcomes: list[int] = []

    async def beside(ctx: ActorContext[Get]) -> None:
        outcomes.append(await ctx.ask(ctx.self, Get))

    async def answer(ctx: ActorContext[Get], message: Get) -> Behavior[Get]:
        message.reply_to.tell(1)
        return Behaviors.same()

    async def starts(ctx: ActorContext[Get]) -> Behavior[Get]:
        ctx.start_soon(beside, ctx)
        return Behaviors.receive(answer)

    async def read(inbox: Inbox[Get]) -> None:
        async for message in inbox:
            message.reply_to.tell(2)

    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(read, inbox))
            outcomes.append(await ctx.ask(ctx.self, Get))

    system.spawn(Behaviors.setup(starts), "handling")
    system.spawn(Behaviors.task(main), "reading")
    await trio.sleep(1)
    assert sorted(outcomes) == [1, 2]
