"""Listeners to the lives of actors: what they are told and when, and what one that fails cannot hurt."""

from __future__ import annotations

import logging
from typing import Any, Never

import pytest
import trio
import trio.testing
from helpers.behaviors import tell_all
from helpers.systems import Boom

from casty import (
    ActorContext,
    ActorFailed,
    ActorLifecycleListener,
    ActorRef,
    ActorRestarted,
    ActorStarted,
    ActorStopped,
    ActorSystem,
    Behavior,
    Behaviors,
    EventStreamSubscribe,
    ServiceKey,
    Terminated,
)
from casty.protocol.actor.supervision import Restart
from casty.runtime.listeners import LISTENERS_MAX, LifecycleListeners
from casty.testing.inspect import kernel_of


class Noted(ActorLifecycleListener):
    """Writes down all that it is told, into a list that several may share."""

    def __init__(self, seen: list[Any], name: str = "") -> None:
        self.seen = seen
        self.name = name

    def started(self, ref: ActorRef[Never]) -> None:
        self._note("started", ref)

    def offered(self, ref: ActorRef[Never], key: ServiceKey[Never]) -> None:
        self._note("offered", ref, key.name)

    def failed(self, ref: ActorRef[Never], error: Exception) -> None:
        self._note("failed", ref, type(error).__name__)

    def restarted(self, ref: ActorRef[Never], error: Exception) -> None:
        self._note("restarted", ref, type(error).__name__)

    def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
        self._note("stopped", ref, type(error).__name__)

    def _note(self, event: str, ref: ActorRef[Never], *more: str) -> None:
        self.seen.append(" ".join((f"{self.name}{event}", ref.path, *more)))


class Broken(ActorLifecycleListener):
    """Fails at every start and end."""

    def started(self, ref: ActorRef[Never]) -> None:
        raise Boom(ref.path)

    def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
        raise Boom(ref.path)

    def failed(self, ref: ActorRef[Never], error: Exception) -> None:
        raise Boom(ref.path)

    def restarted(self, ref: ActorRef[Never], error: Exception) -> None:
        raise Boom(ref.path)


async def obey(ctx: ActorContext[str], message: str) -> Behavior[str]:
    match message:
        case "fail":
            raise Boom(message)
        case "restart":
            return Behaviors.restart()
        case "stop":
            return Behaviors.stopped()
        case "offer":
            return Behaviors.discoverable(Behaviors.same(), key=ServiceKey[str]("late"))
        case _:
            return Behaviors.same()


async def told(system: ActorSystem, ref: ActorRef[str], *messages: str) -> None:
    tell_all(ref, *messages)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_listener_is_told_every_event_of_a_life_in_its_order(autojump_clock: object) -> None:
    seen: list[str] = []
    async with ActorSystem() as system:
        system.add_lifecycle_listener(Noted(seen))
        behavior = Behaviors.supervise(Behaviors.receive(obey), Restart())
        ref = system.spawn(Behaviors.discoverable(behavior, key=ServiceKey[str]("a")), "a")
        await told(system, ref, "offer", "fail")
        await trio.sleep(1)
        await told(system, ref, "restart")
        await told(system, ref, "stop")
    first, again = ["started /a", "offered /a a"], ["offered /a a"]
    assert seen == [
        *first, "offered /a late",
        "failed /a Boom", *again, "restarted /a Boom",
        *again, "restarted /a RestartRequested",
        "stopped /a NoneType",
    ]  # fmt: skip


async def test_a_failure_that_ends_an_actor_is_told_with_its_end(system: ActorSystem) -> None:
    seen: list[str] = []
    system.add_lifecycle_listener(Noted(seen))
    await told(system, system.spawn(Behaviors.receive(obey), "a"), "fail")
    assert seen == ["started /a", "failed /a Boom", "stopped /a Boom"]


