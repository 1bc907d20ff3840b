"""What a program holds of an actor: a typed reference, and nothing else of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, Never, TypeVar

from casty.address import ActorAddress

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class ActorRef(Generic[M_contra]):
    """A reference to an actor that takes messages of type ``M``; local or on another node.

    Refs are equal when they name the same actor. A ref of a wider type stands in for one of a
    narrower type: an ``ActorRef[Add | Get]`` is an ``ActorRef[Add]``.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def address(self) -> ActorAddress:
        """The full name of the actor."""

    @property
    def path(self) -> str:
        """The actor's place in the tree of its system, such as ``/shop/cart-1``."""
        return self.address.path

    @abstractmethod
    def tell(self, message: M_contra) -> None:
        """Hand over a message and return at once; at most once, in order per sender and receiver.

        Never blocks. What cannot be taken (a full mailbox, a stopped actor, a full outbound queue)
        is published as a dead letter. Raises EncodeError or UnsupportedTypeError when the actor is
        on another node and the message cannot be written as bytes.
        """

    @abstractmethod
    async def send(self, message: M_contra) -> None:
        """Hand over a message, waiting for room where there is none; a checkpoint."""

    def of(self: ActorRef[Never], message_type: type[M]) -> ActorRef[M]:
        """Return this ref typed for ``M``: for refs that came from a path, whose type is unknown."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"
