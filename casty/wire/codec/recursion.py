"""How deep values of types that contain themselves may be nested.

Each step from a value to one of its own type inside of it is counted, and costs that count alone. As long as so many
steps cannot make a message deeper than `nesting_max`, however much lies between two of them, nobody looks at it as a
whole; beyond that its containers are counted level by level, as they are in a large frame.
"""

from __future__ import annotations

from typing import Any

from casty.errors import DecodeError, EncodeError
from casty.wire.codec.hook import HookPair, TypeMismatch
from casty.wire.limits import is_deeper_than

WITHOUT_END = 1 << 62


class Turns:
    """Steps that are left, for whichever message is being converted."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WITHOUT_END


class TurnsSpent(TypeMismatch):
    """A value has more of its own type in it than can be said to be within the limit."""


class Later:
    """Stands for the hooks of a type inside of itself, while they are being made and afterwards.

    After a mismatch the count is wrong, and nobody needs it any more: each message begins with one of its own.
    """

    __slots__ = ("_turns", "target")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.target = HookPair(self.encode, self.decode)

    def encode(self, value: Any) -> Any:
        """Write a value that is inside of one of its own type."""
        turns = self._turns
        turns.left = left = turns.left - 1
        if left < 0:
            raise TurnsSpent("", value)
        raw = self.target[0](value)
        turns.left = left + 1
        return raw

    def decode(self, raw: Any, _: object = None) -> Any:
        """Read such a value."""
        turns = self._turns
        turns.left = left = turns.left - 1
        if left < 0:
            raise TurnsSpent("", raw)
        value = self.target[1](raw)
        turns.left = left + 1
        return value


class Bounded:
    """The hooks of a message whose type contains itself, ``depth`` containers in one another at most for each step."""

    __slots__ = ("_hooks", "_name", "_nesting_max", "_turns", "_turns_max")

    def __init__(self, name: str, hooks: HookPair, turns: Turns, *, depth: int, nesting_max: int) -> None:
        self._name = name
        self._hooks = hooks
        self._turns = turns
        self._nesting_max = nesting_max
        self._turns_max = nesting_max // depth - 1

    def encode(self, value: Any) -> Any:
        """Write a message. Raises EncodeError where it is too deep, TypeMismatch."""
        turns, before = self._turns, self._turns.left
        turns.left = self._turns_max
        try:
            return self._hooks.encode(value)
        except TurnsSpent:
            turns.left = WITHOUT_END
            raw = self._hooks.encode(value)
            if is_deeper_than(raw, self._nesting_max):
                raise EncodeError(f"{self._name}: nested deeper than {self._nesting_max}") from None
            return raw
        finally:
            turns.left = before

    def decode(self, raw: Any, _: object = None) -> Any:
        """Read a message. Raises DecodeError where it is too deep, TypeMismatch, or what a class raises."""
        turns, before = self._turns, self._turns.left
        turns.left = self._turns_max
        try:
            return self._hooks.decode(raw)
        except TurnsSpent:
            if is_deeper_than(raw, self._nesting_max):
                raise DecodeError(f"{self._name}: nested deeper than {self._nesting_max}") from None
            turns.left = WITHOUT_END
            return self._hooks.decode(raw)
        finally:
            turns.left = before
