"""One suite for what gives a behaviour its context: a call has the same outcome in the kit as in an actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable, isfunction
from typing import Any, cast

import pytest
import trio
import trio.testing
from helpers.behaviors import recording
from helpers.systems import Boom

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    Inbox,
    PoisonPill,
    ReceiveTarget,
    StashBuffer,
    Terminated,
)
from casty.testing import BehaviorTestKit
from casty.testing.kit.kit_context import KitContext

NAN = float("nan")
Context = ActorContext[Any]


async def nothing() -> None: ...


def adapter(ctx: Context) -> ActorRef[int]:
    return ctx.message_adapter(lambda number: str(number))


async def watched_for_a_block(ctx: Context) -> object:
    async with ctx.watching(ctx.spawn(Behaviors.ignore(), "a")) as block:
        await trio.lowlevel.checkpoint()
    return block.terminated


WRONG: dict[str, Callable[[Any], object]] = {
    "stop no ref": lambda ctx: ctx.stop("x"),
    "watch no ref": lambda ctx: ctx.watch("x"),
    "watch itself": lambda ctx: ctx.watch(ctx.self),
    "watch its adapter": lambda ctx: ctx.watch(adapter(ctx)),
    "watch no actor": lambda ctx: ctx.watch(ctx.system.event_stream),
    "unwatch no ref": lambda ctx: ctx.unwatch(5),
    "watching no ref": lambda ctx: ctx.watching("x").__aenter__(),
    "watching itself": lambda ctx: ctx.watching(ctx.self),
    "stopped no ref": lambda ctx: ctx.stopped("x"),
    "stopped no child": lambda ctx: ctx.stopped(ctx.self),
    "stopped negative drain": lambda ctx: ctx.stopped(ctx.spawn(Behaviors.ignore(), "child"), drain=-1),
    "spawn no behaviour": lambda ctx: ctx.spawn(nothing, "a"),
    "spawn no name": lambda ctx: ctx.spawn(Behaviors.ignore(), ""),
    "spawn name of another kind": lambda ctx: ctx.spawn(Behaviors.ignore(), 5),
    "spawn name with a slash": lambda ctx: ctx.spawn(Behaviors.ignore(), "a/b"),
    "spawn internal name": lambda ctx: ctx.spawn(Behaviors.ignore(), "_a"),
    "spawn no mailbox": lambda ctx: ctx.spawn(Behaviors.ignore(), "a", mailbox=5),
    "spawn at the root no mailbox": lambda ctx: ctx.system.spawn(Behaviors.ignore(), "a", mailbox=5),
    "system stop no ref": lambda ctx: ctx.system.stop("x"),
    "system ask no factory": lambda ctx: ctx.system.ask(ctx.self, "message"),
    "system lookup no path": lambda ctx: ctx.system.lookup("x"),
    "start_soon no function": lambda ctx: ctx.start_soon(5),
    "start_soon plain function": lambda ctx: ctx.start_soon(adapter),
    "pipe_to_self async mapper": lambda ctx: ctx.pipe_to_self(nothing, mapper=nothing),
    "once nan": lambda ctx: ctx.schedule_once("m", NAN),
    "once negative": lambda ctx: ctx.schedule_once("m", -1),
    "once text": lambda ctx: ctx.schedule_once("m", "1"),
    "once unhashable key": lambda ctx: ctx.schedule_once("m", 1, key=[]),
    "tick zero": lambda ctx: ctx.schedule_tick("m", 0),
    "tick negative first": lambda ctx: ctx.schedule_tick("m", 1, initial_delay=-1),
    "tick nan first": lambda ctx: ctx.schedule_tick("m", 1, initial_delay=NAN),
    "tick unhashable key": lambda ctx: ctx.schedule_tick("m", 1, key=[]),
    "fixed zero": lambda ctx: ctx.schedule_with_fixed_delay("m", 0),
    "fixed negative first": lambda ctx: ctx.schedule_with_fixed_delay("m", 1, initial_delay=-1),
    "fixed unhashable key": lambda ctx: ctx.schedule_with_fixed_delay("m", 1, key={}),
    "cancel unhashable": lambda ctx: ctx.cancel_timer([]),
    "active unhashable": lambda ctx: ctx.is_timer_active([]),
    "receive timeout zero": lambda ctx: ctx.set_receive_timeout(0, "m"),
    "receive timeout nan": lambda ctx: ctx.set_receive_timeout(NAN, "m"),
    "stash of none": lambda ctx: ctx.stash_buffer(0),
    "stash of text": lambda ctx: ctx.stash_buffer("3"),
    "adapter no function": lambda ctx: ctx.message_adapter("x"),
    "adapter async": lambda ctx: ctx.message_adapter(nothing),
    "ask the message": lambda ctx: ctx.ask(ctx.self, "message"),
    "ask no ref": lambda ctx: ctx.ask("x", lambda reply_to: reply_to),
    "ask nan": lambda ctx: ctx.ask(ctx.self, lambda reply_to: reply_to, timeout=NAN),
    "ask in no time": lambda ctx: ctx.ask(ctx.self, lambda reply_to: reply_to, timeout=0),
    "ask itself": lambda ctx: ctx.ask(ctx.self, lambda reply_to: reply_to),
    "forward no ref": lambda ctx: ctx.forward("x", 1),
    "reply_error no ref": lambda ctx: ctx.reply_error("x", "error"),
    "reply_error no error": lambda ctx: ctx.reply_error(ctx.self, 5),
}

RIGHT: dict[str, Callable[[Any], object]] = {
    "unwatch": lambda ctx: ctx.unwatch(ctx.self),
    "spawn": lambda ctx: (ctx.spawn(Behaviors.ignore(), "a").path, ctx.children[0].path),
    "watching": lambda ctx: watched_for_a_block(ctx),
    "cancel unknown": lambda ctx: (ctx.cancel_timer("no"), ctx.is_timer_active("no"), ctx.cancel_all_timers()),
    "receive timeout": lambda ctx: (ctx.set_receive_timeout(1, "m"), ctx.cancel_receive_timeout()),
    "surroundings": lambda ctx: (ctx.parent, ctx.deadline, ctx.log.name, ctx.system.name, ctx.self.path, repr(ctx)),
    "lookup": lambda ctx: (ctx.system.lookup("/it") == ctx.self, ctx.system.lookup("/nobody")),
    "reply_error": lambda ctx: ctx.reply_error(ctx.self, "no ask"),
    "reply_error of no Exception": lambda ctx: ctx.reply_error(ctx.self, KeyboardInterrupt()),
    "forward": lambda ctx: ctx.forward(ctx.self, "x"),
}

Outcome = tuple[str, str]


def calling(call: Callable[[Any], object], outcomes: list[Outcome]) -> Behavior[Any]:
    """Return a behaviour that makes a call at the message ``go``, and notes the outcome."""

    async def handle(ctx: Context, message: object) -> Behavior[Any]:
        if message == "go":
            try:
                result = call(ctx)
                waited = await cast("Awaitable[object]", result) if isawaitable(result) else result
                outcomes.append(("done", repr(waited)))
            except Exception as error:  # the outcome
                outcomes.append((type(error).__name__, str(error)))
        return Behaviors.same()

    return Behaviors.receive(handle)


async def outcome_in_system(call: Callable[[Any], object]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with ActorSystem("kit") as system:
        system.spawn(calling(call, outcomes), "it").tell("go")
        await trio.testing.wait_all_tasks_blocked()
    return outcomes


def outcome_in_kit(call: Callable[[Any], object]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    BehaviorTestKit(calling(call, outcomes), name="it").run("go")
    return outcomes


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_refused_in_the_kit_as_in_an_actor(name: str) -> None:
    (refusal,) = outcome_in_kit(WRONG[name])
    assert refusal[0] in ("TypeError", "ValueError", "ConfigError", "AskTimeoutError", "AskFailed")
    assert [refusal] == trio.run(outcome_in_system, WRONG[name])


@pytest.mark.parametrize("name", RIGHT)
def test_a_call_has_the_same_result_in_the_kit_as_in_an_actor(name: str) -> None:
    (result,) = outcome_in_kit(RIGHT[name])
    assert result[0] == "done"
    assert [result] == trio.run(outcome_in_system, RIGHT[name])


def test_the_kit_stands_in_for_all_of_a_context() -> None:
    """Only what asks for nothing but the actor's path may be left to the class of the real one."""
    public = {name for name, value in vars(ActorContext).items() if isfunction(value) or isinstance(value, property)}
    assert {name for name in public if not name.startswith("_")} - set(vars(KitContext)) <= {"log"}


