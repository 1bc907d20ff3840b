"""Hooks of classes that the system was taught: the user's two functions, around the hooks of what is sent."""

from __future__ import annotations

from typing import Any

from casty.wire.codec.hook import Hook, HookPair, TypeMismatch
from casty.wire.codec.recursion import TurnsSpent


def custom_hooks(name: str, cls: type, user: HookPair, sent: HookPair) -> HookPair:
    """Return the hooks of a class; ``sent`` are those of the type that it travels as."""
    return HookPair(_Encoder(name, cls, user.encode, sent.encode).encode, _Decoder(name, cls, user, sent).decode)


class _Encoder:
    """The way from a value of a user's class to what is sent of it."""

    __slots__ = ("_cls", "_name", "_sent", "_unstructure")

    def __init__(self, name: str, cls: type, unstructure: Hook, sent: Hook) -> None:
        self._name = name
        self._cls = cls
        self._unstructure = unstructure
        self._sent = sent

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
            return self._sent(sent)
        except TurnsSpent:
            raise
        except TypeMismatch as mismatch:
            found = TypeMismatch(self._name, value, f"{mismatch}, from {hook}")
            found.path = mismatch.path
            raise found from None


class _Decoder:
    """The way back."""

    __slots__ = ("_cls", "_name", "_sent", "_structure")

    def __init__(self, name: str, cls: type, user: HookPair, sent: HookPair) -> None:
        self._name = name
        self._cls = cls
        self._structure = user.decode
        self._sent = sent.decode

    def decode(self, raw: Any, _: object = None) -> Any:
        sent = self._sent(raw)
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
