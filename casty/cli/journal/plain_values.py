"""Values of a user's as plain ones, for people and for JSON, and the differences of two of them.

Owns the form: fields, keys and items, whatever classes they have. It does not know journals.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final, cast

import msgpack

from casty.errors import EncodeError, UnsupportedTypeError
from casty.schema.events import event_facts
from casty.schema.fields import RecordFields
from casty.schema.types import SCALARS
from casty.wire.storing.stored_codec import StoredCodec

CLASS: Final = "$class"
"""Key of the name of an instance's class: the stored one, or its own."""
DEPTH_MAX: Final = 64
LENGTH_MAX: Final = 2_000
"""Characters of one value in a line for people."""

ABSENT: Final = object()
"""Value in place of one that is not there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One place in two plain values, and the value at each; `ABSENT` for none."""

    path: str
    before: object
    after: object

    def as_json(self) -> dict[str, object]:
        """Return it for JSON; a value that is not there is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in sides.items() if value is not ABSENT}}


class PlainValues:
    """Maker of plain values.

    Parameters:
        codec: With the types taught to the user's systems.
    """

    def __init__(self, codec: StoredCodec) -> None:
        self._codec = codec

    def of(self, value: object, depth: int = 0) -> object:
        """Return None, a bool, number, text, or a list or dict by text of such, which share nothing with the value."""
        if depth > DEPTH_MAX:
            return f"(deeper than {DEPTH_MAX})"
        if isinstance(value, Enum):
            return f"{type(value).__name__}.{value.name}"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, str)):
            return int(value) if isinstance(value, int) else str(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else repr(value)
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": b64encode(value).decode()}
        if isinstance(value, type):
            return repr(value)
        if RecordFields.exist_on(type(value)):
            return self._fields(value, depth)
        if isinstance(value, Mapping):
            return self._items(cast("Mapping[object, object]", value), depth)
        if isinstance(value, (list, tuple)):
            return [self.of(item, depth + 1) for item in cast("list[object]", value)]
        if isinstance(value, AbstractSet):
            members = [self.of(item, depth + 1) for item in cast("AbstractSet[object]", value)]
            return sorted(members, key=lambda member: json.dumps(member, sort_keys=True))
        return self._other(value, depth)

    def _fields(self, value: object, depth: int) -> dict[str, object]:
        cls = type(value)
        facts = event_facts(cls)
        names = (
            [field.name for field in dataclasses.fields(cast("Any", value))]
            if dataclasses.is_dataclass(cls)
            else [str(attribute.name) for attribute in cast("Any", cls).__attrs_attrs__]
        )
        inside = {name: self.of(getattr(value, name, "(not set)"), depth + 1) for name in names}
        return {CLASS: facts.name if facts else cls.__qualname__, **inside}

    def _items(self, value: Mapping[object, object], depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        for key, item in value.items():
            name = key if type(key) is str else _text_of(self.of(key, depth + 1))
            if name in made or name == CLASS:  # 1 and "1" are two keys
                name = f"{name} ({type(key).__name__})"
            made[name] = self.of(item, depth + 1)
        return made

    def _other(self, value: object, depth: int) -> object:
        cls = type(value)
        if cls in SCALARS:
            return str(value)
        try:
            return self.of(self._codec.plain(cls, value), depth + 1)
        except (UnsupportedTypeError, EncodeError):
            shown = repr(value)  # of any class: one without a form of its own shows where it lies, new in each run
            return f"<{cls.__qualname__}>" if cls.__repr__ is object.__repr__ else shown


def plain_of_msgpack(payload: bytes) -> object:
    """Return the plain values in stored bytes; where they are none, a text that says so. No class is looked up."""
    try:
        raw: object = msgpack.unpackb(payload, strict_map_key=False, timestamp=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        return f"({len(payload)} bytes that are no msgpack: {type(error).__name__})"
    return _PLAIN_ONLY.of(raw)


class _Extended(PlainValues):
    def of(self, value: object, depth: int = 0) -> object:
        """Return a value of msgpack as plain values."""
        if isinstance(value, msgpack.ExtType):
            return {"$ext": value.code, "$bytes": b64encode(value.data).decode()}
        return super().of(value, depth)


_PLAIN_ONLY: Final = _Extended(StoredCodec())


def differences(before: object, after: object, path: str = "") -> Iterator[Difference]:
    """Yield the places in which two plain values differ, the outer ones where the classes or kinds do."""
    old, new = _dict(before), _dict(after)
    olds, news = _list(before), _list(after)
    if old is not None and new is not None:
        if old.get(CLASS) != new.get(CLASS):
            yield Difference(path, before, after)
            return
        for key in [*old, *(key for key in new if key not in old)]:
            inner = _joined(path, key, is_field=CLASS in old)
            yield from _one_place(old.get(key, ABSENT), new.get(key, ABSENT), inner)
    elif olds is not None and news is not None:
        for place in range(max(len(olds), len(news))):
            old_item = olds[place] if place < len(olds) else ABSENT
            yield from _one_place(old_item, news[place] if place < len(news) else ABSENT, f"{path}[{place}]")
    elif before != after or type(before) is not type(after):
        yield Difference(path, before, after)


def _one_place(before: object, after: object, path: str) -> Iterator[Difference]:
    if before is ABSENT or after is ABSENT:
        yield Difference(path, before, after)
    else:
        yield from differences(before, after, path)


def lines_of_value(value: object, path: str = "") -> Iterator[str]:
    """Yield a line for each leaf of a plain value, with the way to it."""
    items, members = _dict(value), _list(value)
    if items is not None and items.keys() - {CLASS}:
        for key, item in items.items():
            if key != CLASS:
                yield from lines_of_value(item, _joined(path, key, is_field=CLASS in items))
    elif members:
        for place, item in enumerate(members):
            yield from lines_of_value(item, f"{path}[{place}]")
    else:
        yield f"{path}: {shown(value)}" if path else shown(value)


def in_words(difference: Difference) -> str:
    """Return a difference of a state before and after."""
    path, before, after = difference.path or "the state", difference.before, difference.after
    if before is ABSENT:
        return f"{path}: added {shown(after)}"
    if after is ABSENT:
        return f"{path}: removed, was {shown(before)}"
    return f"{path}: {shown(before)} -> {shown(after)}"


def shown(value: object) -> str:
    """Return a plain value on one line, cut, and safe for a terminal."""
    if value is ABSENT:
        return "nothing"
    return on_one_line(_text_of(value), LENGTH_MAX)


def on_one_line(text: str, length_max: int = LENGTH_MAX) -> str:
    """Return text cut to a length, without characters that a terminal would obey."""
    cut = text if len(text) <= length_max else f"{text[:length_max]}... ({len(text)} characters)"
    if cut.isprintable():
        return cut
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in cut)


def _text_of(value: object) -> str:
    items, members = _dict(value), _list(value)
    if items is not None and CLASS in items:
        inside = ", ".join(f"{key}={_text_of(item)}" for key, item in items.items() if key != CLASS)
        return f"{items[CLASS]}({inside})"
    if items is not None:
        return "{" + ", ".join(f"{key!r}: {_text_of(item)}" for key, item in items.items()) + "}"
    if members is not None:
        return "[" + ", ".join(map(_text_of, members)) + "]"
    return repr(value)


def _dict(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _list(value: object) -> list[object] | None:
    return cast("list[object]", value) if isinstance(value, list) else None


def _joined(path: str, key: str, *, is_field: bool) -> str:
    if is_field:
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def json_line(value: object) -> str:
    """Return a plain value as one line of JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def write_line(line: str) -> None:
    """Write a line of the answer."""
    sys.stdout.write(line + "\n")
