"""The watchdog names an actor that holds the loop, and nobody else."""

from __future__ import annotations

import threading
import time

import pytest
import trio
import trio.testing

from casty.behaviors import Behaviors
from casty.config import SystemConfig
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem


async def hold_the_loop(ctx: ActorContext[float], message: float) -> Behavior[float]:
    until = time.monotonic() + message
    while time.monotonic() < until:
        pass
    return Behaviors.stopped()


async def wait_politely(ctx: ActorContext[float], message: float) -> Behavior[float]:
    with trio.move_on_after(message):
        await trio.sleep_forever()
    return Behaviors.stopped()


@pytest.mark.parametrize(("handler", "warnings"), [(hold_the_loop, 1), (wait_politely, 0)])
async def test_only_a_handler_that_holds_the_loop_is_named(
    handler: object, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem(config=SystemConfig(slow_handler_after=0.05)) as system:
        ref = system.spawn(Behaviors.receive(handler), "suspect")  # type: ignore[arg-type]  # two of one kind
        ref.tell(0.5)
        await system.wait_stopped(ref)
    messages = [record.getMessage() for record in caplog.records if "holds the loop" in record.getMessage()]
    assert len(messages) == warnings
    for message in messages:
        assert message.startswith("actor /suspect holds the loop for more than 0.05 s, at ")
        assert "in hold_the_loop" in message


@pytest.mark.parametrize("starts", ["start_soon", "pipe_to_self"])
async def test_a_task_of_an_actor_that_holds_the_loop_is_named_with_its_actor(
    starts: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def compute() -> None:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass

    async def make(ctx: ActorContext[None]) -> Behavior[None]:
        if starts == "start_soon":
            ctx.start_soon(compute)
        else:
            ctx.pipe_to_self(compute)
        return Behaviors.ignore()

    async with ActorSystem(config=SystemConfig(slow_handler_after=0.05)) as system:
        system.spawn(Behaviors.setup(make), "suspect")
        await trio.testing.wait_all_tasks_blocked()
    (message,) = [record.getMessage() for record in caplog.records if "holds the loop" in record.getMessage()]
    assert message.startswith("actor /suspect holds the loop for more than 0.05 s, at ")
    assert "in compute" in message


async def test_the_watchdog_ends_with_its_system() -> None:
    async with ActorSystem("watched"):
        pass
    for thread in threading.enumerate():
        if thread.name == "watched (watchdog)":
            thread.join(timeout=5)
            assert not thread.is_alive()


async def test_a_system_on_a_virtual_clock_has_no_watchdog(autojump_clock: object) -> None:
    async with ActorSystem("virtual"):
        assert all(thread.name != "virtual (watchdog)" for thread in threading.enumerate())
