"""Mistakes of those who write their first actors: each is told what was expected, what was found, and what to do."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from helpers.behaviors import stop_and_wait, tell_all

from casty.behaviors import Behaviors
from casty.protocol.actor.supervision import Restart
from casty.refs import ServiceKey
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorFailed
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem


async def handler(ctx: ActorContext[str], message: str) -> Behavior[str]:
    return Behaviors.same()


async def bare_handler(ctx: Any, message: Any) -> Any:
    return Behaviors.same()


async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
    async for _ in inbox:
        pass


async def hook(ctx: ActorContext[str]) -> None: ...


async def only_message(message: str) -> Behavior[str]:
    return Behaviors.same()


async def yielding(ctx: ActorContext[str], message: str) -> AsyncGenerator[Behavior[str]]:
    yield Behaviors.same()


def sync_handler(ctx: ActorContext[str], message: str) -> Behavior[str]:
    return Behaviors.same()


def sync_factory(ctx: ActorContext[str]) -> Behavior[str]:
    return Behaviors.same()


HANDLER = r"Behaviors.receive needs `async def handler\(ctx, message\) -> Behavior`, and "
WRONG: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "a sync handler": (Behaviors.receive, sync_handler, f"{HANDLER}sync_handler is not async: write async def"),
    "a sync factory": (
        Behaviors.setup,
        sync_factory,
        r"def factory\(ctx\) -> Behavior`, and sync_factory is not",
    ),
    "a main function for receive": (Behaviors.receive, main, f"{HANDLER}main takes an inbox: .* into Behaviors.task"),
    "a handler for task": (Behaviors.task, handler, "handler returns a Behavior: .* into Behaviors.receive"),
    "a handler without ctx": (Behaviors.receive, only_message, f"{HANDLER}only_message takes message$"),
    "a handler for setup": (Behaviors.setup, handler, "and handler takes ctx, message$"),
    "a sync factory of timers": (Behaviors.with_timers, sync_factory, "sync_factory is not async: write async def"),
    "a sync factory of a stash": (
        functools.partial(Behaviors.with_stash, 9),
        sync_factory,
        "sync_factory is not async",
    ),
    "a handler as an interceptor": (
        functools.partial(Behaviors.intercept, behavior=Behaviors.ignore()),
        handler,
        "handler takes ctx, message$",
    ),
    "a yield": (Behaviors.receive, yielding, "yielding contains a yield: tell what there is to say to a ref"),
    "a behaviour": (Behaviors.receive, Behaviors.same(), r"Behaviors.same\(\) is the result of a call: leave"),
    "a number": (Behaviors.task, 3, "`async def main.*, and 3 is no function"),
    "a hook of two": (functools.partial(Behaviors.with_lifecycle, Behaviors.same(), post_stop=handler), None, "hook"),
}


@pytest.mark.parametrize(("maker", "given", "told"), WRONG.values(), ids=WRONG)
def test_a_function_that_does_not_fit_is_refused_where_it_is_given(
    maker: Callable[..., Any], given: Any, told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        maker(*([] if given is None else [given]))


class Counter:
    async def method(self, ctx: ActorContext[str], message: str) -> Behavior[str]:
        return Behaviors.same()

    async def __call__(self, ctx: ActorContext[str], message: str) -> Behavior[str]:
        return Behaviors.same()


def passing_on(ctx: ActorContext[str], message: str) -> Awaitable[Behavior[str]]:
    return handler(ctx, message)


@functools.wraps(handler)
def wrapped(*args: Any) -> Any:
    return handler(*args)


async def with_more(ctx: ActorContext[str], message: str, limit: int = 3) -> Behavior[str]:
    return Behaviors.same()


async def of_any(*args: Any) -> Behavior[str]:
    return Behaviors.same()


@pytest.mark.parametrize(
    "given",
    [
        handler,
        Counter().method,
        Counter(),
        passing_on,
        wrapped,
        with_more,
        of_any,
        functools.partial(with_more, limit=4),
        lambda ctx, message: handler(ctx, message),
    ],
)
async def test_whatever_can_be_called_and_awaited_is_a_handler(given: Any) -> None:
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(given), "a")
        async with system.events(ActorFailed) as failures:
            tell_all(ref, "hello", "again")
            await stop_and_wait(system, ref)
            with pytest.raises(StopAsyncIteration):
                await system.shutdown()
                await anext(failures)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda given: Behaviors.supervise(given, Restart()),
        lambda given: Behaviors.with_lifecycle(given, pre_start=hook),
        lambda given: Behaviors.spy(Any, given),
        lambda given: Behaviors.discoverable(given, key=ServiceKey[str]("s")),
    ],
)
def test_a_wrapper_around_a_bare_function_says_what_makes_a_behaviour_of_it(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"needs a Behavior, made by Behaviors, got .*: write Behaviors.receive\(hand"):
        wrap(handler)


async def failure_of(behavior: Behavior[Any]) -> str:
    """Spawn an actor, tell it something, and return what it failed with."""
    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(behavior, "a").tell("hello")
        return str((await anext(failures)).exception)


async def test_an_answer_without_its_brackets_is_told_to_have_them() -> None:
    async def forgetful(ctx: Any, message: Any) -> Any:
        return Behaviors.same

    assert (await failure_of(Behaviors.receive(forgetful))).endswith(": write Behaviors.same(), with the brackets")


async def test_a_handler_that_returns_nothing_is_told_what_to_return() -> None:
    async def silent(ctx: Any, message: Any) -> Any: ...

    told = await failure_of(Behaviors.receive(silent))
    assert told.endswith("got None: end the function with `return Behaviors.same()`")


async def test_a_lambda_that_returns_a_behaviour_is_told_to_be_async() -> None:
    sync: Any = lambda ctx: Behaviors.same()  # noqa: E731  # the mistake under test
    told = await failure_of(Behaviors.setup(sync))
    assert "Behaviors.same() is no answer to wait for" in told
    assert "must be async" in told


async def test_a_handler_without_annotations_that_is_given_to_task_fails_with_the_reason() -> None:
    told = await failure_of(Behaviors.task(bare_handler))
    assert told.startswith("the main function of /a returned Behaviors.same(): a handler of one message goes into")


async def test_an_ask_with_the_message_itself_says_to_give_a_function(system: ActorSystem) -> None:
    given: Any = "hello"
    ref = system.spawn(Behaviors.ignore(), "a")
    with pytest.raises(TypeError, match="ask needs a function .* got the message itself, 'hello'"):
        await system.ask(ref, given)
    assert system.statistics().asks_pending == 0


def test_a_block_without_async_is_told_to_be_async() -> None:
    system: Any = ActorSystem()
    with pytest.raises(TypeError, match="write `async with`: ActorSystem starts"):
        with system:
            pass
