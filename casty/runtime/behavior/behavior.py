"""Behaviour of an actor, as a value: the forms made by `casty.behaviors.Behaviors`.

The forms are kept without their message type and without that of the context, because a cell runs behaviours of any;
the message type is in `Behavior` for the checkers, and in the annotations of the user's functions for the wire.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Final, Generic, Never, Protocol, TypeAlias, TypeVar, cast, get_args

from casty.protocol.actor.supervision import SupervisionStrategy
from casty.refs import ServiceKey
from casty.runtime.annotations import annotated, without_terminated
from casty.runtime.messaging.inbox import Inbox

C = TypeVar("C")
M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class Behavior(Generic[M_contra]):
    """Reaction of an actor to messages of type ``M``; made by `casty.behaviors.Behaviors` only.

    A behaviour for a wider type stands in for one of a narrower type, so ``same()``, a ``Behavior[object]``, fits
    everywhere.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        values: list[object] = [getattr(self, field.name) for field in fields(self)] if is_dataclass(self) else []
        return f"{type(self).__name__}({', '.join(_shown(value) for value in values if value is not None)})"

    def message_type(self) -> object | None:
        """Read the message type from the annotations of the user's function.

        ``Terminated`` is left out of a union: it is never sent.

        Returns:
            The type; None where the annotations do not tell it.
        """
        return None

    if not TYPE_CHECKING:
        # Checkers see a mistake by themselves. At run time, `await handler(...)` meets a behaviour where the handler is
        # not async, and Python's own words would not say so.
        def __await__(self):
            raise TypeError(
                f"{self!r} is no answer to wait for: the handler or factory that returned it must be async, "
                "such as `async def handler(ctx, message)`, and no lambda"
            )


def _shown(value: object) -> str:
    """Return the name of a function or class, and the printed form of anything else."""
    return str(getattr(value, "__qualname__", None) or repr(value))


class Composed(Behavior[M]):
    """Behaviour made of others when an actor takes it on."""

    __slots__ = ()

    @abstractmethod
    def compose(self) -> Behavior[Never]:
        """Make the behaviour for the actor to take on. For the library.

        Returns:
            Behaviour of the actor.
        """

    def check(self, *, has_journal: bool) -> None:
        """Raise ConfigError where the system cannot run such an actor, before it is spawned. For the library.

        Parameters:
            has_journal: Whether the system has a journal.
        """


class ReceiveTarget(Protocol[M_contra]):
    """Next receiver behind an interceptor: ``await target(message)`` passes a message on.

    Returns the behaviour's answer, for the interceptor to return. A task-style behaviour answers
    ``same`` and handles the message afterwards.
    """

    def __call__(self, message: M_contra, /) -> Awaitable[Behavior[M_contra]]:
        """Pass a message on to the next interceptor, or to the behaviour.

        Parameters:
            message: The message as it came, or another one in its place.

        Returns:
            The behaviour's answer, to be awaited.
        """
        ...


Handler: TypeAlias = Callable[[object, object], Awaitable[Behavior[Never]]]
Factory: TypeAlias = Callable[[object], Awaitable[Behavior[Never]]]
Main: TypeAlias = Callable[[object, Inbox[object]], Awaitable[object]]
Hook: TypeAlias = Callable[[object], Awaitable[None]]
Interceptor: TypeAlias = Callable[[object, object, ReceiveTarget[object]], Awaitable[Behavior[object]]]
RestartHook: TypeAlias = Callable[[object, Exception], Awaitable[None]]


class Signal(Behavior[object]):
    """Answer of a handler without a new behaviour."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"Behaviors.{self._name}()"


SAME: Final = Signal("same")
STOPPED: Final = Signal("stopped")
RESTART: Final = Signal("restart")
UNHANDLED: Final = Signal("unhandled")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Receive(Behavior[object]):
    """Answer each message with a call of ``handler``."""

    handler: Handler

    def message_type(self) -> object | None:
        return annotated(self.handler, position=1)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Setup(Behavior[object]):
    """Make the behaviour in the actor itself, where there is a context."""

    factory: Factory
    written: Callable[..., object] | None = None
    """The user's function, where the factory is casty's own around it: it has the annotations."""

    def message_type(self) -> object | None:
        factory = self.written or self.factory
        made = _argument(annotated(factory, position=-1))
        return made if made is not None else _argument(annotated(factory, position=0))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Task(Behavior[object]):
    """Run ``main``; it takes its messages from an inbox."""

    main: Main

    def message_type(self) -> object | None:
        return _argument(annotated(self.main, position=1))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lifecycle(Behavior[object]):
    """Run hooks at the beginnings and ends of the actor's lives."""

    inner: Behavior[Never]
    pre_start: Hook | None = None
    post_stop: Hook | None = None
    pre_restart: RestartHook | None = None
    post_restart: Hook | None = None

    def message_type(self) -> object | None:
        return self.inner.message_type()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Supervised(Behavior[object]):
    """Ask ``strategy`` for the decision on a failure, before those further out."""

    inner: Behavior[Never]
    strategy: SupervisionStrategy

    def message_type(self) -> object | None:
        return self.inner.message_type()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Intercepted(Behavior[object]):
    """Call ``interceptor`` with each message, inside of those further out."""

    inner: Behavior[Never]
    interceptor: Interceptor

    def message_type(self) -> object | None:
        return self.inner.message_type()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Discoverable(Behavior[object]):
    """Be listed under ``key`` where the system has a receptionist."""

    inner: Behavior[Never]
    key: ServiceKey[Never]

    def message_type(self) -> object | None:
        found = self.inner.message_type()
        return self.key.message_type if found is None else found


def check_composed(behavior: Behavior[Never], *, has_journal: bool) -> None:
    """Raise ConfigError where a behaviour, wrapped or not, has no place in a system."""
    while isinstance(behavior, (Supervised, Lifecycle, Intercepted, Discoverable)):
        behavior = behavior.inner
    if isinstance(behavior, Composed):
        cast("Composed[object]", behavior).check(has_journal=has_journal)


def receive(handler: Callable[[C, M], Awaitable[Behavior[Never]]]) -> Behavior[M]:
    """Return the behaviour with ``handler(ctx, message)`` as the answer to each message."""
    return Receive(cast("Handler", handler))


def setup(factory: Callable[[C], Awaitable[Behavior[M]]], written: Callable[..., object] | None = None) -> Behavior[M]:
    """Return the behaviour made by ``factory(ctx)``; ``written`` is the user's function behind it."""
    return Setup(cast("Factory", factory), written)


def task(main: Callable[[C, Inbox[M]], Awaitable[None]]) -> Behavior[M]:
    """Return the behaviour of running ``main(ctx, inbox)``, typed by its inbox."""
    return Task(cast("Main", main))


def _argument(form: object | None) -> object | None:
    """Return ``M`` of ``Behavior[M]``, ``ActorContext[M]`` or ``Inbox[M]``."""
    arguments = get_args(form)
    return without_terminated(arguments[0]) if len(arguments) == 1 else None
