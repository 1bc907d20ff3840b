"""Protocol of the receptionist: offers of services, and searches for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from casty.address import NodeAddress
from casty.protocol.state.registry import PATH_LENGTH_MAX
from casty.refs import ActorRef, ServiceKey
from casty.schema.names import message

M = TypeVar("M")


@message("casty.ServiceInstance")
@dataclass(frozen=True, slots=True)
class ServiceInstance(Generic[M]):
    """One actor that offers a service, and its node."""

    ref: ActorRef[M]
    """The actor."""
    node: NodeAddress
    """Node of the actor."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """The offers of a service right now: the instances on reachable members, by node and path."""

    key: ServiceKey[M]
    """The key of the search."""
    instances: tuple[ServiceInstance[M], ...]
    """Instances on reachable members, by node and path; empty when nobody offers the service."""

    @property
    def refs(self) -> tuple[ActorRef[M], ...]:
        """The refs of the instances, in their order."""
        return tuple(instance.ref for instance in self.instances)


@dataclass(frozen=True, slots=True)
class Register(Generic[M]):
    """Offer an actor of this node under a key, until it stops or is deregistered.

    Raises:
        ValueError: The path of ``ref`` has more than 1,024 characters.
    """

    key: ServiceKey[M]
    """Name and message type of the service."""
    ref: ActorRef[M]
    """The actor; one of the receptionist's own node."""

    def __post_init__(self) -> None:
        length = len(self.ref.path)
        if length > PATH_LENGTH_MAX:
            raise ValueError(
                f"the path of a service must have at most {PATH_LENGTH_MAX} characters, "
                f"that of {self.key!r} has {length}"
            )


@dataclass(frozen=True, slots=True)
class Deregister(Generic[M]):
    """Offer the actor under this key no more."""

    key: ServiceKey[M]
    """The key of the `Register`."""
    ref: ActorRef[M]
    """The ref of the `Register`."""


@dataclass(frozen=True, slots=True)
class Find(Generic[M]):
    """Ask for the current listing of a key."""

    key: ServiceKey[M]
    """Name and message type of the service."""
    reply_to: ActorRef[Listing[M]]
    """Receiver of the one `Listing`."""


@dataclass(frozen=True, slots=True)
class Subscribe(Generic[M]):
    """Subscribe to the listings of a key: the current one at once, then each change."""

    key: ServiceKey[M]
    """Name and message type of the service."""
    reply_to: ActorRef[Listing[M]]
    """Receiver of each `Listing`, until that actor stops."""


# Any, because a receptionist serves keys of all message types and the key is invariant in its own.
ReceptionistCmd: TypeAlias = Register[Any] | Deregister[Any] | Find[Any] | Subscribe[Any]
"""Messages accepted by a receptionist."""
