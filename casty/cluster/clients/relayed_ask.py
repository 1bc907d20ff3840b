"""Slot of an ask of a client by way of this node: the reply, once it is here, goes on to the client.

To the asked entity, and to its node, it is an ask of this node: refs of a client never leave the node it is linked to.
"""

from __future__ import annotations

from typing import Final, Never, Protocol

from casty.errors import AskFailed, AskFailure, NotSent
from casty.runtime.events import REQUEST_WITHDRAWN
from casty.runtime.messaging.ask import CLOSED, AskKernel, AskRefused, EntityAskRef, ErrorReply, Unanswered

REASON_LENGTH_MAX: Final = 1_024


class Asker(Protocol):
    """Session of the asking client."""

    def answered(self, slot: RelayedAsk, reply: object) -> None:
        """Take the reply, or an `ErrorReply` in its place; None where there is none."""
        ...


class RelayedAsk(EntityAskRef[Never]):
    """Slot for one ask of a client; its reply waits for the serving lease as that of every ask of an entity."""

    __slots__ = ("_asker", "client_ask", "client_serial", "size", "type_forms")

    def __init__(self, kernel: AskKernel, asker: Asker, client_serial: int, client_ask: int, type_form: object) -> None:
        kernel.counters.asks += 1
        super().__init__(kernel, kernel.counters.asks, kernel.tokens.take())
        kernel.asks[kernel.counters.asks] = self
        self._asker = asker
        self.client_serial = client_serial
        """Serial number of the ask at the client."""
        self.client_ask = client_ask
        """Its secret number, by which the client withdraws it, too."""
        self.type_forms: tuple[object, ...] = (type_form,)
        """Types of the reply: that of each field of the message with the ref in it."""
        self.size = 0
        """Bytes of its request."""

    def close(self, answer: object) -> None:
        super().close(answer)
        self.answer = CLOSED  # an actor may keep its last message, with this slot in it, for long
        if isinstance(answer, AskRefused):
            self._asker.answered(self, error_reply(answer.error))
        else:
            self._asker.answered(self, None if isinstance(answer, Unanswered) else answer)

    def withdraw_request(self) -> None:
        """End the ask without a reply: its client waits no more."""
        asked = self.asked
        self.close(CLOSED)
        if asked is not None:
            asked.withdraw(REQUEST_WITHDRAWN)
            for ref in asked.far:
                ref.withdraw(asked.ask)


def error_reply(error: Exception) -> ErrorReply:
    """Return what the client is told of an ask that failed: whether it was certainly not handled, too."""
    failure: AskFailure = "failed"
    if isinstance(error, AskFailed):
        # That of the client has not ended, and the request may have been handled.
        failure = "lost" if error.failure == "system_ended" else error.failure
    elif isinstance(error, NotSent):
        failure = "not_sent"
    return ErrorReply(str(error)[:REASON_LENGTH_MAX], "not_delivered" if failure == "not_sent" else failure)
