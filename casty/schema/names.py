"""Names of message types on the wire, and how a class gets a stable one.

Declaring a class makes it known: every node of a process that has imported the class can decode it.
A name that a peer sends is only ever looked up in a table of declared and registered classes;
nothing is imported, and no attribute is fetched, because a peer said so.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from casty.address import ActorAddress, NodeAddress, UniqueAddress
from casty.errors import UnsupportedTypeError
from casty.schema.fields import RecordFields
from casty.schema.types import SCALARS, Kind, UnresolvedNameError, check, is_generic, parse, reachable

C = TypeVar("C")

NAME_LENGTH_MAX = 200
LOG_TEXT_MAX = 128

RESERVED_PREFIX = "casty."
RESERVED_NAMES = frozenset(
    (*SCALARS.values(), *"ref list set frozenset tuple dict literal never object untyped".split())
)
FORBIDDEN_CHARACTERS = frozenset("[]|,\"'")
"""They build the names of composed types, such as ``dict[str,int]``."""

_FACTS = "__casty_message__"
_declared: WeakValueDictionary[str, type] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """Facts noted on a class by `message`."""

    name: str
    tolerant: bool


def message(name: str, *, tolerant: bool = False) -> Callable[[type[C]], type[C]]:
    """Give a class a name on the wire, and make it known to this process; stands above ``@dataclass``.

    The name stays when the class moves to another module, which is what makes a rolling upgrade possible.

    >>> @message("till.Add")
    ... @dataclass(frozen=True)
    ... class Add:
    ...     item: str
    ...     quantity: int
    >>> wire_name(Add)
    'till.Add'

    Parameters:
        name: Wire name, such as ``"shop.Add"``: 1 to 200 printable characters without spaces, brackets, bars, commas
            or quotes, unique among the classes of all nodes. Names that begin with ``casty.`` belong to the library.
        tolerant: Accept fields that this node does not know, and fill missing ones from their defaults. False refuses
            both.

    Returns:
        A decorator, which returns the class that it is given.

    Raises:
        TypeError: ``name`` is no text: the decorator was written without brackets.
        ValueError: ``name`` has a form that cannot travel, or, where the class is decorated, belongs to another
            class.
        UnsupportedTypeError: A field of the decorated class can never travel, such as one of ``Any`` or of a bare
            ``list``; the message names the field and what to use instead. A field of a class that a system can be
            taught (`casty.WireType`) is looked at where a system registers the message.
    """
    if type(name) is not str:  # Written without brackets, the decorator is given the class itself.
        raise TypeError(f'@casty.message needs a name: write @casty.message("shop.Add"), got {name!r}')
    check_name(name)

    def declare(cls: type[C]) -> type[C]:
        _declare(cls, MessageFacts(name, tolerant))
        return cls

    return declare


def wire_name(cls: type) -> str:
    """Return the declared name of a class, else ``module:qualified.name``.

    Raises UnsupportedTypeError for an undeclared class of ``__main__``, whose module has another
    name on every other node.
    """
    facts = facts_of(cls)
    if facts is not None:
        return facts.name
    if cls.__module__ == "__main__":
        raise UnsupportedTypeError(
            f"{cls.__qualname__} is defined in __main__, which is another module on other nodes: "
            f'name it with @casty.message("...") or move it to a module'
        )
    return f"{cls.__module__}:{cls.__qualname__}"


def facts_of(cls: type) -> MessageFacts | None:
    """Return what `message` noted on this very class; a subclass does not inherit it."""
    facts = cls.__dict__.get(_FACTS)
    return facts if isinstance(facts, MessageFacts) else None


def is_tolerant(cls: type) -> bool:
    """Whether `message` said of this very class that what is written of it may lack fields, or have others."""
    facts = facts_of(cls)
    return facts is not None and facts.tolerant


def check_declared(type_form: object, known: Container[type]) -> bool:
    """Raise UnsupportedTypeError where a declared class in a type holds a class that the system was not taught.

    It was declared to travel; of other classes nobody has said so. ``known`` are the taught ones. Return whether all
    classes in the type were declared.
    """
    try:
        classes = reachable(type_form, known=None)
    except UnsupportedTypeError:
        return False
    told = [cls for cls in classes if facts_of(cls) is not None]
    for cls in told:
        if not is_generic(cls):
            check(cls, known)
    return bool(told) and len(told) == len(classes)


def declared(name: str) -> type | None:
    """Return the living class that was declared under ``name``, if there is one."""
    return _declared.get(name)


def printable(text: str, length_max: int = LOG_TEXT_MAX) -> str:
    """Return text from a peer, cut and escaped so that it stays on one line of a log.

    >>> printable("fine\\nFAKE LINE")
    'fine\\\\nFAKE LINE'
    """
    cut = text[:length_max]
    escaped = cut if cut.isascii() and cut.isprintable() else cut.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= length_max and len(text) <= length_max else escaped[: length_max - 3] + "..."


def check_name(name: str) -> None:
    """Raise ValueError unless a wire name can travel and is nobody else's."""
    fault = _fault_of(name)
    if fault:
        raise ValueError(f"wire name {name!r} {fault}")


def _fault_of(name: str) -> str | None:
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable() or " " in name:
        return f"must be 1 to {NAME_LENGTH_MAX} printable characters without spaces"
    if FORBIDDEN_CHARACTERS.intersection(name):
        return "must not contain brackets, bars, commas or quotes: they build the names of composed types"
    if name in RESERVED_NAMES:
        return "is the name of a builtin type: put your application's name in front, as in shop." + name.title()
    return None


def check_wire_name(name: str, module: str) -> None:
    """Raise ValueError unless a class of ``module`` can have a name on the wire."""
    fault = _fault_of(name)
    if fault:
        raise ValueError(f"wire name {name!r} {fault}")
    if name.startswith(RESERVED_PREFIX) and module != "casty" and not module.startswith(RESERVED_PREFIX):
        raise ValueError(f"wire name {name!r}: names that begin with {RESERVED_PREFIX!r} belong to the library")


def _declare(cls: type, facts: MessageFacts) -> None:
    module = cls.__module__
    check_wire_name(facts.name, module)
    other = _declared.get(facts.name)
    if other is not None and (other.__module__, other.__qualname__) != (module, cls.__qualname__):
        owner = f"{other.__module__}.{other.__qualname__}"
        raise ValueError(f"wire name {facts.name!r} is taken by {owner}: choose another one for {cls.__qualname__}")
    try:
        sample = _sample(cls)
        check(sample, known=() if parse(sample).kind is Kind.custom else None)
    except UnresolvedNameError:
        pass  # An annotation names a class that is defined further down; checked at first use.
    except UnsupportedTypeError:
        if RecordFields.exist_on(cls) or issubclass(cls, Enum):
            raise
        raise UnsupportedTypeError(
            f"{cls.__qualname__} is no dataclass where @casty.message sees it: "
            f'write @casty.message("{facts.name}") in the line above @dataclass(frozen=True)'
        ) from None
    setattr(cls, _FACTS, facts)
    _declared[facts.name] = cls


def _sample(cls: Any) -> object:
    """Return a class to check for ``cls``: one of its own kinds when it is generic."""
    return cls[(int,) * len(cls.__parameters__)] if is_generic(cls) else cls


# The module of addresses lies below this one, so what decorates every other class of the library is called here.
message("casty.ActorAddress")(ActorAddress)
message("casty.NodeAddress")(NodeAddress)
message("casty.UniqueAddress")(UniqueAddress)