class Script:
    """A behaviour that notes its steps, fresh for each run."""

    def __init__(self) -> None:
        self.log: list[object] = []

    async def pre_start(self, ctx: Context) -> None:
        self.log.append("pre_start")

    async def post_stop(self, ctx: Context) -> None:
        self.log.append("post_stop")

    async def pre_restart(self, ctx: Context, error: Exception) -> None:
        self.log.append("pre_restart")

    def hooked(self, behavior: Behavior[Any]) -> Behavior[Any]:
        return Behaviors.with_lifecycle(
            behavior, pre_start=self.pre_start, post_stop=self.post_stop, pre_restart=self.pre_restart
        )


class PillToItself(Script):
    def behavior(self) -> Behavior[Any]:
        async def handle(ctx: Context, message: object) -> Behavior[Any]:
            self.log.append(message)
            if message == "go":
                for more in ("before", PoisonPill(), "after"):
                    ctx.self.tell(more)
            return Behaviors.same()

        return self.hooked(Behaviors.receive(handle))


class PillToItsTask(Script):
    def behavior(self) -> Behavior[Any]:
        async def main(ctx: Context, inbox: Inbox[Any]) -> None:
            async for message in inbox:
                self.log.append(message)
                if message == "go":
                    ctx.message_adapter(lambda _: PoisonPill()).tell(1)
                    ctx.self.tell("after")
            self.log.append("end")

        return self.hooked(Behaviors.task(main))


