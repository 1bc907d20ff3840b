"""An actor that asks for its own restart."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from helpers.behaviors import tell_all

from casty.behaviors import Behaviors
from casty.errors import RestartRequested
from casty.protocol.actor.supervision import Restart
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorFailed, ActorRestarted, ActorStarted, Terminated
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing import BehaviorTestKit, TestProbe


def counting(log: list[str]) -> Behavior[str]:
    """Count the messages of each life; "again" restarts."""

    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        count = 0

        async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
            nonlocal count
            count += 1
            log.append(f"{message} {count}")
            return Behaviors.restart() if message == "again" else Behaviors.same()

        return Behaviors.receive(handle)

    async def hook(ctx: ActorContext[str]) -> None:
        log.append("post")

    async def before(ctx: ActorContext[str], error: Exception) -> None:
        log.append(type(error).__name__)

    return Behaviors.with_lifecycle(Behaviors.setup(make), pre_restart=before, post_restart=hook)


async def test_a_restart_by_choice_begins_anew_and_keeps_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    async with ActorSystem() as system, system.events(object) as events:
        ref = system.spawn(counting(log), "a")
        with caplog.at_level(logging.WARNING):
            tell_all(ref, "x", "again", "y")
            await trio.testing.wait_all_tasks_blocked()
        assert await anext(events) == ActorStarted(ref)
        restarted = await anext(events)
        assert isinstance(restarted, ActorRestarted)
        assert isinstance(restarted.exception, RestartRequested)
        assert log == ["x 1", "again 2", "RestartRequested", "post", "y 1"]
    assert caplog.records == []


async def test_a_restart_by_choice_takes_nothing_of_the_budget(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(Behaviors.supervise(counting(log), Restart(1, backoff_min=0.0)), "a")
    for _ in range(5):
        ref.tell("again")
    ref.tell("x")
    await trio.testing.wait_all_tasks_blocked()
    assert log[-1] == "x 1"


async def test_an_actor_that_is_stopped_while_it_restarts_has_no_cause(
    system: ActorSystem, autojump_clock: object
) -> None:
    async def slow(ctx: ActorContext[str], error: Exception) -> None:
        await trio.sleep(1)

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        return Behaviors.restart()

    probe: TestProbe[Terminated] = TestProbe(system)
    ref = system.spawn(Behaviors.with_lifecycle(Behaviors.receive(handle), pre_restart=slow), "a")
    probe.watch(ref)
    ref.tell("again")
    await trio.sleep(0.5)
    system.stop(ref)
    assert (await probe.expect_terminated(ref)).cause is None


async def test_a_setup_cannot_ask_for_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        return Behaviors.restart()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.setup(make), "a")
        assert "got Behaviors.restart()" in str((await anext(failures)).exception)


def test_the_kit_restarts_a_behaviour_that_asks_for_it() -> None:
    log: list[str] = []
    kit = BehaviorTestKit(counting(log))
    for message in ("x", "again", "y"):
        kit.run(message)
    assert log == ["x 1", "again 2", "RestartRequested", "post", "y 1"]
