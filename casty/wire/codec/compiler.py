"""From type forms to hooks: each pair is made once, also where types contain themselves.

A `cattrs.Converter` finds the hooks of a type: for each kind of type it is given a factory, and it keeps what that
returns. Hooks are fetched once, when those around them are made; through the converter each time, a message takes 1.2
times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, cast

import cattrs

from casty.schema.names import facts_of
from casty.schema.types import Form, Kind, describe, is_untyped, strip
from casty.wire.codec.containers import (
    abstract_hooks,
    item_hooks,
    pairs_dict_hooks,
    plain_item_hooks,
    set_hooks,
    text_dict_hooks,
    tuple_hooks,
)
from casty.wire.codec.custom import custom_hooks
from casty.wire.codec.forms import Forms
from casty.wire.codec.generated import FieldHooks
from casty.wire.codec.hook import Hook, HookPair
from casty.wire.codec.names import scalar_name
from casty.wire.codec.records import record_hooks
from casty.wire.codec.recursion import Later, Turns
from casty.wire.codec.scalars import (
    CHECKED_HOOKS,
    SCALAR_HOOKS,
    ExportRef,
    ImportRef,
    enum_hooks,
    literal_hooks,
    ref_hooks,
)
from casty.wire.codec.unions import REF_TAG, Variant, optional_hooks, union_hooks
from casty.wire_types import WireType


class TypeKey(NamedTuple):
    """What the converter is asked for: no class, for which it has hooks of its own that convert what they are given."""

    type_form: object
    form: Form


Maker = Callable[[object, Form], HookPair]
"""Makes the hooks of a type form and what it is."""


class Compiler:
    """Makes hooks and remembers them.

    ``promised`` collects the message types of the refs that were met: replies that will be sent to
    them have to be known as messages too. The owner takes them from there.

    With ``is_checking`` the hooks also refuse what msgpack itself would refuse, and say where that is.
    """

    def __init__(
        self,
        *,
        name_of: Callable[[type], str],
        export_ref: ExportRef,
        import_ref: ImportRef,
        taught: Mapping[type, WireType[Any, Any]],
        is_checking: bool = False,
    ) -> None:
        self._name_of = name_of
        self._export_ref = export_ref
        self._import_ref = import_ref
        self._is_checking = is_checking
        self._taught = taught
        self.forms = Forms(name_of, taught)
        self.turns = Turns()
        """How often a value may still be inside of one of its own type, shared by all hooks of this compiler."""
        self.promised: list[object] = []
        self._pairs: dict[object, HookPair] = {}
        self._unfinished: dict[object, Later | None] = {}
        self._recursive: set[object] = set()
        self._depths: dict[object, int] = {}
        """Containers in one another in a value, as far as to a type around it."""
        self._converter = self._new_converter()

    def hooks_of(self, type_form: object) -> HookPair:
        """Return the hooks of a type form that passed `casty.schema.types.check`.

        Raises UnsupportedTypeError when a class has no name on the wire; nothing half-built stays.
        """
        try:
            return self._hooks(type_form)
        except BaseException:
            for table in (self._pairs, self._depths, self._unfinished):
                table.clear()
            self.promised.clear()
            raise

    def depth_of(self, type_form: object) -> int:
        """Return how many containers lie in one another from one value to the next of a type around it, at most.

        0 for a type that neither contains itself nor one that does.
        """
        reachable = [*self.forms.reachable(strip(type_form))]
        is_recursive = any(one in self._recursive for one in reachable)
        return max(self._depths.get(one, 0) for one in reachable) if is_recursive else 0

    def _new_converter(self) -> cattrs.Converter:
        makers: dict[Kind, Maker] = {
            Kind.scalar: self._scalar,
            Kind.enum: self._enum,
            Kind.literal: self._literal,
            Kind.record: self._record,
            Kind.ref: self._ref,
            Kind.list: self._items,
            Kind.sequence: self._items,
            Kind.set: self._set,
            Kind.frozenset: self._set,
            Kind.tuple: self._tuple,
            Kind.dict: self._dict,
            Kind.union: self._union,
            Kind.custom: self._custom,
        }
        converter = cattrs.Converter(detailed_validation=False)
        for kind, make in makers.items():
            is_of_kind = partial(_is_of_kind, kind)
            converter.register_unstructure_hook_factory(is_of_kind, partial(self._encoder, make))
            converter.register_structure_hook_factory(is_of_kind, partial(self._decoder, make))
        return converter

    def _hooks(self, type_form: object) -> HookPair:
        stripped = strip(type_form)
        known = self._pairs.get(stripped)
        if known is None:
            # The tables here keep what is made: the converter's would keep what stands for a type inside of itself.
            key = TypeKey(stripped, self.forms.parse(stripped))
            encode = self._converter.get_unstructure_hook(key, cache_result=False)
            known = HookPair(encode, self._converter.get_structure_hook(key, cache_result=False))
        return known

    def _encoder(self, make: Maker, key: TypeKey) -> Hook:
        return self._made(make, key).encode

    def _decoder(self, make: Maker, key: TypeKey) -> Hook:
        return self._made(make, key).decode

    def _made(self, make: Maker, key: TypeKey) -> HookPair:
        """Return the hooks that ``make`` returns, made once; for a type inside of itself what will call them."""
        type_form, form = key
        known = self._pairs.get(type_form)
        if known is not None:
            return known
        if type_form in self._unfinished:
            later = self._unfinished[type_form] or Later(self.turns)
            self._unfinished[type_form] = later
            self._recursive.add(type_form)
            return HookPair(later.encode, later.decode)
        self._unfinished[type_form] = None
        pair = make(type_form, form)
        if form.also:
            pair = abstract_hooks(describe(type_form), pair, form.origin, form.also)
        met_inside = self._unfinished.pop(type_form)
        if met_inside is not None:
            met_inside.target = pair
        inside = max((self._depths.get(one, 0) for one in self.forms.inside(type_form)), default=0)
        self._depths[type_form] = self.forms.levels(type_form) + inside
        self._pairs[type_form] = pair
        return pair

    def _scalar(self, _: object, form: Form) -> HookPair:
        return (CHECKED_HOOKS if self._is_checking else SCALAR_HOOKS)[form.origin]

    def _enum(self, _: object, form: Form) -> HookPair:
        return enum_hooks(self._name_of(form.origin), cast("type[Enum]", form.origin))

    def _literal(self, type_form: object, form: Form) -> HookPair:
        return literal_hooks(describe(type_form), self._hooks(form.origin), form.arguments)

    def _record(self, type_form: object, form: Form) -> HookPair:
        facts = facts_of(form.origin)
        fields: list[FieldHooks] = []
        for field in self.forms.fields(type_form).fields:
            may_lack = self.forms.may_lack(type_form, field)
            kind, hooks = self._kept_kind(field.type_form), self._hooks(field.type_form)
            if kind is None and (inner := self.forms.optional(self.forms.parse(field.type_form))) is not None:
                kind, hooks = type(None), self._hooks(inner)  # the record looks for None itself
            fields.append(FieldHooks(field.name, field.init_name, may_lack, field.keyword_only, kind, *hooks))
        tolerant = facts is not None and facts.tolerant
        return record_hooks(self._name_of(form.origin), form.origin, tuple(fields), tolerant=tolerant)

    def _ref(self, type_form: object, form: Form) -> HookPair:
        (message_type,) = form.arguments
        if not is_untyped(message_type):
            self.promised.append(message_type)
        return ref_hooks(describe(type_form), message_type, self._export_ref, self._import_ref)

    def _items(self, type_form: object, form: Form) -> HookPair:
        label, inner, item = describe(type_form), self.forms.parse(form.arguments[0]), self._hooks(form.arguments[0])
        if inner.kind is Kind.scalar and inner.origin is not float and (kind := self._kept_kind(form.arguments[0])):
            return plain_item_hooks(label, form.origin, item, kind)
        return item_hooks(label, form.origin, item)

    def _set(self, type_form: object, form: Form) -> HookPair:
        is_hash_safe = self.forms.is_hash_safe(form.arguments[0])
        return set_hooks(describe(type_form), form.origin, self._hooks(form.arguments[0]), is_hash_safe=is_hash_safe)

    def _tuple(self, type_form: object, form: Form) -> HookPair:
        return tuple_hooks(describe(type_form), tuple(self._hooks(item) for item in form.arguments))

    def _dict(self, type_form: object, form: Form) -> HookPair:
        label, (key, item) = describe(type_form), (self._hooks(argument) for argument in form.arguments)
        if self.forms.has_text_keys(form):
            return text_dict_hooks(label, key, item)
        return pairs_dict_hooks(label, key, item, is_hash_safe=self.forms.is_hash_safe(form.arguments[0]))

    def _union(self, type_form: object, form: Form) -> HookPair:
        inner = self.forms.optional(form)
        if inner is not None:
            return optional_hooks(self._hooks(inner))
        variants: list[Variant] = []
        for one in form.arguments:
            of_one = self.forms.parse(one)
            tag = "" if self.forms.is_bare(one) else self._tag(of_one)
            variants.append(Variant(of_one.origin, of_one.also, tag, self._hooks(one)))
        return union_hooks(describe(type_form), variants)

    def _custom(self, _: object, form: Form) -> HookPair:
        # Not through the converter, which would resolve the annotations of an attrs class that nobody needs here.
        cls, taught = form.origin, self._taught[form.origin]
        by_user = HookPair(taught.unstructure, taught.structure)
        return custom_hooks(self._name_of(cls), cls, by_user, self._hooks(taught.travels_as))

    def _tag(self, form: Form) -> str:
        if (
            form.kind in (Kind.record, Kind.enum, Kind.custom)
            or form.kind is Kind.literal
            and issubclass(form.origin, Enum)
        ):
            return self._name_of(form.origin)
        return REF_TAG if form.kind is Kind.ref else scalar_name(form.origin)

    def _kept_kind(self, type_form: object) -> type | None:
        """Return the class of the values that need no hook."""
        kind = self.forms.kept_kind(type_form)
        return None if self._is_checking and kind in (int, str) else kind


def _is_of_kind(kind: Kind, key: TypeKey) -> bool:
    return key.form.kind is kind
