"""Faults of classes with fields: why instances cannot travel by them, and what to write.

Owns the conditions on the class as such. It does not know the types of its fields (`types`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def fault_of_record(cls: type) -> str:
    """Return why a class with fields cannot travel by them, and what to write; empty where it can."""
    own = cls.__dict__
    if "__dataclass_params__" not in own and "__attrs_attrs__" not in own:
        return f"{cls.__qualname__} is a plain subclass: decorate it with @dataclass(frozen=True)"
    if hasattr(cls, "__dataclass_fields__") and hasattr(cls, "__attrs_attrs__"):
        return f"{cls.__qualname__} is a dataclass and an attrs class by its bases: make them all of one kind"
    if "__attrs_attrs__" in own:
        frozen, remedy = cls.__setattr__.__name__ == "_frozen_setattrs", "@attrs.frozen"
    else:
        frozen, remedy = bool(own["__dataclass_params__"].frozen), "@dataclass(frozen=True)"
    return "" if frozen else f"{cls.__qualname__} can be changed after it was sent: declare it with {remedy}"


def takes_in_order(cls: type[Any], names: list[str]) -> bool:
    """Whether a call of the class takes values in the order of its fields: a constructor of its own need not."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    ordered = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return ordered[: len(names)] == names


def fault_of_constructor(cls: type[Any], arguments: Mapping[str, bool]) -> str:
    """Return why an instance cannot be made of its fields; empty where it can, or where nothing is known of that.

    Of each argument it is said whether it goes by name alone; the decoder gives the others in their order where the
    constructor takes them so, and all by name elsewhere.
    """
    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError):
        return ""
    by_place = [name for name, is_by_name in arguments.items() if not is_by_name]
    places = by_place if takes_in_order(cls, by_place) else []
    with suppress(TypeError):
        signature.bind(*places, **dict.fromkeys(name for name in arguments if name not in places))
        return ""
    return (
        f"{cls.__qualname__} cannot be made of its fields: the constructor takes ({', '.join(signature.parameters)}), "
        f"and they are {', '.join(arguments) or 'none'}: let the decorator write the constructor (no init=False), or "
        "write one that takes each field by its name"
    )
