"""Timers of actors, and the scheduler of the system."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from helpers.behaviors import recording, stop_and_wait, tell_all

from casty.behaviors import Behaviors
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.deadlines import TimerQueue
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.messaging.timers import CancelSchedule, ScheduleOnce, ScheduleTick
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.runtime.system.timer_scheduler import TimerScheduler

Seen = list[tuple[float, object]]


def actor(seen: Seen, script: dict[str, tuple[object, ...]]) -> Behavior[str]:
    """Do what the script says for a message; note every message with its time."""

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append((round(trio.current_time() - seen[0][0], 3) if seen else trio.current_time(), message))
        match script.get(message):
            case ("once", text, delay, key):
                ctx.schedule_once(str(text), float(str(delay)), key=key)
            case ("tick", text, interval, key):
                ctx.schedule_tick(str(text), float(str(interval)), key=key)
            case ("cancel", key):
                ctx.cancel_timer(key)
            case _:
                pass
        return Behaviors.same()

    return Behaviors.receive(handle)


async def test_a_timer_arrives_once_after_its_delay(system: ActorSystem, autojump_clock: object) -> None:
    seen: Seen = []
    system.spawn(actor(seen, {"go": ("once", "ring", 1.5, None)}), "a").tell("go")
    await trio.sleep(10)
    assert system.statistics().timers == 0
    assert seen[1:] == [(1.5, "ring")]


async def test_a_tick_arrives_until_it_is_cancelled(system: ActorSystem, autojump_clock: object) -> None:
    seen: Seen = []
    ref = system.spawn(actor(seen, {"go": ("tick", "tick", 1.0, "k"), "end": ("cancel", "k")}), "a")
    ref.tell("go")
    await trio.sleep(3.5)
    ref.tell("end")
    await trio.sleep(10)
    assert seen[1:] == [(1.0, "tick"), (2.0, "tick"), (3.0, "tick"), (3.5, "end")]


async def test_a_replaced_timer_never_arrives(system: ActorSystem, autojump_clock: object) -> None:
    seen: Seen = []
    script: dict[str, tuple[object, ...]] = {"go": ("once", "old", 1.0, "k"), "again": ("once", "new", 1.0, "k")}
    ref = system.spawn(actor(seen, script), "a")
    tell_all(ref, "go", "again")
    await trio.sleep(5)
    assert [message for _, message in seen] == ["go", "again", "new"]


async def test_a_timer_that_is_cancelled_while_it_waits_to_be_seen_never_arrives(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[str] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "go":
            ctx.schedule_once("ring", 1.0, key="k")
            await trio.sleep(2)  # it fires now, behind the back of this handler
            ctx.cancel_timer("k")
        return Behaviors.same()

    system.spawn(Behaviors.receive(handle), "a").tell("go")
    await trio.sleep(10)
    assert seen == ["go"]


async def test_a_slow_actor_sees_one_tick_not_all_that_were_due(system: ActorSystem, autojump_clock: object) -> None:
    seen: list[str] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "go":
            ctx.schedule_tick("tick", 0.1)
            await trio.sleep(5.05)
        return Behaviors.same()

    system.spawn(Behaviors.receive(handle), "a").tell("go")
    await trio.sleep(5.07)
    assert seen == ["go", "tick"]


async def test_timers_overtake_the_mailbox(system: ActorSystem, autojump_clock: object) -> None:
    seen: list[str] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "go":
            ctx.schedule_once("ring", 1.0)
            await trio.sleep(2)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "a")
    tell_all(ref, "go", "first", "second")
    await trio.sleep(5)
    assert seen == ["go", "ring", "first", "second"]


async def test_the_timers_of_a_stopped_actor_are_gone(system: ActorSystem, autojump_clock: object) -> None:
    seen: Seen = []
    ref = system.spawn(actor(seen, {"go": ("tick", "tick", 1.0, None)}), "a")
    ref.tell("go")
    await trio.sleep(0.5)
    assert system.statistics().timers == 1
    await stop_and_wait(system, ref)
    assert system.statistics().timers == 0


async def test_two_actors_may_use_the_same_key(system: ActorSystem, autojump_clock: object) -> None:
    seen: Seen = []
    for name in ("a", "b"):
        system.spawn(actor(seen, {"go": ("once", "ring", 1.0, "k")}), name).tell("go")
    await trio.sleep(5)
    assert [message for _, message in seen].count("ring") == 2


@pytest.mark.parametrize("delay", [-1.0, float("nan"), float("inf")])
async def test_a_delay_that_makes_no_sense_is_refused(system: ActorSystem, delay: float) -> None:
    ref = system.spawn(Behaviors.ignore(), "a")
    with pytest.raises(ValueError, match="delay must be"):
        system.scheduler.tell(ScheduleOnce("k", ref, "x", delay))
    with pytest.raises(ValueError, match="interval must be"):
        system.scheduler.tell(ScheduleTick("k", ref, "x", delay))


async def test_the_scheduler_tells_once_and_again_and_can_be_cancelled(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: Seen = [(trio.current_time(), "start")]
    ref = system.spawn(actor(seen, {}), "a")
    system.scheduler.tell(ScheduleOnce("once", ref, "ring", 1.25))
    system.scheduler.tell(ScheduleOnce("never", ref, "lost", 1.5))
    system.scheduler.tell(ScheduleTick("tick", ref, "tick", 1.0))
    system.scheduler.tell(CancelSchedule("never"))
    await trio.sleep(2.5)
    system.scheduler.tell(CancelSchedule("tick"))
    await trio.sleep(5)
    assert system.statistics().timers == 0
    assert seen[1:] == [(1.0, "tick"), (1.25, "ring"), (2.0, "tick")]


async def test_the_timer_queue_keeps_no_heap_of_cancelled_timers(autojump_clock: object) -> None:
    timer_queue = TimerQueue()
    for _ in range(10_000):
        timer_queue.finish(timer_queue.call_later(3600.0, lambda: None))
    assert len(timer_queue) == 0
    assert len(timer_queue._heap) < 1000


async def test_equal_deadlines_fire_in_the_order_in_which_they_were_made(autojump_clock: object) -> None:
    fired: list[int] = []
    async with trio.open_nursery() as nursery:
        timer_queue = TimerQueue()
        nursery.start_soon(timer_queue.run)
        for number in range(50):
            timer_queue.call_later(1.0, lambda number=number: fired.append(number))
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert fired == list(range(50))


async def test_a_fixed_delay_begins_when_the_message_before_was_taken(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: Seen = [(trio.current_time(), "start")]

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append((round(trio.current_time() - seen[0][0], 3), message))
        if message == "go":
            ctx.schedule_with_fixed_delay("tick", 1.0, initial_delay=0.5, key="k")
        elif len(seen) < 6:
            await trio.sleep(0.4)
        else:
            ctx.cancel_timer("k")
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "a")
    ref.tell("go")
    await trio.sleep(1.6)
    ref.tell("other")
    await trio.sleep(10)
    assert system.statistics().timers == 0
    assert seen[1:] == [(0.0, "go"), (0.5, "tick"), (1.5, "tick"), (1.9, "other"), (2.5, "tick")]


async def test_a_fixed_delay_waits_for_a_slow_actor(system: ActorSystem, autojump_clock: object) -> None:
    times: list[float] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        if message == "go":
            ctx.schedule_with_fixed_delay("tick", 1.0)
        elif message == "block":
            await trio.sleep(2.0)
        else:
            times.append(round(trio.current_time() - begin, 3))
        return Behaviors.same()

    begin = trio.current_time()
    ref = system.spawn(Behaviors.receive(handle), "a")
    tell_all(ref, "go", "block")
    await trio.sleep(4.5)
    assert times == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("style", ["fixed delay", "fixed rate"])
async def test_a_repeated_timer_that_is_replaced_after_it_fired_never_arrives(
    system: ActorSystem, autojump_clock: object, style: str
) -> None:
    seen: list[str] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        start = ctx.schedule_with_fixed_delay if style == "fixed delay" else ctx.schedule_tick
        if message == "go":
            start("old", 1.0, key="k")
            await trio.sleep(1.5)
            start("new", 1.0, key="k")
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "a")
    ref.tell("go")
    await trio.sleep(4.0)
    assert system.statistics().timers == 1
    await stop_and_wait(system, ref)
    assert system.statistics().timers == 0
    assert seen == ["go", "new", "new"]


async def test_a_timer_scheduler_starts_and_cancels_the_timers_of_its_actor(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[str] = []

    async def make(timers: TimerScheduler[str]) -> Behavior[str]:
        timers.start_single_timer("once", 0.5)
        timers.start_timer_at_fixed_rate("rate", 1.0, initial_delay=0.0, key="rate")
        timers.start_timer_with_fixed_delay("delay", 1.1, key="delay")

        async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
            seen.append(message)
            if len(seen) == 5:
                assert timers.is_timer_active("rate")
                timers.cancel("rate")
                assert not timers.is_timer_active("rate")
            elif len(seen) == 6:
                timers.cancel_all()
            return Behaviors.same()

        return Behaviors.receive(handle)

    system.spawn(Behaviors.with_timers(make), "a")
    await trio.sleep(10)
    assert system.statistics().timers == 0
    assert seen == ["rate", "once", "rate", "delay", "rate", "delay"]


def idling(seen: Seen, *, task: bool) -> Behavior[str]:
    """Note every message and its time; "work" takes 0.7 seconds, "off" ends the time-out."""

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append((round(trio.current_time() - seen[0][0], 3), message))
        if message == "work":
            await trio.sleep(0.7)
        elif message == "off":
            ctx.cancel_receive_timeout()
        elif message == "on":
            ctx.set_receive_timeout(2.0, "idle!")
        return Behaviors.same()

    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        ctx.set_receive_timeout(1.0, "idle")
        return Behaviors.receive(handle)

    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        ctx.set_receive_timeout(1.0, "idle")
        async for message in inbox:
            await handle(ctx, message)

    return Behaviors.task(main) if task else Behaviors.setup(make)


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_a_receive_timeout_comes_when_the_actor_has_waited_that_long(
    system: ActorSystem, autojump_clock: object, task: bool
) -> None:
    seen: Seen = [(trio.current_time(), "start")]
    ref = system.spawn(idling(seen, task=task), "a")
    await trio.sleep(0.6)
    ref.tell("work")  # until 1.3
    await trio.sleep(2.0)  # 2.6
    ref.tell("x")
    await trio.sleep(1.5)  # 4.1
    ref.tell("on")
    await trio.sleep(2.5)  # 6.6
    ref.tell("off")
    await trio.sleep(10)
    assert system.statistics().timers == 0
    assert seen[1:] == [
        (0.6, "work"),
        (2.3, "idle"),
        (2.6, "x"),
        (3.6, "idle"),
        (4.1, "on"),
        (6.1, "idle!"),
        (6.6, "off"),
    ]


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
async def test_a_receive_timeout_comes_again_while_nothing_else_does(
    system: ActorSystem, autojump_clock: object, task: bool
) -> None:
    seen: Seen = [(trio.current_time(), "start")]
    system.spawn(idling(seen, task=task), "a")
    await trio.sleep(3.5)
    assert seen[1:] == [(1.0, "idle"), (2.0, "idle"), (3.0, "idle")]


async def test_a_receive_timeout_that_was_replaced_while_it_waited_to_be_seen_never_arrives(
    system: ActorSystem,
    autojump_clock: object,
) -> None:
    seen: list[str] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        ctx.set_receive_timeout(2.0, "new")
        return Behaviors.same()

    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        ctx.set_receive_timeout(1.0, "old")
        ctx.schedule_once("timer", 1.0)  # due at the same moment, and made later
        ctx.set_receive_timeout(1.0, "older")
        return Behaviors.receive(handle)

    system.spawn(Behaviors.setup(make), "a")
    await trio.sleep(2.9)
    assert seen == ["timer"]


async def test_a_restart_ends_the_receive_timeout_and_all_timers(system: ActorSystem, autojump_clock: object) -> None:
    seen: list[str] = []

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "go":
            ctx.set_receive_timeout(1.0, "idle")
            ctx.schedule_with_fixed_delay("tick", 1.0)
            return Behaviors.restart()
        return Behaviors.same()

    system.spawn(Behaviors.receive(handle), "a").tell("go")
    await trio.sleep(5)
    assert system.statistics().timers == 0
    assert seen == ["go"]


@pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])
@pytest.mark.parametrize("idle", [False, True], ids=["timer", "receive time-out"])
async def test_a_poison_pill_of_a_timer_stops_the_actor(autojump_clock: object, task: bool, idle: bool) -> None:
    seen: list[object] = []

    def begin(ctx: ActorContext[Any]) -> None:
        if idle:
            ctx.set_receive_timeout(1.0, PoisonPill())
        else:
            ctx.schedule_once(PoisonPill(), 1.0)

    async def make(ctx: ActorContext[Any]) -> Behavior[Any]:
        begin(ctx)
        return recording(seen)

    async def main(ctx: ActorContext[Any], inbox: Inbox[Any]) -> None:
        begin(ctx)
        async for message in inbox:
            seen.append(message)
        seen.append("end")

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(main) if task else Behaviors.setup(make), "a")
        ref.tell("hello")
        with trio.fail_after(5):
            await system.wait_stopped(ref)
    assert seen == (["hello", "end"] if task else ["hello"])
