"""Shapes of dataclasses and attrs classes: a map by field name, with hooks that cattrs generates.

Each field's own shape is handed to the generator, so no hook is looked up while messages flow. A
strict class takes exactly its fields: as many keys as fields, and every field present, which leaves
no room for a foreign one. A tolerant class ignores keys it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import cattrs
import cattrs.gen

from casty.fields import RecordField
from casty.wire.bounds import MAP
from casty.wire.shapes import Mismatch, Part, Shape

Fields = tuple[tuple[RecordField, Shape], ...]

_converter = cattrs.Converter(detailed_validation=False)
_gen: Any = cattrs.gen
"""Untyped, since the generators' signatures are generic in a way that strict checking cannot name."""

_PREFIX = "field_"
_GENERATOR_PARAMETERS = frozenset({"attrs", "cl", "converter", "typevar_map"})
"""A field of such a name cannot be passed to cattrs' generator by keyword."""


class RecordShape(Shape):
    """One class, or one generic class with its arguments. `complete` is called once, before use."""

    __slots__ = ("_build", "_fields", "_size", "_unbuild", "cls", "tolerant")

    def __init__(self, label: str, cls: type, *, tolerant: bool) -> None:
        super().__init__(label)
        self.cls: type[Any] = cls
        self.tolerant = tolerant
        self._fields: Fields = ()
        self._size = 0

    def complete(self, fields: Fields) -> None:
        """Generate the hooks, now that the shapes of all fields exist (they may contain this one)."""
        self._fields = fields
        self._size = len(fields)
        self._build = _make_build(self.cls, fields, tolerant=self.tolerant)
        self._unbuild = _make_unbuild(self.cls, fields)

    def encode(self, value: Any) -> Any:
        if type(value) is not self.cls:
            raise Mismatch(self.label, value)
        return self._unbuild(value)

    def decode(self, raw: Any, _: object = None) -> Any:
        if type(raw) is not MAP or (len(raw) != self._size and not self.tolerant):
            raise Mismatch(self.label, raw, self.misfit(raw, raw=True) or "")
        try:
            return self._build(raw, None)
        except (Mismatch, MemoryError):
            raise
        except KeyError as error:
            raise Mismatch(self.label, raw, self.misfit(raw, raw=True) or f"{self.label} refuses: {error!r}") from None
        except Exception as error:  # A class may raise anything in its own checks; that is its answer to the peer.
            raise Mismatch(self.label, raw, f"{self.label} refuses the values: {type(error).__name__}") from error

    def misfit(self, value: Any, *, raw: bool) -> str | None:
        kind = MAP if raw else self.cls
        if type(value) is not kind:
            return str(Mismatch(self.label, value))
        if not raw:
            return None
        known = {field.name for field, _ in self._fields}
        missing = [field.name for field, _ in self._fields if field.name not in value and self._needs(field)]
        if missing:
            return f"{self.label} lacks the field {missing[0]!r}"
        extra = len(value) - len(known.intersection(value))
        return f"{self.label} has {extra} unknown field(s)" if extra and not self.tolerant else None

    def _needs(self, field: RecordField) -> bool:
        return not (self.tolerant and field.has_default)

    def parts(self, value: Any) -> Iterator[Part]:
        for field, shape in self._fields:
            yield f".{field.name}", shape, getattr(value, field.name)

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        for field, shape in self._fields:
            if field.name in raw:
                yield f".{field.name}", shape, raw[field.name]

    def children(self) -> tuple[Shape, ...]:
        return tuple(shape for _, shape in self._fields)


def _make_build(cls: type[Any], fields: Fields, *, tolerant: bool) -> Callable[[Any, None], Any]:
    definitions: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for field, shape in sorted(fields, key=lambda pair: pair[0].keyword_only):
        optional = tolerant and field.has_default
        name = _PREFIX + field.name
        definitions[name] = attrs.field(
            default=None if optional else attrs.NOTHING, kw_only=field.keyword_only, alias=field.init_name
        )
        overrides[name] = _gen.override(rename=field.name, struct_hook=shape.decode)
    listing = attrs.make_class("Fields", definitions, init=False, repr=False, eq=False)
    build: Callable[[Any, None], Any] = _gen.make_dict_structure_fn_from_attrs(
        list(attrs.fields(listing)),
        cls,
        _converter,
        {parameter.__name__: object for parameter in getattr(cls, "__parameters__", ())},
        _cattrs_forbid_extra_keys=False,
        _cattrs_use_linecache=False,
        _cattrs_detailed_validation=False,
        **overrides,
    )
    return build


def _make_unbuild(cls: type[Any], fields: Fields) -> Callable[[Any], Any]:
    names = [field.name for field, _ in fields]
    if _GENERATOR_PARAMETERS.intersection(names):
        hooks = [(field.name, shape.encode) for field, shape in fields]

        def unbuild(value: object) -> dict[str, Any]:
            return {name: encode(getattr(value, name)) for name, encode in hooks}

        return unbuild
    listing = attrs.make_class(
        "Fields", {name: attrs.field(alias=name) for name in names}, init=False, repr=False, eq=False
    )
    overrides: dict[str, Any] = {field.name: _gen.override(unstruct_hook=shape.encode) for field, shape in fields}
    generated: Callable[[Any], Any] = _gen.make_dict_unstructure_fn_from_attrs(
        list(attrs.fields(listing)), cls, _converter, _cattrs_use_linecache=False, **overrides
    )
    return generated
