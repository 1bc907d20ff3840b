"""Types that can travel between nodes, found by walking the annotations of a message type.

`parse` looks at one level of a type form: it sees through aliases, ``NewType`` and ``Annotated``,
flattens unions, and says what kind of thing is there and which type forms are inside. `walk` follows
that through fields and containers, and into the replies that an ``ActorRef`` promises. The codec
compiles from the same answers, so what passes `check` can be encoded.

Works on typing's run-time objects alone; a class is recognised as an actor reference by its marker
attribute and as an attrs class by ``__attrs_attrs__``, so nothing needs to be imported for either.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Container, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, auto
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, Never, NewType, NoReturn, Union, get_args, get_origin
from uuid import UUID

from casty.errors import UnsupportedTypeError
from casty.schema.advice import advice_on
from casty.schema.fields import RecordFields, UnresolvedNameError, fields_of, substitute
from casty.schema.record_faults import fault_of_record

__all__ = ["Form", "Kind", "UnresolvedNameError", "check", "describe", "parse", "reachable", "walk"]

REF_MARKER = "__casty_ref__"
ALIAS_STEPS_MAX = 64
FORMS_MAX = 1_000

SCALARS: dict[type, str] = {
    type(None): "none", bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes",
    Decimal: "decimal", UUID: "uuid", datetime: "datetime", date: "date", time: "time", timedelta: "timedelta",
    PurePosixPath: "path", IPv4Address: "ipv4", IPv6Address: "ipv6",
}  # fmt: skip
"""Builtin types that travel as single values, with their names on the wire."""

MODULES_OF_FORMS = ("typing", "typing_extensions", "collections.abc")
"""Modules of classes that say what values can do, and of which class they are not."""
UNTYPED: tuple[type, ...] = (object, type, list, dict, set, frozenset, tuple)
"""Classes of which more has to be said than their name."""


class Kind(Enum):
    """Kind of a type form, once aliases are seen through."""

    scalar = auto()
    literal = auto()
    enum = auto()
    record = auto()
    ref = auto()
    list = auto()
    set = auto()
    frozenset = auto()
    tuple = auto()
    sequence = auto()
    dict = auto()
    union = auto()
    custom = auto()
    """A class that a system has to be taught, see `casty.WireType`."""


@dataclass(frozen=True, slots=True)
class Form:
    """One level of a type form.

    ``origin`` is the class to look for at run time. ``arguments`` are the type forms inside: items of
    containers, variants of a union, the message type of a ref, the parameters of a generic record;
    for a literal they are its values. ``sequence`` is ``tuple[X, ...]``. ``also`` are classes whose
    values are sent as one of ``origin``: an abstract container such as ``Sequence[X]`` is the builtin
    one that cannot be changed, and takes another one from the sender.
    """

    kind: Kind
    origin: type
    arguments: tuple[object, ...] = ()
    also: tuple[type, ...] = ()


_ABSTRACT: dict[type, tuple[Kind, type, tuple[type, ...]]] = {
    Mapping: (Kind.dict, dict, (types.MappingProxyType,)),
    Sequence: (Kind.sequence, tuple, (list,)),
    AbstractSet: (Kind.frozenset, frozenset, (set,)),
}


def parse(type_form: object, where: str = "") -> Form:
    """Return what one level of a type form is. Raises UnsupportedTypeError, which names ``where``.

    >>> parse(int | None).arguments
    (<class 'int'>, <class 'NoneType'>)
    """
    form = strip(type_form, where)
    origin, arguments = get_origin(form), typing.cast("tuple[object, ...]", get_args(form))
    if form is None or isinstance(form, type) and form in SCALARS:
        return Form(Kind.scalar, type(None) if form is None else form)
    if origin is Literal and len(kinds := {type(value) for value in arguments}) == 1:
        (kind_of_all,) = kinds
        if kind_of_all in SCALARS or issubclass(kind_of_all, Enum):
            return Form(Kind.literal, kind_of_all, arguments)
        raise _unsupported(form, where)
    if origin is Literal or origin is Union or origin is types.UnionType:
        return _union(form, where)
    candidate: object = form if origin is None else origin
    if not isinstance(candidate, type):
        raise _unsupported(form, where)
    cls = typing.cast("type[Any]", candidate)
    if REF_MARKER in cls.__dict__ and arguments:
        return Form(Kind.ref, cls, arguments)
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return Form(Kind.sequence, cls, arguments[:1])
    if arguments and cls in (list, set, frozenset, dict, tuple) or form == tuple[()]:
        return Form(Kind[cls.__name__], cls, arguments)
    if arguments and cls in _ABSTRACT:
        kind, concrete, also = _ABSTRACT[cls]
        return Form(kind, concrete, arguments, also)
    if issubclass(cls, Enum) and not issubclass(cls, Flag):
        return Form(Kind.enum, cls)
    has_no_instances = hasattr(cls, "__total__") or getattr(cls, "_is_protocol", False)  # a TypedDict, a Protocol
    if cls.__module__ in MODULES_OF_FORMS or cls in UNTYPED or REF_MARKER in cls.__dict__ or has_no_instances:
        raise _unsupported(form, where)
    if RecordFields.exist_on(cls) and not fault_of_record(cls):
        return Form(Kind.record, cls, arguments)
    return Form(Kind.custom, cls)


def strip(type_form: object, where: str = "") -> object:
    """Return the type form behind ``Annotated``, ``NewType``, ``Final`` and aliases."""
    form = type_form
    for _ in range(ALIAS_STEPS_MAX):
        origin = get_origin(form)
        if origin is Annotated or origin is Final:
            form = get_args(form)[0]
        elif origin is Literal and get_args(form) == (None,):
            return type(None)
        elif isinstance(form, NewType):
            form = form.__supertype__
        elif is_alias(form):
            form = _value_of(form, where)
        elif is_alias(origin):
            parameters = typing.cast("tuple[Any, ...]", getattr(origin, "__type_params__", ()))
            form = substitute(_value_of(origin, where), dict(zip(parameters, get_args(form), strict=False)))
        else:
            return form
    raise UnsupportedTypeError(f"{where or describe(type_form)}: the alias {describe(type_form)} never ends in a type")


def is_alias(form: object) -> bool:
    """Whether ``form`` is what ``type X = ...`` defines (Python 3.12 and later)."""
    return type(form).__name__ == "TypeAliasType" and hasattr(form, "__type_params__")


def is_generic(cls: type) -> bool:
    """Whether a class needs arguments, as in ``Box[int]``, before it is a type of message."""
    return bool(getattr(cls, "__parameters__", ()))


def is_untyped(type_form: object) -> bool:
    """Whether ``type_form`` says of an ActorRef that its message type is unknown."""
    return type_form is Never or type_form is NoReturn or type_form is object


def walk(type_form: object, known: Container[type] | None = ()) -> Iterator[tuple[str, Form]]:
    """Yield every type that a message can hold, with the path to where it was found first.

    Follows fields, containers, unions, and the replies promised by ``ActorRef`` fields. ``known`` are the classes
    that the system was taught; None leaves those to whoever registers the type. Raises UnsupportedTypeError for the
    first type that cannot travel.
    """
    root = parse(type_form, _root_name(type_form))
    roots = (type_form, *(root.arguments if root.kind is Kind.union else ()))
    waiting: list[tuple[str, object]] = [(_root_name(one), one) for one in roots]
    seen: dict[object, None] = {}
    while waiting:
        where, current = waiting.pop(0)
        stripped = strip(current, where)
        if stripped in seen:
            continue
        if len(seen) >= FORMS_MAX:
            raise UnsupportedTypeError(
                f"{where}: more than {FORMS_MAX} types; does a generic type contain ever larger ones?"
            )
        seen[stripped] = None
        form = parse(stripped, where)
        if form.kind is Kind.custom and known is not None and form.origin not in known:
            raise _unsupported(stripped, where, teach=form.origin)
        yield where, form
        waiting += inside(form, stripped, where)


def reachable(type_form: object, known: Container[type] | None = ()) -> tuple[type, ...]:
    """Return the dataclasses, attrs classes and enums that a message of this type can hold; ``known`` as for `walk`.

    >>> reachable(tuple[int, ...] | str)
    ()
    """
    classes = (form.origin for _, form in walk(type_form, known) if form.kind in (Kind.record, Kind.enum))
    return tuple(dict.fromkeys(classes))


def check(type_form: object, known: Container[type] | None = ()) -> None:
    """Raise UnsupportedTypeError unless values of this type can travel between nodes; ``known`` as for `walk`.

    >>> check(dict[str, complex], known={complex})
    >>> check(dict[str, list])
    Traceback (most recent call last):
    casty.errors.UnsupportedTypeError: dict[value]: list cannot travel between nodes: say what it holds, as in list[int]
    """
    reachable(type_form, known)


def describe(form: object) -> str:
    """Return a type form as a programmer would write it.

    >>> describe(dict[str, int | None])
    'dict[str, int | None]'
    """
    if isinstance(form, type) and not get_args(form):
        is_short = form.__module__ in ("builtins", "__main__")
        return form.__name__ if is_short else f"{form.__module__}.{form.__qualname__}"
    return repr(form).replace("typing.", "").replace("collections.abc.", "")


def _union(form: object, where: str) -> Form:
    variants: dict[object, object] = {}
    literals: dict[object, tuple[object, ...]] = {}
    for variant in _flatten(form, where):
        inner = parse(variant, where)
        if inner.kind is Kind.literal:
            literals[inner.origin] = literals.get(inner.origin, ()) + inner.arguments
            continue
        if variants.setdefault(inner.origin, variant) != variant:
            first, second = describe(variants[inner.origin]), describe(variant)
            raise UnsupportedTypeError(
                f"{where or describe(form)}: {first} and {second} cannot be told apart in one union: "
                "wrap each in a frozen dataclass of its own"
            )
    for origin, values in literals.items():
        variants.setdefault(origin, Literal[values])
    if len(variants) == 1:
        return parse(next(iter(variants.values())), where)
    return Form(Kind.union, object, tuple(variants.values()))


def _flatten(form: object, where: str) -> Iterator[object]:
    stripped = strip(form, where)
    if get_origin(stripped) in (Union, types.UnionType):
        for part in get_args(stripped):
            yield from _flatten(part, where)
    elif get_origin(stripped) is Literal:
        yield from (strip(Literal[value]) for value in get_args(stripped))
    else:
        yield type(None) if stripped is None else stripped


def inside(form: Form, type_form: object, where: str) -> list[tuple[str, object]]:
    """Return the type forms of what lies inside a value, and of replies to a ref, each with the path to it."""
    match form.kind:
        case Kind.scalar | Kind.literal | Kind.enum | Kind.custom:
            return []
        case Kind.record:
            fields = fields_of(type_form, where).fields
            return [(f"{where}.{field.name}", field.type_form) for field in fields]
        case Kind.ref:
            (message_type,) = form.arguments
            return [] if is_untyped(message_type) else [(f"{where}<reply>", message_type)]
        case Kind.union:
            return [(where, variant) for variant in form.arguments]
        case Kind.dict:
            key, value = form.arguments
            return [(f"{where}[key]", key), (f"{where}[value]", value)]
        case Kind.list | Kind.set | Kind.frozenset | Kind.sequence:
            return [(f"{where}[]", form.arguments[0])]
        case Kind.tuple:
            return [(f"{where}[{index}]", item) for index, item in enumerate(form.arguments)]


def _value_of(alias: Any, where: str) -> object:
    try:
        return alias.__value__
    except NameError as error:
        raise UnresolvedNameError(f"{where}: the alias {alias.__name__} names something unknown: {error}") from None


def _root_name(type_form: object) -> str:
    origin = get_origin(type_form)
    named = type_form if origin is None else origin
    return named.__name__ if isinstance(named, type) and origin is not types.UnionType else describe(type_form)


def _unsupported(form: object, where: str, *, teach: type | None = None) -> UnsupportedTypeError:
    """Return the error for a type form; ``teach`` is the class in it that a system can be taught."""
    place = f"{where}: " if where else ""
    return UnsupportedTypeError(f"{place}{describe(form)} cannot travel between nodes: {advice_on(form, teach)}")
