"""Advice for types that cannot travel: the second half of an error.

Only says words: whether a type can travel is decided by `casty.schema.types`. Classes of other libraries are known by
their bases or by what is on them, so none of those is imported.
"""

from __future__ import annotations

import typing
from typing import get_origin

from casty.schema.fields import RecordFields
from casty.schema.record_faults import fault_of_record

_ADVICE = {
    "Sequence": "say what it holds, as in Sequence[int]",
    "MutableSequence": "write list[...]",
    "Iterable": "write tuple[...] or list[...]",
    "Collection": "write tuple[...] or list[...]",
    "Mapping": "say what it holds, as in Mapping[str, int]",
    "MutableMapping": "write dict[...]",
    "Set": "say what it holds, as in Set[str]",
    "MutableSet": "write set[...]",
    "Any": "name the types it can be",
    "object": "name the types it can be",
    "Never": "Never says only of an ActorRef that its type is unknown",
    "NoReturn": "Never says only of an ActorRef that its type is unknown",
    "bytearray": "write bytes",
    "complex": "write a tuple of two floats",
    "list": "say what it holds, as in list[int]",
    "dict": "say what it holds, as in dict[str, int]",
    "set": "say what it holds, as in set[str]",
    "frozenset": "say what it holds, as in frozenset[str]",
    "tuple": "say what it holds, as in tuple[int, ...]",
    "ActorRef": "say what it takes, as in ActorRef[Reply]",
    "Callable": "a function stays in its process: send what the receiver has to know, or an ActorRef",
    "type": "a class stays in its process: write its name as str, or an enum",
    "Hashable": "name the types it can be",
    "TypeVar": "give the generic class its argument, as in Box[int]",
}
_ADVICE_BY_BASE = {
    "Flag": "an enum.Flag has no single name: send an int or a set of names",
    "PurePath": "write str or PurePosixPath, and convert it at the sender: a path means a file on its own machine",
    "BaseException": "write str, such as repr(error): who asked is told of an error by ctx.reply_error",
    "NamedTuple": "write a frozen dataclass with the same fields",
    "TypedDict": "write a frozen dataclass with the same fields",
    "pydantic": "write a frozen dataclass with the fields that the receiver needs, or str, and model.model_dump_json()",
    "msgspec": "write a frozen dataclass with the same fields, or bytes, and msgspec.msgpack.encode(it)",
}
_MARKS = {
    "__pydantic_fields__": "pydantic",
    "__struct_fields__": "msgspec",
    "__total__": "TypedDict",
    "_fields": "NamedTuple",
}
"""Attributes by which classes of other libraries are known, without importing those."""
_DEFAULT_ADVICE = (
    "write a frozen dataclass with what the receiver needs of it, or a plain value such as str, bytes, int or dict[...]"
)


def advice_on(form: object, teach: type | None = None) -> str:
    """Return what to write for a type form; ``teach`` is the class in it that a system can be taught."""
    cls = form if get_origin(form) is None else get_origin(form)
    kind = "TypeVar" if isinstance(form, typing.TypeVar) else getattr(cls, "__name__", "") or type(cls).__name__
    advice = _ADVICE.get(kind) or _advice_by_base(cls) or _DEFAULT_ADVICE
    if teach is None:
        return advice
    if RecordFields.exist_on(teach):
        advice = fault_of_record(teach) or advice
    return f"{advice}; or teach it to the system of every node: wire_types=[casty.WireType({teach.__name__}, ...)]"


def _advice_by_base(cls: object) -> str:
    """Return what to write for a class of a known kind, by its bases or the marks of its library."""
    bases: tuple[type, ...] = getattr(cls, "__mro__", ())
    kinds = [base.__name__ for base in bases if base.__module__ in ("builtins", "enum", "pathlib", "pathlib._local")]
    kinds += [kind for mark, kind in _MARKS.items() if isinstance(cls, type) and hasattr(cls, mark)]
    return next((_ADVICE_BY_BASE[kind] for kind in kinds if kind in _ADVICE_BY_BASE), "")
