"""The ways to say what an actor does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Never, TypeVar, cast

from casty.refs import ServiceKey
from casty.runtime import behavior as forms
from casty.runtime.behavior import Behavior
from casty.runtime.context import ActorContext
from casty.runtime.inbox import Inbox

M = TypeVar("M")


class Behaviors:
    """Makes behaviours. Nothing runs until one is spawned, and one may be spawned many times."""

    @staticmethod
    def receive(handler: Callable[[ActorContext[M], M], Awaitable[Behavior[M]]]) -> Behavior[M]:
        """Answer each message with ``await handler(ctx, message)``, which returns what comes next.

        One message at a time. `same` keeps the behaviour, any other behaviour replaces it.
        """
        return forms.Receive(cast("forms.Handler", handler))

    @staticmethod
    def setup(factory: Callable[[ActorContext[M]], Awaitable[Behavior[M]]]) -> Behavior[M]:
        """Make the behaviour inside of the actor, where there is a context to spawn and watch with.

        A failure of the factory is a failure of the actor.
        """
        return forms.Setup(cast("forms.Factory", factory))

    @staticmethod
    def task(main: Callable[[ActorContext[M], Inbox[M]], Awaitable[None]]) -> Behavior[M]:
        """Run ``main(ctx, inbox)``, which takes messages with ``async for message in inbox``.

        The actor ends when ``main`` returns. When it is to stop, the inbox ends; a ``main`` that has not
        returned ``stop_timeout`` seconds later, or never looked into the inbox, is cancelled.
        """
        return forms.task(main)

    @staticmethod
    def same() -> Behavior[object]:
        """Keep the behaviour."""
        return forms.SAME

    @staticmethod
    def stopped() -> Behavior[object]:
        """Stop: the children end, then ``post_stop`` runs, then the watchers are told."""
        return forms.STOPPED

    @staticmethod
    def unhandled() -> Behavior[object]:
        """Keep the behaviour, and publish the message as UnhandledMessage."""
        return forms.UNHANDLED

    @staticmethod
    def ignore() -> Behavior[object]:
        """Take every message and do nothing."""
        return _IGNORE

    @staticmethod
    def with_lifecycle(
        behavior: Behavior[M],
        *,
        pre_start: Callable[[ActorContext[M]], Awaitable[None]] | None = None,
        post_stop: Callable[[ActorContext[M]], Awaitable[None]] | None = None,
    ) -> Behavior[M]:
        """Run ``pre_start`` before the first message, ``post_stop`` after the last and the children's end.

        ``post_stop`` runs when ``pre_start`` has succeeded, also after a failure and under cancellation,
        for at most ``stop_timeout`` seconds. The hooks stay when the behaviour is replaced, until a
        handler returns another ``with_lifecycle``.
        """
        return forms.Lifecycle(behavior, cast("forms.Hook | None", pre_start), cast("forms.Hook | None", post_stop))

    @staticmethod
    def discoverable(behavior: Behavior[M], *, key: ServiceKey[M]) -> Behavior[M]:
        """Be found under ``key`` by others while the actor lives, where the system is clustered."""
        return forms.Discoverable(behavior, cast("ServiceKey[Never]", key))


async def _ignore(ctx: ActorContext[object], message: object) -> Behavior[object]:
    return forms.SAME


_IGNORE = forms.Receive(_ignore)
