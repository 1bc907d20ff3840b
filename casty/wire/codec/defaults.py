"""Values made by classes themselves: fields left out of a message, and those that never travel.

Nothing is made to find that out. A default that is made anew for each instance is taken to hold what its type names:
a record all its fields, a list nothing.
"""

from __future__ import annotations

from typing import Any

from casty.schema.fields import RecordField, fields_of
from casty.schema.names import is_tolerant
from casty.schema.types import Form, Kind, inside, parse, strip
from casty.wire_types import WireType

Taught = dict[type, WireType[Any, Any]]

EACH_KIND = (Kind.list, Kind.sequence, Kind.set, Kind.frozenset, Kind.dict)
"""Containers whose number of items is not of their type."""


def _may_lack(form: Form, field: RecordField) -> bool:
    """Whether a message may leave a field of a record out."""
    return field.has_default and is_tolerant(form.origin)


def defaults_in(type_form: object, taught: Taught) -> int:
    """Return how many values one record in values of this type makes by itself, at most."""
    found, held, waiting, seen = 0, dict[object, int](), [strip(type_form)], set[object]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        form = parse(one)
        if form.kind is Kind.record:
            record = fields_of(one, "")
            lacking = [field for field in record.fields if _may_lack(form, field)]
            found = max(found, record.made_count + sum(_values_of(field, held, taught) for field in lacking))
        waiting += _parts(one, form, taught)
    return found


def _parts(type_form: object, form: Form, taught: Taught) -> list[object]:
    if form.kind is Kind.custom:
        return [strip(taught[form.origin].travels_as)]
    return [] if form.kind is Kind.ref else [strip(one) for _, one in inside(form, type_form, "")]


def _values_of(field: RecordField, held: dict[object, int], taught: Taught) -> int:
    """Return how many values are made for a field; a default that all instances share is a place in each of them."""
    return 1 if field.has_default and not field.is_made_anew else 1 + _held_in(strip(field.type_form), held, taught)


def _held_in(type_form: object, held: dict[object, int], taught: Taught) -> int:
    """Return how many values one holds that a class has made; a record inside itself counts as nothing."""
    if type_form not in held:
        held[type_form] = 0
        form = parse(type_form)
        if form.kind is Kind.record:
            record = fields_of(type_form, "")
            held[type_form] = record.made_count + sum(_values_of(field, held, taught) for field in record.fields)
        elif form.kind not in EACH_KIND:
            counts = [_held_in(one, held, taught) for one in _parts(type_form, form, taught)]
            held[type_form] = sum(counts) + len(counts) if form.kind is Kind.tuple else max(counts, default=0)
    return held[type_form]
