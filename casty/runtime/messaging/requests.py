"""Requests at their actor: one that nobody waits for any more is not started, and the rest have a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from casty.errors import UnsupportedTypeError
from casty.runtime.actor.watching import opened_end
from casty.runtime.events import NOT_ENCODABLE, REQUEST_EXPIRED
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.queueing.notices import TerminatedNotice
from casty.runtime.messaging.ref import AskableRef, OwnRef, request_or_drop, tell_or_drop

if TYPE_CHECKING:
    from casty.refs import ActorRef
    from casty.runtime.actor.cell import Cell


M = TypeVar("M")


def opened(cell: Cell, wrapped: object) -> object:
    """Return the message to be handled now; NOTHING when it was withdrawn, or its time is up."""
    if not isinstance(wrapped, Request):
        return opened_end(cell, wrapped) if isinstance(wrapped, TerminatedNotice) else wrapped
    message = wrapped.message
    if message is NOTHING:
        return wrapped.take()
    wrapped.waits = False
    if wrapped.listed is not None:
        wrapped.leave()
    if wrapped.deadline <= cell.kernel.now():
        shown = cell.kernel.summary_of(message, wrapped.listed)
        cell.kernel.dead_letter(message, cell.ref, REQUEST_EXPIRED, shown=shown)
        return NOTHING
    cell.request = wrapped
    return message


def forward(cell: Cell, ref: ActorRef[M], message: M) -> None:
    """Hand the message in hand of ``cell`` on to ``ref``, as a request if it came as one.

    What cannot be encoded is a dead letter: the fault is its sender's, and raising here ended a router for all others.
    """
    try:
        _hand_on(cell, ref, message)
    except (UnsupportedTypeError, ValueError) as error:  # EncodeError, and ValueError where its name is another's
        cell.kernel.dead_letter(message, ref, NOT_ENCODABLE, str(error))


def _hand_on(cell: Cell, ref: ActorRef[M], message: M) -> None:
    request = cell.request
    if request is None or request.message is not message or not isinstance(ref, AskableRef):
        tell_or_drop(ref, message)
        return
    if request.waits:  # it was handed on before: the slot of the ask can withdraw one of them
        request = request.copy()
    if request.origin is not None and isinstance(ref, OwnRef):
        ref.request_of_stranger(request)
        return
    if not request.ask:  # a tell, to another node
        tell_or_drop(ref, message)
        return
    request_or_drop(ref, request)
    if request.waits and request.cell is not None:
        request.queue(request.cell)  # where the other node's withdrawal finds it
    elif request.listed is not None and request.far:
        cell.kernel.note_relayed(request, request.listed.asker)
