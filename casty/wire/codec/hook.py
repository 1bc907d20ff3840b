"""Hooks: for each type, the function to what msgpack can write, and the one back.

Nothing is coerced: a value of another kind is a `TypeMismatch`, except that an int given for a float is sent as that
float. A mismatch gathers the way to it while it leaves the hooks, outwards, so a value that fits pays nothing for it.

``Any`` stands in this room for values that come from bytes, before they were checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Hook = Callable[..., Any]


class HookPair(NamedTuple):
    """Both functions of one type, and what those around them ask about its values."""

    encode: Hook
    decode: Hook
    levels: int = 0
    """Containers of msgpack in one another in a value, as far as to where `recursion` counts on."""
    is_recursive: bool = False
    """Whether values may be nested without end."""
    kept: type | None = None
    """Class of the values that both functions return as they are."""
    is_hash_safe: bool = False
    """Whether a peer cannot choose many values with the same hash."""


def around(encode: Hook, decode: Hook, *inner: HookPair, levels: int = 1) -> HookPair:
    """Return hooks of values that are ``levels`` containers, with the values of ``inner`` inside."""
    deepest = max((one.levels for one in inner), default=0)
    return HookPair(encode, decode, levels + deepest, any(one.is_recursive for one in inner))


class TypeMismatch(ValueError):
    """A value is not what its type says. ``detail`` replaces the usual expected and got."""

    def __init__(self, expected: str, got: object, detail: str = "") -> None:
        super().__init__(detail or f"expected {expected}, got {type(got).__name__}")
        self.path = ""
        """Place in the message, as far as it has been left."""


def locate(error: Exception, part: str) -> None:
    """Put the name of a part in front of the way to a mismatch inside of it."""
    if isinstance(error, TypeMismatch):
        error.path = part + error.path
