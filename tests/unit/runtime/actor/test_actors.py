"""Actors: messages in order, behaviours that replace each other, failures, names."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait, tell_all
from helpers.systems import Offers

from casty.behaviors import Behaviors
from casty.errors import ActorStoppedError
from casty.refs import ActorRef, ServiceKey
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import (
    ActorFailed,
    ActorStarted,
    ActorStopped,
    DeadLetter,
    EventStreamSubscribe,
    UnhandledMessage,
)
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem

REQUEST: ContextVar[str] = ContextVar("request")


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[list[int]]


def recorder(seen: list[object]) -> Behavior[object]:
    async def record(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if isinstance(message, Get):
            message.reply_to.tell([item for item in seen if isinstance(item, int)])
        else:
            seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(record)


async def test_messages_are_handled_in_the_order_they_were_told(system: ActorSystem) -> None:
    ref = system.spawn(recorder([]), "recorder")
    tell_all(ref, *range(1000))
    assert await system.ask(ref, Get) == list(range(1000))


async def test_leaving_the_block_makes_dead_letters_of_what_was_not_handled(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[object] = []
    ref = system.spawn(recorder(seen), "recorder")
    await trio.testing.wait_all_tasks_blocked()
    tell_all(ref, 1, 2)
    await stop_and_wait(system, ref)
    assert len(seen) + system.statistics().dead_letters.get("actor stopped", 0) == 2
    ref.tell(3)
    assert len(seen) + system.statistics().dead_letters["actor stopped"] == 3


async def test_setup_runs_inside_the_actor_and_may_answer_another_behaviour(system: ActorSystem) -> None:
    seen: list[object] = []

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        seen.append(ctx.self.path)
        return recorder(seen)

    ref = system.spawn(Behaviors.setup(make), "made")
    ref.tell(1)
    assert await system.ask(ref, Get) == [1]
    assert seen == ["/made", 1]


async def test_a_returned_behaviour_replaces_the_present_one() -> None:
    seen: list[object] = []

    async def first(ctx: ActorContext[object], message: object) -> Behavior[object]:
        seen.append(("first", message))
        return recorder(seen)

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(first), "changing")
        tell_all(ref, 1, 2)
        await system.ask(ref, Get)
    assert seen == [("first", 1), 2]


async def test_stopped_ends_the_actor_and_frees_its_name(system: ActorSystem) -> None:
    async def stop(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.stopped()

    first = system.spawn(Behaviors.receive(stop), "once")
    with pytest.raises(ValueError, match="there is an actor at /once already"):
        system.spawn(Behaviors.receive(stop), "once")
    first.tell(1)
    await system.wait_stopped(first)
    second = system.spawn(Behaviors.receive(stop), "once")
    assert second != first
    assert system.lookup("/once") == second


async def test_unhandled_publishes_the_message_and_keeps_the_behaviour() -> None:
    async def refuse(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.unhandled()

    async with ActorSystem() as system, system.events(UnhandledMessage) as events:
        ref = system.spawn(Behaviors.receive(refuse), "refusing")
        tell_all(ref, 1, 2)
        assert await anext(events) == UnhandledMessage(1, ref)
        assert await anext(events) == UnhandledMessage(2, ref)


async def test_ignore_takes_everything(system: ActorSystem) -> None:
    ref = system.spawn(Behaviors.ignore(), "sink")
    ref.tell("anything")
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().messages_delivered == 1
    assert system.statistics().dead_letters == {}


async def test_a_failing_actor_stops_alone_and_its_failure_is_logged_and_published(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(ctx: ActorContext[int], message: int) -> Behavior[int]:
        raise ZeroDivisionError(message)

    seen: list[object] = []
    async with ActorSystem() as system, system.events(ActorFailed) as events:
        sibling = system.spawn(recorder(seen), "sibling")
        ref = system.spawn(Behaviors.receive(fail), "failing")
        ref.tell(7)
        event = await anext(events)
        assert event.ref == ref
        assert isinstance(event.exception, ZeroDivisionError)
        await system.wait_stopped(ref)
        sibling.tell(1)
        assert await system.ask(sibling, Get) == [1]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "/failing" in record.getMessage()
    assert record.exc_info is not None


async def test_a_failing_setup_leaves_no_zombie() -> None:
    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        raise LookupError("no settings")

    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(Behaviors.setup(make), "broken")
        ref.tell(1)
        await system.wait_stopped(ref)
        assert system.lookup("/broken") is None
        assert await anext(letters) == DeadLetter(1, ref, "actor stopped")
        assert system.statistics().actors == 0


@pytest.mark.parametrize("answer", [None, "same", 1])
async def test_an_answer_that_is_no_behaviour_is_a_failure_that_says_so(answer: object) -> None:
    async def forgetful(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return answer  # type: ignore[return-value]  # the mistake under test

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        system.spawn(Behaviors.receive(forgetful), "forgetful").tell(1)
        assert "needs a Behavior" in str((await anext(events)).exception)


async def test_an_endless_chain_of_setups_is_a_failure() -> None:
    async def again(ctx: ActorContext[int]) -> Behavior[int]:
        return Behaviors.setup(again)

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        system.spawn(Behaviors.setup(again), "endless")
        assert "more than 64" in str((await anext(events)).exception)


@pytest.mark.parametrize("name", ["", "a/b", "_mine", "a#b", "a?b"])
async def test_a_bad_name_is_refused(system: ActorSystem, name: str) -> None:
    with pytest.raises(ValueError, match="an actor's name must"):
        system.spawn(Behaviors.ignore(), name)


async def test_something_that_is_no_behaviour_cannot_be_spawned(system: ActorSystem) -> None:
    async def handler(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.same()

    with pytest.raises(TypeError, match="spawn needs a Behavior"):
        system.spawn(handler, "bare")  # type: ignore[arg-type]  # the mistake under test


async def test_lifecycle_hooks_run_around_the_messages_and_after_the_children() -> None:
    order: list[str] = []

    async def start(ctx: ActorContext[object]) -> None:
        order.append(f"start {ctx.self.path}")

    async def stop(ctx: ActorContext[object]) -> None:
        order.append(f"stop {ctx.self.path}")

    async def spawn_child(ctx: ActorContext[object], message: object) -> Behavior[object]:
        ctx.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), pre_start=start, post_stop=stop), "child")
        return Behaviors.same()

    async with ActorSystem() as system:
        parent = Behaviors.with_lifecycle(Behaviors.receive(spawn_child), pre_start=start, post_stop=stop)
        ref = system.spawn(parent, "parent")
        ref.tell(1)
        await trio.testing.wait_all_tasks_blocked()
    assert order == ["start /parent", "start /parent/child", "stop /parent/child", "stop /parent"]


async def test_nested_hooks_start_outside_in_and_stop_inside_out() -> None:
    order: list[str] = []

    def hooked(inner: Behavior[object], name: str) -> Behavior[object]:
        async def start(ctx: ActorContext[object]) -> None:
            order.append(f"start {name}")

        async def stop(ctx: ActorContext[object]) -> None:
            order.append(f"stop {name}")

        return Behaviors.with_lifecycle(inner, pre_start=start, post_stop=stop)

    async with ActorSystem() as system:
        system.spawn(hooked(hooked(Behaviors.ignore(), "inner"), "outer"), "nested")
        await trio.testing.wait_all_tasks_blocked()
    assert order == ["start outer", "start inner", "stop inner", "stop outer"]


async def test_post_stop_runs_after_a_failure_and_its_own_failure_is_reported() -> None:
    async def fail(ctx: ActorContext[int], message: int) -> Behavior[int]:
        raise ValueError("in the handler")

    async def stop(ctx: ActorContext[int]) -> None:
        raise LookupError("in the clean-up")

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        ref = system.spawn(Behaviors.with_lifecycle(Behaviors.receive(fail), post_stop=stop), "unlucky")
        ref.tell(1)
        kinds = [type((await anext(events)).exception) for _ in range(2)]
        await system.wait_stopped(ref)
    assert kinds == [ValueError, LookupError]


async def test_each_actor_that_started_is_published_as_started_and_stopped_once() -> None:
    events: list[object] = []
    async with ActorSystem() as system:
        observer = system.spawn(recorder(events), "observer")
        for kind in (ActorStarted, ActorStopped):
            system.event_stream.tell(EventStreamSubscribe(kind, observer))
        ref = system.spawn(Behaviors.ignore(), "short")
        await trio.testing.wait_all_tasks_blocked()
        system.stop(ref)
        await stop_and_wait(system, ref)
        await trio.testing.wait_all_tasks_blocked()
    own = [event for event in events if isinstance(event, (ActorStarted, ActorStopped)) and event.ref == ref]
    assert own == [ActorStarted(ref), ActorStopped(ref)]


async def test_an_actor_stopped_before_it_ran_runs_nothing(system: ActorSystem) -> None:
    ran: list[str] = []

    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        ran.append("setup")
        return Behaviors.same()

    ref = system.spawn(Behaviors.setup(make), "unborn")
    await stop_and_wait(system, ref)
    assert ran == []


async def test_a_discoverable_actor_is_announced_once_it_has_started(system: ActorSystem) -> None:
    offers = Offers()
    key = ServiceKey[int]("numbers")
    system.add_lifecycle_listener(offers)
    system.spawn(Behaviors.discoverable(Behaviors.ignore(), key=key), "numbers")
    assert offers.seen == []
    await trio.testing.wait_all_tasks_blocked()
    assert offers.seen == [(key, "/numbers")]


async def test_spawning_in_a_stopped_system_says_so(system: ActorSystem) -> None:
    await system.shutdown()
    with pytest.raises(ActorStoppedError, match="cannot spawn /late"):
        system.spawn(Behaviors.ignore(), "late")


async def test_context_variables_of_the_spawning_code_do_not_reach_the_actor(system: ActorSystem) -> None:
    seen: list[str] = []

    async def look(ctx: ActorContext[object], message: object) -> Behavior[object]:
        seen.append(REQUEST.get("none"))
        return Behaviors.same()

    REQUEST.set("request-1")
    system.spawn(Behaviors.receive(look), "clean").tell(1)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["none"]


async def test_a_subscription_of_an_adapter_ends_with_its_actor(system: ActorSystem) -> None:
    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        adapter = ctx.message_adapter(lambda event: type(event).__name__, ActorStarted)
        ctx.system.event_stream.tell(EventStreamSubscribe(ActorStarted, adapter))
        return Behaviors.ignore()

    ref = system.spawn(Behaviors.setup(make), "a")
    await trio.testing.wait_all_tasks_blocked()
    await stop_and_wait(system, ref)
    system.spawn(Behaviors.ignore(), "b")
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {}


async def test_events_about_actors_are_not_made_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an event was made that nobody will see")

    async def fail(ctx: ActorContext[str], message: str) -> Behavior[str]:
        if message == "fail":
            raise ValueError(message)
        return Behaviors.unhandled() if message == "odd" else Behaviors.restart()

    for module, name in [
        ("cell", "ActorStarted"),
        ("termination", "ActorStopped"),
        ("supervisor", "ActorFailed"),
        ("supervisor", "ActorRestarted"),
        ("cell", "UnhandledMessage"),
    ]:
        monkeypatch.setattr(f"casty.runtime.actor.{module}.{name}.__init__", refuse)
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(fail), "a")
        tell_all(ref, "odd", "again", "fail")
        await system.wait_stopped(ref)
