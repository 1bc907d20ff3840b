"""What a behaviour did in a `BehaviorTestKit`, as values to compare with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Never, TypeAlias

from casty import ActorRef, Behavior, Mailbox


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child was spawned. It does not run: test its behaviour in a kit of its own."""

    name: str
    behavior: Behavior[Never]
    ref: ActorRef[Never]
    mailbox: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """An actor was asked to stop."""

    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class Watched:
    """An actor is watched from now on: ``kit.run(Terminated(ref))`` says that it has ended."""

    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class Unwatched:
    """An actor is not watched any more."""

    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A message to the actor itself, later; again every ``interval`` seconds unless that is None.

    ``key`` is the one that the behaviour chose, None where it chose none. ``fixed_delay`` says that each
    interval begins when the message before was taken.
    """

    message: object
    delay: float
    interval: float | None = None
    key: Hashable = None
    fixed_delay: bool = False


@dataclass(frozen=True, slots=True)
class ReceiveTimeoutSet:
    """The message comes when the actor has waited for ``seconds``; None for both when it was cancelled."""

    seconds: float | None
    message: object = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The timer with this key was cancelled, if there was one."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Told:
    """A message was told, or sent, to a ref that the kit made: an inbox, a child, the actor itself."""

    ref: ActorRef[Never]
    message: object


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """``start_soon`` was called. The function does not run: test it by itself."""

    async_fn: Callable[..., Awaitable[object]]
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Piped:
    """``pipe_to_self`` was called. The function does not run; ``mapper`` and ``on_failure`` make its message."""

    async_fn: Callable[..., Awaitable[object]]
    args: tuple[object, ...]
    mapper: Callable[..., object] | None = None
    on_failure: Callable[[Exception], object] | None = None


@dataclass(frozen=True, slots=True)
class AdapterMade:
    """A message adapter was made: what is told to ``ref`` is adapted, then told to the actor itself."""

    ref: ActorRef[Never]


@dataclass(frozen=True, slots=True)
class RepliedError:
    """``reply_error`` was called: the one who asked with this ref gets AskFailed."""

    reply_to: ActorRef[Never]
    error: Exception | str


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
