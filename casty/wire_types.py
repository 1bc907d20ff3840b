"""Types taught to a system: values of classes unknown to casty, on their way between nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeGuard, TypeVar

from casty.errors import UnsupportedTypeError
from casty.schema.names import RESERVED_PREFIX, check_name, declared
from casty.schema.types import Form, Kind, check, describe, parse

T = TypeVar("T")
W = TypeVar("W")


class WireType(Generic[T, W]):
    """Way of one class over the wire: as a type that travels by itself, to and from which two hooks convert.

    The hooks are those of cattrs, so a converter's own will do: ``unstructure`` takes a value, ``structure`` what came
    from the other node, and the class. What comes from a peer is of the type ``travels_as``, checked and bounded like
    any message, before ``structure`` sees it. Give the same wire types to every node of a cluster.

    >>> from fractions import Fraction
    >>> fraction = WireType(
    ...     Fraction,
    ...     "shop.Fraction",
    ...     tuple[int, int],
    ...     unstructure=lambda value: (value.numerator, value.denominator),
    ...     structure=lambda pair, cls: cls(*pair),
    ... )
    >>> fraction
    <WireType shop.Fraction of fractions.Fraction, travels as tuple[int, int]>

    Parameters:
        cls: Class whose values travel, those of a subclass not included.
        name: Wire name, such as ``"shop.Money"``, under which a whole message, or a variant of a union, travels; as
            for `casty.message`.
        travels_as: Type that is sent, such as ``tuple[str, int]`` or a frozen dataclass. Other taught classes, and
            None, may be inside of it alone.
        unstructure: Function from a value of ``cls`` to one of ``travels_as``.
        structure: Function from a value of ``travels_as``, and ``cls``, to a value of exactly ``cls``. It gets what
            any peer has sent: raise where that makes no value, and let no small value become a huge one.

    Raises:
        TypeError: ``cls`` is no class, or a hook is no function.
        ValueError: ``name`` has a form that cannot travel, or is that of a declared class.
        UnsupportedTypeError: ``cls`` travels by itself, or can never travel, or ``travels_as`` cannot.
    """

    __slots__ = ("_structure", "_unstructure", "cls", "name", "travels_as")

    def __init__(
        self,
        cls: type[T],
        name: str,
        travels_as: object,
        *,
        unstructure: Callable[[T], W],
        structure: Callable[[W, type[T]], T],
    ) -> None:
        _check(cls, name, travels_as)
        for what, hook in (("unstructure", unstructure), ("structure", structure)):
            if not callable(hook):
                raise TypeError(f"WireType.{what} must be a function, got {hook!r}")
        self.cls: type[T] = cls
        """Class whose values travel."""
        self.name: str = name
        """Name of the class on the wire."""
        self.travels_as: object = travels_as
        """Type that is sent."""
        self._unstructure = unstructure
        self._structure = structure

    @property
    def unstructure(self) -> Callable[[T], W]:
        """Function from a value to its form on the wire."""
        return self._unstructure

    @property
    def structure(self) -> Callable[[W, type[T]], T]:
        """Function from the form on the wire, and the class, to a value."""
        return self._structure

    def __repr__(self) -> str:
        return f"<WireType {self.name} of {describe(self.cls)}, travels as {describe(self.travels_as)}>"


def _is_wire_type(value: object) -> TypeGuard[WireType[Any, Any]]:
    return isinstance(value, WireType)


def check_wire_types(wire_types: Iterable[object], where: str) -> tuple[WireType[Any, Any], ...]:
    """Return the wire types of a system, which do not change any more; raise where they do not go together."""
    kept: list[WireType[Any, Any]] = []
    classes: set[type] = set()
    names: set[str] = set()
    for one in wire_types:
        if not _is_wire_type(one):
            raise TypeError(f"{where}.wire_types must hold casty.WireType(...), got {one!r}")
        if one.cls in classes:
            raise ValueError(f"{where}.wire_types has {describe(one.cls)} twice: once is enough")
        if one.name in names or declared(one.name) is not None:
            raise ValueError(f"{where}.wire_types: the wire name {one.name!r} is taken: choose another one")
        kept.append(one)
        classes.add(one.cls)
        names.add(one.name)
    for one in kept:
        check(one.travels_as, known=classes)
    return tuple(kept)


def _check(cls: object, name: object, travels_as: object) -> None:
    if not isinstance(cls, type):
        raise TypeError(f"WireType needs a class, got {cls!r}")
    if type(name) is not str:
        raise TypeError(f'WireType needs a name, such as "shop.{cls.__name__}", got {name!r}')
    check_name(name)
    if name.startswith(RESERVED_PREFIX):
        raise ValueError(f"wire name {name!r}: names that begin with {RESERVED_PREFIX!r} belong to the library")
    form = parse(cls)
    if form.kind is not Kind.custom:
        raise UnsupportedTypeError(f"{describe(cls)} travels between nodes by itself: leave it out of wire_types")
    check(travels_as, known=None)
    sent = parse(travels_as)
    if sent.kind is Kind.custom or _may_be_none(sent):
        wrong = "None" if sent.kind is not Kind.custom else "another taught class by itself"
        raise UnsupportedTypeError(
            f"WireType of {describe(cls)}: travels_as must not be {wrong}: wrap it in tuple[...]"
        )


def _may_be_none(form: Form) -> bool:
    """Whether None is among the values: where the class is optional, nobody could tell one None from the other."""
    if form.kind is Kind.union:
        return any(_may_be_none(parse(variant)) for variant in form.arguments)
    return form.origin is type(None)
