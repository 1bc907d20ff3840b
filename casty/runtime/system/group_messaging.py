"""Messages to many nodes: the handles of a program, and the cluster's part in the eyes of the system.

Owns the words for users. It does not know who is found on which node: the cluster provides that, by `GroupPort`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

from casty.address import NodeAddress
from casty.errors import AskFailed
from casty.refs import ActorRef, ServiceKey, Topic, check_key
from casty.runtime.hooks import KernelHooks, no_cluster

M = TypeVar("M")
R = TypeVar("R")
M_contra = TypeVar("M_contra", contravariant=True)


class Broadcast(Generic[M_contra]):
    """The actors of a broadcast, one on each node: made by ``system.broadcast``."""

    __slots__ = ()

    @abstractmethod
    def tell(self, message: M_contra) -> None:
        """Hand over a message to each, encoded once, and return at once; at most once each, in order for each.

        Those on the members reachable now get it, and that of the own node. Where there is none it is a dead letter. A
        full queue to one node is a dead letter for that one, and holds up no other.

        Parameters:
            message: A message of the key's type. Do not change it afterwards.

        Raises:
            EncodeError: The message cannot be written as bytes; nothing was sent.
            RuntimeError: Called in another thread than the system's own.
        """


class GroupPort(Protocol):
    """Part of the cluster for messages to many."""

    def broadcast(self, key: ServiceKey[Any]) -> Broadcast[Any]:
        """Return the actors of a broadcast."""
        ...

    async def ask_all(
        self, key: ServiceKey[Any], factory: Callable[[ActorRef[Any]], Any], timeout: float
    ) -> Mapping[NodeAddress, object]:
        """Ask each actor of a broadcast; return the outcome of each node."""
        ...

    def subscribe(self, topic: Topic[Any], ref: ActorRef[Any]) -> None:
        """Add a subscriber of this node to a topic."""
        ...

    def unsubscribe(self, topic: Topic[Any], ref: ActorRef[Any]) -> None:
        """Remove a subscriber."""
        ...

    def publish(self, topic: Topic[Any], message: object) -> int:
        """Hand a message to all nodes with subscribers; return their number."""
        ...

    async def known(self, topic: Topic[Any], timeout: float) -> None:
        """Wait until all other reachable members know of the subscribers here."""
        ...


class HasGroups(Protocol):
    """The kernel, for the cluster's part."""

    @property
    def name(self) -> str:
        """Name of the system."""
        ...

    @property
    def hooks(self) -> KernelHooks:
        """Hooks of the cluster."""
        ...


def groups_of(kernel: HasGroups) -> GroupPort:
    """Return the cluster's part. RuntimeError without a cluster, ActorStoppedError without it any more."""
    groups = kernel.hooks.groups
    if groups is None:
        raise no_cluster(kernel.name, kernel.hooks, "messages to many nodes need")
    return cast("GroupPort", groups)


def broadcast_of(kernel: HasGroups, key: ServiceKey[M]) -> Broadcast[M]:
    """Return the actors of a broadcast."""
    check_key(key, "broadcast")
    return groups_of(kernel).broadcast(key)


async def ask_all(
    kernel: HasGroups, key: ServiceKey[M], factory: Callable[[ActorRef[R]], M], timeout: float
) -> Mapping[NodeAddress, R | AskFailed]:
    """Ask each actor of a broadcast."""
    check_key(key, "ask_all")
    return cast("Mapping[NodeAddress, R | AskFailed]", await groups_of(kernel).ask_all(key, factory, timeout))
