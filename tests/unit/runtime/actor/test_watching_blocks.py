"""Blocks that end with an actor, and the failure of a watcher that has no answer to an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import pytest
import trio
import trio.testing
from helpers.behaviors import recording, stop_and_wait
from helpers.refs import ForeignRef
from helpers.systems import Boom

from casty.behaviors import Behaviors
from casty.errors import DeathPactError
from casty.protocol.actor.supervision import Resume
from casty.refs import ActorRef
from casty.runtime.actor.watching import Watching
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import Terminated, UnhandledMessage
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing.inspect import kernel_of

QUIET = trio.testing.wait_all_tasks_blocked


async def fail(ctx: ActorContext[object], message: object) -> Behavior[object]:
    raise Boom(message)


def waiting_for(ref: ActorRef[Never], blocks: list[Watching], seen: list[str]) -> Behavior[object]:
    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        async with ctx.watching(ref) as block:
            blocks.append(block)
            seen.append("waits")
            await trio.sleep_forever()
        seen.append("goes on")
        async for message in inbox:
            seen.append(f"{message}")

    return Behaviors.task(main)


async def test_the_block_is_cancelled_on_the_death_and_knows_the_cause(system: ActorSystem) -> None:
    blocks: list[Watching] = []
    seen: list[str] = []
    target = system.spawn(Behaviors.receive(fail), "target")
    ref = system.spawn(waiting_for(target, blocks, seen), "watcher")
    await QUIET()
    assert seen == ["waits"]
    assert blocks[0].terminated is None
    target.tell("why")
    ref.tell("message")
    await QUIET()
    assert seen == ["waits", "goes on", "message"]
    terminated = blocks[0].terminated
    assert terminated is not None
    assert terminated.ref == target
    assert isinstance(terminated.cause, Boom)


async def test_an_actor_that_had_ended_cancels_the_block_at_its_first_checkpoint(system: ActorSystem) -> None:
    blocks: list[Watching] = []
    seen: list[str] = []
    target = system.spawn(Behaviors.ignore(), "target")
    await stop_and_wait(system, target)
    system.spawn(waiting_for(target, blocks, seen), "watcher")
    await QUIET()
    assert seen == ["waits", "goes on"]
    assert blocks[0].terminated == Terminated(target)


async def test_a_block_that_ends_first_is_forgotten(system: ActorSystem) -> None:
    target = system.spawn(Behaviors.ignore(), "target")
    ended: list[object] = []

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        for _ in range(3):
            async with ctx.watching(target) as block, ctx.watching(target):
                await trio.lowlevel.checkpoint()
            ended.append(block.terminated)

    await system.wait_stopped(system.spawn(Behaviors.task(main), "watcher"))
    assert ended == [None] * 3
    assert target.owner().watchers == {}  # type: ignore[attr-defined]  # looks inside


async def test_an_error_of_the_block_passes_through(system: ActorSystem) -> None:
    target = system.spawn(Behaviors.ignore(), "target")
    caught: list[BaseException] = []

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        try:
            async with ctx.watching(target):
                raise Boom
        except Boom as error:
            caught.append(error)

    await system.wait_stopped(system.spawn(Behaviors.task(main), "watcher"))
    assert len(caught) == 1
    assert target.owner().watchers == {}  # type: ignore[attr-defined]  # looks inside


async def test_a_handler_and_a_watch_beside_it_are_told_apart(system: ActorSystem) -> None:
    seen: list[object] = []

    target = system.spawn(Behaviors.ignore(), "target")

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if not isinstance(message, Terminated):
            ctx.watch(target)
            async with ctx.watching(target):
                ctx.stop(target)
                await trio.sleep_forever()
        seen.append(message)
        return Behaviors.same()

    system.spawn(Behaviors.receive(handle), "watcher").tell("go")
    await QUIET()
    assert seen == ["go", Terminated(target)]


async def test_what_is_no_other_actor_cannot_be_watched_in_a_block() -> None:
    refused: list[str] = []

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        refs: list[ActorRef[Never]] = [ctx.self, ctx.system.event_stream, ForeignRef()]
        for ref in refs:
            with pytest.raises(ValueError, match="cannot watch") as caught:
                async with ctx.watching(ref):
                    pass
            refused.append(str(caught.value))

    async with ActorSystem() as system:
        await system.wait_stopped(system.spawn(Behaviors.task(main), "watcher"))
    assert ["itself" in refused[0], "no actor" in refused[1], "this system" in refused[2]] == [True, True, True]


@pytest.mark.parametrize("dies", [True, False])
async def test_an_actor_of_another_node_is_watched_through_the_hooks(system: ActorSystem, dies: bool) -> None:
    foreign = ForeignRef()
    watchers: list[ActorRef[Never]] = []
    unwatched: list[ActorRef[Never]] = []
    blocks: list[Watching] = []
    kernel = kernel_of(system)
    kernel.hooks.watch_remote = lambda who, ref: watchers.append(who)
    kernel.hooks.unwatch_remote = lambda who, ref: unwatched.append(who)
    ref = system.spawn(waiting_for(foreign, blocks, []), "watcher")
    await QUIET()
    if dies:
        cause = Boom()
        kernel.terminated(watchers[0], foreign, cause)
        kernel.terminated(watchers[0], foreign, None)
        await QUIET()
        assert blocks[0].terminated == Terminated(foreign, cause)
    await stop_and_wait(system, ref)
    assert unwatched == ([] if dies else watchers)


def unhandling(target: ActorRef[Never]) -> Behavior[object]:
    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        return Behaviors.unhandled()

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.watch(target)
        return Behaviors.receive(handle)

    return Behaviors.setup(make)


async def test_an_unhandled_end_fails_the_watcher_with_the_cause_behind_it(system: ActorSystem) -> None:
    told: list[Terminated] = []

    target = system.spawn(Behaviors.receive(fail), "target")
    watcher = system.spawn(unhandling(target), "watcher")

    async def make(ctx: ActorContext[Terminated]) -> Behavior[Terminated]:
        ctx.watch(watcher)
        return recording(told)

    system.spawn(Behaviors.setup(make), "observer")
    await QUIET()
    target.tell(1)
    await QUIET()
    (terminated,) = told
    assert terminated.ref == watcher
    assert isinstance(terminated.cause, DeathPactError)
    assert isinstance(terminated.cause.__cause__, Boom)
    assert "/watcher has no answer to the end of /target" in str(terminated.cause)


@pytest.mark.parametrize("stop", [lambda system, ref: system.stop(ref), lambda system, ref: ref.tell(1)])
async def test_a_death_pact_goes_to_the_strategy_like_any_failure(
    stop: Callable[[ActorSystem, ActorRef[object]], None],
) -> None:
    async with ActorSystem() as system, system.events(UnhandledMessage) as events:
        target = system.spawn(Behaviors.receive(fail), "target")
        watcher = system.spawn(Behaviors.supervise(unhandling(target), Resume(on=DeathPactError)), "watcher")
        await QUIET()
        stop(system, target)
        await QUIET()
        watcher.tell("still there?")
        assert (await anext(events)).message == "still there?"
