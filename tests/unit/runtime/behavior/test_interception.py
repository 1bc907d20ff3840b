"""Interceptors see, change and swallow messages, nested, for handlers and for tasks; spies only see."""

from __future__ import annotations

import pytest
import trio.testing
from helpers.behaviors import recording, waiting_for
from trio.testing import wait_all_tasks_blocked as settle

from casty.behaviors import Behaviors
from casty.config import Mailbox, MailboxOverflowStrategy
from casty.protocol.actor.supervision import Restart
from casty.refs import ActorRef
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.behavior.behavior import Behavior, ReceiveTarget
from casty.runtime.events import ActorFailed, Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing import BehaviorTestKit, TestProbe

Seen = list[str]


def noting(seen: Seen, *, task: bool) -> Behavior[str]:
    """Note each message."""

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        return Behaviors.stopped() if message == "stop" else Behaviors.same()

    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        async for message in inbox:
            seen.append(message)
            if message == "stop":
                return

    return Behaviors.task(main) if task else Behaviors.receive(handle)


def marking(mark: str, seen: Seen, behavior: Behavior[str]) -> Behavior[str]:
    """Note each message on its way, add a mark to it; swallow "hidden", double "twice"."""

    async def intercept(ctx: ActorContext[str], message: str, target: ReceiveTarget[str]) -> Behavior[str]:
        seen.append(f"{mark}({message})")
        if message == "hidden":
            return Behaviors.same()
        if message == "twice":
            await target(f"first{mark}")
        return await target(message if message == "stop" else f"{message}{mark}")

    return Behaviors.intercept(intercept, behavior)


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_nested_interceptors_see_change_and_swallow_from_the_outside_in(task: bool) -> None:
    seen: Seen = []
    async with ActorSystem() as system:
        ref = system.spawn(marking("+", seen, marking("-", seen, noting(seen, task=task))), "a")
        for message in ("a", "hidden", "b", "stop"):
            ref.tell(message)
        await system.wait_stopped(ref)
    assert seen == [
        *["+(a)", "-(a+)", "a+-"],
        "+(hidden)",
        *["+(b)", "-(b+)", "b+-"],
        *["+(stop)", "-(stop)", "stop"],
    ]


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_an_interceptor_makes_two_messages_of_one(task: bool) -> None:
    seen: Seen = []
    async with ActorSystem() as system:
        system.spawn(marking("+", seen, noting(seen, task=task)), "a").tell("twice")
        await settle()
    assert seen == ["+(twice)", "first+", "twice+"]


async def test_what_was_stashed_passes_the_interceptor_again_as_it_was_stashed() -> None:
    seen: list[int] = []

    async def double(ctx: ActorContext[int], message: int, target: ReceiveTarget[int]) -> Behavior[int]:
        return await target(message * 2)

    async def door(stash: StashBuffer[int]) -> Behavior[int]:
        async def closed(ctx: ActorContext[int], message: int) -> Behavior[int]:
            if not message:
                return stash.unstash_all(recording(seen))
            stash.stash(message)
            return Behaviors.same()

        return Behaviors.receive(closed)

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.intercept(double, Behaviors.with_stash(10, door)), "door")
        for message in (1, 0, 5):
            ref.tell(message)
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [4, 10]


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_an_interceptor_may_stop_the_actor(task: bool) -> None:
    seen: Seen = []

    async def guard(ctx: ActorContext[str], message: str, target: ReceiveTarget[str]) -> Behavior[str]:
        return Behaviors.stopped() if message == "bad" else await target(message)

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.intercept(guard, noting(seen, task=task)), "a")
        for message in ("a", "bad", "b"):
            ref.tell(message)
        await system.wait_stopped(ref)
        assert system.statistics().dead_letters == {"actor stopped": 1}
    assert seen == ["a"]


async def test_an_interceptor_of_a_task_cannot_answer_with_a_behaviour() -> None:
    async def odd(ctx: ActorContext[str], message: str, target: ReceiveTarget[str]) -> Behavior[str]:
        return Behaviors.ignore()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.intercept(odd, noting([], task=True)), "a").tell("a")
        assert "because the behaviour is a task" in str((await anext(failures)).exception)


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_a_failing_interceptor_fails_the_actor_and_is_back_after_the_restart(task: bool) -> None:
    seen: Seen = []

    async def picky(ctx: ActorContext[str], message: str, target: ReceiveTarget[str]) -> Behavior[str]:
        if message == "bad":
            raise ValueError(message)
        return await target(f"{message}!")

    async with ActorSystem() as system:
        behavior = Behaviors.intercept(picky, noting(seen, task=task))
        ref = system.spawn(Behaviors.supervise(behavior, Restart(backoff_min=0.0)), "a")
        for message in ("a", "bad", "b"):
            ref.tell(message)
        await settle()
    assert seen == ["a!", "b!"]


