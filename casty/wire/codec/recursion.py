"""Bound of the depth of values of types that contain themselves.

Each step from a value to one of its own type inside of it costs as many levels as lie between the two at most, and is
all that is counted. As long as those levels are within `nesting_max`, nobody looks at a message as a whole; beyond that
its containers are counted level by level, as they are in a large frame.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from casty.errors import DecodeError, EncodeError
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch
from casty.wire.limits import is_deeper_than

WITHOUT_END = 1 << 62


class Nesting:
    """Levels that are left, for whichever message is being converted."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WITHOUT_END


class LevelsSpent(TypeMismatch):
    """A value has more of its own type in it than can be said to be within the limit."""


class Unfinished:
    """Stands for the hooks of a type while they are made, and for ever inside of its own values.

    After a mismatch the count is wrong, and nobody needs it any more: each message begins with one of its own. A record
    gets ``hooks`` that count by themselves.
    """

    __slots__ = ("_levels", "_nesting", "_ways", "hooks", "is_met")

    def __init__(self, nesting: Nesting, hooks: HookPair | None) -> None:
        self._nesting = nesting
        self.hooks = hooks or HookPair(partial(self._count, 0), partial(self._count, 1), is_recursive=True)
        self.finish(self.hooks)
        self.is_met = False
        """Whether the type contains itself."""

    def finish(self, hooks: HookPair) -> None:
        """Let values inside of their own type be converted by ``hooks``."""
        self._levels, self._ways = max(hooks.levels, 1), hooks[:2]

    def _count(self, way: int, value: Any) -> Any:
        nesting, levels, hook = self._nesting, self._levels, self._ways[way]
        nesting.left = left = nesting.left - levels
        if left < 0:
            raise LevelsSpent("", value)
        result = hook(value)
        nesting.left = left + levels
        return result


class Bounded:
    """The hooks of a message whose values may be nested without end: EncodeError and DecodeError where too deep."""

    __slots__ = ("_hooks", "_name", "_nesting", "_nesting_max")

    def __init__(self, name: str, hooks: HookPair, nesting: Nesting, nesting_max: int) -> None:
        self._name, self._hooks, self._nesting, self._nesting_max = name, hooks, nesting, nesting_max

    def encode(self, value: Any) -> Any:
        """Write a message."""
        return self._convert(self._hooks.encode, value, is_raw=False)

    def decode(self, raw: Any) -> Any:
        """Read a message."""
        return self._convert(self._hooks.decode, raw, is_raw=True)

    def _convert(self, hook: Hook, value: Any, *, is_raw: bool) -> Any:
        nesting, before = self._nesting, self._nesting.left
        nesting.left = self._nesting_max - self._hooks.levels
        try:
            return hook(value)
        except LevelsSpent:
            nesting.left = WITHOUT_END
            raw = value if is_raw else hook(value)
            if is_deeper_than(raw, self._nesting_max):
                fault = DecodeError if is_raw else EncodeError
                raise fault(f"{self._name}: nested deeper than {self._nesting_max}") from None
            return hook(raw) if is_raw else raw
        finally:
            nesting.left = before
