"""The check of local messages against the type of their actor: with -X dev, or where a system asks for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal, Never, NewType, Protocol, TypeVar

import pytest
import trio
from helpers.behaviors import tell_all
from helpers.messages import Add, Get

from casty.behaviors import Behaviors
from casty.config import SystemConfig
from casty.errors import AskFailed
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.messaging.checked_ref import classes_of
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem

T = TypeVar("T")
Amount = NewType("Amount", int)
CHECKED = SystemConfig(check_messages=True)


@dataclass(frozen=True)
class Double(Add):
    pass


class Sized(Protocol):
    size: int


async def count(ctx: ActorContext[Add | Get], message: Add | Get) -> Behavior[Add | Get]:
    match message:
        case Get(reply_to):
            reply_to.tell(1)
        case Add():
            pass
    return Behaviors.same()


async def read(ctx: ActorContext[Add | Get], inbox: Inbox[Add | Get]) -> None:
    async for message in inbox:
        if isinstance(message, Get):
            message.reply_to.tell(1)


UNTYPED: Any = "a wrong message"


@pytest.mark.parametrize("behavior", [Behaviors.receive(count), Behaviors.task(read)], ids=["receive", "task"])
async def test_a_message_of_another_type_is_an_error_at_its_sender(behavior: Behavior[Add | Get]) -> None:
    async with ActorSystem(config=CHECKED) as system:
        ref = system.spawn(behavior, "counter")
        told = r"^/counter takes Add \| Get, got str: 'a wrong message'; if it is right, widen"
        with pytest.raises(TypeError, match=told):
            ref.tell(UNTYPED)
        with pytest.raises(TypeError, match=told):
            await ref.send(UNTYPED)
        with pytest.raises(TypeError, match="got str"):
            await system.ask(ref, lambda _: UNTYPED)
        with pytest.raises(TypeError, match="got str"):
            system.lookup("/counter").of(str).tell("a wrong message")
        tell_all(ref, Add(1), Double(1))
        await ref.send(Add(1))
        assert await system.ask(ref, Get) == 1
        ref.of(PoisonPill).tell(PoisonPill())
        await system.wait_stopped(ref)
        ref.tell(UNTYPED)  # a dead letter, as whatever comes after the end
        assert sum(system.statistics().dead_letters.values()) == 1


async def test_what_a_task_gives_its_own_actor_is_looked_at_too() -> None:
    async def wrong() -> Any:
        return "a wrong message"

    async def make(ctx: ActorContext[Add]) -> Behavior[Add]:
        ctx.pipe_to_self(wrong)
        return Behaviors.ignore()

    async with ActorSystem(config=CHECKED) as system:
        ref = system.spawn(Behaviors.setup(make), "piped")
        with trio.fail_after(5):
            await system.wait_stopped(ref)


async def test_nothing_is_looked_at_where_the_system_says_so() -> None:
    async with ActorSystem(config=SystemConfig(check_messages=False)) as system:
        system.spawn(Behaviors.receive(count), "counter").tell(UNTYPED)
        assert system.statistics().dead_letters == {}


@pytest.mark.parametrize(("options", "outcome"), [(["-X", "dev"], "refused"), ([], "taken")])
def test_the_development_mode_of_python_turns_it_on(options: list[str], outcome: str) -> None:
    program = (
        "import trio\n"
        "from casty import ActorSystem, Behaviors\n"
        "async def take(ctx, message: int): return Behaviors.same()\n"
        "async def main():\n"
        "    async with ActorSystem() as system:\n"
        "        try: system.spawn(Behaviors.receive(take), 'a').tell('text')\n"
        "        except TypeError: print('refused')\n"
        "        else: print('taken')\n"
        "trio.run(main)\n"
    )
    run = subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == outcome


@pytest.mark.parametrize(
    ("type_form", "expected"),
    [
        (int, (int,)),
        (float, (float, int)),
        (Amount, (int,)),
        (list[int] | None, (list, type(None))),
        (Literal["a", 1], (str, int)),
        (ActorRef[int], (ActorRef,)),
    ],
)
def test_a_type_is_seen_by_its_classes(type_form: Any, expected: tuple[type, ...]) -> None:
    assert classes_of(type_form) == (PoisonPill, *expected)


@pytest.mark.parametrize("type_form", [None, Any, object, Never, T, Sized, int | Any, "NotThere"])
def test_what_says_nothing_takes_everything(type_form: Any) -> None:
    assert classes_of(type_form) == (object,)


async def test_a_repr_that_fails_does_not_hide_the_error() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise KeyError

    async with ActorSystem(config=CHECKED) as system:
        ref: ActorRef[Any] = system.spawn(Behaviors.receive(count), "counter")
        with pytest.raises(TypeError, match="got Odd: <its repr raises KeyError>"):
            ref.tell(Odd())


async def test_a_failing_ask_leaves_no_slot() -> None:
    async with ActorSystem(config=CHECKED) as system:
        ref = system.spawn(Behaviors.receive(count), "counter")
        with pytest.raises((TypeError, AskFailed)):
            await system.ask(ref, lambda _: UNTYPED)
        assert system.statistics().asks_pending == 0
