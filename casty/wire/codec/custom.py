"""Hooks of classes that the system was taught: the user's two functions, around the hooks of what is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casty.wire.codec.hook import HookPair, TypeMismatch, around
from casty.wire.codec.recursion import LevelsSpent
from casty.wire_types import WireType


def custom_hooks(taught: WireType[Any, Any], sent: HookPair) -> HookPair:
    """Return the hooks of a class; ``sent`` are those of the type that it travels as."""
    custom = _Custom(taught.name, taught, sent)
    return around(custom.encode, custom.decode, sent, levels=0)


@dataclass(frozen=True, slots=True)
class _Custom:
    """Both ways between a value of a user's class and what is sent of it."""

    name: str
    taught: WireType[Any, Any]
    sent: HookPair

    def encode(self, value: Any) -> Any:
        if type(value) is not self.taught.cls:
            raise TypeMismatch(self.name, value)
        hook = f"the unstructure hook of {self.name}"
        try:
            sent = self.taught.unstructure(value)
        except MemoryError:
            raise
        except Exception as error:  # a hook may raise anything
            raise TypeMismatch(self.name, value, f"{hook} raised {type(error).__name__}: {error}") from error
        try:
            return self.sent.encode(sent)
        except LevelsSpent:
            raise
        except TypeMismatch as mismatch:
            found = TypeMismatch(self.name, value, f"{mismatch}, from {hook}")
            found.path = mismatch.path
            raise found from None

    def decode(self, raw: Any) -> Any:
        sent = self.sent.decode(raw)
        try:
            value = self.taught.structure(sent, self.taught.cls)
        except MemoryError:
            raise
        except Exception as error:  # it says no to what a peer has sent, in whatever way
            raise TypeMismatch(self.name, raw, f"{self.name} refuses the value: {type(error).__name__}") from error
        if type(value) is not self.taught.cls:
            hook = f"the structure hook of {self.name}"
            raise TypeMismatch(self.name, raw, f"{hook} returned {type(value).__name__}, no {self.taught.cls.__name__}")
        return value
