"""What the runtime tells about actors: events for the event stream, and the signal of death watch."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, Final, Generic, Literal, Never, TypeAlias, TypeVar

from casty.refs import ActorRef, check_ref
from casty.schema.names import message

E = TypeVar("E")


@message("casty.ActorStarted")
@dataclass(frozen=True, slots=True)
class ActorStarted:
    """An actor has finished its setup and takes messages."""

    ref: ActorRef[Never]
    """The actor."""


@message("casty.ActorStopped")
@dataclass(frozen=True, slots=True)
class ActorStopped:
    """An actor that had started has ended: its children too, its clean-up done, its name free."""

    ref: ActorRef[Never]
    """The actor."""


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """An exception left an actor's code; what follows (a stop, a restart) is an event of its own."""

    ref: ActorRef[Never]
    """The actor."""
    exception: BaseException
    """What left its code."""


@dataclass(frozen=True, slots=True)
class ActorRestarted:
    """An actor failed with ``exception`` and was started again under the same ref."""

    ref: ActorRef[Never]
    """The actor, under the ref that it had before."""
    exception: BaseException
    """The failure, or `RestartRequested`."""


@message("casty.MessageSummary")
@dataclass(frozen=True, slots=True)
class MessageSummary:
    """What a `DeadLetter` tells of a message that it does not hold."""

    name: str
    """The class of the message, such as ``Add``; its name on the wire where it was not decoded."""
    size_bytes: int
    """Of the message as it travels between nodes; 0 where that is not known any more."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody will handle."""

    message: object
    """What was told. For ``not delivered: ...`` a `Notice` of the node that could not deliver it, with ``code``,
    ``path``, ``uid`` and ``name``: the message itself was not kept. For ``error reply without an ask`` an
    `ErrorReply`, with the text of the error as ``reason``. A `MessageSummary` for what came from who is no member and
    found no room, nor an actor that takes it, or whose asker waits no longer, and for what was too large for such a
    node: they may have messages kept nowhere. Also for what such a node says it could not deliver: of its ``name``, and
    of the path of ``intended_ref``, 128 characters are shown at most. Also for what could not be sent, where that is
    more than 32 MiB at one time."""
    intended_ref: ActorRef[Never]
    """Whom it was for."""
    reason: str
    """Why, in words: one of the reasons that `casty.SystemStatistics` counts under, particulars after ``": "``."""


@dataclass(frozen=True, slots=True)
class UnhandledMessage:
    """A message that its actor took and answered with ``Behaviors.unhandled()``."""

    message: object
    """What was told."""
    ref: ActorRef[Never]
    """The actor."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """A watched actor has ended.

    Arrives once, in the watcher's handler, like a message and after those that were told before the end: an
    actor that watches has a message type such as ``Command | Terminated``. It needs no room in the mailbox.
    A handler that answers it with ``Behaviors.unhandled()`` fails with DeathPactError.
    """

    ref: ActorRef[Never]
    """The ref that was watched."""
    cause: BaseException | None = None
    """Exception that the actor failed with, a `RemoteFailure` from another node; None for a normal stop, and for an
    actor that had ended before it was watched."""


def check_event_type(event_type: object, who: str) -> None:
    """Raise TypeError for what is no class, nor a union of classes."""
    if not isinstance(event_type, (type, UnionType)):
        raise TypeError(f"{who} needs a class of events, such as DeadLetter, got {event_type!r}")


@dataclass(frozen=True, slots=True)
class EventStreamSubscribe(Generic[E]):
    """Have an actor told every event of a type.

    The subscription ends with the actor behind ``handler``. Subscribing twice is once.

    Raises:
        TypeError: ``event_type`` is no class, or ``handler`` no ref.
    """

    event_type: type[E]
    """Class of events, or a union of classes; subclasses are events of it too."""
    handler: ActorRef[E]
    """Actor to tell."""

    def __post_init__(self) -> None:
        check_ref(self.handler, "EventStreamSubscribe")
        check_event_type(self.event_type, "EventStreamSubscribe")


@dataclass(frozen=True, slots=True)
class EventStreamUnsubscribe(Generic[E]):
    """End what `EventStreamSubscribe` began; nothing happens when there was no such subscription."""

    event_type: type[E]
    """The type that was subscribed to."""
    handler: ActorRef[E]
    """The actor that was to be told."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand an event to everybody who subscribed to its type or a base class of it."""

    event: object
    """Any object; its class is what subscribers name."""


EventStreamCmd: TypeAlias = EventStreamSubscribe[Any] | EventStreamUnsubscribe[Any] | Publish

DeadLetterReason: TypeAlias = Literal[
    "mailbox full",
    "too much of strangers",
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
    "not delivered: refused",
]
"""What dead letters are counted under: a fixed set, because peers must not make counters."""

MAILBOX_FULL: Final = "mailbox full"
STRANGERS_FULL: Final = "too much of strangers"
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
