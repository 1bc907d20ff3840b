"""Requests at their actor: one that nobody waits for any more is not started, and the rest have a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never, TypeVar

from casty.runtime.behavior import SAME, Behavior
from casty.runtime.events import REQUEST_EXPIRED
from casty.runtime.mailbox import WAKE, Request
from casty.runtime.ref import AskableRef, request_or_drop, tell_or_drop

if TYPE_CHECKING:
    from casty.refs import ActorRef
    from casty.runtime.behavior import Handler
    from casty.runtime.cell import Cell


M = TypeVar("M")


def opened(cell: Cell, request: Request) -> object:
    """Return the message to be handled now; WAKE when it was withdrawn, or its time is up."""
    message = request.take()
    if message is WAKE:
        return WAKE
    if request.deadline <= cell.kernel.now():
        cell.kernel.dead_letter(message, cell.ref, REQUEST_EXPIRED)
        return WAKE
    cell.request = request
    return message


def forward(cell: Cell, ref: ActorRef[M], message: M) -> None:
    """Hand the message in hand of ``cell`` on to ``ref``, as a request if it came as one."""
    request = cell.request
    if request is None or request.message is not message or not isinstance(ref, AskableRef):
        tell_or_drop(ref, message)
        return
    if request.waits:  # it was handed on before: the slot of the ask can withdraw one of them
        request = Request(message, request.deadline)
    request_or_drop(ref, request)


async def handle_request(cell: Cell, handler: Handler, request: Request) -> Behavior[Never]:
    """Handle a request, if it is still to be started."""
    message = opened(cell, request)
    if message is WAKE:
        cell.kernel.delivered -= 1  # counted when it was taken
        return SAME
    try:
        return await handler(cell.context, message)
    finally:
        cell.request = None
