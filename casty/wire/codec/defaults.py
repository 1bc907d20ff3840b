"""What classes make by themselves beside what is in a message: fields that it leaves out, and those that never travel.

Nothing is made to find that out. A default that is made anew for each instance is taken to hold what its type names:
a record all its fields, a list nothing.
"""

from __future__ import annotations

from casty.schema.fields import RecordField
from casty.wire.codec.records import RecordWireType
from casty.wire.codec.shapes import ItemsWireType, PairsDictWireType, TextDictWireType, TupleWireType, WireType


def defaults_in(shape: WireType) -> int:
    """Return how many values one record in values of this shape makes by itself, at most."""
    found, waiting, seen = 0, [shape], {shape}
    held: dict[WireType, int] = {}
    while waiting:
        one = waiting.pop()
        if isinstance(one, RecordWireType):
            optional = (pair for pair in one.fields if one.is_optional(pair[0]))
            found = max(found, one.made_count + sum(_values_of(field, part, held) for field, part in optional))
        new = {*one.children()} - seen
        waiting += new
        seen |= new
    return found


def _values_of(field: RecordField, shape: WireType, held: dict[WireType, int]) -> int:
    """Return how many values are made for a field; a default that all instances share is a place in each of them."""
    return 1 if field.has_default and not field.is_made_anew else 1 + _held_in(shape, held)


def _held_in(shape: WireType, held: dict[WireType, int]) -> int:
    """Return how many values one of a shape holds that a class has made; a record inside itself counts as nothing."""
    if shape not in held:
        held[shape] = 0
        match shape:
            case RecordWireType():
                held[shape] = shape.made_count + sum(_values_of(field, part, held) for field, part in shape.fields)
            case TupleWireType():
                held[shape] = sum(1 + _held_in(item, held) for item in shape.items)
            case ItemsWireType() | TextDictWireType() | PairsDictWireType():
                pass
            case _:
                held[shape] = max((_held_in(child, held) for child in shape.children()), default=0)
    return held[shape]
