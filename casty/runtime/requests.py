"""Requests at their actor: one that nobody waits for any more is not started, and the rest have a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from casty.runtime.behavior import SAME, Behavior
from casty.runtime.events import REQUEST_EXPIRED
from casty.runtime.mailbox import WAKE, Request

if TYPE_CHECKING:
    from casty.runtime.behavior import Handler
    from casty.runtime.cell import Cell


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
