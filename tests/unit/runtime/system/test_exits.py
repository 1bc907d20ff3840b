"""SystemExit and its kin, raised where an actor ends: they leave the block, and nobody waits for ever.

What is waited for in vain here is shielded from time-outs, so each system runs in a thread that is waited for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait

from casty import (
    ActorContext,
    ActorStopped,
    ActorStoppedError,
    ActorSystem,
    Behavior,
    Behaviors,
    EventStreamSubscribe,
    Restart,
    Terminated,
)
from casty.runtime.actor.watching import watching
from casty.runtime.system.system import kernel_of

Hook = Callable[[ActorContext[object]], Awaitable[None]]


class Leaving(BaseException):
    """One that nobody in this library knows."""


def outcome(main: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Run a program to its end, and return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "the block never ended"
    return raised[0] if raised else None


def raising(error: BaseException) -> Hook:
    async def hook(ctx: ActorContext[object]) -> None:
        raise error

    return hook


def parent_of(child: Behavior[object], name: str = "child") -> Behavior[object]:
    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.spawn(child, name)
        return Behaviors.ignore()

    return Behaviors.setup(make)


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        Leaving(),
        BaseExceptionGroup("two", [SystemExit(1), Leaving()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_what_a_post_stop_raises_leaves_the_block(error: BaseException, depth: int) -> None:
    behavior = Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=raising(error))
    for _ in range(depth):
        behavior = parent_of(behavior)
    seen: list[ActorSystem] = []

    async def main() -> None:
        async with ActorSystem() as system:
            seen.append(system)
            system.spawn(behavior, "a")
            await trio.testing.wait_all_tasks_blocked()

    raised = outcome(main)
    if isinstance(error, BaseExceptionGroup):
        assert isinstance(raised, BaseExceptionGroup)
        assert raised.subgroup(SystemExit) is not None
        assert raised.subgroup(Leaving) is not None
    else:
        assert raised is error
    assert seen[0].statistics().actors == 0


def test_the_end_is_told_and_the_name_given_back_all_the_same() -> None:
    told: list[Terminated | None] = []

    async def main() -> None:
        async with ActorSystem() as system:
            system.spawn(parent_of(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=raising(Leaving()))), "a")
            await trio.testing.wait_all_tasks_blocked()
            child = system.lookup("/a/child")
            assert child is not None
            with trio.CancelScope(shield=True):
                async with watching(kernel_of(system), child) as block:
                    await stop_and_wait(system, child)
                told.append(block.terminated)
                assert system.lookup("/a/child") is None

    assert isinstance(outcome(main), Leaving)
    assert [end.ref.path for end in told if end is not None] == ["/a/child"]


def test_the_other_hooks_have_their_turn() -> None:
    done: list[str] = []

    async def note(ctx: ActorContext[object]) -> None:
        await trio.sleep(1)
        done.append(ctx.self.path)

    async def main() -> None:
        inner = Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=raising(Leaving()))
        async with ActorSystem() as system:
            system.spawn(Behaviors.with_lifecycle(inner, post_stop=note), "a")
            await trio.testing.wait_all_tasks_blocked()

    assert isinstance(outcome(main), Leaving)
    assert done == ["/a"]


def test_two_hooks_that_raise_are_both_heard_and_a_third_is_cut_in_time() -> None:
    async def hang(ctx: ActorContext[object]) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        behavior: Behavior[object] = Behaviors.ignore()
        for hook in (raising(Leaving()), raising(SystemExit(2)), hang):
            behavior = Behaviors.with_lifecycle(behavior, post_stop=hook)
        async with ActorSystem() as system:
            system.spawn(behavior, "a")
            await trio.testing.wait_all_tasks_blocked()

    raised = outcome(main)
    assert isinstance(raised, BaseExceptionGroup)
    both, others = raised.split((Leaving, SystemExit))
    assert both is not None
    assert others is None


def test_no_life_begins_after_a_child_has_ended_the_system() -> None:
    lives: list[int] = []

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        lives.append(len(lives))
        ctx.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=raising(Leaving())), "child")
        return Behaviors.receive(fail)

    async def fail(ctx: ActorContext[object], message: object) -> Behavior[object]:
        raise ValueError(message)

    async def main() -> None:
        async with ActorSystem() as system:
            ref = system.spawn(Behaviors.supervise(Behaviors.setup(make), Restart()), "a")
            await trio.testing.wait_all_tasks_blocked()
            ref.tell("go")
            await trio.sleep_forever()

    assert isinstance(outcome(main), Leaving)
    assert lives == [0]


@pytest.mark.parametrize("what", ["spawn", "start_soon"])
def test_nobody_is_taken_in_by_a_nursery_that_has_ended(what: str) -> None:
    refused: list[str] = []

    async def leave(ctx: ActorContext[object], message: object) -> Behavior[object]:
        raise Leaving

    async def clean_up(ctx: ActorContext[object], message: object) -> Behavior[object]:
        ctx.spawn(Behaviors.receive(leave), "child").tell("go")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                try:
                    if what == "spawn":
                        ctx.spawn(Behaviors.ignore(), "late")
                    else:
                        ctx.start_soon(trio.sleep_forever)
                except ActorStoppedError as error:
                    refused.append(str(error))

    async def main() -> None:
        async with ActorSystem() as system:
            system.spawn(Behaviors.receive(clean_up), "a").tell("go")
            await trio.sleep_forever()

    assert isinstance(outcome(main), Leaving)
    assert len(refused) == 1


def test_an_adapter_that_raises_when_it_hears_of_the_end_keeps_nobody_waiting() -> None:
    def leave(event: ActorStopped) -> object:
        raise Leaving

    async def listen(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.system.event_stream.tell(EventStreamSubscribe(ActorStopped, ctx.message_adapter(leave)))
        return Behaviors.ignore()

    async def main() -> None:
        async with ActorSystem() as system:
            system.spawn(parent_of(Behaviors.ignore()), "a")
            system.spawn(Behaviors.setup(listen), "b")
            await trio.testing.wait_all_tasks_blocked()
            child = system.lookup("/a/child")
            assert child is not None
            system.stop(child)
            await trio.sleep_forever()

    raised = outcome(main)
    if isinstance(raised, BaseExceptionGroup):  # it may hear of the parent's end too before its own
        assert raised.split(Leaving)[1] is None
    else:
        assert isinstance(raised, Leaving)


def test_an_adapter_that_leaves_over_a_message_of_a_thread_ends_the_block_and_not_the_run() -> None:
    cleaned: list[bool] = []

    def leave(message: int) -> object:
        raise Leaving

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        adapter = ctx.message_adapter(leave)
        await trio.to_thread.run_sync(ctx.system.tell_threadsafe, adapter, 1)
        return Behaviors.ignore()

    async def main() -> None:
        try:
            async with ActorSystem() as system:
                system.spawn(Behaviors.setup(make), "a")
                await trio.sleep_forever()
        finally:
            await trio.lowlevel.checkpoint()
            cleaned.append(True)

    assert isinstance(outcome(main), Leaving)
    assert cleaned


def test_the_clean_ups_of_the_others_stay_bounded() -> None:
    async def leave(ctx: ActorContext[object], message: object) -> Behavior[object]:
        raise Leaving

    async def hang(ctx: ActorContext[object]) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with ActorSystem() as system:
            system.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=hang), "b")
            await trio.testing.wait_all_tasks_blocked()
            system.spawn(Behaviors.receive(leave), "a").tell("go")
            await trio.sleep_forever()

    assert isinstance(outcome(main), Leaving)