class PillOfATimer(Script):
    def behavior(self) -> Behavior[Any]:
        async def handle(ctx: Context, message: object) -> Behavior[Any]:
            self.log.append(message)
            ctx.schedule_once(PoisonPill(), 0.0)
            return Behaviors.same()

        return self.hooked(Behaviors.receive(handle))


class StopsItself(Script):
    place = "handler"

    def behavior(self) -> Behavior[Any]:
        async def make(ctx: Context) -> Behavior[Any]:
            self.stop_at("setup", ctx)
            return Behaviors.receive(handle)

        async def handle(ctx: Context, message: object) -> Behavior[Any]:
            self.log.append(message)
            self.stop_at("handler", ctx)
            if self.place == "restart":
                ctx.stop(ctx.self)
                return Behaviors.restart()
            if self.place == "task":
                return Behaviors.task(main)
            if self.place == "failing":
                ctx.stop(ctx.self)
                raise Boom
            return Behaviors.same()

        async def main(ctx: Context, inbox: Inbox[Any]) -> None:
            ctx.stop(ctx.self)
            async for message in inbox:
                self.log.append(("task", message))
            self.log.append("end")

        return self.hooked(Behaviors.setup(make))

    def stop_at(self, place: str, ctx: Context) -> None:
        if place == self.place:
            ctx.stop(ctx.self)


class StopsItselfInSetup(StopsItself):
    place = "setup"


class StopsItselfAndRestarts(StopsItself):
    place = "restart"


class StopsItselfInItsTask(StopsItself):
    place = "task"


class StopsItselfAndFails(StopsItself):
    place = "failing"


class StopsItsAdapter(Script):
    def behavior(self) -> Behavior[Any]:
        async def handle(ctx: Context, message: object) -> Behavior[Any]:
            self.log.append(message)
            ctx.system.stop(adapter(ctx))
            return Behaviors.same()

        return self.hooked(Behaviors.receive(handle))


class ClosesBehindInterceptors(Script):
    def behavior(self) -> Behavior[Any]:
        async def twice(ctx: Context, message: Any, target: ReceiveTarget[Any]) -> Behavior[Any]:
            await target(message)
            return await target(message)

        async def main(ctx: Context, inbox: Inbox[Any]) -> None:
            self.log.append(await inbox.receive())
            await inbox.aclose()
            self.log.append("closed")

        return self.hooked(Behaviors.intercept(twice, Behaviors.task(main)))


class ReadsOn(Script):
    """Reads on after the end of its inbox, or after it has closed it."""

    closes = False

    def behavior(self) -> Behavior[Any]:
        async def main(ctx: Context, inbox: Inbox[Any]) -> None:
            if self.closes:
                async with inbox:
                    self.log.append(await inbox.receive())
            else:
                async for message in inbox:
                    self.log.append(message)
            for _ in range(2):
                await self.read(inbox)

        return self.hooked(self.wrapped(Behaviors.task(main)))

    def wrapped(self, behavior: Behavior[Any]) -> Behavior[Any]:
        return behavior

    async def read(self, inbox: Inbox[Any]) -> None:
        for read in (inbox.receive, inbox.__anext__):
            try:
                await read()
            except (trio.EndOfChannel, trio.ClosedResourceError, StopAsyncIteration) as error:
                self.log.append(type(error).__name__)
        try:
            inbox.receive_nowait()
        except (trio.EndOfChannel, trio.ClosedResourceError, RuntimeError) as error:
            self.log.append(type(error).__name__)
        figures = inbox.statistics()
        self.log.append((figures.open_send_channels, figures.open_receive_channels))


class ReadsOnAfterClosing(ReadsOn):
    closes = True


class ReadsOnBehindInterceptors(ReadsOn):
    def wrapped(self, behavior: Behavior[Any]) -> Behavior[Any]:
        async def see(ctx: Context, message: Any, target: ReceiveTarget[Any]) -> Behavior[Any]:
            return await target(message)

        return Behaviors.intercept(see, behavior)


