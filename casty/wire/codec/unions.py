"""Hooks of unions.

``None``, ``bool``, ``int``, ``float``, ``str`` and ``bytes`` travel bare, since msgpack tells them
apart. A single other variant beside ``None`` alone travels bare too, so that ``Order | None`` is an
order or nil. Every other variant travels as ``[name, value]``: the wire name for a class, ``list``,
``dict``, ``decimal``, ``ref`` and so on for the rest.
"""

from __future__ import annotations

from typing import Any

from casty.refs import ActorRef
from casty.schema.types import Form
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch, around
from casty.wire.limits import ARRAY


def optional_hooks(inner: HookPair) -> HookPair:
    """Return the hooks of ``X | None``: nil, or what X is. X never is nil itself, since unions are flat."""
    encode_inner, decode_inner = inner.encode, inner.decode

    def encode(value: Any) -> Any:
        return None if value is None else encode_inner(value)

    def decode(raw: Any) -> Any:
        return None if raw is None else decode_inner(raw)

    return inner._replace(encode=encode, decode=decode)


def union_hooks(label: str, variants: list[tuple[Form, str, HookPair]]) -> HookPair:
    """Return the hooks of any other union; the tag of a variant is empty where it travels bare."""
    encoders: dict[type, tuple[str, Hook]] = {}
    for form, tag, hooks in variants:
        encoders |= {kind: (tag, hooks.encode) for kind in form.also if kind not in encoders}
        encoders[form.origin] = tag, hooks.encode
    if float in encoders:
        encoders.setdefault(int, encoders[float])
    bare = {form.origin: hooks.decode for form, tag, hooks in variants if not tag}
    tagged = {tag: hooks.decode for _, tag, hooks in variants if tag}

    def encode(value: object) -> Any:
        kind = type(value)
        found = encoders.get(kind) or (encoders.get(ActorRef) if issubclass(kind, ActorRef) else None)
        if found is None:
            raise TypeMismatch(label, value)
        tag, hook = found
        return [tag, hook(value)] if tag else hook(value)

    def decode(raw: Any) -> Any:
        if type(raw) is ARRAY and len(raw) == 2 and type(raw[0]) is str and raw[0] in tagged:
            return tagged[raw[0]](raw[1])
        if type(raw) not in bare:
            raise TypeMismatch(label, raw, f"got no variant of {label}" if type(raw) is ARRAY else "")
        return bare[type(raw)](raw)

    is_hash_safe = all(not tag and hooks.is_hash_safe for _, tag, hooks in variants)
    return around(encode, decode, *(hooks for _, _, hooks in variants))._replace(is_hash_safe=is_hash_safe)
