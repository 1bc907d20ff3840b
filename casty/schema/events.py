"""Stored names and versions of events and states, and the ways from earlier versions.

Owns two tables of this process: the declared classes by their stored names, and the upcasters by name and version. A
stored name is looked up there alone. It does not know bytes or journals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from casty.errors import ConfigError, UnsupportedTypeError
from casty.schema.fields import RecordFields, UnresolvedNameError
from casty.schema.names import check_wire_name
from casty.schema.record_faults import fault_of_record
from casty.schema.types import Kind, describe, is_generic, parse, walk

C = TypeVar("C")

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Function from the plain fields of one version to those of the next."""
U = TypeVar("U", bound=Upcaster)

_FACTS = "__casty_event__"
_declared: WeakValueDictionary[str, type] = WeakValueDictionary()
_upcasters: dict[str, dict[int, Upcaster]] = {}


@dataclass(frozen=True, slots=True)
class EventFacts:
    """Facts noted on a class by `event`."""

    name: str
    version: int
    tolerant: bool


def event(name: str, *, version: int = 1, tolerant: bool = False) -> Callable[[type[C]], type[C]]:
    """Give a class a name to be stored under, for events and for states; stands above ``@dataclass``.

    The name stays for as long as anything is stored under it, also when the class is renamed or moves. A class may be
    a message too, under the same name or another one.

    >>> @event("till.Sold", version=2)
    ... @dataclass(frozen=True)
    ... class Sold:
    ...     item: str
    ...     quantity: int

    Parameters:
        name: Stored name, such as ``"cart.Added"``: 1 to 200 printable characters without spaces, brackets, bars,
            commas or quotes. Names with ``casty.`` in front belong to the library.
        version: Version of the fields, from 1. A change of the fields needs the next one, and an `upcast` from the
            version before.
        tolerant: Read stored fields of other names by leaving them out, and fill missing ones from their defaults.
            False refuses both.

    Returns:
        A decorator; it returns the class given.

    Raises:
        TypeError: ``name`` is no text: the decorator was written without brackets.
        ValueError: ``name`` cannot be a stored name, or, where the class is decorated, belongs to another class;
            ``version`` is below 1.
        UnsupportedTypeError: The decorated class is no dataclass or attrs class, or a field can never be stored, such
            as one of ``Any`` or an `ActorRef`.
    """
    if type(name) is not str:  # Written without brackets, the decorator is given the class itself.
        raise TypeError(f'@casty.event needs a name: write @casty.event("cart.Added"), got {name!r}')
    if type(version) is not int or version < 1:
        raise ValueError(f"@casty.event({name!r}): version must be an integer of at least 1, got {version!r}")

    def declare(cls: type[C]) -> type[C]:
        _declare(cls, EventFacts(name, version, tolerant))
        return cls

    return declare


def upcast(name: str, version: int) -> Callable[[U], U]:
    """Bring stored fields of one version to the next one: a function from plain dict to plain dict.

    Plain are the values of msgpack: text, numbers, bytes, None, lists and dicts by field name. It may change the dict
    in place and return it.

    >>> @upcast("till.Sold", 1)
    ... def count(fields: dict[str, Any]) -> dict[str, Any]:
    ...     return {**fields, "quantity": 1}

    Parameters:
        name: Stored name, as in `event`.
        version: Version of the given dict, from 1. The returned one has the version after it.

    Returns:
        A decorator; it returns the function given.

    Raises:
        TypeError: ``name`` is no text, or the decorated function is async or no function.
        ValueError: ``version`` is below 1; where the function is decorated, another one has this version.
    """
    if type(name) is not str:
        raise TypeError(f'@casty.upcast needs a name and a version: write @casty.upcast("cart.Added", 1), got {name!r}')
    if type(version) is not int or version < 1:
        raise ValueError(f"@casty.upcast({name!r}, ...): version must be an integer of at least 1, got {version!r}")

    def declare(function: U) -> U:
        _add_upcaster(name, version, function)
        return function

    return declare


