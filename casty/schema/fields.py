"""The fields of dataclasses and attrs classes, with their annotations resolved.

Type variables are replaced by what a generic class was given, class by class along the bases, so
that ``class IntBox(Box[int])`` and ``Box[int]`` come out alike.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, cast, get_args, get_origin

from casty.errors import UnsupportedTypeError
from casty.schema.record_faults import fault_of_constructor, fault_of_record

_HINTS = "__casty_hints__"


class UnresolvedNameError(UnsupportedTypeError):
    """An annotation names a class that cannot be found where it is written, or not yet."""


@dataclass(frozen=True, slots=True)
class RecordField:
    """One field that travels; ``init_name`` is its name as an argument of the class."""

    name: str
    init_name: str
    type_form: object
    has_default: bool
    is_made_anew: bool
    """Whether each instance that is made without it gets a default of its own."""
    keyword_only: bool


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The fields of one dataclass or attrs class that are given when an instance is made."""

    fields: tuple[RecordField, ...]
    made_count: int
    """Number of others, made anew for each instance, that do not travel."""

    @staticmethod
    def exist_on(candidate: object) -> bool:
        """Whether ``candidate`` is a class with fields, by its own decorator or a base's."""
        return hasattr(candidate, "__dataclass_fields__") or hasattr(candidate, "__attrs_attrs__")


def fields_of(type_form: object, where: str) -> RecordFields:
    """Return the fields of a record type such as ``Order`` or ``Box[int]``.

    Raises UnsupportedTypeError when the class can be changed after it was made, is a generic
    without its arguments, or hides a field from its constructor's arguments; or when its constructor does not take
    its fields.
    """
    cls = cast("type[Any]", get_origin(type_form) or type_form)
    if fault := fault_of_record(cls):
        raise UnsupportedTypeError(f"{where}: {fault}")
    hints = _hints(cls, get_args(type_form), where)
    found = [_of_dataclass(f) for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else _of_attrs(cls)
    plain = [field for field, is_argument in found if is_argument]
    made_count = sum(field.is_made_anew for field, is_argument in found if not is_argument)
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise UnsupportedTypeError(f"{where}.{name}: an InitVar is gone once the message exists: make it a field")
    if fault := fault_of_constructor(cls, {field.init_name: field.keyword_only for field in plain}):
        raise UnsupportedTypeError(f"{where}: {fault}")
    return RecordFields(tuple(dataclasses.replace(f, type_form=hints.get(f.name, Any)) for f in plain), made_count)


def substitute(type_form: object, bindings: Mapping[Any, object]) -> Any:
    """Return ``type_form`` with its type variables replaced; unknown ones stay."""
    if isinstance(type_form, typing.TypeVar):
        return bindings.get(type_form, type_form)
    form: Any = type_form
    is_class = isinstance(type_form, type) and not get_args(type_form)
    parameters: tuple[Any, ...] = () if is_class or not bindings else getattr(form, "__parameters__", ())
    return form[tuple(bindings.get(parameter, parameter) for parameter in parameters)] if parameters else form


def _of_dataclass(field: dataclasses.Field[Any]) -> tuple[RecordField, bool]:
    """Return a field, and whether it is an argument of its class."""
    is_made_anew = field.default_factory is not MISSING
    has_default = is_made_anew or field.default is not MISSING
    return RecordField(field.name, field.name, Any, has_default, is_made_anew, field.kw_only is True), field.init


def _of_attrs(cls: Any) -> list[tuple[RecordField, bool]]:
    fields: list[tuple[RecordField, bool]] = []
    for attribute in cls.__attrs_attrs__:
        # attrs' marker for "no default" is the only value of an enumeration called _Nothing.
        kind = type(attribute.default).__name__
        has_default, is_made_anew = kind not in ("_Nothing", "NothingType"), kind == "Factory"
        field = RecordField(attribute.name, attribute.alias, Any, has_default, is_made_anew, attribute.kw_only)
        fields.append((field, bool(attribute.init)))
    return fields


def _hints(cls: type, arguments: tuple[object, ...], where: str) -> dict[str, object]:
    bindings = _bindings(cls, arguments)
    hints: dict[str, object] = {}
    for owner in reversed(cls.__mro__):
        if own := inspect.get_annotations(owner):
            resolved, bound = _resolve(owner, cls, where), bindings.get(owner, {})
            hints |= {name: substitute(resolved[name], bound) for name in own if name in resolved}
    return hints


def _bindings(cls: type, arguments: tuple[object, ...]) -> dict[type, dict[Any, object]]:
    """Return what each class among the bases has for its type variables."""
    parameters: tuple[Any, ...] = getattr(cls, "__parameters__", ())
    bindings: dict[type, dict[Any, object]] = {cls: dict(zip(parameters, arguments, strict=False))}
    waiting = [cls]
    while waiting:
        current = waiting.pop()
        for base in cast("tuple[Any, ...]", vars(current).get("__orig_bases__", current.__bases__)):
            origin = get_origin(base) or base
            if not isinstance(origin, type) or origin in bindings or origin is object:
                continue
            given = (substitute(argument, bindings[current]) for argument in get_args(base))
            bindings[origin] = dict(zip(getattr(origin, "__parameters__", ()), given, strict=False))
            waiting.append(origin)
    return bindings


def _resolve(owner: type, cls: type, where: str) -> dict[str, Any]:
    if _HINTS not in vars(owner):
        # On the class itself, so that both go together; a table would keep classes alive for ever.
        setattr(owner, _HINTS, _evaluate(owner, cls, where))
    return cast("dict[str, Any]", vars(owner)[_HINTS])


def _evaluate(owner: type, cls: type, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner)
    except NameError:
        pass  # The class itself may not be bound to its name yet; the second look knows it.
    try:
        # Early releases of Python 3.12 do not look among the parameters in a class's own brackets.
        known = {parameter.__name__: parameter for parameter in getattr(owner, "__type_params__", ())}
        known |= {**vars(owner), owner.__name__: owner, cls.__name__: cls}
        return typing.get_type_hints(owner, localns=known)
    except NameError as error:
        raise UnresolvedNameError(
            f"{where}: an annotation of {owner.__qualname__} names something unknown ({error}): "
            "define it at the top level of the same module, before the first use of the message, or import it there; "
            "an import under `if TYPE_CHECKING:` is not there when the program runs"
        ) from None
