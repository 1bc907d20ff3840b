"""Hooks of classes that the system was taught: the user's two functions, around the hooks of what is sent."""

from __future__ import annotations

from typing import Any

from casty.wire.codec.hook import HookPair, TypeMismatch, around
from casty.wire.codec.recursion import LevelsSpent
from casty.wire_types import WireType


def custom_hooks(taught: WireType[Any, Any], sent: HookPair) -> HookPair:
    """Return the hooks of a class; ``sent`` are those of the type that it travels as."""
    custom = _Custom(taught, sent)
    return around(custom.encode, custom.decode, sent, levels=0)


class _Custom:
    """Both ways between a value of a user's class and what is sent of it."""

    __slots__ = ("_cls", "_name", "_sent", "_structure", "_unstructure")

    def __init__(self, taught: WireType[Any, Any], sent: HookPair) -> None:
        self._name, self._cls, self._sent = taught.name, taught.cls, sent
        self._unstructure, self._structure = taught.unstructure, taught.structure

    def encode(self, value: Any) -> Any:
        if type(value) is not self._cls:
            raise TypeMismatch(self._name, value)
        hook = f"the unstructure hook of {self._name}"
        try:
            sent = self._unstructure(value)
        except MemoryError:
            raise
        except Exception as error:  # a hook may raise anything
            raise TypeMismatch(self._name, value, f"{hook} raised {type(error).__name__}: {error}") from error
        try:
            return self._sent.encode(sent)
        except LevelsSpent:
            raise
        except TypeMismatch as mismatch:
            found = TypeMismatch(self._name, value, f"{mismatch}, from {hook}")
            found.path = mismatch.path
            raise found from None

    def decode(self, raw: Any) -> Any:
        sent = self._sent.decode(raw)
        try:
            value = self._structure(sent, self._cls)
        except MemoryError:
            raise
        except Exception as error:  # it says no to what a peer has sent, in whatever way
            raise TypeMismatch(self._name, raw, f"{self._name} refuses the value: {type(error).__name__}") from error
        if type(value) is not self._cls:
            hook = f"the structure hook of {self._name}"
            raise TypeMismatch(self._name, raw, f"{hook} returned {type(value).__name__}, no {self._cls.__name__}")
        return value
