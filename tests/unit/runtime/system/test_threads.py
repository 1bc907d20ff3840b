"""Only the thread of a system's loop may use it; every other is told what to use, and has changed nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio
import trio.testing

from casty.behaviors import Behaviors
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import DeadLetter
from casty.runtime.system.context import ActorContext
from casty.runtime.system.shutdown import ShutdownPhase
from casty.runtime.system.system import ActorSystem
from casty.testing import no_leaks

Attempt = Callable[[ActorSystem, ActorContext[object], ActorRef[object]], object]


async def do_nothing() -> None:
    """Be a task or a hook."""


def begin(coroutine: Coroutine[object, None, object]) -> object:
    """Run a coroutine as far as a thread without a loop of its own can."""
    return coroutine.send(None)


ATTEMPTS: dict[str, Attempt] = {
    "spawn": lambda system, ctx, ref: system.spawn(Behaviors.ignore(), "late"),
    "stop": lambda system, ctx, ref: system.stop(ref),
    "on_shutdown": lambda system, ctx, ref: system.on_shutdown(ShutdownPhase.stop_actors, do_nothing),
    "events": lambda system, ctx, ref: system.events(DeadLetter),
    "ask": lambda system, ctx, ref: begin(system.ask(ref, lambda reply_to: reply_to)),
    "ask_or_none": lambda system, ctx, ref: begin(system.ask_or_none(ref, lambda to: to)),
    "wait_stopped": lambda system, ctx, ref: begin(system.wait_stopped(ref)),
    "shutdown": lambda system, ctx, ref: begin(system.shutdown()),
    "ctx.spawn": lambda system, ctx, ref: ctx.spawn(Behaviors.ignore(), "late"),
    "ctx.stop": lambda system, ctx, ref: ctx.stop(ref),
    "ctx.start_soon": lambda system, ctx, ref: ctx.start_soon(do_nothing),
    "ctx.pipe_to_self": lambda system, ctx, ref: ctx.pipe_to_self(do_nothing),
    "ctx.schedule_once": lambda system, ctx, ref: ctx.schedule_once("late", 1.0, key="late"),
    "ctx.watch": lambda system, ctx, ref: ctx.watch(ref),
    "ctx.ask": lambda system, ctx, ref: begin(ctx.ask(ref, lambda reply_to: reply_to)),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_a_foreign_thread_is_refused_and_changes_nothing(attempt: Attempt, autojump_clock: object) -> None:
    contexts: list[ActorContext[object]] = []

    async def keep(ctx: ActorContext[object]) -> Behavior[object]:
        contexts.append(ctx)
        return Behaviors.ignore()

    async with ActorSystem("shop") as system:
        system.spawn(Behaviors.setup(keep), "timer_queue")
        other = system.spawn(Behaviors.ignore(), "other")
        await trio.testing.wait_all_tasks_blocked()

        async with no_leaks(system):
            with ThreadPoolExecutor(1) as threads:
                error = threads.submit(attempt, system, contexts[0], other).exception()
        assert isinstance(error, RuntimeError)
        assert re.search(r"foreign thread.*casty\.embed", str(error))
        began = trio.current_time()
        assert system.lookup("/other") is not None
    assert trio.current_time() == began
