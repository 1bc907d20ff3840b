"""One suite for what runs behaviours: a drawn behaviour takes the same steps in the kit as in an actor."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Never

import pytest
import trio
import trio.testing
from helpers.systems import Boom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casty import (
    ActorContext,
    ActorLifecycleListener,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    Inbox,
    ReceiveTarget,
    Restart,
    ServiceKey,
    StashBuffer,
    Terminated,
)
from casty.runtime.actor.life import Life
from casty.runtime.behavior.behavior import SAME, STOPPED, UNHANDLED, Composed
from casty.runtime.behavior.interpreter import BehaviorHost, Interpreter
from casty.testing import BehaviorTestKit
from casty.testing.kit import behavior_kit

MESSAGES = 4
"""Messages are the numbers below it, and the end of the watched actor."""
END = "end"
Told = int | Terminated

Wrapper = tuple[str, str]
"""Kind of a wrapper, and what is peculiar to it."""
WRAPPERS = st.one_of(
    st.just(("setup", "")),
    st.just(("supervise", "")),
    st.just(("discoverable", "")),
    st.just(("composed", "")),
    st.tuples(st.just("intercept"), st.sampled_from(("pass", "swallow", "change"))),
    st.tuples(
        st.just("lifecycle"), st.sampled_from(["", "", "", "pre_start", "post_stop", "pre_restart", "post_restart"])
    ),
)
ANSWERS = (
    *("same", "same", "stopped", "unhandled", "restart", "fail", "none"),
    *("stash", "unstash", "become 0", "become 1", "become 2"),
)
CORES = ("receive", "task", "same", "stopped", "unhandled")
CHANGES = ("pass", "swallow", "change")


@dataclass(frozen=True)
class Form:
    """One behaviour of a program: wrappers, outermost first, around a handler, a task or a signal."""

    wrappers: tuple[Wrapper, ...]
    core: str
    answers: tuple[str, ...]


FORMS = st.builds(
    Form,
    st.lists(WRAPPERS, max_size=4).map(tuple),
    st.sampled_from(CORES),
    st.tuples(*[st.sampled_from(ANSWERS)] * (MESSAGES + 1)),
)
PROGRAMS = st.tuples(FORMS, FORMS, FORMS)
STEPS = st.lists(st.one_of(st.integers(0, MESSAGES - 1), st.just(END)), max_size=8)


@dataclass
class World:
    """What one run of a program does, and what it needs from outside."""

    program: tuple[Form, ...]
    target: ActorRef[Never] | None = None
    log: list[str] = field(default_factory=list[str])
    depth: int = 0
    is_watching: bool = False
    has_ended: bool = False

    def behavior(self, number: int) -> Behavior[Told]:
        """Return the behaviour of a number, as a value."""
        form = self.program[number]
        behavior = self._core(number, form)
        for place, (kind, more) in reversed(list(enumerate(form.wrappers))):
            behavior = self._wrapped(f"{number}.{place}", kind, more, behavior)
        return behavior

    def _wrapped(self, name: str, kind: str, more: str, inner: Behavior[Told]) -> Behavior[Told]:
        match kind:
            case "supervise":
                return Behaviors.supervise(inner, Restart(on=KeyError))
            case "discoverable":
                return Behaviors.discoverable(inner, key=ServiceKey[int](name))  # type: ignore[arg-type]  # ints suffice
            case "composed":
                return Later(inner)
            case "intercept":
                return Behaviors.intercept(self._interceptor(name, more), inner)
            case "lifecycle":
                return self._lifecycle(name, more, inner)
            case _:

                async def make(ctx: ActorContext[Told]) -> Behavior[Told]:
                    self.log.append(f"setup {name}")
                    if self.target is not None and not (self.is_watching or self.has_ended):
                        self.is_watching = True
                        ctx.watch(self.target)
                    return inner

                return Behaviors.setup(make)

    def _interceptor(self, name: str, more: str) -> Callable[..., object]:
        async def see(ctx: ActorContext[Told], message: Told, target: ReceiveTarget[Told]) -> Behavior[Told]:
            self.log.append(f"intercept {name} {shown(message)}")
            if more == "swallow" and message == 1:
                return Behaviors.same()
            return await target(0 if more == "change" and message == 2 else message)

        return see

    def _lifecycle(self, name: str, failing: str, inner: Behavior[Told]) -> Behavior[Told]:
        def hook(kind: str) -> Callable[..., object]:
            async def run(ctx: ActorContext[Told], *error: Exception) -> None:
                self.log.append(" ".join((kind, name, *(type(one).__name__ for one in error))))
                if kind == failing:
                    raise Boom(kind)

            return run

        hooks = {kind: hook(kind) for kind in ("pre_start", "post_stop", "pre_restart", "post_restart")}
        return Behaviors.with_lifecycle(inner, **hooks)  # type: ignore[arg-type]  # one function for all four

    def _core(self, number: int, form: Form) -> Behavior[Told]:
        if form.core == "receive":

            async def with_stash(stash: StashBuffer[Told]) -> Behavior[Told]:
                return self._receive(number, form, stash)

            return Behaviors.with_stash(2, with_stash)
        if form.core == "task":
            return Behaviors.task(self._main(number, form))
        return {"same": SAME, "stopped": STOPPED, "unhandled": UNHANDLED}[form.core]

    def _receive(self, number: int, form: Form, stash: StashBuffer[Told]) -> Behavior[Told]:
        async def handle(ctx: ActorContext[Told], message: Told) -> Behavior[Told]:
            answer = form.answers[message if isinstance(message, int) else MESSAGES]
            self.log.append(f"handle {number} {shown(message)} {answer}")
            match answer:
                case "fail":
                    raise Boom(answer)
                case "none":
                    return None  # type: ignore[return-value]  # a mistake that users make
                case "restart":
                    self.is_watching, self.has_ended = False, True
                    return Behaviors.restart()
                case "stash":
                    stash.stash(message)
                    return Behaviors.same()
                case "unstash":
                    return stash.unstash_all()
                case "same" | "stopped" | "unhandled":
                    return {"same": SAME, "stopped": STOPPED, "unhandled": UNHANDLED}[answer]
                case _:
                    self.depth += 1
                    return self.behavior(int(answer.split()[1])) if self.depth < 5 else SAME

        return Behaviors.receive(handle)

    def _main(self, number: int, form: Form) -> Callable[[ActorContext[Told], Inbox[Told]], object]:
        async def main(ctx: ActorContext[Told], inbox: Inbox[Told]) -> object:
            self.log.append(f"main {number}")
            async for message in inbox:
                answer = form.answers[message if isinstance(message, int) else MESSAGES]
                self.log.append(f"take {number} {shown(message)} {answer}")
                if answer == "fail":
                    raise Boom(answer)
                if answer == "stopped":
                    break
                if answer == "none":
                    return SAME
            self.log.append(f"end of main {number}")
            return None

        return main


class Later(Composed[Told]):
    """A behaviour made when it is taken on."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Behavior[Told]) -> None:
        self._inner = inner

    def compose(self) -> Behavior[Never]:
        return self._inner


