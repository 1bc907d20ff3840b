"""Look inside a running system from a test: actors, timers, subscriptions, links, and the objects behind the handles.

Owns the ways in, and nothing of what they lead to. `paths_of`, `subscriptions_of`, `deadlines_of` and `links_of` return
copies: looking changes nothing. `kernel_of`, `node_of`, `link_manager_of` and `inbound_of` return casty's own objects,
for tests that play a faulty peer or check that nothing is kept; their attributes may change in every release.
"""

from __future__ import annotations

from typing import Never

import trio

from casty.cluster import cluster as clusters
from casty.cluster.cluster import Cluster
from casty.cluster.node import ClusterNode
from casty.cluster.system import ClusteredActorSystem
from casty.refs import ActorRef
from casty.runtime.system import system as systems
from casty.runtime.system.kernel import Kernel
from casty.runtime.system.system import ActorSystem
from casty.transport.links.link_table import LinkStatistics
from casty.transport.manager.inbound import InboundHandler
from casty.transport.manager.link_manager import LinkManager
from casty.transport.manager.peers import RemoteTransport

__all__ = [
    "deadlines_of",
    "inbound_of",
    "kernel_of",
    "link_manager_of",
    "links_of",
    "node_of",
    "paths_of",
    "subscriptions_of",
]


def paths_of(system: ActorSystem) -> tuple[str, ...]:
    """List all living actors, the library's own included.

    >>> from casty.testing.inspect import paths_of
    >>> async with ActorSystem("shop") as shop:
    ...     _ = shop.spawn(Behaviors.ignore(), "cart")
    ...     paths_of(shop)
    ('/_event_stream', '/_scheduler', '/cart')

    Parameters:
        system: Running system.

    Returns:
        Their paths, in the order in which they were spawned.
    """
    return tuple(kernel_of(system).targets)


def subscriptions_of(system: ActorSystem) -> dict[type[object], tuple[ActorRef[Never], ...]]:
    """List the subscribers of the event stream, with their events.

    Parameters:
        system: Running system.

    Returns:
        The subscribers by the event type that they named, in the order in which they subscribed.
    """
    return kernel_of(system).event_stream.subscriptions()


def deadlines_of(system: ActorSystem) -> tuple[float, ...]:
    """List the deadlines that are kept: timers, schedules, time-outs of asks, bounds of stops.

    Parameters:
        system: Running system.

    Returns:
        Seconds from now until each of them, the earliest first; one that is due at this moment is 0 or less.
    """
    now = trio.current_time()
    return tuple(deadline - now for deadline in kernel_of(system).timer_queue.deadlines())


def links_of(system: ClusteredActorSystem | Cluster) -> tuple[LinkStatistics, ...]:
    """List the links of a node to its peers, with the queue of each.

    Parameters:
        system: Started node.

    Returns:
        The state of each link as it is now; none without a transport.

    Raises:
        RuntimeError: The cluster has not been started.
    """
    transport = node_of(system).transport
    return () if transport is None else transport.statistics().links


def kernel_of(system: ActorSystem) -> Kernel:
    """Reach what all actors of a system share: actors by path, timers, open asks, counters, hooks.

    Parameters:
        system: Running system.

    Returns:
        The system's own object, which may change in every release.
    """
    return systems.kernel_of(system)


def node_of(system: ClusteredActorSystem | Cluster) -> ClusterNode:
    """Reach what the rooms of the cluster share on one node: its run, codec, counters, queues of messages.

    Parameters:
        system: Started node.

    Returns:
        The node's own object, which may change in every release.

    Raises:
        RuntimeError: The cluster has not been started.
    """
    return clusters.node_of(system.cluster if isinstance(system, ClusteredActorSystem) else system)


def link_manager_of(transport: RemoteTransport) -> LinkManager:
    """Reach the machine that decides over the links of a transport: sessions, dials, links by peer.

    Parameters:
        transport: Running transport.

    Returns:
        The transport's own object, which may change in every release.

    Raises:
        RuntimeError: The transport does not run.
    """
    return transport.link_manager


def inbound_of(system: ClusteredActorSystem | Cluster) -> InboundHandler:
    """Reach what a node hands each frame to that a peer has sent, to let a test send what no peer of casty's would.

    Parameters:
        system: Started node that has a transport.

    Returns:
        The handler, to be called as `casty.RemoteTransport` calls it.

    Raises:
        RuntimeError: The cluster has not been started, or has no transport that runs.
    """
    transport = node_of(system).transport
    if transport is None:
        raise RuntimeError("the node has no transport, and hears of nobody: give its Cluster a RemoteTransport")
    return link_manager_of(transport).handler