async def test_interceptors_stay_when_the_behaviour_is_replaced_until_others_come() -> None:
    seen: Seen = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "other+":
            return marking("-", seen, Behaviors.receive(handle))
        return Behaviors.receive(handle)

    async with ActorSystem() as system:
        ref = system.spawn(marking("+", [], Behaviors.receive(handle)), "a")
        for message in ("a", "b", "other", "c"):
            ref.tell(message)
        await settle()
    assert seen == ["a+", "b+", "other+", "-(c)", "c-"]


async def test_interceptors_around_same_take_the_place_of_those_there_were() -> None:
    seen: Seen = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "others+":
            return marking("1", seen, marking("2", seen, Behaviors.same()))
        if message == "supervised12":
            return Behaviors.supervise(marking("3", seen, Behaviors.same()), Restart())
        return Behaviors.same()

    async with ActorSystem() as system:
        ref = system.spawn(marking("+", [], Behaviors.receive(handle)), "a")
        for message in ("others", "b", "supervised", "c"):
            ref.tell(message)
        await settle()
    assert seen == [
        *("others+", "1(b)", "2(b1)", "b12", "1(supervised)", "2(supervised1)", "supervised12"),
        *("3(c)", "c3"),
    ]


async def test_a_handler_without_interceptors_is_put_behind_those_around_same() -> None:
    seen: Seen = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        return marking("+", [], Behaviors.same()) if message == "go" else Behaviors.same()

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(handle), "a")
        for message in ("go", "b"):
            ref.tell(message)
        await settle()
    assert seen == ["go", "b+"]


async def test_an_interceptor_sees_timers_and_the_end_of_others(autojump_clock: object) -> None:
    seen: list[object] = []

    async def see(
        ctx: ActorContext[str | Terminated], message: str | Terminated, target: ReceiveTarget[str | Terminated]
    ) -> Behavior[str | Terminated]:
        seen.append(message)
        return await target(message)

    async def make(ctx: ActorContext[str | Terminated]) -> Behavior[str | Terminated]:
        child = ctx.spawn(Behaviors.ignore(), "child")
        ctx.watch(child)
        ctx.stop(child)
        ctx.schedule_once("timer", 1.0)
        return Behaviors.ignore()

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.intercept(see, Behaviors.setup(make)), "a")
        await trio.sleep(2)
        assert [type(message).__name__ for message in seen] == ["Terminated", "str"]
        assert ref.path == "/a"


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_a_spy_is_told_every_message_before_it_is_handled(task: bool) -> None:
    seen: Seen = []
    async with ActorSystem() as system:
        probe: TestProbe[str] = TestProbe(system)
        ref = system.spawn(Behaviors.spy(probe.ref, noting(seen, task=task)), "a")
        ref.tell("a")
        ref.tell("b")
        assert [await probe.receive(), await probe.receive()] == ["a", "b"]
        await settle()
    assert seen == ["a", "b"]


async def test_a_spy_without_room_hurts_nobody() -> None:
    seen: Seen = []
    gate = trio.Event()

    async with ActorSystem() as system:
        spy = system.spawn(waiting_for(gate), "spy", mailbox=Mailbox(1, MailboxOverflowStrategy.reject))
        ref = system.spawn(Behaviors.spy(spy, noting(seen, task=False)), "a")
        for message in "abc":
            ref.tell(message)
            await settle()
        assert system.statistics().dead_letters == {"mailbox full": 1}
        gate.set()
    assert seen == ["a", "b", "c"]


def test_the_kit_runs_interceptors_too() -> None:
    seen: Seen = []
    for task in (False, True):
        kit = BehaviorTestKit(marking("+", [], noting(seen, task=task)))
        kit.run("a")
        kit.run("hidden")
        kit.run("twice")
        kit.run("stop")
        assert not kit.is_alive
    assert seen == ["a+", "first+", "twice+", "stop"] * 2


async def test_the_type_of_messages_is_found_behind_an_interceptor() -> None:
    async def see(ctx: ActorContext[ActorRef[int]], message: object, target: ReceiveTarget[object]) -> Behavior[object]:
        return await target(message)

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        return Behaviors.same()

    assert Behaviors.intercept(see, Behaviors.receive(handle)).message_type() is str  # type: ignore[arg-type]  # loose
