"""Ref that a reply has given to a client: good on the connection that it came by."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast

import trio

from casty.address import ActorAddress, WireRef
from casty.refs import ActorRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, UnsentRequest

M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")


class GivenWay(Protocol):
    """Way of messages to refs given to the client."""

    def tell_given(self, ref: GivenActorRef[Any], message: object) -> None:
        """Hand over a message."""
        ...

    def request_given(self, ref: GivenActorRef[Any], request: Request) -> UnsentRequest | None:
        """Hand over a request."""
        ...


class GivenActorRef(AskableRef[M_contra]):
    """Ref to an actor somewhere in the cluster, by way of the node that has given it."""

    __slots__ = ("_place", "_way", "message_type", "session")

    def __init__(self, way: GivenWay, place: WireRef, message_type: object, session: int = 0) -> None:
        self._way = way
        self._place = place
        self.message_type = message_type
        """Type of its messages, as the reply had it."""
        self.session = session
        """Number of the connection for which it is good."""

    @property
    def address(self) -> ActorAddress:
        return ActorAddress(*self._place)

    @property
    def path(self) -> str:
        return self._place[1]

    def of(self: ActorRef[M_contra], message_type: type[T]) -> ActorRef[T]:
        if not isinstance(self, GivenActorRef):
            return cast("ActorRef[T]", self)
        return GivenActorRef[T](self._way, self._place, message_type, self.session)

    def tell(self, message: M_contra) -> None:
        self._way.tell_given(self, message)

    async def send(self, message: M_contra) -> None:
        self._way.tell_given(self, message)
        await trio.lowlevel.checkpoint()

    def request(self, request: Request) -> UnsentRequest | None:
        return self._way.request_given(self, request)
