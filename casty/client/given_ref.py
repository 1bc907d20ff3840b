"""Ref given to a client by a reply: good on the connection of that reply."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast

from casty.address import ActorAddress, WireRef
from casty.refs import ActorRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, UnsentRequest

M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")


class GivenWay(Protocol):
    """Way of messages to given refs."""

    def tell_given(self, ref: GivenActorRef[Any], message: object) -> None:
        """Hand over a message."""
        ...

    async def send_given(self, ref: GivenActorRef[Any], message: object) -> None:
        """Hand over a message, waiting for room."""
        ...

    def request_given(self, ref: GivenActorRef[Any], request: Request) -> UnsentRequest | None:
        """Hand over a request."""
        ...


class GivenActorRef(AskableRef[M_contra]):
    """Ref to an actor somewhere in the cluster, by way of its giver."""

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
        await self._way.send_given(self, message)

    def request(self, request: Request) -> UnsentRequest | None:
        return self._way.request_given(self, request)
