"""Names of composed types: how ``dict[str, int]`` is called when it is a whole message.

Messages are usually instances of named classes. A reply can be any value, so a type form has a
canonical name as well; both ends derive it from the same ``ActorRef[...]`` annotation. Aliases,
``NewType`` and ``Annotated`` leave no trace in it, and the variants of a union are sorted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import get_args, get_origin

from casty.schema.types import SCALARS, Form, Kind, is_alias, is_untyped, parse, strip


def canonical_name(type_form: object, name_of: Callable[[type], str]) -> str:
    """Return the name of a type form; ``name_of`` gives the wire names of classes.

    >>> canonical_name(dict[str, int | None], lambda cls: cls.__name__)
    'dict[str,int|none]'
    >>> canonical_name(tuple[bytes, ...], lambda cls: cls.__name__)
    'tuple[bytes,...]'
    """
    return _name(type_form, name_of, ())


def _name(type_form: object, name_of: Callable[[type], str], aliases: tuple[object, ...]) -> str:
    if is_alias(type_form) or is_alias(get_origin(type_form)):
        if type_form in aliases:
            # An alias that contains itself has no other finite name.
            own = f"{getattr(type_form, '__module__', '')}:{getattr(type_form, '__name__', '')}"
            inside = ",".join(_name(argument, name_of, aliases) for argument in get_args(type_form))
            return f"{own}[{inside}]" if inside else own
        aliases = (*aliases, type_form)
    if is_untyped(type_form):
        return "untyped"
    form = parse(strip(type_form))
    match form.kind:
        case Kind.scalar:
            return SCALARS[form.origin]
        case Kind.enum | Kind.custom:
            return name_of(form.origin)
        case Kind.literal:
            return _literal(form, name_of)
        case Kind.union:
            return "|".join(sorted(_name(variant, name_of, aliases) for variant in form.arguments))
        case Kind.record:
            head, arguments = name_of(form.origin), form.arguments
        case Kind.ref:
            head, arguments = "ref", form.arguments
        case Kind.sequence:
            return f"tuple[{_name(form.arguments[0], name_of, aliases)},...]"
        case Kind.list | Kind.set | Kind.frozenset | Kind.dict | Kind.tuple:
            head, arguments = form.kind.name, form.arguments
    inside = ",".join(_name(argument, name_of, aliases) for argument in arguments)
    return f"{head}[{inside}]" if inside or form.kind is Kind.tuple else head


def _literal(form: Form, name_of: Callable[[type], str]) -> str:
    values = (
        f"{name_of(type(one))}.{one.name}"
        if isinstance(one, Enum)
        else json.dumps(one.hex() if isinstance(one, bytes) else one)
        for one in form.arguments
    )
    return f"literal[{','.join(sorted(values))}]"
