"""Shapes of what users hand to the model: functions by their parameters, tables, classes.

A mistake is a TypeError with the expected form, instead of an error inside of the model later. Facts unknown before a
call, such as the parameters of a function written in C, are left to the call.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import cast


def check_takes(what: str, function: object, parameters: Sequence[str]) -> None:
    """Raise TypeError unless ``function`` is plain, and can be called with so many arguments."""
    form = f"a function of ({', '.join(parameters)})"
    if not callable(function):
        raise TypeError(f"{what} must be {form}, got {function!r}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{what} must be {form}, got an async function, which nobody would await: {function!r}")
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    try:
        signature.bind(*parameters)
    except TypeError:
        name = getattr(function, "__qualname__", None) or repr(function)
        raise TypeError(f"{what} must be {form}, and {name} takes ({', '.join(signature.parameters)})") from None


def check_table(what: str, table: object, parameters: Sequence[str]) -> None:
    """Raise TypeError unless ``table`` has such a function for each class in it."""
    for kind, function in _entries(what, table, "a function"):
        check_class(f"a key of {what}", kind)
        check_takes(f"{what} for {kind.__name__}", function, parameters)


def check_lanes(what: str, table: object) -> None:
    """Raise TypeError unless ``table`` has a text for each class in it."""
    for kind, lane in _entries(what, table, "a text"):
        check_class(f"a key of {what}", kind)
        if not isinstance(lane, str):
            raise TypeError(f"{what} for {kind.__name__} must be a text, got {lane!r}")


def check_class(what: str, kind: object) -> None:
    """Raise TypeError unless ``kind`` is a class."""
    if not isinstance(kind, type):
        raise TypeError(f"{what} must be a class, got {kind!r}")


def check_classes(what: str, kinds: object) -> None:
    """Raise TypeError unless ``kinds`` is a collection of classes."""
    if not isinstance(kinds, Collection) or isinstance(kinds, str):
        raise TypeError(f"{what} must be a tuple of classes, got {kinds!r}")
    for kind in cast("Collection[object]", kinds):
        check_class(f"each of {what}", kind)


def check_sequence(what: str, values: object) -> None:
    """Raise TypeError unless ``values`` is a sequence, and no text."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{what} must be a list or tuple, got {values!r}")


def check_machine(name: str, machine: object) -> None:
    """Raise TypeError unless ``machine``, made for this name, is an object to be told events."""
    handle: object = getattr(machine, "handle", None)
    if isinstance(machine, type) or not callable(handle):
        what = f"make of the machine {name!r}"
        raise TypeError(f"{what} must return a machine, an object with handle(event, now), got {machine!r}")
    check_takes(f"handle of the machine {name!r}", handle, ("event", "now"))


def check_drains(what: str, table: object) -> None:
    """Raise TypeError unless ``table`` has a class for each text in it."""
    if not isinstance(table, Mapping):
        raise TypeError(f"{what} must be a mapping of keys of timers, each with a class, got {table!r}")
    for key, kind in cast("Mapping[object, object]", table).items():
        if not isinstance(key, str):
            raise TypeError(f"a key of {what} must be a text, got {key!r}")
        check_class(f"{what} for {key!r}", kind)


def _entries(what: str, table: object, value: str) -> list[tuple[type, object]]:
    if not isinstance(table, Mapping):
        raise TypeError(f"{what} must be a mapping of classes, each with {value}, got {table!r}")
    return list(cast("Mapping[type, object]", table).items())
