"""The group router: routes to the actors of a service, on all nodes, as the receptionist lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Never, TypeVar, cast

from casty.cluster.receptionist.services import Listing, ReceptionistCmd, Subscribe
from casty.refs import ActorRef, ServiceKey
from casty.runtime.behavior.behavior import SAME, Behavior, receive, setup
from casty.runtime.routing import Routees, Router
from casty.runtime.system.context import ActorContext

M = TypeVar("M")

RECEPTIONIST: Final = "/_cluster/_receptionist"
FIRST_MESSAGES_MAX: Final = 1_000
"""Messages waiting for the first listing, due at once; beyond it they are dead letters."""


@dataclass(frozen=True, eq=False)
class GroupRouter(Router[M]):
    """A router to the actors of a service: made by ``Routers.group``."""

    key: ServiceKey[M]
    """Key of the service whose instances are the routees."""

    def message_type(self) -> object | None:
        return self.key.message_type

    def compose(self) -> Behavior[Never]:
        """Make the behaviour that asks the receptionist for the routees. For the library.

        Returns:
            The behaviour of the router.
        """
        return setup(self._start)

    async def _start(self, ctx: ActorContext[object]) -> Behavior[Never]:
        receptionist = ctx.system.lookup(RECEPTIONIST)
        if receptionist is None:
            raise RuntimeError(
                f"{ctx.self.path} routes to {self.key!r}, which needs a receptionist: start a Cluster in this system "
                "first, or use Routers.pool"
            )
        group = _Group(self, cast("ActorContext[M]", ctx))
        adapter: ActorRef[Listing[M]] = ctx.message_adapter(group.listed)
        receptionist.of(cast("type[ReceptionistCmd]", object)).tell(Subscribe(self.key, adapter))
        return receive(group.handle)


@dataclass(frozen=True, slots=True)
class _Listed:
    """News of the receptionist, told apart from messages to be routed."""

    listing: Listing[Any]


class _Group(Generic[M]):
    """Routees of one group, and the messages from before the first listing."""

    def __init__(self, router: GroupRouter[M], ctx: ActorContext[M]) -> None:
        self._routees = Routees(router, ctx)
        self._first = ctx.stash_buffer(FIRST_MESSAGES_MAX)
        self._is_listed = False

    def listed(self, listing: Listing[M]) -> object:
        """Mark a listing as the receptionist's."""
        return _Listed(listing)

    async def handle(self, ctx: ActorContext[object], message: object) -> Behavior[Never]:
        """Route a message, or take note of a listing."""
        if isinstance(message, _Listed):
            listing: Listing[M] = message.listing
            self._routees.update({f"{one.node}{one.ref.path}": one.ref for one in listing.instances})
            self._is_listed = True
            return self._first.unstash_all()
        if self._is_listed or self._first.is_full:
            self._routees.route(cast("M", message))
        else:
            self._first.stash(cast("M", message))
        return SAME
