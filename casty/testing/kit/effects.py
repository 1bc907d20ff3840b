"""Actions of a behaviour in a `BehaviorTestKit`, as values to compare with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Never, TypeAlias

from casty import ActorRef, Behavior, Mailbox
from casty.schema.names import message


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child was spawned. It does not run: test its behaviour in a kit of its own."""

    name: str
    """Name of the child."""
    behavior: Behavior[Never]
    """Behaviour of the child, not run."""
    ref: ActorRef[Never]
    """The child's ref."""
    mailbox: Mailbox | None = None
    """Bound of its mailbox, if one was given."""


@message("casty.testing.Stopped")
@dataclass(frozen=True, slots=True)
class Stopped:
    """An actor was asked to stop."""

    ref: ActorRef[Never]
    """The actor."""


@message("casty.testing.Watched")
@dataclass(frozen=True, slots=True)
class Watched:
    """An actor is watched from now on: ``kit.run(Terminated(ref))`` says that it has ended."""

    ref: ActorRef[Never]
    """The actor."""


@message("casty.testing.Unwatched")
@dataclass(frozen=True, slots=True)
class Unwatched:
    """An actor is not watched any more."""

    ref: ActorRef[Never]
    """The actor."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A message to the actor itself, later; once, or again and again."""

    message: object
    """Message for the actor."""
    delay: float
    """Seconds until the first time."""
    interval: float | None = None
    """Seconds between the times; None for once."""
    key: Hashable = None
    """Key chosen by the behaviour, None without one."""
    fixed_delay: bool = False
    """Whether each interval begins when the message before was taken."""


@dataclass(frozen=True, slots=True)
class ReceiveTimeoutSet:
    """The message comes when the actor has waited for ``seconds``; None for both when it was cancelled."""

    seconds: float | None
    """Seconds of quiet; None when the time-out was cancelled."""
    message: object = None
    """Message for the actor."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The timer with this key was cancelled, if there was one."""

    key: Hashable
    """Key of the timer."""


@dataclass(frozen=True, slots=True)
class Told:
    """A message was told, or sent, to a ref made by the kit: an inbox, a child, the actor itself."""

    ref: ActorRef[Never]
    """Receiver of the message."""
    message: object
    """The message."""


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """``start_soon`` was called. The function does not run: test it by itself."""

    async_fn: Callable[..., Awaitable[object]]
    """The function."""
    args: tuple[object, ...]
    """Its arguments."""


@dataclass(frozen=True, slots=True)
class Piped:
    """``pipe_to_self`` was called. The function does not run; ``mapper`` and ``on_failure`` make its message."""

    async_fn: Callable[..., Awaitable[object]]
    """The function."""
    args: tuple[object, ...]
    """Its arguments."""
    mapper: Callable[..., object] | None = None
    """Function from the result to a message."""
    on_failure: Callable[[Exception], object] | None = None
    """Function from an exception to a message."""


@message("casty.testing.AdapterMade")
@dataclass(frozen=True, slots=True)
class AdapterMade:
    """A message adapter was made: messages told to ``ref`` are adapted, then told to the actor itself."""

    ref: ActorRef[Never]
    """The adapter."""


@dataclass(frozen=True, slots=True)
class RepliedError:
    """``reply_error`` was called: the asker with this ref gets AskFailed."""

    reply_to: ActorRef[Never]
    """Ref of the ask."""
    error: Exception | str
    """Error for the asker."""


Effect: TypeAlias = (
    Spawned
    | Stopped
    | Watched
    | Unwatched
    | Scheduled
    | Cancelled
    | ReceiveTimeoutSet
    | Told
    | TaskStarted
    | Piped
    | AdapterMade
    | RepliedError
)
