"""Refs with a look at the class of each message: for the time of development.

Owns the classes of a message type. It sees as much of a type as a class says: the items of a list are not looked at,
and a type that says nothing (``Any``, a type variable, a protocol, no annotation) takes everything. Messages from other
nodes are checked always, by `casty.cluster.remoting.type_filter`.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from casty.errors import CastyError
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.ports import Recipient
from casty.schema.types import is_untyped, strip

if TYPE_CHECKING:
    from casty.runtime.messaging.mailbox import MessageQueue, Request

M_contra = TypeVar("M_contra", contravariant=True)

ANYTHING: Final = (object,)


class CheckedRef(LocalRef[M_contra]):
    """Ref to one spawned actor; it raises TypeError at the sender of a message of another type."""

    __slots__ = ("_classes",)

    def __init__(self, cell: Recipient, mailbox: MessageQueue, thread: int) -> None:
        super().__init__(cell, mailbox, thread)
        self._classes: tuple[type, ...] = ()
        """Found out at the first message: a ref is made before its actor has a behaviour to look at."""

    def tell(self, message: M_contra) -> None:
        self._check(message)
        super().tell(message)

    def put_nowait(self, message: M_contra) -> None:
        self._check(message)
        super().put_nowait(message)

    async def put_wait(self, message: M_contra) -> None:
        self._check(message)
        await super().put_wait(message)

    def request(self, request: Request) -> None:
        self._check(request.message)
        super().request(request)

    def request_of_stranger(self, request: Request) -> None:
        self._check(request.message)
        super().request_of_stranger(request)

    async def put(self, message: object) -> None:
        self._check(message)
        await super().put(message)

    def _check(self, message: object) -> None:
        classes = self._classes = self._classes or classes_of(self.message_type())
        if not isinstance(message, classes) and not self.cell.ended:
            taken = " | ".join(one.__name__ for one in classes if one is not PoisonPill)
            raise TypeError(
                f"{self.path} takes {taken}, got {type(message).__name__}: {_shown(message)}; "
                "if it is right, widen the annotation of the actor's handler (this is checked with -X dev, or "
                "SystemConfig(check_messages=True), only)"
            )


def ref_to(cell: Recipient, mailbox: MessageQueue) -> LocalRef[object]:
    """Return the ref to an actor: a checking one where it is asked for and the actor is a user's."""
    wanted = cell.kernel.config.check_messages
    if wanted is None:
        wanted = sys.flags.dev_mode
    if wanted and not cell.is_internal:
        return CheckedRef(cell, mailbox, cell.kernel.thread)
    return LocalRef(cell, mailbox, cell.kernel.thread)


def classes_of(type_form: object) -> tuple[type, ...]:
    """Return the classes of the instances of this message type; ``object`` where nobody can say.

    >>> classes_of(int | list[str])
    (<class 'casty.runtime.messaging.signals.PoisonPill'>, <class 'int'>, <class 'list'>)
    """
    classes: list[type] = [PoisonPill]
    return tuple(classes) if _collect(type_form, classes) else ANYTHING


def _collect(type_form: object, classes: list[type]) -> bool:
    """Add the classes of one type; False where it says nothing."""
    try:
        form: Any = strip(type_form)
    except (CastyError, NameError):
        return False
    if form is None or form is Any or is_untyped(form) or isinstance(form, TypeVar):
        return False
    origin = get_origin(form)
    if origin is Union or origin is types.UnionType:
        return all([_collect(type(None) if one is None else one, classes) for one in get_args(form)])
    if origin is Literal:
        classes.extend(map(type, get_args(form)))
        return True
    cls = form if origin is None else origin
    if not isinstance(cls, type) or getattr(cls, "_is_protocol", False):
        return False
    classes.append(cls)
    if cls is float:
        classes.append(int)
    return True


def _shown(message: object) -> str:
    try:
        return repr(message)[:128]
    except Exception as error:  # a repr of the user's, which must not hide what is wrong
        return f"<its repr raises {type(error).__name__}>"
