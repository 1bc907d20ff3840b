"""What a behaviour tells of its message type, without running anything."""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import pytest
from helpers.messages import Add

from casty.behaviors import Behaviors
from casty.refs import ServiceKey
from casty.runtime.annotations import annotated
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing.inspect import kernel_of

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass(frozen=True)
class Get:
    key: str


Command: TypeAlias = Add | Get


async def take(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
    return Behaviors.same()


async def take_with_terminated(
    ctx: ActorContext[Add | Get | Terminated], message: Add | Get | Terminated
) -> Behavior[Add | Get | Terminated]:
    return Behaviors.same()


async def make(ctx: ActorContext[Command]) -> Behavior[Command]:
    return Behaviors.receive(take)


async def make_unannotated(ctx: ActorContext[Add]):  # type: ignore[no-untyped-def]  # the result is what is tested
    return Behaviors.ignore()


async def run(ctx: ActorContext[Add], inbox: Inbox[Add]) -> None:
    async for _ in inbox:
        pass


class Handler:
    async def __call__(self, ctx: ActorContext[Add], message: Add) -> Behavior[Add]:
        return Behaviors.same()

    async def method(self, ctx: ActorContext[Get], message: Get) -> Behavior[Get]:
        return Behaviors.same()


async def take_more(extra: int, ctx: ActorContext[Add], message: Add) -> Behavior[Add]:
    return Behaviors.same()


async def hidden(ctx: ActorContext[Decimal], message: Decimal) -> Behavior[Decimal]:
    return Behaviors.same()


async def only_terminated(ctx: ActorContext[Terminated], message: Terminated) -> Behavior[Terminated]:
    return Behaviors.same()


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        (Behaviors.receive(take), Add | Get),
        (Behaviors.receive(take_with_terminated), Add | Get),
        (Behaviors.receive(Handler()), Add),
        (Behaviors.receive(Handler().method), Get),
        (Behaviors.receive(functools.partial(take_more, 1)), Add),
        (Behaviors.setup(make), Add | Get),
        (Behaviors.setup(make_unannotated), Add),
        (Behaviors.task(run), Add),
        (Behaviors.with_lifecycle(Behaviors.receive(take)), Add | Get),
        (Behaviors.discoverable(Behaviors.task(run), key=ServiceKey[Add]("adding")), Add),
        (Behaviors.receive(only_terminated), None),
        (Behaviors.receive(hidden), None),
        (Behaviors.same(), None),
    ],
)
def test_the_type_is_read_from_the_annotations(behavior: Behavior[object], expected: object) -> None:
    assert behavior.message_type() == expected


def test_a_local_class_is_found_where_the_function_closes_over_it() -> None:
    @dataclass(frozen=True)
    class Local:
        text: str

    async def handle(ctx: ActorContext[Local], message: Local) -> Behavior[Local]:
        assert isinstance(message, Local)
        return Behaviors.same()

    assert Behaviors.receive(handle).message_type() is Local


@pytest.mark.parametrize("written_out", [True, False])
def test_closures_of_one_code_may_take_different_types(written_out: bool) -> None:
    def handler_for(kind: type[Add] | type[Get]) -> Behavior[object]:
        async def handle(ctx: ActorContext[object], message: kind) -> Behavior[object]:  # type: ignore[valid-type]  # made at run time
            return Behaviors.ignore() if kind is Add else Behaviors.same()

        if not written_out:
            handle.__annotations__["message"] = kind
        return Behaviors.receive(handle)

    assert [handler_for(kind).message_type() for kind in (Add, Get, Add)] == [Add, Get, Add]


def test_equal_code_of_two_modules_is_not_confused() -> None:
    source = "async def handle(ctx, message: 'Message'): ..."
    spaces: list[dict[str, object]] = [{"Message": Add}, {"Message": Get}]
    for space in spaces:
        exec(source, space)
    handlers = [space["handle"] for space in spaces]
    assert handlers[0].__code__ == handlers[1].__code__  # type: ignore[attr-defined]  # functions
    assert [Behaviors.receive(handler).message_type() for handler in handlers] == [Add, Get]  # type: ignore[arg-type]  # too


def test_an_annotation_that_raises_is_no_type() -> None:
    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.same()

    handle.__annotations__["message"] = "1 / 0"
    assert Behaviors.receive(handle).message_type() is None


def test_a_union_in_the_old_notation_is_read_too() -> None:
    async def handle(ctx: object, message: object) -> Behavior[object]:
        return Behaviors.same()

    handle.__annotations__["message"] = Union[Add, Terminated]  # noqa: UP007  # the old notation is what is tested
    assert Behaviors.receive(handle).message_type() is Add


async def test_a_system_tells_its_hook_the_types_of_what_it_spawns() -> None:
    told: list[object] = []
    async with ActorSystem() as system:
        kernel_of(system).hooks.on_spawn = told.append
        system.spawn(Behaviors.setup(make), "typed")
        system.spawn(Behaviors.ignore(), "untyped")
    assert told == [Add | Get, object]


def test_the_annotations_of_closures_are_read_once_unless_a_variable_of_theirs_is_a_name_in_one(monkeypatch):
    read: list[object] = []
    hints = typing.get_type_hints

    def noted(*arguments: Any, **options: Any) -> dict[str, Any]:
        read.append(arguments[0])
        return hints(*arguments, **options)

    def closure(d: int) -> object:
        def decide(state: int, command: Add) -> int:
            return d

        return decide

    def closure_over_a_type(taken: type) -> object:
        def decide(state: int, command: taken) -> int:  # type: ignore[valid-type]  # what a generic factory writes
            return int(taken is int)

        return decide

    monkeypatch.setattr(typing, "get_type_hints", noted)
    assert [annotated(closure(number), position=1) for number in range(5)] == [Add] * 5
    assert len(read) == 1
    assert [annotated(closure_over_a_type(one), position=1) for one in (int, str)] == [int, str]
