"""Checks of the purity of a user's functions: replay is nothing but them.

Owns the comparison of states before and after a call. It does not know when to look: it takes as long as the state is
large, so it is for development and simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, cast

S = TypeVar("S")

DEPTH_MAX: Final = 16


class ImpureFunction(TypeError):
    """A user's ``decide`` or ``apply`` is not pure; the message names function and field."""


def applied_twice(
    apply: Callable[[object, object], object], plain: Callable[[object], object], state: object, event: object
) -> object:
    """Return ``apply(state, event)``, called twice. Raise ImpureFunction where the results differ, or the state has."""
    first = unchanged("apply", plain, state, lambda: apply(state, event))
    second = apply(state, event)
    difference = changed_field(plain(first), plain(second))
    if difference is not None:
        raise ImpureFunction(
            f"apply gives two states for one state and {event!r}; they differ in {difference or 'their value'}: "
            "it must not use a clock, chance or anything but its arguments"
        )
    return first


def unchanged(name: str, plain: Callable[[object], object], state: object, call: Callable[[], S]) -> S:
    """Return ``call()``. Raise ImpureFunction where it has changed the state in place."""
    before = plain(state)
    made = call()
    field = changed_field(before, plain(state))
    if field is not None:
        raise ImpureFunction(
            f"{name} has changed the state in place, in {field or 'its value'}: return a new one, "
            "such as dataclasses.replace(state, ...)"
        )
    return made


def changed_field(before: object, after: object, depth: int = 0) -> str | None:
    """Return the way to the first different field of plain values; None for equal ones."""
    if type(before) is type(after) and before == after:
        return None
    if depth < DEPTH_MAX and isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[object, object]", before), cast("dict[object, object]", after)
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new:
                return f".{key}"
            found = changed_field(old[key], new[key], depth + 1)
            if found is not None:
                return f".{key}{found}"
    return ""
