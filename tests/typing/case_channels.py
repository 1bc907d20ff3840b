"""A channel to an actor takes the messages of the actor, and an inbox hands out those of its own."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, ActorRef, Inbox, channel_of


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


Counter = Add | Get


async def sends_what_it_takes(ref: ActorRef[Counter], replies: ActorRef[int]) -> None:
    channel = channel_of(ref)
    channel.send_nowait(Add(1))
    await channel.send(Get(replies))
    channel.send_nowait("add")  # expect-error
    await channel.send(1)  # expect-error


def is_a_channel_of_trios(ref: ActorRef[Counter]) -> trio.abc.SendChannel[Counter]:
    return channel_of(ref)


def a_wider_one_stands_in(ref: ActorRef[Counter]) -> trio.abc.SendChannel[Add]:
    return channel_of(ref)


def a_narrower_one_does_not(ref: ActorRef[Add]) -> trio.abc.SendChannel[Counter]:
    channel = channel_of(ref)
    return channel  # expect-error


def needs_a_ref(path: str) -> None:
    channel_of(path)  # expect-error


async def main(ctx: ActorContext[Counter], inbox: Inbox[Counter]) -> None:
    message: Counter = await inbox.receive()
    another: Counter = inbox.receive_nowait()
    wrong: int = await inbox.receive()  # expect-error
    assert wrong and message and another


def an_inbox_is_a_channel_of_trios(inbox: Inbox[Add]) -> trio.abc.ReceiveChannel[Counter]:
    return inbox


def of_its_own_messages(inbox: Inbox[Counter]) -> trio.abc.ReceiveChannel[int]:
    return inbox  # expect-error
