"""Requests at their actor: one without anybody waiting for it is not started, and the rest have a deadline."""

from __future__ import annotations

from typing import Final, Never, TypeVar

from casty.errors import UnsupportedTypeError
from casty.refs import ActorRef
from casty.runtime.events import NOT_ENCODABLE, REQUEST_EXPIRED
from casty.runtime.messaging.ask import asker_of, refuse_asks, reply_refs
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.ref import AskableRef, OwnRef, request_or_drop, tell_or_drop
from casty.runtime.ports import KernelPort, Recipient

M = TypeVar("M")

TAKEN_MAX: Final = 16_384
"""Requests without a reply remembered by an actor. Of more, the older half is forgotten, and ends by its time-outs."""
LOOKED_AT_MIN: Final = 16
"""Steps between two looks for requests with a reply by now, where few are kept; as many as are kept, else."""


class TakenRequests(dict[int, "Request"]):
    """Requests taken by a main and still without a reply, by the numbers of their asks.

    An ask of this node has its request forgotten when it ends. Replies to another node tell nobody, so requests of
    those are looked for at times; so are handed-on requests. In the order of their taking.
    """

    __slots__ = ("_cell", "_steps")

    def __init__(self, cell: Recipient) -> None:
        super().__init__()
        self._cell = cell
        self._steps = LOOKED_AT_MIN
        """Left until the next look."""

    def add(self, request: Request) -> None:
        """Take note of a request."""
        if self:
            self.step()
        request.taken = self
        self[request.ask] = request

    def step(self) -> None:
        """Look at times for requests past their end; the main calls it where it waits, too."""
        self._steps -= 1
        if not self._steps:
            kept = [request for request in self.values() if self._is_open(request)][-TAKEN_MAX // 2 :]
            self.clear()
            self.update((request.ask, request) for request in kept)
            self._steps = max(LOOKED_AT_MIN, len(kept))

    def find(self, message: object) -> Request | None:
        """Return the request with a message; None if it is not known."""
        for reply_to in reply_refs(message):
            request = self.get(reply_to.address.uid)
            if request is not None and request.message is message:
                return request
        return None

    def refuse(self, error: Exception) -> None:
        """Tell all senders still waiting for a reply: there will be none."""
        requests = list(self.values())
        self.clear()
        for request in requests:
            if self._is_open(request):
                refuse_asks(self._cell.kernel, request.message, error)

    def _is_open(self, request: Request) -> bool:
        """Whether its sender still waits, for this actor: not where the request was handed on or waits in a stash."""
        if request.deadline <= self._cell.kernel.now():
            return False
        if request.cell is not self._cell or request.waits or request.far:
            return False
        return any(_is_unanswered(self._cell, reply_to) for reply_to in reply_refs(request.message))

    def __repr__(self) -> str:
        return f"<TakenRequests {len(self)}>"


def _is_unanswered(cell: Recipient, reply_to: ActorRef[Never]) -> bool:
    if isinstance(reply_to, OwnRef):
        return cell.kernel.target(reply_to.path, reply_to.uid) is not None
    return not (isinstance(reply_to, AskableRef) and reply_to.has_told())


def open_request(cell: Recipient, request: Request) -> object:
    """Return the message to be handled now; NOTHING when it was withdrawn, or its time is up."""
    message = request.message
    if message is NOTHING:
        return request.take()
    request.waits = False
    if request.listed is not None:
        request.leave()
    if request.deadline <= cell.kernel.now():
        shown = cell.kernel.summary_of(message, request.asker)
        cell.kernel.dead_letter(message, cell.ref, REQUEST_EXPIRED, shown=shown)
        return NOTHING
    return message


def forward(kernel: KernelPort, ref: ActorRef[M], message: M, request: Request | None) -> None:
    """Hand a message on to ``ref``, as the request it came as, if it did.

    A message impossible to encode is a dead letter: the fault is its sender's, and raising here ended a router for all
    others.
    """
    try:
        _hand_on(kernel, ref, message, request)
    except (UnsupportedTypeError, ValueError) as error:  # EncodeError, and ValueError where its name is another's
        kernel.dead_letter(message, ref, NOT_ENCODABLE, str(error))


def _hand_on(kernel: KernelPort, ref: ActorRef[M], message: M, request: Request | None) -> None:
    if request is None or not isinstance(ref, AskableRef):
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
        kernel.note_relayed(request.ask, request.far, request.listed.asker, asker_of(request))
