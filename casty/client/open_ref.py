"""Ref to a path open to clients, at any node with it open: of the finder of a service, or of a topic."""

from __future__ import annotations

from typing import Any, TypeVar

from casty.address import ActorAddress
from casty.client.client_link import ClientLink
from casty.client.way import Way
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, UnsentRequest

M_contra = TypeVar("M_contra", contravariant=True)


class OpenRef(AskableRef[M_contra]):
    """Ref to a path.

    Parameters:
        link: Way to the cluster.
        way: Way to the key in question.
        path: Path on the wire.
        message_type: Type of the messages taken there.
    """

    __slots__ = ("_link", "_path", "_way", "message_type", "session")

    def __init__(self, link: ClientLink, way: Way, path: str, message_type: object) -> None:
        self._link = link
        self._path = path
        self._way = way
        self.message_type = message_type
        """Type of its messages."""
        self.session = 0
        """Number of the connection that it is good on: any."""

    @property
    def address(self) -> ActorAddress:
        return ActorAddress(self._link.system_name, self._path)

    @property
    def path(self) -> str:
        return self._path

    def tell(self, message: M_contra) -> None:
        self.hand_over(message)

    def hand_over(self, message: Any) -> bool:
        """Tell a message; return whether it was sent, or waits to be."""
        letter = self._link.post(self._way, self, message)
        return letter is None or letter in self._way.held

    async def send(self, message: M_contra) -> None:
        await self._link.send(self._way, self, message)

    def request(self, request: Request) -> UnsentRequest | None:
        return self._link.post(self._way, self, request)
