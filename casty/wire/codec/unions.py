"""Shapes of unions.

``None``, ``bool``, ``int``, ``float``, ``str`` and ``bytes`` travel bare, since msgpack tells them
apart. A single other variant beside ``None`` alone travels bare too, so that ``Order | None`` is an
order or nil. Every other variant travels as ``[name, value]``: the wire name for a class, ``list``,
``dict``, ``decimal``, ``ref`` and so on for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from casty.refs import ActorRef
from casty.wire.codec.scalars import RefWireType
from casty.wire.codec.shapes import AbstractWireType, Part, TypeMismatch, WireType
from casty.wire.limits import ARRAY


class OptionalWireType(WireType):
    """``X | None``: nil, or what X is. X never is nil itself, since unions are flat."""

    __slots__ = ("inner",)

    def __init__(self, label: str, inner: WireType) -> None:
        super().__init__(label)
        self.inner = inner

    def kept_kind(self) -> type | None:
        return self.inner.kept_kind()

    def is_hash_safe(self) -> bool:
        return self.inner.is_hash_safe()

    def encode(self, value: Any) -> Any:
        return None if value is None else self.inner.encode(value)

    def decode(self, raw: Any) -> Any:
        return None if raw is None else self.inner.decode(raw)

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        return None if value is None else self.inner.explain_mismatch(value, raw=raw)

    def parts(self, value: Any) -> Iterator[Part]:
        return iter(()) if value is None else self.inner.parts(value)

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        return iter(()) if raw is None else self.inner.raw_parts(raw)

    def children(self) -> tuple[WireType, ...]:
        return (self.inner,)


class UnionWireType(WireType):
    """Any other union. ``variants`` holds for each: the class of its values, its tag, its shape."""

    __slots__ = ("bare_by_type", "ref", "tagged_by_name", "tagged_by_type")

    def __init__(self, label: str, variants: list[tuple[type, str, WireType]]) -> None:
        super().__init__(label)
        self.bare_by_type: dict[type, WireType] = {}
        self.tagged_by_type: dict[type, tuple[str, WireType]] = {}
        self.tagged_by_name: dict[str, WireType] = {}
        self.ref: tuple[str, WireType] | None = None
        for origin, tag, shape in variants:
            if shape.is_bare():
                self.bare_by_type[origin] = shape
                continue
            self.tagged_by_name[tag] = shape
            self.tagged_by_type[origin] = (tag, shape)
            if isinstance(shape, RefWireType):
                self.ref = (tag, shape)
        for _, tag, shape in variants:
            if isinstance(shape, AbstractWireType):
                for kind in shape.also:
                    self.tagged_by_type.setdefault(kind, (tag, shape))

    def encode(self, value: Any) -> Any:
        given: object = value
        bare = self.bare_by_type.get(type(given))
        if bare is not None:
            return bare.encode(value)
        tag, shape = self._tagged(value)
        return shape.encode(value) if not tag else [tag, shape.encode(value)]

    def is_hash_safe(self) -> bool:
        return not self.tagged_by_type and all(shape.is_hash_safe() for shape in self.bare_by_type.values())

    def _tagged(self, value: Any) -> tuple[str, WireType]:
        given: object = value
        tagged = self.tagged_by_type.get(type(given))
        if tagged is not None:
            return tagged
        if self.ref is not None and isinstance(value, ActorRef):
            return self.ref
        if type(value) is int and float in self.bare_by_type:
            return "", self.bare_by_type[float]
        raise TypeMismatch(self.label, value)

    def decode(self, raw: Any) -> Any:
        if type(raw) is ARRAY:
            if len(raw) != 2 or type(raw[0]) is not str or raw[0] not in self.tagged_by_name:
                raise TypeMismatch(self.label, raw, f"expected {self.label}, got no variant of it")
            return self.tagged_by_name[raw[0]].decode(raw[1])
        given: object = raw
        bare = self.bare_by_type.get(type(given))
        if bare is None:
            raise TypeMismatch(self.label, raw)
        return bare.decode(raw)

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        given: object = value
        bare = self.bare_by_type.get(type(given))
        if bare is not None:
            return bare.explain_mismatch(value, raw=raw)
        try:
            if not raw:
                _, shape = self._tagged(value)
                return shape.explain_mismatch(value, raw=False)
        except TypeMismatch as mismatch:
            return str(mismatch)
        if type(value) is ARRAY and len(value) == 2 and type(value[0]) is str and value[0] in self.tagged_by_name:
            return None
        return str(TypeMismatch(self.label, value)) if type(value) is not ARRAY else f"got no variant of {self.label}"

    def parts(self, value: Any) -> Iterator[Part]:
        if type(value) not in self.bare_by_type:
            tag, shape = self._tagged(value)
            if tag:
                yield "", shape, value

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        if type(raw) is ARRAY:
            yield "", self.tagged_by_name[raw[0]], raw[1]

    def children(self) -> tuple[WireType, ...]:
        return (*self.bare_by_type.values(), *self.tagged_by_name.values())
