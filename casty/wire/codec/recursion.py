"""How deep values of types that contain themselves may be nested.

Each step from a value to one of its own type inside of it costs as many levels as lie between the two at most, and is
all that is counted. As long as those levels are within `nesting_max`, nobody looks at a message as a whole; beyond that
its containers are counted level by level, as they are in a large frame.
"""

from __future__ import annotations

from typing import Any

from casty.errors import DecodeError, EncodeError
from casty.wire.codec.hook import HookPair, TypeMismatch
from casty.wire.limits import is_deeper_than

WITHOUT_END = 1 << 62


class Nesting:
    """Levels that are left, for whichever message is being converted."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WITHOUT_END


class LevelsSpent(TypeMismatch):
    """A value has more of its own type in it than can be said to be within the limit."""

    def __init__(self, value: object) -> None:
        super().__init__("", value)


class Unfinished:
    """Stands for the hooks of a type while they are made, and for ever inside of its own values.

    After a mismatch the count is wrong, and nobody needs it any more: each message begins with one of its own. A record
    gets ``hooks`` that count by themselves.
    """

    __slots__ = ("_nesting", "_target", "hooks", "is_met")

    def __init__(self, nesting: Nesting, hooks: HookPair | None) -> None:
        self._nesting = nesting
        self.hooks = hooks or HookPair(self.encode, self.decode, is_recursive=True)
        self._target = self.hooks
        self.is_met = False
        """Whether the type contains itself."""

    def finish(self, hooks: HookPair) -> None:
        """Let values inside of their own type be converted by ``hooks``."""
        self._target = hooks._replace(levels=max(hooks.levels, 1))

    def encode(self, value: Any) -> Any:
        """Write a value that is inside of one of its own type."""
        return self._count(self._target.encode, value)

    def decode(self, raw: Any) -> Any:
        """Read such a value."""
        return self._count(self._target.decode, raw)

    def _count(self, hook: Any, value: Any) -> Any:
        nesting, levels = self._nesting, self._target.levels
        nesting.left = left = nesting.left - levels
        if left < 0:
            raise LevelsSpent(value)
        result = hook(value)
        nesting.left = left + levels
        return result


class Bounded:
    """The hooks of a message whose values may be nested without end."""

    __slots__ = ("_hooks", "_name", "_nesting", "_nesting_max")

    def __init__(self, name: str, hooks: HookPair, nesting: Nesting, nesting_max: int) -> None:
        self._name = name
        self._hooks = hooks
        self._nesting = nesting
        self._nesting_max = nesting_max

    def encode(self, value: Any) -> Any:
        """Write a message. Raises EncodeError where it is too deep, TypeMismatch."""
        nesting, before = self._nesting, self._nesting.left
        nesting.left = self._nesting_max - self._hooks.levels
        try:
            return self._hooks.encode(value)
        except LevelsSpent:
            nesting.left = WITHOUT_END
            raw = self._hooks.encode(value)
            if is_deeper_than(raw, self._nesting_max):
                raise EncodeError(f"{self._name}: nested deeper than {self._nesting_max}") from None
            return raw
        finally:
            nesting.left = before

    def decode(self, raw: Any) -> Any:
        """Read a message. Raises DecodeError where it is too deep, TypeMismatch, or what a class raises."""
        nesting, before = self._nesting, self._nesting.left
        nesting.left = self._nesting_max - self._hooks.levels
        try:
            return self._hooks.decode(raw)
        except LevelsSpent:
            if is_deeper_than(raw, self._nesting_max):
                raise DecodeError(f"{self._name}: nested deeper than {self._nesting_max}") from None
            nesting.left = WITHOUT_END
            return self._hooks.decode(raw)
        finally:
            nesting.left = before