def event_facts(cls: type) -> EventFacts | None:
    """Return the facts noted on this very class by `event`; a subclass does not inherit them."""
    facts = cls.__dict__.get(_FACTS)
    return facts if isinstance(facts, EventFacts) else None


def event_class(name: str) -> type | None:
    """Return the living class declared under a stored name, if there is one."""
    return _declared.get(name)


def upcaster_of(name: str, version: int) -> Upcaster | None:
    """Return the function from a version of a stored name to the next, if there is one."""
    return _upcasters.get(name, {}).get(version)


def check_chain(cls: type) -> None:
    """Raise ConfigError unless each earlier version of a declared class leads to the present one, and no further."""
    facts = event_facts(cls)
    if facts is None:
        return
    steps = _upcasters.get(facts.name, {})
    missing = [version for version in range(1, facts.version) if version not in steps]
    if missing:
        raise ConfigError(
            f"event {facts.name!r}: {describe(cls)} has version {facts.version}, and nothing leads from version "
            f"{missing[0]} to {missing[0] + 1}: write @casty.upcast({facts.name!r}, {missing[0]})"
        )
    beyond = [version for version in sorted(steps) if version >= facts.version]
    if beyond:
        raise ConfigError(
            f"event {facts.name!r}: there is an upcast from version {beyond[0]}, and {describe(cls)} has version "
            f"{facts.version}: write version={beyond[-1] + 1} at the class, or remove it"
        )


def check_storable(type_form: object, known: Iterable[type] | None) -> None:
    """Raise UnsupportedTypeError unless values of a type can be stored; ``known`` are the taught classes.

    None leaves classes still to be taught to the start of a system.
    """
    taught = None if known is None else frozenset(known)
    for where, form in walk(type_form, taught):
        if form.kind is Kind.ref:
            raise UnsupportedTypeError(
                f"{where}: a reference cannot be stored, since its actor does not outlive the system: store an id"
            )


def _add_upcaster(name: str, version: int, function: Upcaster) -> None:
    if not callable(function) or iscoroutinefunction(function):
        raise TypeError(f"@casty.upcast({name!r}, {version}) stands above a plain function, got {function!r}")
    steps = _upcasters.setdefault(name, {})
    other = steps.get(version)
    if other is not None and _place_of(other) != _place_of(function):
        owner = ".".join(_place_of(other))
        raise ValueError(f"@casty.upcast({name!r}, {version}): {owner} does it already; remove one")
    steps[version] = function


def _declare(cls: type, facts: EventFacts) -> None:
    check_wire_name(facts.name, cls.__module__)
    other = _declared.get(facts.name)
    if other is not None and _place_of(other) != _place_of(cls):
        owner = ".".join(_place_of(other))
        raise ValueError(f"stored name {facts.name!r} is taken by {owner}: choose another one for {cls.__qualname__}")
    if RecordFields.exist_on(cls) and (fault := fault_of_record(cls)):
        raise UnsupportedTypeError(f"{cls.__qualname__}: {fault}")
    if is_generic(cls) or not RecordFields.exist_on(cls) or parse(cls).kind is not Kind.record:
        raise UnsupportedTypeError(
            f"{cls.__qualname__} is no plain dataclass where @casty.event sees it: "
            f'write @casty.event("{facts.name}") in the line above @dataclass(frozen=True)'
        )
    try:
        check_storable(cls, None)
    except UnresolvedNameError:
        pass  # An annotation names a class that is defined further down; checked where it is used first.
    setattr(cls, _FACTS, facts)
    _declared[facts.name] = cls


def _place_of(thing: Any) -> tuple[str, str]:
    """Return where a class or function is defined: one defined there again, as after a reload, takes its place."""
    return str(thing.__module__), str(getattr(thing, "__qualname__", repr(thing)))