def shown(message: Told) -> str:
    return str(message) if isinstance(message, int) else END


Step = tuple[tuple[str, ...], str | None, bool]
"""What a step did, the first failure in it, and whether the behaviour goes on."""


def in_kit(program: tuple[Form, ...], steps: list[int | str]) -> list[Step]:
    """Return what a program does in the kit: at its start, at each message, and at the end."""
    world, done = World(program), list[Step]()
    # The kit has inboxes from its start on only, and a watched ref needs no actor there.
    world.target = BehaviorTestKit(Behaviors.ignore(), name="target").ref
    kits: list[BehaviorTestKit[Told]] = []

    def step(run: Callable[[], object]) -> None:
        before, failure = len(world.log), None
        try:
            run()
        except Exception as error:  # as in an actor, it is an outcome
            failure = type(error).__name__
        done.append((tuple(world.log[before:]), failure, bool(kits) and kits[0].is_alive))

    def take(message: Told) -> None:
        kits[0].run(message)
        kits[0].run_own()

    behavior = world.behavior(0)
    step(lambda: kits.append(BehaviorTestKit(behavior, name="it")))
    for one in steps:
        if not (kits and kits[0].is_alive):
            return done
        if isinstance(one, int):
            step(lambda message=one: take(message))
        elif world.is_watching:
            world.is_watching, world.has_ended = False, True
            step(lambda: take(Terminated(world.target)))
    if kits and kits[0].is_alive:
        step(kits[0].stop)
    return done


class Failures(ActorLifecycleListener):
    """Failures of one actor."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def failed(self, ref: ActorRef[Never], error: Exception) -> None:
        if ref.path == "/it":
            self.seen.append(type(error).__name__)


async def in_system(program: tuple[Form, ...], steps: list[int | str]) -> list[Step]:
    """Return what a program does in an actor, likewise."""
    world, done, failures = World(program), list[Step](), Failures()
    async with ActorSystem() as system:
        system.add_lifecycle_listener(failures)
        world.target = system.spawn(Behaviors.ignore(), "target")

        async def step(run: Callable[[], object]) -> None:
            before, failed = len(world.log), len(failures.seen)
            run()
            await trio.testing.wait_all_tasks_blocked()
            failure = next(iter(failures.seen[failed:]), None)
            done.append((tuple(world.log[before:]), failure, system.lookup("/it") is not None))

        spawned: list[ActorRef[Told]] = []
        behavior = world.behavior(0)
        await step(lambda: spawned.append(system.spawn(behavior, "it")))
        for one in steps:
            if system.lookup("/it") is None:
                return done
            if isinstance(one, int):
                await step(lambda message=one: spawned[0].tell(message))
            elif world.is_watching:
                world.is_watching, world.has_ended = False, True
                await step(lambda: system.stop(world.target))
        if system.lookup("/it") is not None:
            await step(lambda: system.stop(spawned[0]))
    return done


def compare(program: tuple[Form, ...], steps: list[int | str]) -> None:
    assert in_kit(program, steps) == trio.run(in_system, program, steps)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the failures of drawn behaviours out of the log."""
    caplog.set_level("CRITICAL", "casty.actor")


