"""Meaning of the annotations of users' functions, evaluated once for the code of each."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
import weakref
from typing import Final, TypeVar

from casty.runtime.events import Terminated

NAME: Final = re.compile(r"[^\W\d]\w*")
"""A name in an annotation."""

_evaluated: dict[int, tuple[weakref.ref[types.CodeType], dict[int, object | None]]] = {}
"""Meanings of annotations, by the identity of code: code of two modules can be equal and mean other classes."""


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
    """Return the meaning of an annotation, from the cache where every closure of the code agrees on it."""
    code = function.__code__
    annotation: object = function.__annotations__.get(name)
    if not isinstance(annotation, str) or not _is_of_code(annotation, code.co_freevars):
        return without_terminated(_evaluate(function, name, annotation))
    entry = _evaluated.get(id(code))
    if entry is None or entry[0]() is not code:
        entry = _evaluated[id(code)] = (weakref.ref(code, functools.partial(_forget, id(code))), {})
    if position not in entry[1]:
        entry[1][position] = without_terminated(_evaluate(function, name, annotation))
    return entry[1][position]


def _is_of_code(annotation: str, freevars: tuple[str, ...]) -> bool:
    """Whether an annotation means the same for every closure of its code: no variable of a closure is a name in it."""
    return not freevars or not set(freevars).intersection(NAME.findall(annotation))


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


def without_terminated(form: object | None) -> object | None:
    """Return a message type without the types never sent; None where nothing is left."""
    if form is Terminated or form is type(None) or isinstance(form, TypeVar):
        return None
    if typing.get_origin(form) not in (types.UnionType, typing.Union):
        return form
    members = tuple(member for member in typing.get_args(form) if member is not Terminated)
    return typing.Union[members] if members else None  # noqa: UP007  # a union made at run time
