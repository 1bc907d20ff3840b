"""One life of an actor: everything replaced by a restart, and its making from a behaviour.

Set-ups run, and wrappers leave their purpose with the life. A life is built and dropped as one object; longer-lived
parts (the ref, the mailbox, the watchers, perhaps the children) are the cell's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Never

from casty.protocol.actor.supervision import Decision, Directive, SupervisionStrategy
from casty.refs import ServiceKey
from casty.runtime.actor.actor_ports import ActorPort
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import SAME, STOPPED, Behavior
from casty.runtime.behavior.interception import intercept_handler, intercept_main
from casty.runtime.behavior.signatures import advice
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import NOTHING, Request
from casty.runtime.messaging.requests import TakenRequests

BEHAVIOR_DEPTH_MAX: Final = 64
"""Wrappers and set-ups around one behaviour; beyond it, they are taken for an endless chain."""


@dataclass(frozen=True, slots=True)
class FailureDecision:
    """A failure and the decision on it."""

    error: Exception
    decision: Decision

    @property
    def is_final(self) -> bool:
        """Whether the actor does not live on."""
        return self.decision.directive in (Directive.stop, Directive.escalate)


class Life:
    """Parts of an actor from its behaviour, from the first message of a life to its last hook.

    Parameters:
        strategies: Strategies of the life before, until the behaviour brings some.
        verdict: The failure behind the end of the life before.
    """

    __slots__ = ("handler", "hooks", "in_hand", "inbox", "interceptors", "main", "request", "strategies", "verdict")

    def __init__(
        self, strategies: list[SupervisionStrategy] | None = None, verdict: FailureDecision | None = None
    ) -> None:
        self.handler: forms.Handler | None = None
        self.main: forms.Main | None = None
        self.inbox: Inbox[object] | None = None
        self.hooks: list[forms.Lifecycle] | None = None
        """Those whose pre_start has succeeded, outermost first."""
        self.strategies = strategies
        self.interceptors: list[forms.Interceptor] | None = None
        self.in_hand: object = NOTHING
        """Message left unfinished by the handler."""
        self.request: Request | None = None
        """Request with the message in hand, if its sender waits for a reply."""
        self.verdict = verdict
        """Failure at the end of this life, or of the one before as long as this one has not begun."""

    def __repr__(self) -> str:
        form = "task" if self.main is not None else "none" if self.handler is None else "handler"
        return f"<Life {form}{'' if self.verdict is None else ' failed'}>"

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

    async def become(self, behavior: Behavior[Never], actor: ActorPort) -> bool:
        """Take on a behaviour, unwrapping it; False when it says to stop."""
        hooks: list[forms.Lifecycle] | None = None
        strategies: list[SupervisionStrategy] | None = None
        interceptors: list[forms.Interceptor] | None = None
        services: list[ServiceKey[Never]] = []
        for _ in range(BEHAVIOR_DEPTH_MAX):
            match behavior:
                case forms.Receive(handler):
                    self.handler = intercept_handler(handler, self.interceptors or (), actor.context)
                    actor.announce(services)
                    return True
                case forms.Task(main):
                    self.main = intercept_main(main, self.interceptors, actor.path) if self.interceptors else main
                    actor.announce(services)
                    return True
                case forms.Setup(factory, _):
                    behavior = await factory(actor.context)
                case forms.Supervised(inner, strategy):
                    if strategies is None:
                        self.strategies = strategies = []
                    strategies.append(strategy)
                    behavior = inner
                case forms.Composed():
                    behavior = behavior.compose()
                case forms.Intercepted(inner, interceptor):
                    if interceptors is None:
                        self.interceptors = interceptors = []
                    interceptors.append(interceptor)
                    behavior = inner
                case forms.Lifecycle(inner, pre_start):
                    if pre_start is not None:
                        await pre_start(actor.context)
                    if hooks is None:
                        self.hooks = hooks = []
                    hooks.append(behavior)
                    behavior = inner
                case forms.Discoverable(inner, key):
                    services.append(key)
                    behavior = inner
                case _:
                    is_going_on = self._become_signal(behavior, actor.path)
                    if services:  # around `same`
                        actor.announce(services)
                    return is_going_on
        raise RuntimeError(f"the behaviour of {actor.path} has more than {BEHAVIOR_DEPTH_MAX} wrappers or set-ups")

    def _become_signal(self, behavior: object, path: str) -> bool:
        if behavior is STOPPED:
            return False
        if behavior is SAME and self.handler is not None:
            return True
        raise TypeError(
            f"{path} needs a Behavior here, such as Behaviors.receive(...) or, from a handler, "
            f"Behaviors.same(); got {behavior!r}{advice(behavior)}"
        )