@given(PROGRAMS, STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_behaviour_takes_the_same_steps_in_the_kit_as_in_an_actor(
    program: tuple[Form, ...], steps: list[int | str]
) -> None:
    compare(program, steps)


PROGRAMS_DRAWN = 250


def drawn(seed: int) -> tuple[tuple[Form, ...], list[int | str]]:
    """Return a program and its steps from a seed: longer ones than Hypothesis begins with."""
    rng = random.Random(seed)

    def wrapper() -> Wrapper:
        kind = rng.choice(("setup", "setup", "supervise", "discoverable", "composed", "intercept", "lifecycle"))
        failing = rng.choice(("pre_start", "post_stop", "pre_restart", "post_restart"))
        more = {"intercept": rng.choice(CHANGES), "lifecycle": failing if rng.random() < 0.1 else ""}
        return kind, more.get(kind, "")

    def form() -> Form:
        wrappers = tuple(wrapper() for _ in range(rng.randrange(5)))
        core = rng.choice(CORES) if rng.random() < 0.3 else "receive"
        return Form(wrappers, core, tuple(rng.choice(ANSWERS) for _ in range(MESSAGES + 1)))

    return (form(), form(), form()), [rng.choice((*range(MESSAGES), END)) for _ in range(rng.randrange(10))]


def compare_drawn() -> None:
    for seed in range(PROGRAMS_DRAWN):
        compare(*drawn(seed))


def test_drawn_behaviours_take_the_same_steps_in_the_kit_as_in_an_actor() -> None:
    compare_drawn()


class HooksInOrder(Interpreter):
    """Runs the hooks at an end outermost first."""

    def at_end(self, context: object) -> list[Callable[[], Awaitable[None]]]:
        return super().at_end(context)[::-1]


class RestartsInOrder(Interpreter):
    """Runs the hooks before a restart outermost first."""

    def before_restart(self, context: object, error: Exception) -> list[Callable[[], Awaitable[None]]]:
        return super().before_restart(context, error)[::-1]


class ForgetsHooks(Interpreter):
    """Begins a life after another one as if it were the first."""

    async def after_restart(self, context: object) -> None:
        """Run nothing."""


class Tolerant(Interpreter):
    """Lets an actor live that has no answer to the end of another."""

    async def follow(self, answer: Behavior[Never], message: object, host: BehaviorHost) -> bool:
        return answer is UNHANDLED or await super().follow(answer, message, host)


class Stubborn(Interpreter):
    """Takes the answer stopped for same."""

    async def follow(self, answer: Behavior[Never], message: object, host: BehaviorHost) -> bool:
        return answer is STOPPED or await super().follow(answer, message, host)


class NoInterceptors(Interpreter):
    """Keeps no interceptor when a behaviour is replaced."""

    async def become(self, behavior: Behavior[Never], host: BehaviorHost) -> bool:
        self.interceptors = None
        return await super().become(behavior, host)


class KeepsMain(Interpreter):
    """Goes on with its handler where a task is to follow."""

    async def follow(self, answer: Behavior[Never], message: object, host: BehaviorHost) -> bool:
        is_going_on = await super().follow(answer, message, host)
        if self.main is not None:
            self.main = None
            return self.handler is not None
        return is_going_on


@pytest.mark.parametrize(
    "planted",
    [HooksInOrder, RestartsInOrder, ForgetsHooks, Tolerant, Stubborn, NoInterceptors, KeepsMain],
    ids=lambda planted: planted.__name__,
)
def test_a_kit_that_differs_is_found(planted: type[Interpreter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behavior_kit, "Interpreter", planted)
    with pytest.raises(AssertionError):
        compare_drawn()


@pytest.mark.parametrize("name", ["at_end", "before_restart"])
def test_an_actor_that_differs_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = getattr(Interpreter, name)
    monkeypatch.setattr(Life, name, lambda *arguments: plain(*arguments)[::-1], raising=False)
    with pytest.raises(AssertionError):
        compare_drawn()


def test_the_drawn_behaviours_come_to_every_kind_of_step() -> None:
    seen: set[str] = set()

    for seed in range(PROGRAMS_DRAWN):
        for log, failure, _ in in_kit(*drawn(seed)):
            seen.update(" ".join((*line.split()[:1], line.split()[-1])) for line in log)
            seen.add(f"failure {failure}")
    answers = ("same", "stopped", "unhandled", "restart", "fail", "none", "stash", "unstash", "0", "1", "2")
    assert {f"handle {answer}" for answer in answers} <= seen
    assert {"failure Boom", "failure TypeError", "failure DeathPactError", "failure StashOverflowError"} <= seen
    assert {line.split()[0] for line in seen} >= {"setup", "intercept", "main", "take", "pre_start", "pre_restart"}
