"""Hooks of unions.

``None``, ``bool``, ``int``, ``float``, ``str`` and ``bytes`` travel bare, since msgpack tells them
apart. A single other variant beside ``None`` alone travels bare too, so that ``Order | None`` is an
order or nil. Every other variant travels as ``[name, value]``: the wire name for a class, ``list``,
``dict``, ``decimal``, ``ref`` and so on for the rest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from casty.refs import ActorRef
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch
from casty.wire.limits import ARRAY

REF_TAG = "ref"


class Variant(NamedTuple):
    """One type of a union: the classes of its values, and its tag, empty where it travels bare."""

    origin: type
    also: tuple[type, ...]
    tag: str
    hooks: HookPair


def optional_hooks(inner: HookPair) -> HookPair:
    """Return the hooks of ``X | None``: nil, or what X is. X never is nil itself, since unions are flat."""
    encode_inner, decode_inner = inner

    def encode(value: Any) -> Any:
        return None if value is None else encode_inner(value)

    def decode(raw: Any, _: object = None) -> Any:
        return None if raw is None else decode_inner(raw)

    return HookPair(encode, decode)


def union_hooks(label: str, variants: list[Variant]) -> HookPair:
    """Return the hooks of any other union."""
    made = _Union(label, variants)
    return HookPair(made.encode, made.decode)


class _Union:
    """Both ways between a value of one of several types and what tells which."""

    __slots__ = ("_bare", "_decoders", "_label", "_ref", "_tagged")

    def __init__(self, label: str, variants: list[Variant]) -> None:
        self._label = label
        self._bare = {one.origin: one.hooks for one in variants if not one.tag}
        self._tagged = {one.origin: one for one in variants if one.tag}
        self._decoders: dict[str, Hook] = {one.tag: one.hooks.decode for one in variants if one.tag}
        for one in variants:
            for kind in one.also:
                self._tagged.setdefault(kind, one)
        self._ref = next((one for one in variants if one.tag == REF_TAG), None)

    def encode(self, value: Any) -> Any:
        kind: type = type(value)
        bare = self._bare.get(kind)
        if bare is not None:
            return bare.encode(value)
        one = self._tagged.get(kind)
        if one is None:
            if kind is int and float in self._bare:
                return self._bare[float].encode(value)
            if self._ref is None or not isinstance(value, ActorRef):
                raise TypeMismatch(self._label, value)
            one = self._ref
        return [one.tag, one.hooks.encode(value)]

    def decode(self, raw: Any, _: object = None) -> Any:
        if type(raw) is ARRAY:
            if len(raw) != 2 or type(raw[0]) is not str or raw[0] not in self._decoders:
                raise TypeMismatch(self._label, raw, f"got no variant of {self._label}")
            return self._decoders[raw[0]](raw[1])
        kind: type = type(raw)
        bare = self._bare.get(kind)
        if bare is None:
            raise TypeMismatch(self._label, raw)
        return bare.decode(raw)
