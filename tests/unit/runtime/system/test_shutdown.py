"""The phases of a shutdown: their order, their hooks, their bounds, and what is named."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from helpers.behaviors import hanging

from casty.behaviors import Behaviors
from casty.config import SystemConfig
from casty.errors import ActorStoppedError
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.system import shutdown
from casty.runtime.system.context import ActorContext
from casty.runtime.system.shutdown import ShutdownPhase
from casty.runtime.system.system import ActorSystem, spawn_system_actor
from casty.testing.inspect import kernel_of

CONFIG = SystemConfig(stop_timeout=2.0, shutdown_timeout=5.0)


def noting(order: list[str], what: str) -> Behavior[object]:
    async def stop(ctx: ActorContext[object]) -> None:
        order.append(what)

    return Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.ERROR]


async def test_the_hooks_of_a_phase_run_before_its_work_and_the_phases_in_order() -> None:
    order: list[str] = []

    async def hook(what: str) -> None:
        await trio.lowlevel.checkpoint()
        order.append(what)

    async def leave() -> None:
        order.append("left")

    async with ActorSystem() as system:
        for phase in reversed(ShutdownPhase):
            system.on_shutdown(phase, hook, phase.value)
        kernel_of(system).closing.append(leave)
        system.spawn(noting(order, "actor"), "a")
        spawn_system_actor(system, noting(order, "system actor"), "_s")
        await trio.testing.wait_all_tasks_blocked()
    assert order == ["stop_actors", "actor", "leave_cluster", "left", "stop_system", "system actor"]


async def test_hooks_of_the_first_phase_find_actors_that_answer() -> None:
    answers: list[str] = []

    async def answer(ctx: ActorContext[object], message: object) -> Behavior[object]:
        message.tell("here")  # type: ignore[attr-defined]  # the message is the slot of the ask
        return Behaviors.same()

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(answer), "a")

        async def ask() -> None:
            reply: str = await system.ask(ref, lambda reply_to: reply_to)
            answers.append(reply)

        system.on_shutdown(ShutdownPhase.stop_actors, ask)
    assert answers == ["here"]


async def test_hooks_run_once_however_often_the_shutdown_is_asked_for() -> None:
    runs: list[str] = []

    async with ActorSystem() as system:

        async def hook() -> None:
            runs.append("hook")
            await system.shutdown()  # inside of the shutdown, a request that changes nothing

        system.on_shutdown(ShutdownPhase.stop_actors, hook)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.shutdown)
            nursery.start_soon(system.shutdown)
        await system.shutdown()
    assert runs == ["hook"]


async def test_hooks_run_when_the_block_fails_or_is_cancelled() -> None:
    runs: list[str] = []

    async def hook() -> None:
        await trio.lowlevel.checkpoint()
        runs.append("hook")

    with pytest.raises(LookupError):
        async with ActorSystem() as system:
            system.on_shutdown(ShutdownPhase.stop_actors, hook)
            raise LookupError
    with trio.CancelScope() as scope:
        async with ActorSystem() as system:
            system.on_shutdown(ShutdownPhase.stop_system, hook)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert runs == ["hook", "hook"]


async def test_a_hook_that_hangs_is_named_and_the_others_go_on(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    async def short() -> None:
        await trio.sleep(1)
        order.append("short")

    async with ActorSystem(config=CONFIG) as system:
        system.on_shutdown(ShutdownPhase.stop_actors, trio.sleep_forever, name="hanging one")
        system.on_shutdown(ShutdownPhase.stop_actors, short)
        system.spawn(noting(order, "actor"), "a")
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(2.0, abs=0.1)
    assert order == ["short", "actor"]
    assert errors(caplog) == [
        "shutdown hooks of stop_actors did not end within 2.0 s and are cancelled: hanging one",
    ]


async def test_a_hook_that_fails_is_logged_and_keeps_nobody_from_stopping(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    async def broken() -> None:
        raise LookupError("no balancer")

    async with ActorSystem() as system:
        system.on_shutdown(ShutdownPhase.stop_actors, broken, name="balancer")
        system.spawn(noting(order, "actor"), "a")
        await trio.testing.wait_all_tasks_blocked()
    assert order == ["actor"]
    assert errors(caplog) == ["shutdown hook balancer failed"]


async def test_a_stuck_actor_takes_no_time_from_leaving(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    async def leave() -> None:
        await trio.sleep(4)
        order.append("left")

    async with ActorSystem(config=SystemConfig(stop_timeout=60.0, shutdown_timeout=5.0)) as system:
        kernel_of(system).closing.append(leave)
        system.spawn(hanging(), "stuck").tell(1)
        spawn_system_actor(system, noting(order, "system actor"), "_s")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(9.0, abs=0.1)
    assert order == ["left", "system actor"]
    assert errors(caplog) == ["did not stop within 5.0 s and are cancelled: /stuck"]


async def test_a_leaving_that_hangs_is_given_up_and_the_rest_still_stops(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []
    async with ActorSystem(config=CONFIG) as system:
        kernel_of(system).closing.append(trio.sleep_forever)
        spawn_system_actor(system, noting(order, "system actor"), "_s")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5.0, abs=0.1)
    assert order == ["system actor"]
    assert errors(caplog) == ["leaving the cluster did not end within 5.0 s and is given up"]


async def test_a_leaving_that_a_second_ctrl_c_cuts_short_is_not_said_to_have_taken_its_time(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem(config=CONFIG) as system, trio.open_nursery() as nursery:
        kernel_of(system).closing.append(trio.sleep_forever)
        nursery.start_soon(system.shutdown)
        await trio.testing.wait_all_tasks_blocked()
        kernel_of(system).shutdown.hurry()  # as a second Ctrl-C does
        await system.wait_stopped()
    assert errors(caplog) == ["leaving the cluster did not end before a second Ctrl-C and is given up"]


async def test_no_hook_is_taken_when_it_is_too_late_or_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutdown, "HOOKS_MAX", 2)
    refused: list[str] = []

    async with ActorSystem() as system:

        async def late() -> None:
            with pytest.raises(ActorStoppedError) as caught:
                system.on_shutdown(ShutdownPhase.stop_system, trio.lowlevel.checkpoint)
            refused.append(str(caught.value))

        system.on_shutdown(ShutdownPhase.leave_cluster, late)
        system.on_shutdown(ShutdownPhase.leave_cluster, trio.lowlevel.checkpoint)
        with pytest.raises(ValueError, match="at most 2"):
            system.on_shutdown(ShutdownPhase.leave_cluster, trio.lowlevel.checkpoint)
    assert "in phase leave_cluster" in refused[0]
    with pytest.raises(ActorStoppedError):
        system.on_shutdown(ShutdownPhase.stop_actors, trio.lowlevel.checkpoint)


async def test_no_more_patience_ends_hooks_and_actors_at_once(autojump_clock: object) -> None:
    config = SystemConfig(stop_timeout=60.0, shutdown_timeout=60.0)
    async with ActorSystem(config=config) as system, trio.open_nursery() as nursery:
        system.spawn(hanging(), "stuck").tell(1)
        system.on_shutdown(ShutdownPhase.stop_actors, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(system.shutdown)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        kernel_of(system).shutdown.hurry()  # as a second Ctrl-C does
        await system.wait_stopped()
        assert trio.current_time() == began


def nested(depth: int, hook) -> Behavior[object]:
    """Return an actor with a child with a child, each of them with the hook as its clean-up."""

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        if depth > 1:
            ctx.spawn(nested(depth - 1, hook), "child")
        return Behaviors.ignore()

    return Behaviors.with_lifecycle(Behaviors.setup(make), post_stop=hook)


async def hang(ctx: ActorContext[object]) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("name", ["users", "_own"])
async def test_clean_ups_that_hang_one_above_the_other_have_one_bound_together(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem(config=CONFIG) as system:
        spawn = system._spawn_system if name.startswith("_") else system.spawn
        spawn(nested(8, hang), name)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5.0, abs=0.1)
    path = [f"/{name}" + "/child" * depth for depth in range(8)]
    assert errors(caplog) == [
        f"the clean-up of actor {path[7]} did not end within 2.0 s and was cancelled",
        f"the clean-up of actor {path[6]} did not end within 2.0 s and was cancelled",
        f"did not stop within 5.0 s and are cancelled: {path[5]}",
        f"the clean-up of actor {path[5]} did not end within 2.0 s and was cancelled",
        *(
            f"the clean-up of actor {path[depth]} was cancelled: the shutdown is over its bound"
            for depth in (4, 3, 2, 1, 0)
        ),
    ]


async def test_a_clean_up_that_does_not_wait_runs_also_when_the_time_is_over(autojump_clock: object) -> None:
    stopped: list[str] = []

    async def note_and_hang(ctx: ActorContext[object]) -> None:
        stopped.append(ctx.self.path)
        await trio.sleep_forever()

    async with ActorSystem(config=CONFIG) as system:
        system.spawn(nested(6, note_and_hang), "a")
        await trio.testing.wait_all_tasks_blocked()
    assert stopped == ["/a" + "/child" * depth for depth in (5, 4, 3, 2, 1, 0)]


async def test_the_line_about_actors_that_hang_has_an_end(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem(config=SystemConfig(stop_timeout=60.0, shutdown_timeout=5.0)) as system:
        for number in range(100):
            system.spawn(nested(1, hang), f"a{number}")
        await trio.testing.wait_all_tasks_blocked()
    [line] = [line for line in errors(caplog) if line.startswith("did not stop")]
    assert line.endswith("/a19 and 80 more")
