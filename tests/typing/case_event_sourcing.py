"""An effect knows its events, and what an asker may be told; the functions of an entity have to fit one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    Effect,
    Every,
    event,
    nothing,
    persist,
    refuse,
    store,
    upcast,
)


@event("typing.Added")
@dataclass(frozen=True)
class Added:
    count: int


@event("typing.Closed", version=2, tolerant=True)
@dataclass(frozen=True)
class Closed: ...


@dataclass(frozen=True)
class Foreign: ...


@dataclass(frozen=True)
class Add:
    count: int
    reply_to: ActorRef[int]


@dataclass(frozen=True)
class Close:
    reply_to: ActorRef[str]


@upcast("typing.Closed", 1)
def closed(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def apply(total: int, event: Added | Closed) -> int:
    return total + event.count if isinstance(event, Added) else total


def decide(total: int, command: Add | Close) -> Effect[Added | Closed]:
    if isinstance(command, Add):
        return persist(Added(command.count)).reply(command.reply_to, total + command.count)
    if total == 0:
        return refuse(command.reply_to, "nothing to close")
    if total == 1:
        return nothing().reply(command.reply_to, "done").stop()
    return persist(Added(0), Closed()).tell(command.reply_to, "closed")


def decide_foreign(total: int, command: Add | Close) -> Effect[Added | Closed | Foreign]:
    return nothing()


def wrong_event(total: int, command: Add) -> Effect[Added | Closed]:
    return persist(Foreign())  # expect-error


def wrong_reply(total: int, command: Add) -> Effect[Added]:
    return persist(Added(1)).reply(command.reply_to, "text")  # expect-error


def wrong_tell(total: int, command: Close) -> Effect[Added]:
    return nothing().tell(command.reply_to, 5)  # expect-error


def no_reason(total: int, command: Close) -> Effect[Added]:
    return refuse(command.reply_to)  # expect-error


async def decide_later(ctx: ActorContext[Add | Close], total: int, command: Add | Close) -> Effect[Added | Closed]:
    return nothing()


async def later(total: int, command: Add | Close) -> Effect[Added | Closed]:
    return nothing()


def at_once(ctx: ActorContext[Add | Close], total: int, command: Add | Close) -> Effect[Added | Closed]:
    return nothing()


def keep(total: int, command: Add | Close) -> Effect[int]:
    return store(total + 1)


def keep_text(total: int, command: Add | Close) -> Effect[str]:
    return store("text")


def to_text(total: int, event: Added | Closed) -> str:
    return ""


sourced = Behaviors.event_sourced("a", empty=0, decide=decide, apply=apply, snapshots=Every(100, keep=2))
assert_type(sourced, Behavior[Add | Close])
derived: Behavior[Add | Close] = Behaviors.event_sourced(empty=0, decide=decide, apply=apply, snapshots=None)
actor: Behavior[Add | Close] = Behaviors.event_sourced_actor("b", empty=0, decide=decide_later, apply=apply)
value: Behavior[Add | Close] = Behaviors.durable_state("c", empty=0, decide=keep)
assert_type(persist(Added(1)), Effect[Added])

Behaviors.event_sourced("a", empty=0, decide=decide_foreign, apply=apply)  # expect-error
Behaviors.event_sourced("a", empty=0, decide=later, apply=apply)  # expect-error
Behaviors.event_sourced("a", empty="", decide=decide, apply=apply)  # expect-error
Behaviors.event_sourced("a", empty=0, decide=decide, apply=to_text)  # expect-error
Behaviors.event_sourced_actor("a", empty=0, decide=at_once, apply=apply)  # expect-error
Behaviors.event_sourced(5, empty=0, decide=decide, apply=apply)  # expect-error
Behaviors.durable_state("c", empty=0, decide=keep_text)  # expect-error
event("typing.Text", version="1")  # expect-error
