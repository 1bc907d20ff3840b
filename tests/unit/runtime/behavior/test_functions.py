"""Functions that are handed in: async ones where they are awaited, plain ones where they are called."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from casty.behaviors import Behaviors
from casty.cluster.system import ClusteredActorSystem
from casty.protocol.actor.supervision import OneForOneStrategy
from casty.routers import Routers
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.behavior.signatures import check_async_function
from casty.runtime.events import ActorFailed
from casty.runtime.system.context import ActorContext
from casty.runtime.system.shutdown import ShutdownPhase
from casty.runtime.system.system import ActorSystem
from casty.testing import BehaviorTestKit, TestProbe
from casty.testing.simulation import Scenario, check, simulate
from casty.transport.network.memory import MemoryNetwork

UNTYPED: Any = Behaviors
ROUTER: Any = Routers.pool(2, Behaviors.ignore())
ONE_FOR_ONE: Any = OneForOneStrategy
SIMULATE: Any = simulate
CHECK: Any = check
SCENARIO = Scenario(1, ("a", "b", "c"))


async def work(*_: object) -> None: ...


async def make(message: object) -> str:
    return "made"


def plain(*_: object) -> None: ...


def later(*_: object) -> Awaitable[None]:
    return work()


class Worker:
    async def work(self) -> None: ...

    def plain(self) -> None: ...


class Call:
    async def __call__(self) -> None: ...


ASYNC: dict[str, object] = {
    "async": work, "annotated": later, "method": Worker().work, "partial": functools.partial(work, 1),
    "object": Call(), "lambda": lambda: work(), "of trio": trio.sleep, "method of trio": trio.Event.wait,
}  # fmt: skip


@pytest.mark.parametrize("function", ASYNC.values(), ids=ASYNC)
def test_what_can_be_awaited_when_it_is_called_is_taken(function: object) -> None:
    check_async_function(function, "start_soon")


PLAIN: list[tuple[object, str]] = [
    (plain, "plain is not async: write async def"),
    (Worker().plain, "Worker.plain is not async: write async def"),
    (functools.partial(functools.partial(plain, 1), 2), "plain is not async: write async def"),
    (print, "print is not async: call it in an async def"),
    (time.sleep, "sleep is not async: call it in an async def"),
    ([].append, "list.append is not async: call it in an async def"),
]


@pytest.mark.parametrize(("function", "told"), PLAIN, ids=[told.partition(" ")[0] for _, told in PLAIN])
async def test_a_hook_that_is_not_async_is_refused_where_it_is_given(function: Any, told: str) -> None:
    async with ActorSystem() as system:
        with pytest.raises(TypeError) as caught:
            system.on_shutdown(ShutdownPhase.stop_actors, function)
    assert str(caught.value) == f"on_shutdown takes an async function and its arguments, and {told}"


async def test_a_hook_that_returns_nothing_to_await_is_named_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    hook: Any = lambda: None  # noqa: E731  # it must have no name
    async with ActorSystem() as system:
        system.on_shutdown(ShutdownPhase.stop_actors, hook, name="close the shop")
    (record,) = [one for one in caplog.records if "shutdown hook close the shop failed" in one.getMessage()]
    assert record.exc_info is not None
    told = "on_shutdown takes an async function and its arguments, and 'close the shop' returned None, which"
    assert told in str(record.exc_info[1])


STEPS: dict[str, tuple[Callable[[Any], object], str]] = {
    "start_soon": (lambda ctx: ctx.start_soon(plain), r"start_soon takes an async function .*, and plain is not async"),
    "start_soon of a lambda": (
        lambda ctx: ctx.start_soon(lambda: None),
        r"start_soon takes an async function and its arguments, and .*<lambda> returned None, which cannot be awaited",
    ),
    "pipe_to_self": (lambda ctx: ctx.pipe_to_self(print), "pipe_to_self takes an async function .* print is not async"),
    "pipe_to_self of a lambda": (
        lambda ctx: ctx.pipe_to_self(lambda: 5),
        r"pipe_to_self takes an async function and its arguments, and .*<lambda> returned 5, which cannot be awaited",
    ),
    "a mapper": (
        lambda ctx: ctx.pipe_to_self(work, mapper="done"),
        "pipe_to_self needs as mapper a function of the result, which makes the message, got 'done'",
    ),
    "an async mapper": (
        lambda ctx: ctx.pipe_to_self(work, mapper=make),
        "pipe_to_self needs as mapper a function .* got an async function, which nobody would await: <function make",
    ),
    "a message for a failure": (
        lambda ctx: ctx.pipe_to_self(work, on_failure="failed"),
        "pipe_to_self needs as on_failure a function of the exception, which makes the message, got 'failed'",
    ),
    "an adapter": (
        lambda ctx: ctx.message_adapter("adapted"),
        "message_adapter needs a function of a message, which makes one of the actor's own, got 'adapted'",
    ),
    "an async adapter": (
        lambda ctx: ctx.message_adapter(make),
        "message_adapter needs a function of a message, .* got an async function, which nobody would await",
    ),
}


@pytest.mark.parametrize(("step", "told"), STEPS.values(), ids=STEPS)
async def test_an_actor_that_hands_in_the_wrong_function_fails_with_what_is_needed(
    step: Callable[[Any], object], told: str
) -> None:
    async def start(ctx: ActorContext[str]) -> Behavior[str]:
        step(ctx)
        return Behaviors.ignore()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.setup(start), "a")
        failure = await anext(failures)
        with pytest.raises(TypeError, match=told):
            raise failure.exception


@pytest.mark.parametrize("name", ["a mapper", "an async mapper", "a message for a failure", "an async adapter"])
def test_a_kit_refuses_what_an_actor_refuses(name: str) -> None:
    step, told = STEPS[name]

    async def start(ctx: ActorContext[str]) -> Behavior[str]:
        step(ctx)
        return Behaviors.ignore()

    with pytest.raises(TypeError, match=told):
        BehaviorTestKit(Behaviors.setup(start))


NEVER_AWAITED: dict[str, Callable[[], object]] = {
    "with_consistent_hashing_routing": lambda: ROUTER.with_consistent_hashing_routing(make),
    "with_broadcast_predicate": lambda: ROUTER.with_broadcast_predicate(make),
    "OneForOneStrategy.decider": lambda: ONE_FOR_ONE(decider=make),
    "inbox": lambda: BehaviorTestKit(Behaviors.ignore()).inbox("replies", untyped(make)),
    "check": lambda: CHECK(SCENARIO, play=make),
}


def untyped(value: object) -> Any:
    return value


@pytest.mark.parametrize(("taker", "give"), NEVER_AWAITED.items(), ids=NEVER_AWAITED)
def test_an_async_function_that_nobody_would_await_is_refused(taker: str, give: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=rf"^{taker} needs .* got an async function, which nobody would await: <functi"):
        give()


async def test_a_probe_fishes_with_a_plain_function(system: ActorSystem, autojump_clock: object) -> None:
    probe: TestProbe[str] = TestProbe(system)
    probe.ref.tell("hello")
    with pytest.raises(TypeError, match="fish_for needs a function of a message, which makes a bool, got an async"):
        await probe.fish_for(untyped(make))


def test_a_simulation_says_which_function_is_not_async() -> None:
    with pytest.raises(TypeError, match=r"^simulate needs `async def on_node\(node\) -> None`, and plain is not async"):
        SIMULATE(SCENARIO, on_node=plain)
    with pytest.raises(
        TypeError, match=r"^simulate needs `async def main\(simulation\) -> None`, and plain is not async"
    ):
        SIMULATE(SCENARIO, on_node=work, main=plain)


async def test_the_end_of_a_membership_calls_a_plain_function(autojump_clock: object) -> None:
    async with ClusteredActorSystem(name="a", host="a", port=1, node_id="a", network=MemoryNetwork().host("a")) as node:
        with pytest.raises(TypeError, match="on_end needs a function without parameters, got an async function"):
            node.cluster.on_end(untyped(work))
