"""What the runtime tells about actors: events for the event stream, and the signal of death watch."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, Final, Generic, Literal, Never, TypeAlias, TypeVar

from casty.refs import ActorRef, check_ref

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class ActorStarted:
    """An actor has finished its setup and takes messages."""

    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class ActorStopped:
    """An actor that had started has ended: its children too, its clean-up done, its name free."""

    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """An exception left an actor's code; what follows (a stop, a restart) is an event of its own."""

    ref: ActorRef[Never]
    exception: BaseException


@dataclass(frozen=True, slots=True)
class ActorRestarted:
    """An actor failed with ``exception`` and was started again under the same ref."""

    ref: ActorRef[Never]
    exception: BaseException


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody will handle; ``reason`` says why, in words.

    It begins with the reason that `casty.SystemStatistics` counts it under; particulars follow after ``": "``.
    """

    message: object
    """What was told. For ``not delivered: ...`` a `Notice` of the node that could not deliver it, with ``code``,
    ``path``, ``uid`` and ``name``: the message itself was not kept. For ``error reply without an ask`` an
    `ErrorReply`, with the text of the error as ``reason``."""
    intended_ref: ActorRef[Never]
    """Whom it was for."""
    reason: str


@dataclass(frozen=True, slots=True)
class UnhandledMessage:
    """A message that its actor took and answered with ``Behaviors.unhandled()``."""

    message: object
    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class Terminated:
    """A watched actor has ended; ``cause`` is the exception it failed with, None for a normal stop.

    Arrives once, in the watcher's handler, like a message and after those that were told before the end: an
    actor that watches has a message type such as ``Command | Terminated``. It needs no room in the mailbox.
    ``ref`` is the one that was watched. The cause of an actor that had ended before it was watched is not
    known any more: None. A handler that answers it with ``Behaviors.unhandled()`` fails with DeathPactError.
    """

    ref: ActorRef[Never]
    cause: BaseException | None = None


def check_event_type(event_type: object, who: str) -> None:
    """Raise TypeError for what is no class, nor a union of classes."""
    if not isinstance(event_type, (type, UnionType)):
        raise TypeError(f"{who} needs a class of events, such as DeadLetter, got {event_type!r}")


@dataclass(frozen=True, slots=True)
class EventStreamSubscribe(Generic[E]):
    """Have ``handler`` told every event that is an instance of ``event_type``.

    The subscription ends with the actor behind ``handler``. Subscribing twice is once.
    """

    event_type: type[E]
    handler: ActorRef[E]

    def __post_init__(self) -> None:
        check_ref(self.handler, "EventStreamSubscribe")
        check_event_type(self.event_type, "EventStreamSubscribe")


@dataclass(frozen=True, slots=True)
class EventStreamUnsubscribe(Generic[E]):
    """End what `EventStreamSubscribe` began; nothing happens when there was no such subscription."""

    event_type: type[E]
    handler: ActorRef[E]


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand ``event`` to everybody who subscribed to its type or a base class of it."""

    event: object


EventStreamCmd: TypeAlias = EventStreamSubscribe[Any] | EventStreamUnsubscribe[Any] | Publish

DeadLetterReason: TypeAlias = Literal[
    "mailbox full",
    "actor stopped",
    "no such actor",
    "ask finished",
    "request expired",
    "request withdrawn",
    "no routee",
    "error reply without an ask",
    "outbound queue full",
    "cluster stopped",
    "not sent",
    "cannot be encoded",
    "not of the actor's type",
    "not delivered: no_actor",
    "not delivered: unknown_type",
    "not delivered: ill_typed",
]
"""What dead letters are counted under: a fixed set, because peers must not make counters."""

MAILBOX_FULL: Final = "mailbox full"
ACTOR_STOPPED: Final = "actor stopped"
NO_SUCH_ACTOR: Final = "no such actor"
ASK_FINISHED: Final = "ask finished"
REQUEST_EXPIRED: Final = "request expired"
REQUEST_WITHDRAWN: Final = "request withdrawn"
NO_ROUTEE: Final = "no routee"
NOT_AN_ASK: Final = "error reply without an ask"
OUTBOUND_FULL: Final = "outbound queue full"
NODE_STOPPED: Final = "cluster stopped"
NOT_SENT: Final = "not sent"
NOT_ENCODABLE: Final = "cannot be encoded"
ILL_TYPED: Final = "not of the actor's type"
