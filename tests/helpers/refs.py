"""A ref of another node, for tests in which nothing travels."""

from __future__ import annotations

from typing import Never

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
