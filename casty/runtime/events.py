"""News of actors from the runtime: events for the event stream, and the signal of death watch."""

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
    """A started actor has ended: its children too, its clean-up done, its name free."""

    ref: ActorRef[Never]
    """The actor."""


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """An exception left an actor's code; its consequence (a stop, a restart) is an event of its own."""

    ref: ActorRef[Never]
    """The actor."""
    exception: BaseException
    """Exception out of its code."""


@dataclass(frozen=True, slots=True)
class ActorRestarted:
    """An actor failed with ``exception`` and was started again under the same ref."""

    ref: ActorRef[Never]
    """The actor, under its ref from before."""
    exception: BaseException
    """The failure, or `RestartRequested`."""


@message("casty.MessageSummary")
@dataclass(frozen=True, slots=True)
class MessageSummary:
    """View of a message not held by its `DeadLetter`."""

    name: str
    """The class of the message, such as ``Add``; its name on the wire where it was not decoded."""
    size_bytes: int
    """Of the message on its travel between nodes; 0 where it is not known any more."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody will handle."""

    message: object
    """The message told. For ``not delivered: ...`` a `Notice` of the node unable to deliver it, with ``code``,
    ``path``, ``uid`` and ``name``: the message itself was not kept. For ``error reply without an ask`` an `ErrorReply`,
    with the text of the error as ``reason``. A `MessageSummary` for a message from a non-member without room, without
    an actor to take it, or without its asker waiting any longer, and for one too large for such a node: they may have
    messages kept nowhere. Also for a message such a node says it could not deliver: of its ``name``, and of the path of
    ``intended_ref``, 128 characters are shown at most. Also for unsendable messages, where they are more than 32 MiB at
    one time.
    """
    intended_ref: ActorRef[Never]
    """Intended receiver."""
    reason: str
    """Reason, in words: one of the reasons counted by `casty.SystemStatistics`, particulars after ``": "``."""


@dataclass(frozen=True, slots=True)
class UnhandledMessage:
    """A message taken by its actor and answered with ``Behaviors.unhandled()``."""

    message: object
    """The message told."""
    ref: ActorRef[Never]
    """The actor."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """A watched actor has ended.

    Arrives once, in the watcher's handler, like a message and after those told before the end: a watching actor has a
    message type such as ``Command | Terminated``. It needs no room in the mailbox. A handler with
    ``Behaviors.unhandled()`` for its answer fails with DeathPactError.
    """

    ref: ActorRef[Never]
    """The watched ref."""
    cause: BaseException | None = None
    """Exception of the actor's failure, a `RemoteFailure` from another node; None for a normal stop, and for an actor
    already ended when it was watched.
    """


def check_event_type(event_type: object, who: str) -> None:
    """Raise TypeError for a value neither a class nor a union of classes."""
    if not isinstance(event_type, (type, UnionType)):
        raise TypeError(f"{who} needs a class of events, such as DeadLetter, got {event_type!r}")


@dataclass(frozen=True, slots=True)
class EventStreamSubscribe(Generic[E]):
    """Subscribe an actor to every event of a type.

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
    """End an `EventStreamSubscribe`; nothing happens when there was no such subscription."""

    event_type: type[E]
    """Type of the subscription."""
    handler: ActorRef[E]
    """Actor of the subscription."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand an event to all subscribers to its type or a base class of it."""

    event: object
    """Any object; its class is named by subscribers."""


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
    "shard moved",
    "shard buffer full",
    "held too long",
    "no subscriber",
]
"""Reasons under which dead letters are counted: a fixed set, because peers must not make counters."""

SHARD_MOVED: Final = "shard moved"
SHARD_BUFFER_FULL: Final = "shard buffer full"
HELD_TOO_LONG: Final = "held too long"
NO_SUBSCRIBER: Final = "no subscriber"
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