class TwoStashes(Script):
    def behavior(self) -> Behavior[Any]:
        async def make(ctx: Context) -> Behavior[Any]:
            stashes: list[StashBuffer[Any]] = [ctx.stash_buffer(10), ctx.stash_buffer(10), ctx.stash_buffer(10)]
            first = "begin" not in self.log
            self.log.append("begin")

            async def handle(ctx: Context, message: Any) -> Behavior[Any]:
                self.log.append(message)
                if first and message == "R":
                    return Behaviors.restart()
                if first and message == "u0":
                    return stashes[0].unstash_all()
                if first and len(message) == 2:
                    stashes[int(message[1])].stash(message)
                return Behaviors.same()

            return Behaviors.receive(handle)

        return Behaviors.setup(make)


class FailsTwice(Script):
    def behavior(self) -> Behavior[Any]:
        async def handle(ctx: Context, message: object) -> Behavior[Any]:
            raise KeyError(message)

        async def post_stop(ctx: Context) -> None:
            self.log.append("post_stop")
            raise Boom

        return Behaviors.with_lifecycle(Behaviors.receive(handle), post_stop=post_stop)


class InterceptedFromNowOn(Script):
    """Puts interceptors around the behaviour it keeps, as it may put hooks and strategies there."""

    def behavior(self) -> Behavior[Any]:
        def seen_by(name: str) -> Callable[..., Awaitable[Behavior[Any]]]:
            async def see(ctx: Context, message: Any, target: ReceiveTarget[Any]) -> Behavior[Any]:
                self.log.append((name, message))
                return await target(message)

            return see

        async def handle(ctx: Context, message: Any) -> Behavior[Any]:
            self.log.append(message)
            if message == "one":
                return Behaviors.intercept(seen_by("one"), Behaviors.same())
            if message == "two":
                return Behaviors.intercept(seen_by("2a"), Behaviors.intercept(seen_by("2b"), Behaviors.same()))
            return Behaviors.receive(handle) if message == "replace" else Behaviors.same()

        return Behaviors.intercept(seen_by("zero"), Behaviors.receive(handle))


SCRIPTS: list[tuple[type[Any], list[Any]]] = [
    (PillToItself, ["go", "later"]),
    (PillToItsTask, ["go", "later"]),
    (StopsItself, ["a", "b"]),
    (StopsItselfInSetup, ["a", "b"]),
    (StopsItselfAndRestarts, ["a", "b"]),
    (StopsItselfInItsTask, ["a", "b"]),
    (StopsItselfAndFails, ["a", "b"]),
    (StopsItsAdapter, ["a", "b"]),
    (ClosesBehindInterceptors, ["a", "b"]),
    (ReadsOn, ["a", PoisonPill()]),
    (ReadsOnAfterClosing, ["a", "b"]),
    (ReadsOnBehindInterceptors, ["a", PoisonPill()]),
    (TwoStashes, ["a0", "a1", "b0", "b1", "a2", "R", "z"]),
    (TwoStashes, ["a1", "a0", "u0", "a2", "R", "z"]),
    (FailsTwice, ["a"]),
    (InterceptedFromNowOn, ["a", "one", "b", "two", "c", "replace", "d"]),
]


@pytest.mark.parametrize(("script", "messages"), SCRIPTS)
def test_a_script_takes_the_same_steps_in_the_kit_as_in_an_actor(script: type[Any], messages: list[Any]) -> None:
    assert in_kit(script(), messages) == trio.run(in_system, script(), messages)


def in_kit(script: Any, messages: list[Any]) -> tuple[list[object], bool]:
    kit: BehaviorTestKit[Any] = BehaviorTestKit(script.behavior(), name="it")
    for message in messages:
        if kit.is_alive:
            try:
                kit.run(message)
                kit.run_own()
            except (KeyError, Boom) as error:
                script.log.append(type(error).__name__)
    return script.log, kit.is_alive


async def in_system(script: Any, messages: list[Any]) -> tuple[list[object], bool]:
    async with ActorSystem("kit") as system:
        watcher: list[Terminated] = []

        async def watch(ctx: Context) -> Behavior[Any]:
            ctx.watch(actor)

            return recording(watcher)

        actor = system.spawn(script.behavior(), "it")
        system.spawn(Behaviors.setup(watch), "watcher")
        for message in messages:
            await trio.testing.wait_all_tasks_blocked()
            actor.tell(message)
        await trio.testing.wait_all_tasks_blocked()
        script.log.extend(type(one.cause).__name__ for one in watcher if one.cause is not None)
        return script.log, system.lookup("/it") is not None
