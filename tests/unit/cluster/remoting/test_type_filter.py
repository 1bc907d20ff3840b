"""From other nodes an actor gets messages of its own type only, and an ask replies of the type it was promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import pytest
import trio
from helpers.messages import Get, Item

from casty import ActorContext, ActorRef, AskFailed, Behavior, Behaviors, DeadLetter, ServiceKey, message
from casty.cluster.remoting.type_filter import TypeFilter
from casty.runtime.events import ILL_TYPED, Terminated


@message("test.acceptance.Special")
@dataclass(frozen=True)
class Special(Item):
    pass


class Shape(Protocol):
    number: int


T = TypeVar("T")


@pytest.mark.parametrize(
    ("type_form", "value", "name", "admitted"),
    [
        (Item, Item(1), "tests.Item", True),
        (Item, Special(1), "test.acceptance.Special", True),
        (Special, Item(1), "tests.Item", False),
        (Item | Get, Special(1), "test.acceptance.Special", True),
        (Item | None, None, "none", True),
        (Item | Terminated, "x", "str", False),
        (float, 1, "int", True),
        (int, 1.0, "float", False),
        (int, True, "bool", False),
        (float | None, True, "bool", False),
        (bool, True, "bool", True),
        (int | object, True, "bool", True),
        (list[int], [1], "list[int]", True),
        (list[int], ["x"], "list[str]", False),
        (Literal["a"], "a", 'literal["a"]', True),
        (dict[str, complex], {}, "dict[str,int]", False),
        *((unknown, "x", "str", True) for unknown in (None, object, Any, T, Shape, Item | object)),
    ],
)
def test_a_type_admits_its_values_and_no_others(type_form, value, name, admitted):
    assert TypeFilter(type_form).admits(value, name) is admitted


def noting(seen: list[object]) -> Callable[..., Behavior[Item]]:
    async def handle(ctx: ActorContext[Item], message: Item) -> Behavior[Item]:
        seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def test_a_message_of_another_type_is_refused_and_both_sides_know(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen: list[object] = []
    b.spawn(noting(seen), "noting")
    ref = a.remote("/noting", "b")
    async with a.events(DeadLetter) as at_a, b.events(DeadLetter) as at_b:
        with pytest.raises(AskFailed, match=ILL_TYPED):
            await a.ask(ref.of(Get), Get)
        ref.of(Special).tell(Special(1))
        assert (await anext(aiter(at_a))).reason == "not delivered: ill_typed"
        letter = await anext(aiter(at_b))
    assert (letter.reason, letter.intended_ref.path) == (f"{ILL_TYPED}: Get", "/noting")
    await trio.sleep(1)
    assert seen == [Special(1)]
    assert b.statistics().dead_letters == {ILL_TYPED: 1}


async def test_an_adapter_gets_what_its_function_takes(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen: list[object] = []

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        def adapt(mine: Item) -> object:
            return mine.number

        seen.append(ctx.message_adapter(adapt).path)

        async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
            seen.append(message)
            return Behaviors.same()

        return Behaviors.receive(handle)

    b.spawn(Behaviors.setup(make), "adapting")
    await trio.sleep(1)
    ref = a.remote(str(seen[0]), "b")
    ref.of(str).tell("x")
    ref.of(Item).tell(Item(7))
    await trio.sleep(1)
    assert seen[1:] == [7]
    assert b.lookup("/adapting") is not None


async def test_a_handler_without_a_type_gets_everything_that_the_node_can_read(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen: list[object] = []

    async def handle(ctx, message):
        seen.append(message)
        return Behaviors.same()

    b.spawn(Behaviors.receive(handle), "open")
    a.remote("/open", "b").of(Item).tell(Item(1))
    a.remote("/open", "b").of(str).tell("x")
    await trio.sleep(1)
    assert seen == [Item(1), "x"]


async def test_a_reply_of_another_type_than_promised_is_refused(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")

    async def lie(ctx: ActorContext[Get], message: Get) -> Behavior[Get]:
        reply_to: Any = message.reply_to
        reply_to.of(str).tell("no number")
        return Behaviors.same()

    b.spawn(Behaviors.receive(lie), "lying")
    with pytest.raises(AskFailed, match="the reply is of another type than was asked for: str"):
        await a.ask(a.remote("/lying", "b").of(Get), Get, timeout=2.0)
    assert a.statistics().dead_letters == {ILL_TYPED: 1}


@message("test.acceptance.Derived")
@dataclass(frozen=True)
class Derived(Item):
    """Like `Special`, and known to a node by its declaration alone."""

    note: str


@message("test.acceptance.Find")
@dataclass(frozen=True)
class Find:
    reply_to: ActorRef[Item]


async def test_a_ref_to_an_actor_of_another_node_takes_subclasses_as_its_type_says(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen: list[object] = []

    async def answer(ctx: ActorContext[Find], message: Find) -> Behavior[Find]:
        message.reply_to.tell(Derived(2, "two"))
        return Behaviors.same()

    key = ServiceKey[Item]("mine")
    b.spawn(Behaviors.discoverable(noting(seen), key=key), "noting")
    b.spawn(Behaviors.receive(answer), "answering")
    ref = (await a.find(key, at_least=1)).refs[0]
    ref.tell(Derived(1, "one"))
    assert await a.ask(a.remote("/answering", "b").of(Find), Find) == Derived(2, "two")
    assert seen == [Derived(1, "one")]
