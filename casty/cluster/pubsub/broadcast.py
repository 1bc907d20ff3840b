"""Broadcast: one actor of a service on each node, told and asked all at one time.

Owns the behaviour of such an actor, and the outcome of each node. It does not know how the actors are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Never, Protocol, TypeVar, cast

import trio

from casty.address import NodeAddress
from casty.cluster.node import ClusterNode
from casty.cluster.pubsub.audience import Audiences
from casty.errors import AskFailed, AskTimeoutError
from casty.refs import ActorRef, ServiceKey
from casty.runtime.behavior.behavior import Behavior, Composed, Discoverable, setup
from casty.runtime.events import NO_ROUTEE
from casty.runtime.system.context import ActorContext
from casty.runtime.system.group_messaging import Broadcast, groups_of
from casty.runtime.system.system import kernel_of

M = TypeVar("M")


class BroadcastHost(Protocol):
    """Taker of the actors of broadcasts: the cluster."""

    def hold(self, key: ServiceKey[Any], ref: ActorRef[Never]) -> None:
        """Take note of the actor of this node. ConfigError where it has one already."""
        ...


@dataclass(frozen=True, eq=False)
class BroadcastedBehavior(Composed[M]):
    """An actor with one of its kind on each node: made by ``Behaviors.broadcasted``."""

    behavior: Behavior[M]
    """Behaviour of the actor."""
    key: ServiceKey[M]
    """Name and message type."""

    def message_type(self) -> object | None:
        return self.key.message_type

    def compose(self) -> Behavior[Any]:
        """Make the behaviour that offers the actor to all nodes. For the library.

        Returns:
            The behaviour of the actor.
        """
        return setup(self._start)

    async def _start(self, ctx: ActorContext[Any]) -> Behavior[Any]:
        groups = cast("BroadcastHost", groups_of(kernel_of(ctx.system)))
        groups.hold(self.key, ctx.self)
        return cast("Behavior[Any]", Discoverable(self.behavior, cast("ServiceKey[Never]", self.key)))


class ListedBroadcast(Broadcast[M]):
    """The actors of a broadcast, as they are listed at each message."""

    __slots__ = ("_audiences", "_key", "_node")

    def __init__(self, node: ClusterNode, audiences: Audiences, key: ServiceKey[M]) -> None:
        self._node = node
        self._audiences = audiences
        self._key = key

    def tell(self, message: M) -> None:
        kernel, key = self._node.kernel, self._key
        kernel.check_thread(f"tell {self!r}")
        audience = self._audiences.of(key.name, key.message_type)
        if not audience.refs:
            kernel.dead_letter(message, kernel.ref_for(f"/_broadcast/{key.name}", 0), NO_ROUTEE)
        self._audiences.tell((ref for _, ref in audience.refs), message, key.message_type)

    def __repr__(self) -> str:
        return f"<Broadcast {self._key!r}>"


async def ask_each(
    node: ClusterNode,
    refs: tuple[tuple[NodeAddress, ActorRef[Never]], ...],
    factory: Callable[[ActorRef[Any]], Any],
    timeout: float,
) -> Mapping[NodeAddress, object]:
    """Ask all at one time; return the reply of each, or the failure."""
    outcomes: dict[NodeAddress, object] = {}
    faults: list[Exception] = []

    async def ask(address: NodeAddress, ref: ActorRef[Any]) -> None:
        try:
            outcomes[address] = await node.system.ask(ref, factory, timeout=timeout)
        except AskTimeoutError as error:
            outcomes[address] = _timed_out(error)
        except AskFailed as error:
            outcomes[address] = error
        except Exception as error:  # the caller's: it is raised to it below, as a lone ask would
            faults.append(error)

    async with trio.open_nursery() as nursery:
        for address, ref in refs:
            nursery.start_soon(ask, address, ref)
    if faults:
        raise faults[0]
    return {address: outcomes[address] for address, _ in refs}


def _timed_out(error: AskTimeoutError) -> AskFailed:
    failed = AskFailed(str(error), "timed_out")
    failed.__cause__ = error
    return failed
