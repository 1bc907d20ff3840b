"""Hooks of dataclasses and attrs classes, made for each class: its fields to a map of msgpack by their names, and back.

Source of a fixed form is filled in with the names of the fields and compiled, once. What a value of a field has to be
is compared where it is read; only what is not of that kind, or has to be converted, takes a call. A loop over the
fields, without making source, takes 1.5 times as long to decode and 4 times to encode; cattrs' functions, with a call
for each field, 1.3 and 1.8 times. Nothing that comes from a peer is ever in the source: a class and its fields are
written down in this process, and a field whose name is no identifier is refused.

A class may contain itself: its functions are there before those of its fields, and get their code afterwards.

A strict class takes exactly its fields: as many keys as fields, and every field present, which leaves no room for a
foreign one. A tolerant class ignores keys it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from types import FunctionType
from typing import Any

from casty.errors import UnsupportedTypeError
from casty.schema.names import printable
from casty.schema.record_faults import takes_in_order
from casty.wire.codec.fast_instances import new, only_stores
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch, locate
from casty.wire.limits import MAP

NAMES_SHOWN_MAX = 2
NAME_SHOWN_MAX = 40
"""Of the fields of a peer that are unknown here, so that a line of the log has room for the rest."""


@dataclass(frozen=True, slots=True)
class FieldHooks:
    """Hooks that write and read one field. Values whose class is ``kind`` stay as they are, without a call."""

    name: str
    init_name: str
    is_optional: bool
    """Whether it may be missing in what is read."""
    keyword_only: bool
    kind: type | None
    hooks: HookPair


class RecordFaults:
    """Errors about maps that are no record of a class, or whose fields are not as they should be."""

    __slots__ = ("_fields", "_label", "_tolerant")

    def __init__(self, label: str, fields: Sequence[FieldHooks], tolerant: bool) -> None:
        self._label, self._fields, self._tolerant = label, fields, tolerant

    def refuse(self, raw: Any) -> TypeMismatch:
        """Return the error for a value that is no map of the class."""
        return TypeMismatch(self._label, raw, self._fault_of(raw) if type(raw) is MAP else "")

    def explain(self, raw: Any, error: Exception, field: str) -> None:
        """Raise what a peer is told, unless ``error`` is that already or says that memory is short."""
        if isinstance(error, (TypeMismatch, MemoryError)):
            locate_field(raw, error, field)
            return
        if isinstance(error, KeyError) and (fault := self._fault_of(raw)):
            raise TypeMismatch(self._label, raw, fault) from None
        # A class may raise anything in its own checks; that is its answer to the peer. Its text may be the peer's.
        raise TypeMismatch(self._label, raw, f"{self._label} refuses the values: {type(error).__name__}") from error

    def _fault_of(self, raw: Any) -> str:
        missing = [one.name for one in self._fields if one.name not in raw and not one.is_optional]
        if missing:
            return f"{self._label} lacks the field {missing[0]!r}"
        known = {one.name for one in self._fields}
        extra = [key for key in raw if key not in known]
        if self._tolerant or not extra:
            return ""
        named = ", ".join(repr(printable(str(key), NAME_SHOWN_MAX)) for key in extra[:NAMES_SHOWN_MAX])
        more = f" and {len(extra) - NAMES_SHOWN_MAX} more" if len(extra) > NAMES_SHOWN_MAX else ""
        advice = "declare the class tolerant=True before a release adds fields"
        return f"{self._label} has the unknown field {named}{more}: {advice}"


def locate_field(_: Any, error: Exception, field: str) -> None:
    """Name the field in which a value was refused; empty where it was in none."""
    if field:
        locate(error, f".{field}")


def empty_hook() -> FunctionType:
    """Return a hook without code of its own."""
    builtins = {"type": type, "len": len, "Exception": Exception}
    return FunctionType(_empty.__code__, {"__builtins__": builtins}, "hook")


def _empty(value: Any) -> Any:
    raise AssertionError(f"{value!r} came before the hook was filled")


def fill_encode(
    hook: FunctionType, cls: type[Any], fields: Sequence[FieldHooks], names: Mapping[str, Any], levels: int = 0
) -> None:
    """Let an empty hook make a map of an instance of exactly ``cls``.

    At hand are ``names``: ``refuse(value)`` returns what to raise for others, and ``explain(value, error, field)`` is
    told what was raised in a field, empty where in none, and raises something better where it can. A class that
    contains itself takes ``levels`` from ``nesting.left`` meanwhile, and raises ``spent`` where it is too deep.
    """
    source = _HookSource(cls, fields, "type(value) is not cls", levels)
    for number, field in enumerate(fields):
        source.convert(number, field, f"value.{_identifier(cls, field.name)}")
    pairs = ", ".join(f"{field.name!r}: v{number}" for number, field in enumerate(fields))
    source.compile_into(hook, f"{{{pairs}}}", [field.hooks.encode for field in fields], names)


def fill_decode(
    hook: FunctionType,
    cls: type[Any],
    fields: Sequence[FieldHooks],
    names: Mapping[str, Any],
    levels: int = 0,
    *,
    is_exact: bool,
) -> None:
    """Let an empty hook make an instance of a map, ``is_exact`` of one of its size; the rest as for `fill_encode`."""
    guard = "type(value) is not MAP" + (f" or len(value) != {len(fields)}" if is_exact else "")
    source = _HookSource(cls, fields, guard, levels)
    in_order = [field.init_name for field in fields if not (field.is_optional or field.keyword_only)]
    by_position = set(in_order if takes_in_order(cls, in_order) else ())
    arguments: list[str] = []
    for number, field in sorted(enumerate(fields), key=lambda pair: pair[1].keyword_only):
        init_name = _identifier(cls, field.init_name)
        source.convert(number, field, f"value[{field.name!r}]", init_name if field.is_optional else "")
        if not field.is_optional:
            arguments.append(f"v{number}" if init_name in by_position else f"{init_name}=v{number}")
    made = f"cls({', '.join([*arguments, *source.rest])})"
    if fields and not source.rest and only_stores(cls):
        source.store([f"its[{field.name!r}] = v{number}" for number, field in enumerate(fields)])
        made = "made"
    source.compile_into(hook, made, [field.hooks.decode for field in fields], names)


class _HookSource:
    """Source of one function, and its lines by field."""

    def __init__(self, cls: type[Any], fields: Sequence[FieldHooks], guard: str, levels: int) -> None:
        self._cls = cls
        self._lines_of: dict[int, str] = {}
        self._at_hand: dict[str, Any] = {"cls": cls, "new": new, "MAP": MAP, "lines_of": self._lines_of}
        self._at_hand |= {f"kind{number}": field.kind for number, field in enumerate(fields)}
        take = f"    nesting.left = left = nesting.left - {levels}\n    if left < 0:\n        raise spent('', value)\n"
        start = f"def hook(value):\n    if {guard}:\n        raise refuse(value)\n{take if levels else ''}    try:"
        self.rest = ["**rest" for field in fields if field.is_optional][:1]
        self._lines = [*start.split("\n"), *["        rest = {}" for _ in self.rest]]
        self._end = [f"    nesting.left = left + {levels}", "    return made"] if levels else []

    def convert(self, number: int, field: FieldHooks, read: str, rest: str = "") -> None:
        """Add the lines for a field; one that may be missing is put among the ``rest``, under that name."""
        lines = [f"v{number} = {read}", f"v{number} = hook{number}(v{number})"]
        if field.kind is not None:
            is_other = f"v{number} is not None" if field.kind is type(None) else f"type(v{number}) is not kind{number}"
            lines[1] = f"if {is_other}: {lines[1]}"
        if rest:
            found = [*(f"    {line}" for line in lines), f"    rest[{rest!r}] = v{number}"]
            lines = [f"if {field.name!r} in value:", *found]
        first = len(self._lines) + 1
        self._lines_of.update(dict.fromkeys(range(first, first + len(lines)), field.name))
        self._lines += [f"        {line}" for line in lines]

    def store(self, lines: list[str]) -> None:
        """Make an instance without its constructor, and put into its dict what each line says."""
        self._lines += [f"        {line}" for line in ("made = new(cls)", "its = made.__dict__", *lines)]

    def compile_into(self, hook: FunctionType, made: str, hooks: Sequence[Hook], names: Mapping[str, Any]) -> None:
        """Give a hook its code, and the names in it."""
        explain = "        explain(value, error, lines_of.get(error.__traceback__.tb_lineno, ''))"
        made = f"        {'made =' if self._end else 'return'} {made}"
        end = [made, "    except Exception as error:", explain, "        raise", *self._end]
        found: dict[str, Any] = {}
        source = "\n".join([*self._lines, *end])
        exec(compile(source, f"<hook of {self._cls.__qualname__}>", "exec"), found)
        hook.__code__ = found["hook"].__code__
        hook.__globals__.update(self._at_hand, **names, **{f"hook{number}": one for number, one in enumerate(hooks)})


def _identifier(cls: type, name: str) -> str:
    if not name.isidentifier() or iskeyword(name):
        raise UnsupportedTypeError(f"{cls.__qualname__}: a field must be named by an identifier, got {name!r}")
    return name
