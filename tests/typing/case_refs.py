"""A reference takes the messages of its type, and stands in for a reference of fewer messages."""

from __future__ import annotations

from dataclasses import dataclass

from casty import ActorRef


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


Counter = Add | Get


def tells_what_it_takes(ref: ActorRef[Counter], replies: ActorRef[int]) -> None:
    ref.tell(Add(1))
    ref.tell(Get(replies))


def tells_something_else(ref: ActorRef[Counter]) -> None:
    ref.tell("add")  # expect-error
    ref.tell(Add("one"))  # expect-error


def tells_a_reply_of_another_type(ref: ActorRef[Counter], replies: ActorRef[str]) -> None:
    ref.tell(Get(replies))  # expect-error


async def sends_what_it_takes(ref: ActorRef[Counter]) -> None:
    await ref.send(Add(1))
    await ref.send(1)  # expect-error


def a_wider_ref_stands_in(ref: ActorRef[Counter]) -> ActorRef[Add]:
    return ref


def a_narrower_ref_does_not(ref: ActorRef[Add]) -> ActorRef[Counter]:
    return ref  # expect-error
