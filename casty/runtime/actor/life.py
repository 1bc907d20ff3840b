"""One life of an actor: everything replaced by a restart.

The behaviour in force is an `Interpreter`'s; here are the message in hand, the inbox, and the failure. A life is built
and dropped as one object; longer-lived parts (the ref, the mailbox, the watchers, perhaps the children) are the cell's.
"""

from __future__ import annotations

from dataclasses import dataclass

from casty.protocol.actor.supervision import Decision, Directive, SupervisionStrategy
from casty.runtime.behavior.interpreter import Interpreter
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.requests import TakenRequests


@dataclass(frozen=True, slots=True)
class FailureDecision:
    """A failure and the decision on it."""

    error: Exception
    decision: Decision

    @property
    def is_final(self) -> bool:
        """Whether the actor does not live on."""
        return self.decision.directive in (Directive.stop, Directive.escalate)


class Life(Interpreter):
    """Parts of an actor from its behaviour, from the first message of a life to its last hook.

    Parameters:
        strategies: Strategies of the life before, until the behaviour brings some.
        verdict: The failure behind the end of the life before.
    """

    __slots__ = ("in_hand", "inbox", "request", "verdict")

    def __init__(
        self, strategies: list[SupervisionStrategy] | None = None, verdict: FailureDecision | None = None
    ) -> None:
        super().__init__(strategies)
        self.inbox: Inbox[object] | None = None
        self.in_hand: object = NOTHING
        """Message left unfinished by the handler."""
        self.request: Request | None = None
        """Request with the message in hand, if its sender waits for a reply."""
        self.verdict = verdict
        """Failure at the end of this life, or of the one before as long as this one has not begun."""

    def __repr__(self) -> str:
        return super().__repr__() if self.verdict is None else f"{super().__repr__()[:-1]} failed>"

    @property
    def is_resumable(self) -> bool:
        """Whether it can go on behind a failure."""
        return self.handler is not None and self.main is None

    @property
    def request_in_hand(self) -> Request | None:
        """Request with the message in hand, if its sender waits for a reply."""
        return self.request if self.inbox is None else self.inbox.request

    def request_of(self, message: object) -> Request | None:
        """Return the request of a taken message, if its sender waits for a reply."""
        request = self.request_in_hand
        if request is not None and request.message is message:
            return request
        taken = self.taken
        return None if taken is None else taken.find(message)

    @property
    def taken(self) -> TakenRequests | None:
        """Requests taken by main and not answered; None where there never was one."""
        return None if self.inbox is None else self.inbox.requests

    def let_go(self) -> object:
        """Return the message in hand, and have none."""
        if self.inbox is None:
            message, self.in_hand = self.in_hand, NOTHING
        else:
            message, self.inbox.in_hand = self.inbox.in_hand, NOTHING
        return message
