"""From type forms to hooks: each pair is made once, also where types contain themselves.

A `cattrs.Converter` finds who makes the hooks of a type. They are fetched once, when those around them are made;
through the converter each time, a message takes 1.2 times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import FunctionType
from typing import NamedTuple, cast

import cattrs

from casty.schema.fields import fields_of
from casty.schema.names import is_tolerant
from casty.schema.types import SCALARS, Form, Kind, describe, is_untyped, parse, strip
from casty.wire.codec.containers import dict_hooks, item_hooks, tuple_hooks
from casty.wire.codec.custom import custom_hooks
from casty.wire.codec.defaults import Taught
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch, around
from casty.wire.codec.records import FieldHooks, RecordFaults, empty_hook, fill_decode, fill_encode, locate_field
from casty.wire.codec.recursion import LevelsSpent, Nesting, Unfinished
from casty.wire.codec.scalars import PLAIN, SCALAR_HOOKS, ExportRef, ImportRef, enum_hooks, literal_hooks, ref_hooks
from casty.wire.codec.unions import optional_hooks, union_hooks
from casty.wire.limits import check_depth


class TypeKey(NamedTuple):
    """Key of a type in the converter: no class, for which it has hooks of its own that convert anything."""

    type_form: object
    form: Form


@dataclass(kw_only=True, eq=False, repr=False)
class Compiler:
    """Makes hooks and remembers them. ``tag_of`` names the variants of unions; None takes ``name_of``."""

    name_of: Callable[[type], str]
    export_ref: ExportRef
    import_ref: ImportRef
    taught: Taught
    tolerates: Callable[[type], bool] = is_tolerant
    tag_of: Callable[[type], str] | None = None
    nesting: Nesting = field(default_factory=Nesting)
    """Depth to which the message being converted may still be nested, shared by all hooks of this compiler."""
    promised: list[object] = field(default_factory=list[object])
    """Message types of the refs that were met: replies that will be sent to them have to be known as messages too.
    The owner takes them from here."""
    _pairs: dict[object, HookPair] = field(default_factory=dict[object, HookPair])
    _unfinished: dict[object, Unfinished] = field(default_factory=dict[object, Unfinished])

    def __post_init__(self) -> None:
        self._converter = cattrs.Converter(detailed_validation=False)
        self._make_by(self._single, Kind.scalar, Kind.enum, Kind.literal, Kind.ref)
        self._make_by(self._record, Kind.record)
        self._make_by(self._container, Kind.list, Kind.sequence, Kind.set, Kind.frozenset, Kind.tuple, Kind.dict)
        self._make_by(self._union, Kind.union)
        self._make_by(self._custom, Kind.custom)

    def _make_by(self, make: Callable[[str, TypeKey], HookPair], *kinds: Kind) -> None:
        def is_one(key: TypeKey) -> bool:
            return key.form.kind in kinds

        self._converter.register_structure_hook_factory(is_one, partial(self._finished, make))

    def hooks_of(self, type_form: object, nesting_max: int) -> HookPair:
        """Return the hooks of a type form that passed `casty.schema.types.check`.

        Raises UnsupportedTypeError when a class has no name on the wire, or one is too deep; nothing half-built stays.
        """
        try:
            pair = self._hooks(type_form)
            check_depth(describe(type_form), pair.levels, nesting_max)
            return pair
        except BaseException:
            self._pairs.clear()
            self._unfinished.clear()
            self.promised.clear()
            raise

    def _hooks(self, type_form: object) -> HookPair:
        key = TypeKey(strip(type_form), parse(type_form))
        if key.type_form in self._unfinished:
            self._unfinished[key.type_form].is_met = True
            return self._unfinished[key.type_form].hooks
        if key.type_form not in self._pairs:
            # The table here keeps what is made: the converter's would keep what stands for a type inside of itself.
            self._converter.get_structure_hook(key, cache_result=False)
        return self._pairs[key.type_form]

    def _finished(self, make: Callable[[str, TypeKey], HookPair], key: TypeKey) -> Hook:
        """Make the hooks of a type, and return the one that reads."""
        itself: HookPair | None = None
        if key.form.kind is Kind.record:
            itself = HookPair(empty_hook(), empty_hook(), is_recursive=True)
        unfinished = self._unfinished[key.type_form] = Unfinished(self.nesting, itself)
        pair = make(describe(key.type_form), key)
        unfinished.finish(pair)
        del self._unfinished[key.type_form]
        self._pairs[key.type_form] = pair
        return pair.decode

    def _single(self, label: str, key: TypeKey) -> HookPair:
        _, form = key
        if form.kind is Kind.scalar:
            return SCALAR_HOOKS[form.origin]
        if form.kind is Kind.enum:
            return enum_hooks(self.name_of(form.origin), cast("type[Enum]", form.origin))
        if form.kind is Kind.literal:
            return literal_hooks(label, self._hooks(form.origin), form.arguments)
        (message_type,) = form.arguments
        if not is_untyped(message_type):
            self.promised.append(message_type)
        return ref_hooks(label, message_type, self.export_ref, self.import_ref)

    def _record(self, _: str, key: TypeKey) -> HookPair:
        (type_form, form), unfinished = key, self._unfinished[key.type_form]
        cls, label, fields = form.origin, self.name_of(form.origin), list[FieldHooks]()
        tolerates = self.tolerates(cls)
        for one in fields_of(type_form, label).fields:
            pair = self._hooks(one.type_form)
            kind, inner = pair.kept, _optional(parse(one.type_form))
            if kind is None and inner is not None:
                kind, pair = type(None), self._hooks(inner)  # the record looks for None itself
            is_optional, keyword_only = one.has_default and tolerates, one.keyword_only
            fields.append(FieldHooks(one.name, one.init_name, is_optional, keyword_only, kind, pair))
        itself = around(*unfinished.hooks[:2], *(one.hooks for one in fields))
        levels = itself.levels if unfinished.is_met else 0
        faults, names = RecordFaults(label, fields, tolerates), {"nesting": self.nesting, "spent": LevelsSpent}
        encode, decode = cast("tuple[FunctionType, FunctionType]", itself[:2])
        faults_of_value = {"refuse": partial(TypeMismatch, label), "explain": locate_field}
        fill_encode(encode, cls, fields, names | faults_of_value, levels)
        names |= {"refuse": faults.refuse, "explain": faults.explain}
        fill_decode(decode, cls, fields, names, levels, is_exact=not tolerates)
        return itself._replace(levels=0) if levels else itself

    def _container(self, label: str, key: TypeKey) -> HookPair:
        _, form = key
        inner = [self._hooks(argument) for argument in form.arguments]
        if form.kind is Kind.tuple:
            return tuple_hooks(label, inner)
        if form.kind is not Kind.dict:
            return item_hooks(label, form, inner[0])
        of_key = parse(form.arguments[0])
        is_map = of_key.kind is Kind.scalar and of_key.origin in (str, bytes)
        return dict_hooks(label, form, *inner, is_map=is_map)

    def _union(self, label: str, key: TypeKey) -> HookPair:
        inner = _optional(key.form)
        if inner is not None:
            return optional_hooks(self._hooks(inner))
        forms = ((parse(one), self._hooks(one)) for one in key.form.arguments)
        return union_hooks(label, [(form, self._tag(form), pair) for form, pair in forms])

    def _custom(self, _: str, key: TypeKey) -> HookPair:
        taught = self.taught[key.form.origin]
        return custom_hooks(taught, self._hooks(taught.travels_as))

    def _tag(self, form: Form) -> str:
        """Return what tells a variant of a union; nothing where its values are told apart by their msgpack kind."""
        if form.kind in (Kind.scalar, Kind.literal) and form.origin in PLAIN:
            return ""
        if form.kind in (Kind.record, Kind.enum, Kind.literal, Kind.custom):
            return (self.tag_of or self.name_of)(form.origin)
        return "ref" if form.kind is Kind.ref else SCALARS.get(form.origin, form.origin.__name__)


def _optional(form: Form) -> object | None:
    """Return X of the union ``X | None``, and None of others."""
    others = [one for one in form.arguments if form.kind is Kind.union and parse(one).origin is not type(None)]
    return others[0] if len(others) == 1 and len(form.arguments) == 2 else None
