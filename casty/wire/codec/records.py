"""Shapes of dataclasses and attrs classes: a map by field name.

A strict class takes exactly its fields: as many keys as fields, and every field present, which leaves
no room for a foreign one. A tolerant class ignores keys it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from casty.schema.fields import RecordField
from casty.schema.names import printable
from casty.wire.codec.hooks import FieldHooks, Hook, make_decode, make_encode
from casty.wire.codec.shapes import Part, TypeMismatch, WireType
from casty.wire.limits import MAP

NAMES_SHOWN_MAX = 2
NAME_SHOWN_MAX = 40
"""Of the fields of a peer that are unknown here, so that a line of the log has room for the rest."""

Fields = tuple[tuple[RecordField, WireType], ...]


class RecordWireType(WireType):
    """One class, or one generic class with its arguments. `complete` is called once, before use."""

    __slots__ = ("_decode", "_encode", "cls", "fields", "made_count", "tolerant")

    def __init__(self, label: str, cls: type, *, tolerant: bool) -> None:
        super().__init__(label)
        self.cls: type[Any] = cls
        self.tolerant = tolerant
        self.fields: Fields = ()
        self.made_count = 0
        """Fields that do not travel and are made for each instance."""
        self._encode: Hook = _unfinished
        self._decode: Hook = _unfinished

    def complete(self, fields: Fields, *, made_count: int) -> None:
        """Make the hooks, now that the shapes of all fields exist (they may contain this one)."""
        self.fields, self.made_count = fields, made_count
        hooks = [_hooks(field, shape, tolerant=self.tolerant) for field, shape in fields]
        self._encode = make_encode(self.cls, hooks, self._refuse)
        self._decode = make_decode(
            self.cls, hooks, is_exact=not self.tolerant, refuse=self._refuse_raw, explain=self._explain
        )

    @property
    def hooks(self) -> tuple[Hook, Hook]:
        if self._encode is _unfinished:
            return self.encode, self.decode
        return self._encode, self._decode

    def encode(self, value: Any) -> Any:
        return self._encode(value)

    def decode(self, raw: Any) -> Any:
        return self._decode(raw)

    def _refuse(self, value: Any) -> TypeMismatch:
        return TypeMismatch(self.label, value)

    def _refuse_raw(self, raw: Any) -> TypeMismatch:
        return TypeMismatch(self.label, raw, self.explain_mismatch(raw, raw=True) or "")

    def _explain(self, raw: Any, error: Exception) -> None:
        """Raise what a peer is told, unless ``error`` is that already or says that memory is short."""
        if isinstance(error, (TypeMismatch, MemoryError)):
            return
        if isinstance(error, KeyError):
            raise TypeMismatch(
                self.label, raw, self.explain_mismatch(raw, raw=True) or f"{self.label} refuses: {error!r}"
            ) from None
        # A class may raise anything in its own checks; that is its answer to the peer.
        raise TypeMismatch(self.label, raw, f"{self.label} refuses the values: {type(error).__name__}") from error

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        kind = MAP if raw else self.cls
        if type(value) is not kind:
            return str(TypeMismatch(self.label, value))
        if not raw:
            return None
        known = {field.name for field, _ in self.fields}
        missing = [field.name for field, _ in self.fields if field.name not in value and not self.is_optional(field)]
        if missing:
            return f"{self.label} lacks the field {missing[0]!r}"
        extra = [key for key in value if key not in known]
        return None if self.tolerant or not extra else f"{self.label} {_unknown(extra)}"

    def is_optional(self, field: RecordField) -> bool:
        """Whether a message may leave a field out."""
        return self.tolerant and field.has_default

    def parts(self, value: Any) -> Iterator[Part]:
        for field, shape in self.fields:
            yield f".{field.name}", shape, getattr(value, field.name)

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        for field, shape in self.fields:
            if field.name in raw:
                yield f".{field.name}", shape, raw[field.name]

    def children(self) -> tuple[WireType, ...]:
        return tuple(shape for _, shape in self.fields)


def _unknown(extra: list[Any]) -> str:
    """Say which fields of a peer this node does not know, and what lets a class grow."""
    named = ", ".join(repr(printable(str(key), NAME_SHOWN_MAX)) for key in extra[:NAMES_SHOWN_MAX])
    more = f" and {len(extra) - NAMES_SHOWN_MAX} more" if len(extra) > NAMES_SHOWN_MAX else ""
    return f"has the unknown field {named}{more}: declare the class tolerant=True before a release adds fields"


def _unfinished(_: Any) -> Any:
    raise AssertionError("a record was used before its fields were known")


def _hooks(field: RecordField, shape: WireType, *, tolerant: bool) -> FieldHooks:
    encode, decode = shape.hooks
    is_optional = tolerant and field.has_default
    return FieldHooks(field.name, field.init_name, is_optional, field.keyword_only, shape.kept_kind(), encode, decode)
