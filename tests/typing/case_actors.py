"""Behaviours, asks and contexts carry their message types from the handler to every ref."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never, assert_type

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    EventStreamSubscribe,
    EventStreamUnsubscribe,
    MemberUp,
    Restart,
    Terminated,
    UnreachableMember,
)
from casty.runtime.messaging.inbox import Inbox


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Get:
    key: str
    reply_to: ActorRef[int]


Command = Add | Get | Terminated


async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
    match message:
        case Get(reply_to=reply_to):
            reply_to.tell(1)
        case Add():
            return Behaviors.stopped()
        case Terminated():
            ctx.schedule_once(Add(1), 1.0)
            ctx.schedule_once("add", 1.0)  # expect-error
    return Behaviors.same()


async def fetch(number: int) -> str:
    return str(number)


async def run(ctx: ActorContext[Add], inbox: Inbox[Add]) -> None:
    async for message in inbox:
        assert_type(message, Add)
    ctx.pipe_to_self(fetch, 1, mapper=lambda text: Add(len(text)), on_failure=lambda error: Add(0))
    ctx.pipe_to_self(fetch, 1)  # expect-error
    ctx.pipe_to_self(fetch, "1", mapper=lambda text: Add(len(text)))  # expect-error


def length(text: str) -> Add:
    return Add(len(text))


async def make(ctx: ActorContext[Add]) -> Behavior[Add]:
    assert_type(ctx.message_adapter(lambda number: Add(number), int), ActorRef[int])
    ctx.message_adapter(lambda number: Add(number), int).tell("1")  # expect-error
    ctx.message_adapter(len, str)  # expect-error
    ctx.message_adapter(length).tell("text")
    ctx.message_adapter(length).tell(4)  # expect-error
    return Behaviors.task(run)


def get_one(reply_to: ActorRef[int]) -> Get:
    return Get("one", reply_to)


def adds_only(ref: ActorRef[Add], replies: ActorRef[int]) -> None:
    ref.tell(Add(1))
    ref.tell(Get("one", replies))  # expect-error


async def spawns(system: ActorSystem) -> None:
    ref = system.spawn(Behaviors.receive(handle), "a")
    assert_type(ref, ActorRef[Command])
    ref.tell("add")  # expect-error
    ref.tell(Add(1))
    adds_only(ref, system.spawn(Behaviors.ignore(), "b"))
    system.spawn(Behaviors.setup(make), "c").tell(Add(1))
    texts: ActorRef[str] = system.spawn(Behaviors.receive(handle), "d")  # expect-error
    system.spawn(handle, "e")  # expect-error
    system.spawn(Behaviors.supervise(Behaviors.receive(handle), Restart()), "f").tell(texts)  # expect-error
    system.spawn(Behaviors.receive(handle), "g", mailbox=100)  # expect-error
    Behaviors.receive(run)  # expect-error
    Behaviors.task(handle)  # expect-error


async def asks(system: ActorSystem, ref: ActorRef[Command]) -> int:
    one: int = await system.ask(ref, lambda reply_to: Get("one", reply_to), timeout=1.0)
    text: str = await system.ask(ref, lambda reply_to: Get("one", reply_to))  # expect-error
    await system.ask(ref, lambda reply_to: "one")  # expect-error
    await system.ask(ref, Get("one", ref))  # expect-error
    assert_type(await system.ask(ref, get_one), int)
    assert_type(await system.ask_or_none(ref, get_one), int | None)
    return one + len(text)


async def asks_inside(ctx: ActorContext[Add], ref: ActorRef[Command], adds: ActorRef[Add]) -> int:
    assert_type(await ctx.ask(ref, get_one), int)
    text: str = await ctx.ask(ref, get_one)  # expect-error
    await ctx.ask(adds, get_one)  # expect-error
    return len(text)


async def looks_up(system: ActorSystem) -> None:
    found = system.lookup("/a")
    if found is not None:
        found.tell(Add(1))  # expect-error
        found.of(Add).tell(Add(1))


async def subscribes(
    system: ActorSystem, down: ActorRef[UnreachableMember], members: ActorRef[MemberUp | UnreachableMember]
) -> None:
    stream = system.event_stream
    stream.tell(EventStreamSubscribe(UnreachableMember, down))
    stream.tell(EventStreamSubscribe(MemberUp, members))
    stream.tell(EventStreamUnsubscribe(MemberUp, members))
    for event_type in (MemberUp, UnreachableMember):
        stream.tell(EventStreamSubscribe(event_type, members))
    EventStreamSubscribe(MemberUp, down)  # expect-error
    EventStreamUnsubscribe(MemberUp, down)  # expect-error
    async with system.events(MemberUp) as events:
        async for event in events:
            assert_type(event, MemberUp)
    async with system.events(MemberUp, UnreachableMember, capacity=8) as several:
        async for one in several:
            assert_type(one, MemberUp | UnreachableMember)
    async with system.events(MemberUp, UnreachableMember, Terminated, Add) as many:
        assert_type(await anext(many), MemberUp | UnreachableMember | Terminated | Add)
    system.events("MemberUp")  # expect-error
    system.events(MemberUp, 1)  # expect-error
    system.events()  # expect-error


async def exhaustive(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
    match message:
        case Get() | Add() | Terminated():
            return Behaviors.same()
        case _ as never:
            assert_never(never)


async def forgetful(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
    match message:
        case Get() | Add():
            return Behaviors.same()
        case _ as never:
            assert_never(never)  # expect-error