async def test_of_an_actor_that_never_started_the_failure_alone_is_told(system: ActorSystem) -> None:
    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        raise Boom

    seen: list[str] = []
    system.add_lifecycle_listener(Noted(seen))
    await system.wait_stopped(system.spawn(Behaviors.setup(make), "a"))
    assert seen == ["failed /a Boom"]


async def test_at_an_end_the_name_is_free_and_the_listener_comes_before_events_and_watchers(
    system: ActorSystem,
) -> None:
    order: list[str] = []

    class Look(ActorLifecycleListener):
        def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
            if ref.path == "/a":
                order.append(f"listener {system.lookup('/a')}")

    async def watch(ctx: ActorContext[Terminated]) -> Behavior[Terminated]:
        ctx.watch(ref)

        async def see(ctx: ActorContext[Terminated], message: Terminated) -> Behavior[Terminated]:
            order.append("watcher")
            return Behaviors.same()

        return Behaviors.receive(see)

    system.add_lifecycle_listener(Look())
    ref = system.spawn(Behaviors.receive(obey), "a")
    adapter = system.spawn(Behaviors.ignore(), "events")
    system.event_stream.tell(EventStreamSubscribe(ActorStopped, adapter))
    system.spawn(Behaviors.setup(watch), "watcher")
    await trio.testing.wait_all_tasks_blocked()
    await told(system, ref, "stop")
    assert order == ["listener None", "watcher"]


async def test_listeners_are_told_in_the_order_in_which_they_were_added_and_twice_is_once(system: ActorSystem) -> None:
    seen: list[str] = []
    one, two = Noted(seen, "one "), Noted(seen, "two ")
    for listener in (one, two, one):
        system.add_lifecycle_listener(listener)
    await told(system, system.spawn(Behaviors.receive(obey), "a"), "stop")
    assert seen == ["one started /a", "two started /a", "one stopped /a NoneType", "two stopped /a NoneType"]


