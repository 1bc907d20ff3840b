"""From type forms to shapes: each is built once, also where types contain themselves."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, cast

from casty.schema.fields import fields_of
from casty.schema.names import facts_of
from casty.schema.types import Form, Kind, describe, is_untyped, parse, strip
from casty.wire.codec.names import scalar_name
from casty.wire.codec.records import RecordWireType
from casty.wire.codec.scalars import (
    EnumWireType,
    ExportRef,
    ImportRef,
    LiteralWireType,
    PlainWireType,
    RefWireType,
    scalar_shape,
)
from casty.wire.codec.shapes import (
    AbstractWireType,
    ItemsWireType,
    LaterWireType,
    PairsDictWireType,
    PlainItemsWireType,
    SetWireType,
    TextDictWireType,
    TupleWireType,
    WireType,
)
from casty.wire.codec.unions import OptionalWireType, UnionWireType


class Compiler:
    """Builds shapes and remembers them.

    ``promised`` collects the message types of the refs that were met: replies that will be sent to
    them have to be known as messages too. The owner takes them from there.
    """

    def __init__(self, *, name_of: Callable[[type], str], export_ref: ExportRef, import_ref: ImportRef) -> None:
        self._name_of = name_of
        self._export_ref = export_ref
        self._import_ref = import_ref
        self._shapes: dict[object, WireType] = {}
        self._unfinished: dict[object, LaterWireType | None] = {}
        self.promised: list[object] = []

    def shape_of(self, type_form: object) -> WireType:
        """Return the shape of a type form that passed `casty.schema.types.check`.

        Raises UnsupportedTypeError when a class has no name on the wire; nothing half-built stays.
        """
        before = dict(self._shapes)
        try:
            return self._shape(type_form)
        except BaseException:
            self._shapes = before
            self.promised.clear()
            raise
        finally:
            self._unfinished.clear()

    def _shape(self, type_form: object) -> WireType:
        stripped = strip(type_form)
        known = self._shapes.get(stripped)
        if known is not None:
            return known
        if stripped in self._unfinished:
            later = self._unfinished[stripped] or LaterWireType(describe(stripped))
            self._unfinished[stripped] = later
            return later
        form = parse(stripped)
        if form.kind is Kind.record:
            return self._record(form, stripped)
        self._unfinished[stripped] = None
        shape = self._build(form, stripped)
        if form.also:
            shape = AbstractWireType(shape.label, shape, form.origin, form.also)
        met_inside = self._unfinished.pop(stripped)
        if met_inside is not None:
            met_inside.target = shape
        self._shapes[stripped] = shape
        return shape

    def _record(self, form: Form, stripped: object) -> WireType:
        facts = facts_of(form.origin)
        shape = RecordWireType(self._name_of(form.origin), form.origin, tolerant=facts is not None and facts.tolerant)
        self._shapes[stripped] = shape
        found = fields_of(stripped, shape.label)
        fields = tuple((field, self._shape(field.type_form)) for field in found.fields)
        shape.complete(fields, made_count=found.made_count)
        return shape

    def _build(self, form: Form, stripped: object) -> WireType:
        label = describe(stripped)
        match form.kind:
            case Kind.scalar:
                return scalar_shape(form.origin)
            case Kind.enum:
                return EnumWireType(self._name_of(form.origin), cast("type[Enum]", form.origin))
            case Kind.literal:
                return LiteralWireType(label, self._shape(form.origin), form.arguments)
            case Kind.ref:
                (message_type,) = form.arguments
                if not is_untyped(message_type):
                    self.promised.append(message_type)
                return RefWireType(label, message_type, self._export_ref, self._import_ref)
            case Kind.list | Kind.sequence:
                item = self._shape(form.arguments[0])
                if isinstance(item, PlainWireType):
                    return PlainItemsWireType(label, form.origin, item, item.origin)
                return ItemsWireType(label, form.origin, item)
            case Kind.set | Kind.frozenset:
                return SetWireType(label, form.origin, self._shape(form.arguments[0]))
            case Kind.tuple:
                return TupleWireType(label, tuple(self._shape(item) for item in form.arguments))
            case Kind.dict:
                return self._dict(form, label)
            case Kind.union:
                return self._union(form, label)
            case Kind.record:
                raise AssertionError("records are built by _record")

    def _dict(self, form: Form, label: str) -> WireType:
        key, item = (self._shape(argument) for argument in form.arguments)
        key_form = parse(form.arguments[0])
        if key_form.kind is Kind.scalar and key_form.origin in (str, bytes):
            return TextDictWireType(label, key, item)
        return PairsDictWireType(label, key, item)

    def _union(self, form: Form, label: str) -> WireType:
        variants: list[tuple[type, str, WireType]] = []
        for variant in form.arguments:
            inner = parse(variant)
            variants.append((inner.origin, self._tag(inner), self._shape(variant)))
        others = [variant for variant in variants if variant[0] is not type(None)]
        if len(others) == 1 and len(variants) == 2:
            return OptionalWireType(label, others[0][2])
        return UnionWireType(label, variants)

    def _tag(self, form: Form) -> str:
        if form.kind in (Kind.record, Kind.enum):
            return self._name_of(form.origin)
        if form.kind is Kind.literal and issubclass(form.origin, Enum):
            return self._name_of(form.origin)
        if form.kind is Kind.ref:
            return "ref"
        return scalar_name(form.origin)


def is_recursive(shape: WireType) -> bool:
    """Whether values of this shape can be nested without end."""
    return _reaches_itself(shape, (), {})


def _reaches_itself(shape: WireType, above: tuple[Any, ...], done: dict[WireType, bool]) -> bool:
    if shape in above:
        return True
    if shape not in done:
        done[shape] = any(_reaches_itself(child, (*above, shape), done) for child in shape.children())
    return done[shape]
