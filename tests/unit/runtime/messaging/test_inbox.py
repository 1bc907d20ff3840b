"""The inbox of a task-style actor as a channel, and who asked for what it has taken."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import tell_all, waiting_for

from casty.behaviors import Behaviors
from casty.config import Mailbox
from casty.errors import AskFailed
from casty.protocol.actor.supervision import OneForOneStrategy
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior, ReceiveTarget
from casty.runtime.messaging import requests
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.requests import LOOKED_AT_MIN
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem


@dataclass(frozen=True)
class Get:
    key: str
    reply_to: ActorRef[str]


FAILED = "LookupError: in main"


async def asked(system: ActorSystem, ref: ActorRef[Get], key: str, answers: dict[str, str]) -> None:
    try:
        answers[key] = await system.ask(ref, lambda reply_to: Get(key, reply_to), timeout=60.0)
    except AskFailed as error:
        answers[key] = str(error)


async def answers_of(main: Callable[[ActorContext[Get], Inbox[Get]], Awaitable[None]], keys: list[str]):
    """Ask an actor once with each key, in order and all at a time; return what came of each."""
    began, answers = trio.current_time(), dict[str, str]()
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(main), "t")
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(asked, system, ref, key, answers)
                await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began < 1.0, "somebody has waited for the time-out"
    return answers


async def run(main: Callable[[ActorContext[int], Inbox[int]], Awaitable[None]], messages: int = 0) -> dict[str, int]:
    """Run an actor to its end with some messages; return the dead letters."""
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(main), "t")
        tell_all(ref, *range(messages))
        await system.wait_stopped(ref)
        return dict(system.statistics().dead_letters)


# Who asked


@pytest.mark.parametrize("way", ["iteration", "receive", "nowait"])
async def test_all_who_asked_are_told_when_a_main_fails_with_several_requests(way: str, autojump_clock: object) -> None:
    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        taken: list[Get] = []
        while len(taken) < 3:
            if way == "iteration":
                taken.append(await anext(inbox))
            elif way == "receive" or not taken:
                taken.append(await inbox.receive())
            else:
                await trio.testing.wait_all_tasks_blocked(0.001)
                taken.append(inbox.receive_nowait())
        taken[1].reply_to.tell("answered")
        raise LookupError("in main")

    answers = await answers_of(main, ["first", "second", "third"])
    assert answers == {"first": FAILED, "second": "answered", "third": FAILED}


async def test_all_who_asked_are_told_when_a_main_is_cut_off(autojump_clock: object) -> None:
    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        await inbox.receive()
        await inbox.receive()
        ctx.start_soon(fail)
        await trio.sleep_forever()

    async def fail() -> None:
        raise LookupError("in main")

    assert await answers_of(main, ["first", "second"]) == {"first": FAILED, "second": FAILED}


async def test_what_was_handed_on_is_the_other_actors(autojump_clock: object) -> None:
    async def answer(ctx: ActorContext[Get], message: Get) -> Behavior[Get]:
        await trio.sleep(0.1)
        message.reply_to.tell("from the other")
        return Behaviors.same()

    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        first, _, third = [await inbox.receive() for _ in range(3)]
        ctx.forward(others[0], first)
        ctx.forward(others[0], third)
        raise LookupError("in main")

    others: list[ActorRef[Get]] = []
    began, answers = trio.current_time(), dict[str, str]()
    async with ActorSystem() as system:
        others.append(system.spawn(Behaviors.receive(answer), "other"))
        ref = system.spawn(Behaviors.task(main), "t")
        async with trio.open_nursery() as nursery:
            for key in ("first", "second", "third"):
                nursery.start_soon(asked, system, ref, key, answers)
                await trio.testing.wait_all_tasks_blocked()
    assert answers == {"first": "from the other", "second": FAILED, "third": "from the other"}
    assert trio.current_time() - began < 1.0


async def test_a_request_that_was_handed_on_after_others_is_still_one_that_can_be_withdrawn(
    system: ActorSystem,
) -> None:
    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        first, _ = [await inbox.receive() for _ in range(2)]
        ctx.forward(others[0], first)
        await gate.wait()

    gate, others = trio.Event(), list[ActorRef[Get]]()
    others.append(system.spawn(waiting_for(gate), "other"))
    ref = system.spawn(Behaviors.task(main), "t")
    async with trio.open_nursery() as nursery:
        for asks, key in ((others[0], "busy"), (ref, "first"), (ref, "second")):
            nursery.start_soon(asked, system, asks, key, dict[str, str]())
            await trio.testing.wait_all_tasks_blocked()
        assert system.statistics().mailboxes == {"/other": 1}
        nursery.cancel_scope.cancel()
    assert system.statistics().dead_letters == {"request withdrawn": 1}
    gate.set()


async def test_what_has_a_reply_is_forgotten_while_the_actor_rests() -> None:
    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        inboxes.append(inbox)
        async for message in inbox:
            messages.append(weakref.ref(message))
            ctx.start_soon(answer, message)
            del message

    async def answer(message: Get) -> None:
        await gate.wait()
        message.reply_to.tell(message.key)

    gate, inboxes, messages, answers = trio.Event(), list[Inbox[Get]](), list[weakref.ref[Get]](), dict[str, str]()
    keys = [str(number) for number in range(3 * LOOKED_AT_MIN)]
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(main), "t")
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(asked, system, ref, key, answers)
            await trio.testing.wait_all_tasks_blocked()
            assert repr(inboxes[0].requests) == f"<TakenRequests {len(keys)}>"
            gate.set()
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [message() for message in messages] == [None] * len(keys)
    assert answers == {key: key for key in keys}


async def test_the_oldest_of_too_many_requests_are_forgotten_and_few_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: object,
) -> None:
    monkeypatch.setattr("casty.runtime.messaging.requests.TAKEN_MAX", 64)
    looked_at: list[object] = []
    reply_refs = requests.reply_refs
    monkeypatch.setattr(requests, "reply_refs", lambda message: looked_at.append(message) or reply_refs(message))

    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        taken: list[Get] = []
        for _ in range(300):
            taken.append(await inbox.receive())
            assert len(inbox.requests or ()) <= 64
        assert len(looked_at) < 3 * len(taken)
        assert inbox.requests is not None
        known = [inbox.requests.find(message) is not None for message in taken]
        assert known == sorted(known)
        assert 32 <= known.count(True) <= 64
        for message in taken:
            message.reply_to.tell("late")

    answers = await answers_of(main, [str(number) for number in range(300)])
    assert set(answers.values()) == {"late"}


async def test_a_request_that_an_adapter_has_changed_is_not_taken_for_another() -> None:
    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        first, second = await inbox.receive(), await inbox.receive()
        ctx.forward(others[0], first)
        assert inbox.requests is not None
        found.extend([inbox.requests.find(first), inbox.requests.find(second)])
        second.reply_to.tell("second")

    async def other(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        others.append(ctx.message_adapter(lambda message: Get(f"adapted {message.key}", message.reply_to), Get))
        async for message in inbox:
            message.reply_to.tell(message.key)

    others, found, answers = list[ActorRef[Get]](), list[object](), dict[str, str]()
    async with ActorSystem() as system:
        system.spawn(Behaviors.task(other), "other")
        ref = system.spawn(Behaviors.task(main), "t")
        async with trio.open_nursery() as nursery:
            for key in ("first", "second"):
                nursery.start_soon(asked, system, ref, key, answers)
                await trio.testing.wait_all_tasks_blocked()
    assert found[0] is None
    assert found[1] is not None
    assert answers == {"first": "adapted first", "second": "second"}


@pytest.mark.parametrize("way", ["iteration", "receive", "nowait"])
async def test_a_main_that_shields_itself_comes_to_its_end_when_it_fails(way: str, autojump_clock: object) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        ctx.start_soon(fail)
        with trio.CancelScope(shield=True):
            if way == "iteration":
                async for _ in inbox:
                    pass
            elif way == "receive":
                with pytest.raises(trio.EndOfChannel):
                    while True:
                        await inbox.receive()
            else:
                with pytest.raises(trio.EndOfChannel):
                    while True:
                        await poll(inbox)
            seen.append("end")
        await trio.lowlevel.checkpoint()
        seen.append("not cancelled")

    async def poll(inbox: Inbox[int]) -> None:
        with contextlib.suppress(trio.WouldBlock):
            inbox.receive_nowait()
        await trio.sleep(0.1)

    async def fail() -> None:
        await trio.sleep(1)
        raise LookupError("in a task")

    seen: list[str] = []
    with trio.fail_after(10):
        assert await run(main, 3) == {}
    assert seen == ["end"]


async def test_a_main_that_fails_is_cancelled_where_it_waits_and_sees_no_end(autojump_clock: object) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        ctx.start_soon(fail)
        try:
            while True:
                await inbox.receive()
        except trio.EndOfChannel:
            seen.append("end")
        except trio.Cancelled:
            seen.append("cancelled")
            raise

    async def fail() -> None:
        raise LookupError("in a task")

    seen: list[str] = []
    await run(main, 3)
    assert seen == ["cancelled"]


# A channel


async def test_an_inbox_is_a_receive_channel_whose_receive_is_a_checkpoint_each_time() -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        assert isinstance(inbox, trio.abc.ReceiveChannel)
        with trio.testing.assert_checkpoints():
            assert await inbox.receive() == 0
        with trio.testing.assert_no_checkpoints():
            assert await anext(inbox) == 1
        assert inbox.receive_nowait() == 2
        assert inbox.statistics().current_buffer_used == 0
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()

    assert await run(main, 3) == {}


@pytest.mark.parametrize("way", ["stop", "pill"])
async def test_a_channel_ends_when_its_actor_is_to_stop(system: ActorSystem, way: str) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        with pytest.raises(trio.EndOfChannel):
            await inbox.receive()
        with pytest.raises(trio.EndOfChannel):
            inbox.receive_nowait()
        assert [number async for number in inbox] == []
        ended.append(True)

    ended: list[bool] = []
    ref = system.spawn(Behaviors.task(main), "t")
    await trio.testing.wait_all_tasks_blocked()
    if way == "stop":
        system.stop(ref)
    else:
        ref.of(PoisonPill).tell(PoisonPill())
    await system.wait_stopped(ref)
    assert ended == [True]


async def test_signals_go_first_whichever_way_an_inbox_is_read(autojump_clock: object) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        ctx.schedule_once(-1, 1.0)
        ctx.schedule_once(-2, 2.0)
        await trio.sleep(3)
        seen.extend([await inbox.receive(), inbox.receive_nowait(), await inbox.receive()])

    seen: list[int] = []
    await run(main, 1)
    assert seen == [-1, -2, 0]


async def test_a_cancelled_receive_has_taken_nothing() -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        for step in range(50):
            with trio.CancelScope() as scope:
                ctx.self.tell(step)
                if step % 2:
                    scope.cancel()
                seen.append(await inbox.receive())
            if scope.cancelled_caught:
                seen.append(inbox.receive_nowait())
            with trio.CancelScope() as scope:
                ctx.start_soon(cancel, scope)
                await inbox.receive()
            assert scope.cancelled_caught

    async def cancel(scope: trio.CancelScope) -> None:
        scope.cancel()

    seen: list[int] = []
    assert await run(main) == {}
    assert seen == list(range(50))


async def test_requests_that_are_over_are_passed_over_however_many_there_are(
    system: ActorSystem, autojump_clock: object
) -> None:
    async def main(ctx: ActorContext[Get], inbox: Inbox[Get]) -> None:
        await trio.sleep(1)
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()  # more than it passes over at once
        seen.append((await inbox.receive()).key)

    seen: list[str] = []
    ref = system.spawn(Behaviors.task(main), "t", mailbox=Mailbox(1_000))
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(system.ask_or_none, ref, lambda reply_to: Get("late", reply_to))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    ref.tell(Get("live", ref))  # type: ignore[arg-type]  # any ref does
    await system.wait_stopped(ref)
    assert seen == ["live"]


async def test_one_task_receives_at_a_time() -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        ctx.start_soon(inbox.receive)
        await trio.testing.wait_all_tasks_blocked()
        for read in (inbox.receive, inbox.__anext__):
            with pytest.raises(trio.BusyResourceError, match="two tasks read the inbox of /t"):
                await read()
        with pytest.raises(trio.BusyResourceError):
            inbox.receive_nowait()
        refused.append(True)

    refused: list[bool] = []
    await run(main)
    assert refused == [True]


async def test_a_closed_inbox_stops_its_actor_which_has_time_to_end_and_takes_nothing_more(
    autojump_clock: object,
) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        assert await inbox.receive() == 0
        ctx.start_soon(wait, inbox)
        await trio.testing.wait_all_tasks_blocked()
        ctx.self.tell(1)
        await inbox.aclose()
        await inbox.aclose()
        ctx.self.tell(2)
        with pytest.raises(trio.ClosedResourceError):
            await inbox.receive()
        with pytest.raises(trio.ClosedResourceError):
            inbox.receive_nowait()
        with pytest.raises(trio.ClosedResourceError):
            await anext(inbox)
        await trio.sleep(1)
        ended.append("main")

    async def wait(inbox: Inbox[int]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            while True:
                seen.append(await inbox.receive())

    seen: list[int] = []
    ended: list[str] = []
    assert await run(main, 1) == {"actor stopped": 2}
    assert (seen, ended) == ([], ["main"])


async def test_a_main_that_never_read_has_time_too_after_it_has_closed_its_inbox(autojump_clock: object) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        async with inbox:
            pass
        await trio.sleep(1)
        ended.append("main")

    ended: list[str] = []
    assert await run(main, 2) == {"actor stopped": 2}
    assert ended == ["main"]


async def test_who_waits_for_room_is_let_go_when_the_inbox_is_closed(system: ActorSystem) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        await trio.testing.wait_all_tasks_blocked()
        inbox.close()
        await trio.testing.wait_all_tasks_blocked()
        order.append("main ends")

    order: list[str] = []
    ref = system.spawn(Behaviors.task(main), "t", mailbox=Mailbox(1))
    ref.tell(1)
    await ref.send(2)
    order.append("sent")
    await system.wait_stopped(ref)
    assert system.statistics().dead_letters == {"actor stopped": 2}
    assert order == ["sent", "main ends"]


async def test_an_inbox_of_a_life_that_has_ended_stops_nobody(system: ActorSystem) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        lives.append(inbox)
        if await inbox.receive() == 0:
            raise LookupError
        await lives[0].aclose()
        seen.append(await inbox.receive())

    lives: list[Inbox[int]] = []
    seen: list[int] = []
    ref = system.spawn(Behaviors.supervise(Behaviors.task(main), OneForOneStrategy()), "t")
    tell_all(ref, *range(3))
    await system.wait_stopped(ref)
    assert (len(lives), seen) == (2, [2])


async def test_interceptors_see_what_is_received_and_refuse_what_cannot_wait(system: ActorSystem) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        seen.append(await inbox.receive())
        with pytest.raises(RuntimeError, match="await inbox.receive"):
            inbox.receive_nowait()
        assert inbox.statistics().current_buffer_used == 1
        seen.extend([number async for number in inbox])
        with pytest.raises(trio.EndOfChannel):
            await inbox.receive()
        await inbox.aclose()

    async def double(ctx: ActorContext[int], message: int, target: ReceiveTarget[int]) -> Behavior[int]:
        return Behaviors.stopped() if message == 1 else await target(2 * message + 2)

    seen: list[int] = []
    ref = system.spawn(Behaviors.intercept(double, Behaviors.task(main)), "t")
    tell_all(ref, 0, 1)
    await system.wait_stopped(ref)
    assert seen == [2]


async def test_a_receive_that_is_cancelled_behind_an_interceptor_keeps_the_message(
    system: ActorSystem,
    autojump_clock: object,
) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        for read in (inbox.receive, inbox.__anext__):
            with trio.move_on_after(1) as scope:
                await read()
            assert scope.cancelled_caught
            with trio.CancelScope() as scope:
                scope.cancel()
                await inbox.receive()
            seen.append(await read())

    async def slow_at_first(ctx: ActorContext[int], message: int, target: ReceiveTarget[int]) -> Behavior[int]:
        had.append(message)
        await trio.sleep(2 if had.count(message) == 1 else 0)
        return await target(message)

    had, seen = list[int](), list[int]()
    ref = system.spawn(Behaviors.intercept(slow_at_first, Behaviors.task(main)), "t")
    tell_all(ref, 1, 2)
    await system.wait_stopped(ref)
    assert system.statistics().dead_letters == {}
    assert (had, seen) == ([1, 1, 2, 2], [1, 2])


@pytest.mark.parametrize("way", ["passed twice", "cancelled"])
async def test_what_interceptors_had_is_a_dead_letter_after_a_close(
    system: ActorSystem, way: str, autojump_clock: object
) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        with trio.move_on_after(1):
            seen.append(await inbox.receive())
        await inbox.aclose()
        for read in (inbox.receive, inbox.__anext__):
            with pytest.raises(trio.ClosedResourceError):
                await read()

    async def intercept(ctx: ActorContext[int], message: int, target: ReceiveTarget[int]) -> Behavior[int]:
        if way == "cancelled":
            await trio.sleep_forever()
        await target(message)
        return await target(message + 1)

    seen: list[int] = []
    ref = system.spawn(Behaviors.intercept(intercept, Behaviors.task(main)), "t")
    ref.tell(1)
    await system.wait_stopped(ref)
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert seen == ([1] if way == "passed twice" else [])