async def test_a_failing_listener_hurts_neither_actors_nor_other_listeners_and_is_logged_once(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    async with ActorSystem() as system:
        system.add_lifecycle_listener(Broken())
        system.add_lifecycle_listener(Noted(seen))
        ref = system.spawn(Behaviors.supervise(Behaviors.receive(obey), Restart()), "a")
        await told(system, ref, "fail", "none")
        await trio.sleep(1)
        await told(system, ref, "stop")
        await system.wait_stopped(ref)
        assert system.statistics().listener_failures == 4
    assert seen == ["started /a", "failed /a Boom", "restarted /a Boom", "stopped /a NoneType"]
    logged = [record for record in caplog.records if record.name == "casty.runtime"]
    assert [record.getMessage() for record in logged] == [
        "the lifecycle listener Broken failed; further failures of it are counted only"
    ]
    assert logged[0].levelno == logging.ERROR


async def test_one_removed_during_a_call_hears_no_more_and_one_added_hears_the_next_event(system: ActorSystem) -> None:
    seen: list[str] = []
    last, late = Noted(seen, "last "), Noted(seen, "late ")

    class Changing(ActorLifecycleListener):
        def started(self, ref: ActorRef[Never]) -> None:
            system.remove_lifecycle_listener(self)
            system.remove_lifecycle_listener(last)
            system.remove_lifecycle_listener(last)
            system.add_lifecycle_listener(late)
            seen.append(f"changing {ref.path}")

    for listener in (Changing(), last):
        system.add_lifecycle_listener(listener)
    await told(system, system.spawn(Behaviors.receive(obey), "a"), "stop")
    assert seen == ["changing /a", "late stopped /a NoneType"]


async def test_one_removed_and_added_again_during_a_call_hears_the_next_event(system: ActorSystem) -> None:
    seen: list[str] = []
    last = Noted(seen)

    class Changing(ActorLifecycleListener):
        def started(self, ref: ActorRef[Never]) -> None:
            system.remove_lifecycle_listener(last)
            system.add_lifecycle_listener(last)

    for listener in (Changing(), last):
        system.add_lifecycle_listener(listener)
    await told(system, system.spawn(Behaviors.receive(obey), "a"), "stop")
    assert seen == ["stopped /a NoneType"]


async def test_a_listener_may_stop_tell_and_spawn(system: ActorSystem) -> None:
    seen: list[str] = []

    class Meddling(Noted):
        def started(self, ref: ActorRef[Never]) -> None:
            super().started(ref)
            system.stop(ref)

        def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
            super().stopped(ref, error)
            if len(seen) < 8:
                system.spawn(Behaviors.receive(obey), "a")

    system.add_lifecycle_listener(Meddling(seen))
    system.spawn(Behaviors.receive(obey), "a")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["started /a", "stopped /a NoneType"] * 4


async def test_sys_exit_in_a_listener_ends_the_block() -> None:
    class Leaving(ActorLifecycleListener):
        def stopped(self, ref: ActorRef[Never], error: Exception | None) -> None:
            if ref.path == "/a":
                raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        async with ActorSystem() as system:
            system.add_lifecycle_listener(Leaving())
            system.spawn(Behaviors.receive(obey), "a").tell("stop")
            await trio.sleep_forever()


async def test_listener_and_events_tell_the_same_lives(autojump_clock: object) -> None:
    seen: list[str] = []
    events: list[str] = []
    async with ActorSystem() as system:
        system.add_lifecycle_listener(Noted(seen))
        async with system.events(ActorStarted, ActorStopped, ActorFailed, ActorRestarted) as reader:
            ref = system.spawn(Behaviors.supervise(Behaviors.receive(obey), Restart()), "a")
            for message in ("fail", "restart", "stop"):
                await told(system, ref, message)
                await trio.sleep(1)
            for _ in range(5):
                event = await anext(reader)
                events.append(f"{type(event).__name__[5:].lower()} {event.ref.path}")
    assert [" ".join(line.split()[:2]) for line in seen] == events


async def test_it_needs_no_base_class_but_all_methods_and_none_async(system: ActorSystem) -> None:
    class Duck:
        def started(self, ref: ActorRef[Never]) -> None:
            seen.append(ref.path)

        def quiet(self, *_: object) -> None:
            """Take no notice."""

        offered = failed = restarted = quiet

    class Whole(Duck):
        stopped = Duck.quiet

    class Async(ActorLifecycleListener):
        async def failed(self, ref: ActorRef[Never], error: Exception) -> None:
            """Be wrong."""

    seen: list[str] = []
    with pytest.raises(TypeError, match="needs a method `stopped` of an ActorLifecycleListener, got .*Duck"):
        system.add_lifecycle_listener(Duck())  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="needs a method `failed` .* got an async function"):
        system.add_lifecycle_listener(Async())
    with pytest.raises(TypeError, match="got the class .*Whole.*: write brackets"):
        system.add_lifecycle_listener(Whole)  # type: ignore[arg-type]  # what is tested
    system.add_lifecycle_listener(Whole())
    await told(system, system.spawn(Behaviors.receive(obey), "a"))
    assert seen == ["/a"]


async def test_a_system_has_a_bound_of_listeners(system: ActorSystem) -> None:
    for _ in range(LISTENERS_MAX):
        system.add_lifecycle_listener(Broken())
    with pytest.raises(ValueError, match="at most 64 lifecycle listeners"):
        system.add_lifecycle_listener(Broken())
    for entry in kernel_of(system).listeners.entries[:1]:
        system.remove_lifecycle_listener(entry.listener)
    system.add_lifecycle_listener(Broken())


async def test_without_listeners_nobody_is_called_at_spawn_and_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(LifecycleListeners, "_tell", lambda self, call: calls.append(call))
    async with ActorSystem() as system:
        await told(system, system.spawn(Behaviors.receive(obey), "a"), "stop")
    assert calls == []
