"""Refs for tests in which nothing travels."""

from __future__ import annotations

from typing import Any, Never

from casty import ActorRef
from casty.address import ActorAddress


class ForeignRef(ActorRef[Never]):
    @property
    def address(self) -> ActorAddress:
        return ActorAddress("other", "/there", "10.0.0.9", 2551, incarnation=3, uid=4)

    def tell(self, message: Never) -> None:
        raise NotImplementedError

    async def send(self, message: Never) -> None:
        raise NotImplementedError


class AddressRef(ActorRef[Any]):
    """A ref that is its address, and knows the type that it was decoded for."""

    def __init__(self, address: ActorAddress, message_type: object = None) -> None:
        self._address = address
        self.message_type = message_type

    @property
    def address(self) -> ActorAddress:
        return self._address

    def tell(self, message: Any) -> None:
        raise AssertionError("not told in these tests")

    async def send(self, message: Any) -> None:
        raise AssertionError("not sent to in these tests")
