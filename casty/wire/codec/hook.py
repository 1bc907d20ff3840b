"""Hooks: for each type, the function to what msgpack can write, and the one back.

Nothing is coerced: a value of another kind is a `TypeMismatch`, except that an int given for a float is sent as that
float. A mismatch gathers the way to it while it leaves the hooks, outwards, so a value that fits pays nothing for it.

``Any`` stands in this room for values that come from bytes, before they were checked.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import length_hint
from typing import Any, NamedTuple

Hook = Callable[..., Any]
"""Takes the value; cattrs hands a second argument, the type, to the one that reads."""


class HookPair(NamedTuple):
    """Both functions of one type."""

    encode: Hook
    decode: Hook


class TypeMismatch(Exception):
    """A value is not what its type says. ``detail`` replaces the usual expected and got."""

    def __init__(self, expected: str, got: object, detail: str = "") -> None:
        super().__init__(detail or f"expected {expected}, got {type(got).__name__}")
        self.path = ""
        """Where in the message, as far as it has been left."""


def locate(error: Exception, part: str) -> None:
    """Put the name of a part in front of the way to a mismatch inside of it."""
    if isinstance(error, TypeMismatch):
        error.path = part + error.path


def locate_item(error: Exception, items: Any, iterator: Any) -> None:
    """The same for the item that ``iterator`` has given last; it counts what it has left, so nobody counted before."""
    locate(error, f"[{len(items) - length_hint(iterator) - 1}]")
