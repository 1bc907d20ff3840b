"""Messages for tests to which no more matters than the types of their fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casty import ActorRef, message


@message("tests.Item")
@dataclass(frozen=True)
class Item:
    number: int


@message("tests.Sent")
@dataclass(frozen=True)
class Sent:
    """Say who has sent it."""

    number: int
    sender: str = "b"


@message("tests.Blob")
@dataclass(frozen=True)
class Blob:
    number: int
    data: bytes


@message("tests.Keep")
@dataclass(frozen=True)
class Keep:
    """Hold data, and ask for a number."""

    data: bytes
    reply_to: ActorRef[int]


@message("tests.Add")
@dataclass(frozen=True)
class Add:
    amount: int


@message("tests.Busy")
@dataclass(frozen=True)
class Busy:
    """Be busy for a while."""

    seconds: float


@message("tests.Get")
@dataclass(frozen=True)
class Get:
    """Ask for a number."""

    reply_to: ActorRef[int]


@message("tests.GetText")
@dataclass(frozen=True)
class GetText:
    """Ask for a text."""

    reply_to: ActorRef[str]


@message("tests.GetNth")
@dataclass(frozen=True)
class GetNth:
    """Ask for what belongs to a number."""

    number: int
    reply_to: ActorRef[int]


@message("tests.Left")
@dataclass(frozen=True)
class Left:
    """Ask how much time is left."""

    reply_to: ActorRef[float]


@message("tests.Echo")
@dataclass(frozen=True)
class Echo:
    """Ask for a text that is made of this one."""

    text: str
    reply_to: ActorRef[str]


@message("tests.Who")
@dataclass(frozen=True)
class Who:
    """Ask an actor for its ref, which names the run of its node."""

    reply_to: ActorRef[ActorRef[Get]]


class Suit(Enum):
    hearts = 1
    spades = 2
