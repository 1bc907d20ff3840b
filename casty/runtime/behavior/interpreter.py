"""Interpreter of behaviours: the one that answers next, for an actor as for the kit that tests one without a system.

Owns the parts of a behaviour in force (handler or main, hooks, strategies, interceptors), the unwrapping of set-ups and
wrappers, the reading of a handler's answer, and the order of hooks. It does not know mailboxes, tasks, bounds of time,
or the decision on a failure: an exception of the user's code leaves the call that runs it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Never, Protocol

from casty.errors import DeathPactError
from casty.protocol.actor.supervision import SupervisionStrategy
from casty.refs import ServiceKey
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import RESTART, SAME, STOPPED, UNHANDLED, Behavior
from casty.runtime.behavior.interception import bare, intercept_handler, intercept_main
from casty.runtime.behavior.signatures import advice
from casty.runtime.events import Terminated
from casty.runtime.messaging.mailbox import payload

BEHAVIOR_DEPTH_MAX: Final = 64
"""Wrappers and set-ups around one behaviour; beyond it, they are taken for an endless chain."""


class BehaviorHost(Protocol):
    """Bearer of a behaviour: an actor, or the kit in its place."""

    @property
    def path(self) -> str:
        """Path of the actor."""
        ...

    @property
    def context(self) -> object:
        """Context for the behaviour's functions."""
        ...

    def announce(self, services: list[ServiceKey[Never]]) -> None:
        """Take note of a behaviour in force, under these service keys."""
        ...

    def choose_restart(self) -> None:
        """Take note of the answer ``restart``."""
        ...

    def note_unhandled(self, message: object) -> None:
        """Take note of a message answered with ``unhandled``."""
        ...


class Interpreter:
    """Behaviour in force in one life of an actor.

    Parameters:
        strategies: Strategies of the life before, until the behaviour brings some.
    """

    __slots__ = ("handler", "hooks", "interceptors", "main", "strategies")

    def __init__(self, strategies: list[SupervisionStrategy] | None = None) -> None:
        self.handler: forms.Handler | None = None
        self.main: forms.Main | None = None
        self.hooks: list[forms.Lifecycle] | None = None
        """Those whose pre_start has succeeded, outermost first."""
        self.strategies = strategies
        self.interceptors: list[forms.Interceptor] | None = None

    def __repr__(self) -> str:
        form = "task" if self.main is not None else "none" if self.handler is None else "handler"
        return f"<{type(self).__name__} {form}>"

    async def become(self, behavior: Behavior[Never], host: BehaviorHost) -> bool:
        """Take on a behaviour, unwrapping it; False when it says to stop."""
        hooks: list[forms.Lifecycle] | None = None
        strategies: list[SupervisionStrategy] | None = None
        interceptors: list[forms.Interceptor] | None = None
        services: list[ServiceKey[Never]] = []
        for _ in range(BEHAVIOR_DEPTH_MAX):
            match behavior:
                case forms.Receive(handler):
                    self.handler = intercept_handler(handler, self.interceptors or (), host.context)
                    host.announce(services)
                    return True
                case forms.Task(main):
                    self.main = intercept_main(main, self.interceptors, host.path) if self.interceptors else main
                    host.announce(services)
                    return True
                case forms.Setup(factory, _):
                    behavior = await factory(host.context)
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
                        await pre_start(host.context)
                    if hooks is None:
                        self.hooks = hooks = []
                    hooks.append(behavior)
                    behavior = inner
                case forms.Discoverable(inner, key):
                    services.append(key)
                    behavior = inner
                case _:
                    is_going_on = self._become_signal(behavior, host.path)
                    if is_going_on and interceptors and self.handler is not None:  # around `same`
                        self.handler = intercept_handler(bare(self.handler), interceptors, host.context)
                    if services:  # around `same`
                        host.announce(services)
                    return is_going_on
        raise RuntimeError(f"the behaviour of {host.path} has more than {BEHAVIOR_DEPTH_MAX} wrappers or set-ups")

    async def follow(self, answer: Behavior[Never], message: object, host: BehaviorHost) -> bool:
        """Follow a handler's answer to a message; False when no further message goes to a handler."""
        if answer is SAME:
            return True
        if answer is RESTART:
            host.choose_restart()
            return False
        if answer is UNHANDLED:
            message = payload(message)
            if isinstance(message, Terminated):
                raise DeathPactError(f"{host.path} has no answer to the end of {message.ref.path}") from message.cause
            host.note_unhandled(message)
            return True
        return await self.become(answer, host) and self.main is None

    def before_restart(self, context: object, error: Exception) -> list[Callable[[], Awaitable[None]]]:
        """Return the hooks to run before another life follows this one, innermost first."""
        return [partial(hook.pre_restart, context, error) for hook in reversed(self.hooks or ()) if hook.pre_restart]

    async def after_restart(self, context: object) -> None:
        """Run the hooks at the beginning of a life after another one, outermost first."""
        for hook in list(self.hooks or ()):
            if hook.post_restart is not None:
                await hook.post_restart(context)

    def at_end(self, context: object) -> list[Callable[[], Awaitable[None]]]:
        """Return the hooks to run when no life follows this one, innermost first."""
        return [partial(hook.post_stop, context) for hook in reversed(self.hooks or ()) if hook.post_stop]

    def _become_signal(self, behavior: object, path: str) -> bool:
        if behavior is STOPPED:
            return False
        if behavior is SAME and self.handler is not None:
            return True
        raise TypeError(
            f"{path} needs a Behavior here, such as Behaviors.receive(...) or, from a handler, "
            f"Behaviors.same(); got {behavior!r}{advice(behavior)}"
        )
