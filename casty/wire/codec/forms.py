"""What is known of a type form before there is any value of it: what is inside, and what that means for its hooks.

Nothing is made to find that out. A default that is made anew for each instance is taken to hold what its type names:
a record all its fields, a list nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, time, timedelta
from typing import Any

from casty.schema.fields import RecordField, RecordFields, fields_of
from casty.schema.names import facts_of
from casty.schema.types import Form, Kind, parse, strip
from casty.wire_types import WireType

PLAIN = (type(None), bool, int, str, bytes, float)
"""Classes whose values msgpack tells apart."""
ARRAYS = (datetime, time, timedelta)
"""Single values that are written as an array."""
EACH_KIND = (Kind.list, Kind.sequence, Kind.set, Kind.frozenset, Kind.dict)
"""Containers whose number of items is not of their type."""


class Forms:
    """Answers about type forms, each looked at once. ``name_of`` gives the wire names of classes."""

    def __init__(self, name_of: Callable[[type], str], taught: Mapping[type, WireType[Any, Any]]) -> None:
        self._name_of = name_of
        self._taught = taught
        self._parsed: dict[object, Form] = {}
        self._fields: dict[object, RecordFields] = {}

    def parse(self, type_form: object) -> Form:
        """Return what one level of a type form is."""
        key = strip(type_form)
        form = self._parsed.get(key)
        if form is None:
            form = self._parsed[key] = parse(key)
        return form

    def fields(self, type_form: object) -> RecordFields:
        """Return the fields of a record."""
        found = self._fields.get(type_form)
        if found is None:
            found = self._fields[type_form] = fields_of(type_form, self._name_of(self.parse(type_form).origin))
        return found

    def inside(self, type_form: object) -> tuple[object, ...]:
        """Return the type forms of the values inside of one."""
        form = self.parse(type_form)
        match form.kind:
            case Kind.record:
                return tuple(strip(field.type_form) for field in self.fields(type_form).fields)
            case Kind.scalar | Kind.literal | Kind.enum | Kind.ref:
                return ()
            case Kind.custom:
                return (strip(self._taught[form.origin].travels_as),)
            case _:
                return tuple(strip(argument) for argument in form.arguments)

    def reachable(self, type_form: object) -> Iterator[object]:
        """Yield a type form and all that values of it can hold."""
        waiting, seen = [type_form], {type_form}
        while waiting:
            one = waiting.pop()
            yield one
            new = [inner for inner in dict.fromkeys(self.inside(one)) if inner not in seen]
            waiting += new
            seen.update(new)

    def kept_kind(self, type_form: object) -> type | None:
        """Return the class of the values that both hooks return as they are, if there is one."""
        form = self.parse(type_form)
        if (inner := self.optional(form)) is not None:
            return self.kept_kind(inner)
        return form.origin if form.kind is Kind.scalar and form.origin in PLAIN else None

    def optional(self, form: Form) -> object | None:
        """Return X of the union ``X | None``, and None of others."""
        if form.kind is not Kind.union:
            return None
        others = [variant for variant in form.arguments if self.parse(variant).origin is not type(None)]
        return others[0] if len(others) == 1 and len(form.arguments) == 2 else None

    def is_bare(self, type_form: object) -> bool:
        """Whether values stand in a union without a tag, told apart by their msgpack kind."""
        form = self.parse(type_form)
        return form.kind in (Kind.scalar, Kind.literal) and form.origin in PLAIN

    def is_hash_safe(self, type_form: object) -> bool:
        """Whether a peer cannot choose many values with the same hash."""
        form = self.parse(type_form)
        match form.kind:
            case Kind.scalar:
                return form.origin in PLAIN and form.origin is not float
            case Kind.enum | Kind.literal:
                return True
            case Kind.union:
                inner = self.optional(form)
                parts = form.arguments if inner is None else (inner,)
                return all((inner or self.is_bare(part)) and self.is_hash_safe(part) for part in parts)
            case _:
                return False

    def levels(self, type_form: object) -> int:
        """Return how many containers of msgpack one value is, at most, without what is inside."""
        form = self.parse(type_form)
        match form.kind:
            case Kind.scalar:
                return int(form.origin in ARRAYS)
            case Kind.literal | Kind.enum | Kind.custom:
                return 0
            case Kind.union:
                return int(self.optional(form) is None)
            case Kind.dict:
                return 1 if self.has_text_keys(form) else 2
            case _:
                return 1

    def has_text_keys(self, form: Form) -> bool:
        """Whether a dict is written as a map."""
        key = self.parse(form.arguments[0])
        return key.kind is Kind.scalar and key.origin in (str, bytes)

    def defaults_in(self, type_form: object) -> int:
        """Return how many values one record in values of this type makes by itself, at most."""
        found, held = 0, dict[object, int]()
        for one in self.reachable(type_form):
            if self.parse(one).kind is Kind.record:
                fields = self.fields(one)
                lacking = [field for field in fields.fields if self.may_lack(one, field)]
                found = max(found, fields.made_count + sum(self._values_of(field, held) for field in lacking))
        return found

    def may_lack(self, type_form: object, field: RecordField) -> bool:
        """Whether a message may leave a field of a record out."""
        facts = facts_of(self.parse(type_form).origin)
        return facts is not None and facts.tolerant and field.has_default

    def _values_of(self, field: RecordField, held: dict[object, int]) -> int:
        """Return how many values are made for a field; a default that all instances share is a place in each."""
        shared = field.has_default and not field.is_made_anew
        return 1 if shared else 1 + self._held_in(strip(field.type_form), held)

    def _held_in(self, type_form: object, held: dict[object, int]) -> int:
        """Return how many values one holds that a class has made; a record inside itself counts as nothing."""
        if type_form not in held:
            held[type_form] = 0
            kind, inside = self.parse(type_form).kind, self.inside(type_form)
            if kind is Kind.record:
                fields = self.fields(type_form)
                held[type_form] = fields.made_count + sum(self._values_of(field, held) for field in fields.fields)
            elif kind is Kind.tuple:
                held[type_form] = sum(1 + self._held_in(item, held) for item in inside)
            elif kind not in EACH_KIND:
                held[type_form] = max((self._held_in(one, held) for one in inside), default=0)
        return held[type_form]
