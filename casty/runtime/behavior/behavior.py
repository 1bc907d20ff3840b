"""What an actor does, as a value: the forms that `casty.behaviors.Behaviors` makes.

The forms are kept without their message type, because a cell runs behaviours of any; the type is in
`Behavior` for the checkers, and in the annotations of the user's functions for the wire.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
import weakref
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Final, Generic, Never, TypeAlias, TypeVar

from casty.protocol.actor.supervision import SupervisionStrategy
from casty.refs import ServiceKey
from casty.runtime.events import Terminated

if TYPE_CHECKING:
    from casty.runtime.actor.context import ActorContext
    from casty.runtime.behavior.interception import ReceiveTarget
    from casty.runtime.messaging.inbox import Inbox

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class Behavior(Generic[M_contra]):
    """How an actor answers messages of type ``M``; made by `casty.behaviors.Behaviors` only.

    A behaviour for a wider type stands in for one of a narrower type, so ``same()``, which is a
    ``Behavior[object]``, fits everywhere.
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
        # Checkers see a mistake by themselves. At run time, `await handler(...)` meets a behaviour where the
        # handler is not async, and Python's own words for that would not say so.
        def __await__(self):
            raise TypeError(
                f"{self!r} is no answer to wait for: the handler or factory that returned it must be async, "
                "such as `async def handler(ctx, message)`, and no lambda"
            )


def _shown(value: object) -> str:
    """Return the name of a function or class, and what anything else prints as."""
    return str(getattr(value, "__qualname__", None) or repr(value))


class Composed(Behavior[M]):
    """A behaviour that is made of others when an actor takes it on."""

    __slots__ = ()

    @abstractmethod
    def compose(self) -> Behavior[Never]:
        """Make the behaviour that the actor takes on. For the library.

        Returns:
            What the actor does.
        """


Handler: TypeAlias = "Callable[[ActorContext[object], object], Awaitable[Behavior[Never]]]"
Factory: TypeAlias = "Callable[[ActorContext[object]], Awaitable[Behavior[Never]]]"
Main: TypeAlias = "Callable[[ActorContext[object], Inbox[object]], Awaitable[object]]"
Hook: TypeAlias = "Callable[[ActorContext[object]], Awaitable[None]]"
Interceptor: TypeAlias = "Callable[[ActorContext[object], object, ReceiveTarget[object]], Awaitable[Behavior[object]]]"
RestartHook: TypeAlias = "Callable[[ActorContext[object], Exception], Awaitable[None]]"


class Signal(Behavior[object]):
    """One of the answers of a handler that name no new behaviour."""

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
    """Run ``main``, which takes its messages from an inbox."""

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
    """Ask ``strategy`` what follows from a failure, before those further out."""

    inner: Behavior[Never]
    strategy: SupervisionStrategy

    def message_type(self) -> object | None:
        return self.inner.message_type()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Intercepted(Behavior[object]):
    """Have ``interceptor`` called with each message, inside of those further out."""

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


def task(main: Callable[[ActorContext[M], Inbox[M]], Awaitable[None]]) -> Behavior[M]:
    """Return the behaviour that runs ``main(ctx, inbox)``, typed by its parameters."""
    return Task(typing.cast("Main", main))


_evaluated: dict[int, tuple[weakref.ref[types.CodeType], dict[int, object | None]]] = {}
"""What annotations mean, by the identity of code: code of two modules can be equal and mean other classes."""


def annotated(function: object, *, position: int) -> object | None:
    """Return the type of a parameter by position, of the result for -1; None if it is unreadable."""
    if isinstance(function, functools.partial):
        partial = typing.cast("functools.partial[object]", function)
        return None if partial.keywords else annotated(partial.func, position=_shifted(position, len(partial.args)))
    if inspect.ismethod(function):
        return annotated(function.__func__, position=_shifted(position, 1))
    if not inspect.isfunction(function):
        call: object = type(function).__dict__.get("__call__")
        return annotated(call, position=_shifted(position, 1)) if inspect.isfunction(call) else None
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if position >= len(names):
        return None
    return _meaning(function, "return" if position < 0 else names[position], position)


def _shifted(position: int, bound: int) -> int:
    return position if position < 0 else position + bound


def _meaning(function: types.FunctionType, name: str, position: int) -> object | None:
    """Return what an annotation means, from the cache where every closure of the code agrees on it."""
    code = function.__code__
    annotation: object = function.__annotations__.get(name)
    if not isinstance(annotation, str) or any(variable in annotation for variable in code.co_freevars):
        return _without_terminated(_evaluate(function, name, annotation))
    entry = _evaluated.get(id(code))
    if entry is None or entry[0]() is not code:
        entry = _evaluated[id(code)] = (weakref.ref(code, functools.partial(_forget, id(code))), {})
    if position not in entry[1]:
        entry[1][position] = _without_terminated(_evaluate(function, name, annotation))
    return entry[1][position]


def _forget(identity: int, gone: weakref.ref[types.CodeType]) -> None:
    if identity in _evaluated and _evaluated[identity][0] is gone:
        del _evaluated[identity]


def _evaluate(function: types.FunctionType, name: str, annotation: object) -> object | None:
    try:
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        hints = typing.get_type_hints(holder, function.__globals__, _enclosing(function), include_extras=True)
    except Exception:  # an annotation is code of the user's: whatever it raises, the type is not known
        return None
    return typing.cast("object", hints[name])


def _enclosing(function: types.FunctionType) -> dict[str, object]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    return {name: typing.cast("object", cell.cell_contents) for name, cell in cells}


def _argument(form: object | None) -> object | None:
    """Return ``M`` of ``Behavior[M]``, ``ActorContext[M]`` or ``Inbox[M]``."""
    arguments = typing.get_args(form)
    return _without_terminated(arguments[0]) if len(arguments) == 1 else None


def _without_terminated(form: object | None) -> object | None:
    if form is Terminated or form is type(None) or isinstance(form, TypeVar):
        return None
    if typing.get_origin(form) not in (types.UnionType, typing.Union):
        return form
    members = tuple(member for member in typing.get_args(form) if member is not Terminated)
    return typing.Union[members] if members else None  # noqa: UP007  # a union made at run time
