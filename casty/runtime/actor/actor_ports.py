"""Needs of the parts of an actor towards the kernel and the whole, as Protocols: more than the needs of refs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Never, Protocol

import trio

from casty.protocol.actor.supervision import RestartBudget
from casty.protocol.effects import Rng
from casty.refs import ServiceKey
from casty.runtime.actor.life import FailureDecision, Life
from casty.runtime.hooks import KernelHooks
from casty.runtime.listeners import LifecycleListeners
from casty.runtime.messaging.ask import AskKernel
from casty.runtime.messaging.mailbox import MessageQueue, Request
from casty.runtime.messaging.ref import LocalRef, OwnRef
from casty.runtime.ports import Recipient, Watcher


class ActorKernel(AskKernel, Protocol):
    """The kernel, for actors."""

    @property
    def targets(self) -> dict[str, OwnRef[Never]]:
        """All targets of messages by path, asks excepted."""
        ...

    @property
    def rng(self) -> Rng:
        """Source of chance where nobody has to guess."""
        ...

    @property
    def system(self) -> object:
        """The actor system, for the context."""
        ...

    @property
    def hooks(self) -> KernelHooks:
        """Hooks of the layers above."""
        ...

    @property
    def listeners(self) -> LifecycleListeners:
        """Listeners to the lives of actors."""
        ...

    @property
    def on_escalation(self) -> Callable[[Exception], None]:
        """Called with a failure escalated by an actor at the root."""
        ...

    def start(
        self, nursery: trio.Nursery, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...], name: str
    ) -> None:
        """Start a task of an actor, in a context of its own."""
        ...

    def is_cut_off(self, actor: Recipient) -> bool:
        """Whether the time of an actor is over, so its clean-up gets none."""
        ...


class ActorPort(Recipient, Protocol):
    """An actor, for its own parts."""

    @property
    def kernel(self) -> ActorKernel:
        """Common part of the actors of its system."""
        ...

    @property
    def ref(self) -> LocalRef[object]:
        """Its own ref."""
        ...

    @property
    def mailbox(self) -> MessageQueue:
        """Messages waiting for it."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether it takes no message any more."""
        ...

    def request_of(self, message: object) -> Request | None:
        """Return the request of a message taken by it, if its sender waits for a reply."""
        ...

    def announce(self, services: list[ServiceKey[Never]]) -> None:
        """Publish its start, once, and offer it under its service keys."""
        ...


class SupervisedActor(ActorPort, Protocol):
    """An actor, for the decision on its failure."""

    @property
    def life(self) -> Life:
        """Everything replaced by a restart."""
        ...

    @property
    def is_condemned(self) -> bool:
        """Whether no life follows the present one."""
        ...

    @property
    def escalated(self) -> list[Exception] | None:
        """Failures for its parent."""
        ...

    def own_budget(self) -> RestartBudget:
        """Return how often it may still be restarted."""
        ...

    def record_failure(self, verdict: FailureDecision) -> None:
        """Keep the failure of a stopping actor, for its watchers and for its parent."""
        ...


class Heir(Watcher, Protocol):
    """Watcher of an actor from its beginning, in the actor itself: a dict of watchers is 230 bytes."""

    def inherit(self, messages: list[object]) -> None:
        """Take the messages left at the end of the actor."""
        ...
