"""Filter of messages from the network: an actor takes those of its own message type.

A class lets its subclasses in, as it does for a local sender; anything composed, such as ``list[Item]``, is known by
its name on the wire. Without a word about the type of a message (a handler without annotations, or for ``object``),
everything is let in that the node can decode.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from casty.cluster.remoting.active_entities import EntityReceiver
from casty.errors import CastyError
from casty.runtime.messaging.ask import AskRef, ErrorReply
from casty.runtime.messaging.ref import LocalRef, OwnRef
from casty.schema.names import wire_name
from casty.schema.types import is_untyped, strip
from casty.wire.codec.names import canonical_name

REMEMBERED_MAX: Final = 16_384
"""Actors, and types of replies, with a remembered filter."""


class TypeFilter:
    """Looks of received values of one type form."""

    __slots__ = ("_classes", "_is_open", "_names")

    def __init__(self, type_form: object, name_of: Callable[[type], str] = wire_name) -> None:
        classes: list[type] = []
        names: set[str] = set()
        self._is_open = not _collect(type_form, classes, names, name_of)
        if float in classes:
            classes.append(int)
        self._classes = tuple(classes)
        self._names = frozenset(names)

    def admits_all_like(self, message: object) -> bool:
        """Whether every message of this one's class is of the type. A bool is no number, as in a field."""
        if self._is_open or type(message) is not bool:
            return self._is_open or isinstance(message, self._classes)
        return bool in self._classes or object in self._classes

    def admits(self, message: object, name: str) -> bool:
        """Whether a message, under its name on the wire, is of the type."""
        return self.admits_all_like(message) or name in self._names


class Acceptances:
    """Filters of the targets on this node, each found out once; ``name_of`` gives the wire names of classes."""

    def __init__(self, name_of: Callable[[type], str] = wire_name) -> None:
        self._name_of = name_of
        self._of_actors: dict[int, TypeFilter] = {}
        self._of_replies: dict[object, TypeFilter] = {}
        self.fitting: set[tuple[tuple[object, ...], type]] = set()
        """Types of replies, and classes all of whose instances are of them."""

    def admits(self, target: OwnRef[Any], message: object, name: str, *, remember: bool) -> bool:
        """Whether ``target`` takes the message: by its handler's type, for an ask by the promised type.

        With ``remember`` an actor notes the class, where it says everything, and need not be asked about it again.
        """
        if isinstance(target, AskRef):
            return self._admits_reply(target.promised, message, name)
        acceptance = self._of_actors.get(target.uid)
        if acceptance is None:
            acceptance = self._known(self._of_actors, target.uid, target.message_type())
        if remember and isinstance(target, (LocalRef, EntityReceiver)) and acceptance.admits_all_like(message):
            if isinstance(target, EntityReceiver):
                target.admit(type(message))
            else:
                target.admitted |= {type(message)}
            return True
        return acceptance.admits(message, name)

    def _admits_reply(self, promised: tuple[object, ...], message: object, name: str) -> bool:
        if type(message) is ErrorReply or not promised:
            return True
        fitting = promised, type(message)
        if fitting in self.fitting:
            return True
        for form in promised:
            if self._known(self._of_replies, form, form).admits_all_like(message):
                if len(self.fitting) >= REMEMBERED_MAX:
                    self.fitting.clear()
                self.fitting.add(fitting)
                return True
        for form in promised:
            if self._known(self._of_replies, form, form).admits(message, name):
                return True
        return False

    def _known(self, table: dict[Any, TypeFilter], key: object, type_form: object) -> TypeFilter:
        acceptance = table.get(key)
        if acceptance is None:
            if len(table) >= REMEMBERED_MAX:
                table.clear()
            acceptance = table[key] = TypeFilter(type_form, self._name_of)
        return acceptance


def _collect(type_form: object, classes: list[type], names: set[str], name_of: Callable[[type], str]) -> bool:
    """Add the classes and names of a type's values; False where it says nothing about them."""
    try:
        form = strip(type_form)
    except (CastyError, NameError):
        return False
    if form is None or form is Any or is_untyped(form) or isinstance(form, TypeVar):
        return False
    if get_origin(form) in (Union, UnionType):
        return all([_collect(variant, classes, names, name_of) for variant in get_args(form)])
    if isinstance(form, type) and not get_args(form):
        classes.append(form)
        return not getattr(form, "_is_protocol", False)  # of which nothing can be said at run time
    with suppress(CastyError, TypeError, ValueError):  # it cannot travel, so nothing of the kind will come
        names.add(canonical_name(form, name_of))
    return True
