"""Failure: where it goes, what the strategies make of it, and what stays over a restart."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import recording, stop_and_wait, tell_all
from helpers.systems import Boom

from casty.behaviors import Behaviors
from casty.config import Mailbox, SystemConfig
from casty.protocol.actor.supervision import (
    Directive,
    Escalate,
    OneForOneStrategy,
    Restart,
    Resume,
    Stop,
    SupervisionStrategy,
)
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import (
    ActorFailed,
    ActorRestarted,
    ActorStarted,
    ActorStopped,
    DeadLetter,
    EventStreamSubscribe,
    Terminated,
)
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, spawn_system_actor
from casty.testing.inspect import paths_of

PROMPT = Restart(100, backoff_min=0.0, backoff_jitter=0.0)
QUIET = trio.testing.wait_all_tasks_blocked


class Bang(Exception):
    pass


def counting(seen: list[object]) -> Behavior[object]:
    """Note messages with a number that begins anew with each life; fail on an exception."""

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        count = 0

        async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
            nonlocal count
            if isinstance(message, Exception):
                raise message
            count += 1
            seen.append((count, message))
            return Behaviors.same()

        return Behaviors.receive(handle)

    return Behaviors.setup(make)


def hearing(system: ActorSystem, *kinds: type[object]) -> list[object]:
    """Return a list that fills with the events of some kinds."""
    heard: list[object] = []

    async def hear(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if getattr(message, "ref", None) != ctx.self:
            heard.append(message)
        return Behaviors.same()

    ref = spawn_system_actor(system, Behaviors.receive(hear), "_recorder")
    for kind in kinds:
        system.event_stream.tell(EventStreamSubscribe(kind, ref))
    return heard


# What each strategy does


async def test_without_a_strategy_a_failed_actor_stops(system: ActorSystem) -> None:
    seen: list[object] = []
    ref = system.spawn(counting(seen), "a")
    tell_all(ref, 1, Boom(), 2)
    await system.wait_stopped(ref)
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert seen == [(1, 1)]


async def test_restart_gives_a_fresh_behaviour_on_the_same_ref_and_mailbox(system: ActorSystem) -> None:
    seen: list[object] = []
    heard = hearing(system, ActorStarted, ActorFailed, ActorRestarted, ActorStopped)
    ref = system.spawn(Behaviors.supervise(counting(seen), PROMPT), "a")
    boom = Boom("real")
    tell_all(ref, 1, 2, boom, 3)
    await QUIET()
    assert seen == [(1, 1), (2, 2), (1, 3)]
    assert heard == [ActorStarted(ref), ActorFailed(ref, boom), ActorRestarted(ref, boom)]
    assert system.statistics().dead_letters == {}


async def test_resume_drops_the_message_and_keeps_the_state(system: ActorSystem) -> None:
    seen: list[object] = []
    heard = hearing(system, ActorFailed, ActorRestarted)
    ref = system.spawn(Behaviors.supervise(counting(seen), Resume()), "a")
    boom = Boom()
    tell_all(ref, 1, boom, 2)
    await QUIET()
    assert seen == [(1, 1), (2, 2)]
    assert heard == [ActorFailed(ref, boom)]


async def test_stop_by_type_stands_before_a_restart_for_the_rest(system: ActorSystem) -> None:
    seen: list[object] = []
    strategies = Behaviors.supervise(Behaviors.supervise(counting(seen), Stop(on=Bang)), PROMPT)
    ref = system.spawn(strategies, "a")
    tell_all(ref, Boom(), 1, Bang())
    await system.wait_stopped(ref)
    assert seen == [(1, 1)]


async def test_the_strategy_known_from_before_restarts_thrice_a_minute(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[object] = []
    ref = system.spawn(Behaviors.supervise(counting(seen), OneForOneStrategy()), "a")
    for number in range(4):
        tell_all(ref, number, Boom())
    await system.wait_stopped(ref)
    assert seen == [(1, 0), (1, 1), (1, 2), (1, 3)]


async def test_one_strategy_object_gives_each_actor_its_own_budget(system: ActorSystem, autojump_clock: object) -> None:
    strategy = OneForOneStrategy(max_restarts=1)
    refs = [system.spawn(Behaviors.supervise(counting([]), strategy), f"a{n}") for n in range(5)]
    for ref in refs:
        ref.tell(Boom())
    await trio.sleep(5)
    assert all(system.lookup(ref.path) is not None for ref in refs)


async def test_a_strategy_that_fails_itself_stops_the_actor_and_hides_nothing() -> None:
    def decider(exception: Exception) -> Directive | None:
        raise Bang("in the decider")

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        ref = system.spawn(Behaviors.supervise(counting([]), OneForOneStrategy(decider=decider)), "a")
        ref.tell(Boom())
        await system.wait_stopped(ref)
        failed = await anext(events)
        assert (type(failed.exception), type(failed.exception.__context__)) == (Bang, Boom)


async def test_what_is_no_strategy_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a strategy"):
        Behaviors.supervise(Behaviors.ignore(), Directive.restart)  # type: ignore[arg-type]  # the mistake


# Where failures come from


async def fail_at_once(ctx: ActorContext[object]) -> Behavior[object]:
    raise Boom("in setup")


def flaky(failures: int, then: Behavior[object]) -> Behavior[object]:
    """Fail in the first ``failures`` set-ups."""
    left = failures

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        nonlocal left
        if left:
            left -= 1
            raise Boom(f"{left} to come")
        return then

    return Behaviors.setup(make)


async def test_a_failed_setup_is_tried_again_with_the_messages_kept(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[object] = []
    heard = hearing(system, ActorStarted, ActorRestarted)
    ref = system.spawn(Behaviors.supervise(flaky(2, counting(seen)), Restart(2)), "a")
    ref.tell(1)
    await trio.sleep(10)
    assert seen == [(1, 1)]
    started, restarted = heard
    assert isinstance(started, ActorStarted)
    assert isinstance(restarted, ActorRestarted)
    assert str(restarted.exception) == "0 to come"


async def test_a_setup_that_always_fails_ends_the_actor_when_the_budget_does(
    system: ActorSystem, autojump_clock: object
) -> None:
    heard = hearing(system, ActorFailed, ActorStarted, ActorStopped)
    ref = system.spawn(Behaviors.supervise(Behaviors.setup(fail_at_once), Restart(3)), "a")
    ref.tell("kept, then lost")
    await system.wait_stopped(ref)
    await QUIET()
    assert [type(event) for event in heard] == [ActorFailed] * 4
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert system.lookup("/a") is None


async def test_resume_of_a_failed_setup_is_a_stop(system: ActorSystem) -> None:
    ref = system.spawn(Behaviors.supervise(Behaviors.setup(fail_at_once), Resume()), "a")
    await system.wait_stopped(ref)


@pytest.mark.parametrize("style", ["handler", "busy handler", "task"])
async def test_the_failure_of_a_child_task_cancels_the_message_in_hand_and_restarts(style: str) -> None:
    lives: list[str] = []

    async def work() -> None:
        await QUIET()
        raise Boom("in a task")

    async def busy(ctx: ActorContext[str], message: str) -> Behavior[str]:
        lives.append(message)
        try:
            await trio.sleep_forever()
        finally:
            lives.append("cancelled")
        return Behaviors.same()

    async def note(ctx: ActorContext[str], message: str) -> Behavior[str]:
        lives.append(message)
        return Behaviors.same()

    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        if not lives:
            lives.append("first")
            ctx.start_soon(work)
            return Behaviors.receive(busy if style == "busy handler" else note)
        return Behaviors.receive(note)

    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        if not lives:
            lives.append("first")
            ctx.start_soon(work)
        async for message in inbox:
            lives.append(message)

    behavior = Behaviors.task(main) if style == "task" else Behaviors.setup(make)
    async with ActorSystem() as system, system.events(ActorRestarted) as events:
        ref = system.spawn(Behaviors.supervise(behavior, PROMPT), "a")
        ref.tell("one")
        restarted = await anext(events)
        assert str(restarted.exception) == "in a task"
        ref.tell("two")
        await QUIET()
    expected = ["first", "one", *(["cancelled"] if style == "busy handler" else []), "two"]
    assert lives == expected


async def test_a_child_task_may_fail_under_resume_without_hurting_the_message_in_hand() -> None:
    done: list[str] = []

    async def work() -> None:
        raise Boom

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        ctx.start_soon(work)
        await QUIET()
        done.append(message)
        return Behaviors.same()

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        ref = system.spawn(Behaviors.supervise(Behaviors.receive(handle), Resume()), "a")
        ref.tell("one")
        assert isinstance((await anext(events)).exception, Boom)
        await QUIET()
    assert done == ["one"]


async def test_a_message_that_was_not_begun_survives_the_failure_of_a_task(system: ActorSystem) -> None:
    seen, trigger = list[object](), trio.Event()

    async def work() -> None:
        await trigger.wait()
        raise Boom

    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        if not trigger.is_set():
            ctx.start_soon(work)
        return recording(seen)

    ref = system.spawn(Behaviors.supervise(Behaviors.setup(make), PROMPT), "a")
    await QUIET()
    trigger.set()
    tell_all(ref, 1, 2)
    await QUIET()
    assert seen == [1, 2]
    assert system.statistics().dead_letters == {}


async def test_the_main_of_a_task_style_actor_is_restarted(system: ActorSystem) -> None:
    seen: list[object] = []

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        count = 0
        async for message in inbox:
            if isinstance(message, Exception):
                raise message
            count += 1
            seen.append((count, message))

    ref = system.spawn(Behaviors.supervise(Behaviors.task(main), PROMPT), "a")
    tell_all(ref, 1, Boom(), 2, 3)
    await QUIET()
    assert seen == [(1, 1), (1, 2), (2, 3)]


async def test_a_replaced_behaviour_keeps_its_strategy(system: ActorSystem) -> None:
    seen: list[object] = []

    async def second(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if isinstance(message, Exception):
            raise message
        seen.append(("second", message))
        return Behaviors.same()

    async def to_second(ctx: ActorContext[object]) -> Behavior[object]:
        return Behaviors.receive(second)

    async def first(ctx: ActorContext[object], message: object) -> Behavior[object]:
        seen.append(("first", message))
        return Behaviors.setup(to_second)

    ref = system.spawn(Behaviors.supervise(Behaviors.receive(first), PROMPT), "a")
    tell_all(ref, 1, 2, Boom(), 3)
    await QUIET()
    assert seen == [("first", 1), ("second", 2), ("first", 3)]


# The pause


async def test_messages_wait_out_the_pause_within_the_mailboxs_bound(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[object] = []
    restart = Restart(backoff_min=5.0, backoff_jitter=0.0)
    ref = system.spawn(Behaviors.supervise(counting(seen), restart), "a", mailbox=Mailbox(capacity=3))
    ref.tell(Boom())
    await QUIET()
    began = trio.current_time()
    tell_all(ref, *range(5))
    await trio.sleep(4.9)
    assert seen == []
    await trio.sleep(0.2)
    assert seen == [(1, 0), (2, 1), (3, 2)]
    assert trio.current_time() - began < 6
    assert system.statistics().dead_letters == {"mailbox full": 2}


async def test_a_stop_ends_the_pause_and_nothing_starts_again(system: ActorSystem, autojump_clock: object) -> None:
    lives: list[str] = []

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        lives.append("life")
        return counting([])

    behavior = Behaviors.supervise(Behaviors.setup(make), Restart(backoff_min=1000.0, backoff_max=1000.0))
    ref = system.spawn(behavior, "a")
    tell_all(ref, Boom(), "left")
    await trio.sleep(1)
    began = trio.current_time()
    await stop_and_wait(system, ref)
    assert trio.current_time() == began
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert lives == ["life"]


async def test_leaving_the_block_ends_every_pause(autojump_clock: object) -> None:
    began = trio.current_time()
    async with ActorSystem() as system:
        for number in range(10):
            behavior = Behaviors.supervise(
                Behaviors.setup(fail_at_once), Restart(backoff_min=1000.0, backoff_max=1000.0)
            )
            system.spawn(behavior, f"a{number}")
        await QUIET()
    assert trio.current_time() == began


# What belongs to a life


def with_hooks(order: list[str], inner: Behavior[object], name: str = "") -> Behavior[object]:
    def hook(what: str) -> Callable[[ActorContext[object]], Awaitable[None]]:
        async def run(ctx: ActorContext[object]) -> None:
            await trio.lowlevel.checkpoint()
            order.append(f"{name}{what}")

        return run

    async def pre_restart(ctx: ActorContext[object], exception: Exception) -> None:
        order.append(f"{name}pre_restart {type(exception).__name__}")

    return Behaviors.with_lifecycle(
        inner,
        pre_start=hook("pre_start"),
        post_stop=hook("post_stop"),
        pre_restart=pre_restart,
        post_restart=hook("post_restart"),
    )


async def test_each_life_ends_with_pre_restart_or_post_stop_never_both(system: ActorSystem) -> None:
    order: list[str] = []
    ref = system.spawn(Behaviors.supervise(with_hooks(order, counting([])), PROMPT), "a")
    await QUIET()
    assert order == ["pre_start"]
    ref.tell(Boom())
    await QUIET()
    assert order == ["pre_start", "pre_restart Boom", "pre_start", "post_restart"]
    await stop_and_wait(system, ref)
    assert order == ["pre_start", "pre_restart Boom", "pre_start", "post_restart", "post_stop"]


async def test_resume_runs_no_hook_and_a_last_failure_runs_post_stop(system: ActorSystem) -> None:
    order: list[str] = []
    ref = system.spawn(Behaviors.supervise(with_hooks(order, counting([])), Resume(on=Bang)), "a")
    ref.tell(Bang())
    await QUIET()
    assert order == ["pre_start"]
    ref.tell(Boom())
    await system.wait_stopped(ref)
    assert order == ["pre_start", "post_stop"]


async def test_a_stop_in_the_pause_runs_no_post_stop_for_a_life_that_has_ended(
    system: ActorSystem, autojump_clock: object
) -> None:
    order: list[str] = []
    ref = system.spawn(Behaviors.supervise(with_hooks(order, counting([])), Restart()), "a")
    ref.tell(Boom())
    await trio.sleep(0.01)
    await stop_and_wait(system, ref)
    assert order == ["pre_start", "pre_restart Boom"]


async def test_nested_hooks_end_inside_out_and_begin_outside_in(system: ActorSystem) -> None:
    order: list[str] = []
    inner = with_hooks(order, counting([]), "inner ")
    ref = system.spawn(Behaviors.supervise(with_hooks(order, inner, "outer "), PROMPT), "a")
    await QUIET()
    order.clear()
    ref.tell(Boom())
    await QUIET()
    assert order == [
        "inner pre_restart Boom",
        "outer pre_restart Boom",
        "outer pre_start",
        "inner pre_start",
        "outer post_restart",
        "inner post_restart",
    ]


async def test_a_failing_pre_restart_reaches_the_strategy_and_is_not_repeated(system: ActorSystem) -> None:
    calls: list[str] = []

    async def pre_restart(ctx: ActorContext[object], exception: Exception) -> None:
        calls.append(type(exception).__name__)
        raise Bang("in pre_restart")

    heard = hearing(system, ActorFailed, ActorRestarted)
    inner = Behaviors.with_lifecycle(counting([]), pre_restart=pre_restart)
    ref = system.spawn(Behaviors.supervise(inner, PROMPT), "a")
    ref.tell(Boom())
    await QUIET()
    assert calls == ["Boom"]
    assert [type(event) for event in heard] == [ActorFailed, ActorFailed, ActorRestarted]
    assert isinstance(heard[-1], ActorRestarted)
    assert isinstance(heard[-1].exception, Bang)


async def test_a_failing_post_restart_ends_that_life_too(autojump_clock: object) -> None:
    calls: list[str] = []

    async def post_restart(ctx: ActorContext[object]) -> None:
        calls.append("post_restart")
        if len(calls) < 3:
            raise Bang

    async with ActorSystem() as system, system.events(ActorRestarted) as events:
        inner = Behaviors.with_lifecycle(counting([]), post_restart=post_restart)
        ref = system.spawn(Behaviors.supervise(inner, Restart(3)), "a")
        ref.tell(Boom())
        assert isinstance((await anext(events)).exception, Bang)
        assert len(calls) == 3


async def test_a_pre_restart_that_hangs_is_cut_off(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    async def pre_restart(ctx: ActorContext[object], exception: Exception) -> None:
        await trio.sleep_forever()

    seen: list[object] = []
    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system:
        inner = Behaviors.with_lifecycle(counting(seen), pre_restart=pre_restart)
        ref = system.spawn(Behaviors.supervise(inner, PROMPT), "a")
        tell_all(ref, Boom(), 1)
        await trio.sleep(2.5)
    assert seen == [(1, 1)]
    assert "the clean-up of actor /a did not end within 2.0 s" in caplog.text


@dataclass
class Spawning:
    """A parent that spawns children at each start, and notes their ends."""

    order: list[str]
    depth: int = 2

    def behavior(self) -> Behavior[object]:
        async def stop(ctx: ActorContext[object]) -> None:
            self.order.append(f"{ctx.self.path} stopped")

        async def make(ctx: ActorContext[object]) -> Behavior[object]:
            if not ctx.children and ctx.self.path.count("/") <= self.depth:
                ctx.spawn(self.behavior(), "child")
            return Behaviors.with_lifecycle(counting([]), post_stop=stop)

        return Behaviors.setup(make)


async def test_children_are_stopped_deepest_first_before_a_restart(system: ActorSystem) -> None:
    order: list[str] = []

    async def pre_restart(ctx: ActorContext[object], exception: Exception) -> None:
        order.append(f"pre_restart with {len(ctx.children)} children")

    inner = Behaviors.with_lifecycle(Spawning(order).behavior(), pre_restart=pre_restart)
    ref = system.spawn(Behaviors.supervise(inner, PROMPT), "a")
    await QUIET()
    before = system.statistics().actors
    child = system.lookup("/a/child")
    ref.tell(Boom())
    await QUIET()
    assert order == ["/a/child/child stopped", "/a/child stopped", "pre_restart with 0 children"]
    assert system.statistics().actors == before
    assert system.lookup("/a/child") != child


async def test_children_live_on_where_that_is_chosen() -> None:
    order: list[str] = []
    restart = Restart(backoff_min=0.0, keep_children=True)
    async with ActorSystem() as system, system.events(ActorRestarted) as events:
        ref = system.spawn(Behaviors.supervise(Spawning(order).behavior(), restart), "a")
        await QUIET()
        child = system.lookup("/a/child")
        ref.tell(Boom())
        await anext(events)
        assert order == []
        assert system.lookup("/a/child") == child
        await stop_and_wait(system, ref)
    assert order == ["/a/child/child stopped", "/a/child stopped", "/a stopped"]


async def test_a_thousand_restarts_leave_no_child_timer_adapter_task_or_watch_behind(system: ActorSystem) -> None:
    ended: list[int] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(1)

    def adapt(text: str) -> object:
        return text

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.start_soon(work)
        ctx.schedule_tick("tick", 1000.0)
        ctx.message_adapter(adapt)
        ctx.watch(ctx.spawn(Behaviors.ignore(), "child"))
        return counting([])

    ref = system.spawn(Behaviors.supervise(Behaviors.setup(make), Restart(None, backoff_min=0.0)), "a")
    await QUIET()
    before = (system.statistics().actors, system.statistics().timers, len(paths_of(system)))
    for _ in range(1000):
        ref.tell(Boom())
    await QUIET()
    assert len(ended) == 1000
    after = (system.statistics().actors, system.statistics().timers, len(paths_of(system)))
    assert after == before


async def test_a_timer_and_an_adapter_of_an_ended_life_reach_nobody(system: ActorSystem) -> None:
    seen: list[object] = []
    adapters: list[ActorRef[str]] = []

    def adapt(text: str) -> object:
        return f"adapted {text}"

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        if not adapters:
            adapters.append(ctx.message_adapter(adapt))
        return counting(seen)

    ref = system.spawn(Behaviors.supervise(Behaviors.setup(make), PROMPT), "a")
    await QUIET()
    adapters[0].tell("before")
    ref.tell(Boom())
    await QUIET()
    assert system.lookup(adapters[0].path) is None
    assert seen == [(1, "adapted before")]


async def test_watchers_stay_over_a_restart_and_learn_the_cause_of_the_end(system: ActorSystem) -> None:
    told: list[Terminated] = []

    ref = system.spawn(Behaviors.supervise(counting([]), Restart(1, backoff_min=0.0)), "a")

    async def make(ctx: ActorContext[Terminated]) -> Behavior[Terminated]:
        ctx.watch(ref)
        return recording(told)

    system.spawn(Behaviors.setup(make), "watcher")
    await QUIET()
    ref.tell(Boom("first"))
    await QUIET()
    assert told == []
    last = Boom("last")
    ref.tell(last)
    await QUIET()
    assert told == [Terminated(ref, last)]


# Escalation


def parent_of(
    child: Behavior[object], *, strategy: SupervisionStrategy | None = None, names: tuple[str, ...] = ("child",)
) -> Behavior[object]:
    """Spawn children and pass messages on to all of them."""

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        for ref in ctx.children:
            ref.of(object).tell(message)
        return Behaviors.same()

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        for name in names:
            ctx.spawn(child, name)
        return Behaviors.receive(handle)

    behavior = Behaviors.setup(make)
    return behavior if strategy is None else Behaviors.supervise(behavior, strategy)


ESCALATING = Behaviors.supervise(counting([]), Escalate())


async def test_what_a_child_escalates_is_a_failure_of_its_parent(system: ActorSystem) -> None:
    heard = hearing(system, ActorFailed, ActorStopped, ActorRestarted)
    ref = system.spawn(parent_of(ESCALATING, strategy=PROMPT), "a")
    await QUIET()
    child = system.lookup("/a/child")
    assert child is not None
    boom = Boom()
    ref.tell(boom)
    await QUIET()
    assert heard == [
        ActorFailed(child, boom),
        ActorStopped(child),
        ActorFailed(ref, boom),
        ActorRestarted(ref, boom),
    ]
    assert system.lookup("/a/child") not in (None, child)


async def test_a_parent_without_a_strategy_stops_and_its_other_children_with_it(system: ActorSystem) -> None:
    ref = system.spawn(parent_of(ESCALATING, names=("one", "two")), "a")
    await QUIET()
    one = system.lookup("/a/one")
    assert one is not None
    one.of(object).tell(Boom())
    await system.wait_stopped(ref)
    assert system.statistics().actors == 0


async def test_a_failing_child_takes_no_sibling_down(system: ActorSystem) -> None:
    system.spawn(parent_of(counting([]), names=("one", "two")), "a")
    await QUIET()
    one = system.lookup("/a/one")
    assert one is not None
    one.of(object).tell(Boom())
    await QUIET()
    assert system.lookup("/a/one") is None
    assert system.lookup("/a/two") is not None


async def test_escalation_to_the_root_leaves_the_block_as_a_group_also_of_one() -> None:
    behavior = parent_of(parent_of(ESCALATING, strategy=Escalate()), strategy=Escalate())
    boom = Boom("all the way")
    with pytest.raises(ExceptionGroup, match="actors of shop escalated") as caught:
        async with ActorSystem("shop") as system:
            ref = system.spawn(behavior, "a")
            await QUIET()
            ref.tell(boom)
            await trio.sleep_forever()
    assert caught.value.exceptions == (boom,)


async def test_a_group_keeps_every_cause_that_was_escalated() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            one, two = system.spawn(ESCALATING, "one"), system.spawn(ESCALATING, "two")
            one.tell(Boom("one"))
            two.tell(Bang("two"))
            await trio.sleep_forever()
    assert sorted(repr(error) for error in caught.value.exceptions) == ["Bang('two')", "Boom('one')"]


async def test_causes_below_one_escalating_parent_climb_all() -> None:
    class Own(Exception):
        pass

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
            raise Own(ctx.self.path)

        return Behaviors.receive(handle)

    child = Behaviors.supervise(Behaviors.setup(make), Escalate())
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            ref = system.spawn(parent_of(child, strategy=Escalate(), names=("x", "y", "z")), "a")
            await QUIET()
            ref.tell("fail")
            await trio.sleep_forever()
    assert sorted(str(error) for error in caught.value.exceptions) == ["/a/x", "/a/y", "/a/z"]


async def test_the_error_of_the_block_stands_beside_what_was_escalated() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            system.spawn(ESCALATING, "one").tell(Boom())
            try:
                await trio.sleep_forever()
            finally:
                raise Bang
    assert [type(error) for error in caught.value.exceptions] == [Boom, Bang]


async def test_a_failure_while_the_system_stops_is_still_escalated() -> None:
    async def stop(ctx: ActorContext[object]) -> None:
        raise Boom("in post_stop")

    behavior = Behaviors.supervise(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop), Escalate())
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            system.spawn(behavior, "a")
            await QUIET()
    assert [repr(error) for error in caught.value.exceptions] == ["Boom('in post_stop')"]


async def test_no_restart_follows_when_the_message_in_hand_fails_after_a_stop(system: ActorSystem) -> None:
    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        ctx.stop(ctx.self)
        raise Boom

    heard = hearing(system, ActorRestarted)
    ref = system.spawn(Behaviors.supervise(Behaviors.receive(handle), PROMPT), "a")
    ref.tell(1)
    await system.wait_stopped(ref)
    await QUIET()
    assert heard == []


async def test_shutdown_kills_what_hangs_between_two_lives(autojump_clock: object) -> None:
    async def pre_restart(ctx: ActorContext[object], exception: Exception) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    config = SystemConfig(stop_timeout=60.0, shutdown_timeout=3.0)
    began = trio.current_time()
    async with ActorSystem(config=config) as system:
        inner = Behaviors.with_lifecycle(counting([]), pre_restart=pre_restart)
        ref = system.spawn(Behaviors.supervise(inner, PROMPT), "a")
        ref.tell(Boom())
        await QUIET()
    assert trio.current_time() - began == pytest.approx(30.0, abs=0.1)


# Making it known


@pytest.mark.parametrize(
    ("strategy", "level", "words"),
    [
        (Stop(), logging.ERROR, "actor /a failed and stops: Boom"),
        (Resume(), logging.WARNING, "actor /a failed and goes on: Boom"),
        (PROMPT, logging.WARNING, "actor /a failed and restarts in 0.000 s: Boom"),
    ],
)
async def test_each_failure_is_one_line_with_its_traceback(
    strategy: SupervisionStrategy, level: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem() as system:
        system.spawn(Behaviors.supervise(counting([]), strategy), "a").tell(Boom("why"))
        await QUIET()
    (record,) = [record for record in caplog.records if record.name == "casty.actor"]
    assert (record.levelno, record.message) == (level, words)
    assert record.exc_info is not None


async def test_conservation_holds_over_restarts() -> None:
    handled: list[int] = []

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        handled.append(message)
        if message % 3 == 0:
            raise Boom
        return Behaviors.same()

    async with ActorSystem() as system, system.events(DeadLetter):
        restart = Restart(None, backoff_min=0.0)
        ref = system.spawn(Behaviors.supervise(Behaviors.receive(handle), restart), "a")
        tell_all(ref, *range(1000))
        await QUIET()
        assert handled == list(range(1000))
        assert system.statistics().messages_delivered == 1000
        assert system.statistics().dead_letters == {}


async def test_a_supervised_behaviour_has_the_message_type_of_what_it_wraps() -> None:
    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.same()

    assert Behaviors.supervise(Behaviors.receive(handle), PROMPT).message_type() is int
