"""Behaviours for tests in which the actor is not what is tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never, TypeVar

import trio

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors
from helpers.messages import Busy, Get, Left

M = TypeVar("M")


def recording(seen: list[M]) -> Behavior[M]:
    """Return an actor that keeps its messages, of whatever type: any node may send it anything."""

    async def handle(ctx: ActorContext[M], message: M) -> Behavior[M]:
        seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(handle)


def hanging() -> Behavior[Any]:
    """Return an actor that never has done with its first message."""

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        await trio.sleep_forever()

    return Behaviors.receive(handle)


def waiting_for(gate: trio.Event) -> Behavior[Any]:
    """Return an actor that has each message in hand until the gate is open."""

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        await gate.wait()
        return Behaviors.same()

    return Behaviors.receive(handle)


def forwarding(target: ActorRef[M]) -> Behavior[M]:
    """Return an actor that forwards what it gets."""

    async def handle(ctx: ActorContext[M], message: M) -> Behavior[M]:
        ctx.forward(target, message)
        return Behaviors.same()

    return Behaviors.receive(handle)


def keeping_askers(slots: list[ActorRef[Any]]) -> Behavior[Any]:
    """Return an actor that keeps the askers of its requests, and answers none."""

    async def handle(ctx: ActorContext[object], message: Any) -> Behavior[object]:
        slots.append(message.reply_to)
        return Behaviors.same()

    return Behaviors.receive(handle)


def answering(started: list[str]) -> Behavior[Get | Left | Busy]:
    """Return an actor that answers or is busy, and notes what it has begun with."""

    async def handle(ctx: ActorContext[Get | Left | Busy], message: Get | Left | Busy) -> Behavior[Get | Left | Busy]:
        started.append(type(message).__name__)
        match message:
            case Get(reply_to):
                reply_to.tell(1)
            case Left(reply_to):
                reply_to.tell(ctx.deadline - trio.current_time())
            case Busy(seconds):
                await trio.sleep(seconds)
        return Behaviors.same()

    return Behaviors.receive(handle)


def tell_all(ref: ActorRef[M], *messages: M) -> None:
    """Tell an actor several messages, one after the other."""
    for message in messages:
        ref.tell(message)


async def stop_and_wait(system: ActorSystem, ref: ActorRef[Never]) -> None:
    """Stop an actor, and wait for its end."""
    system.stop(ref)
    await system.wait_stopped(ref)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, in a test that has the autojump_clock."""
    with trio.fail_after(300):
        while not condition():  # noqa: ASYNC110  # virtual time: polling is free
            await trio.sleep(0.01)
