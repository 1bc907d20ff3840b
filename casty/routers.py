"""The ways to put several actors behind one ref."""

from __future__ import annotations

from typing import TypeVar

from casty.cluster.receptionist.group_router import GroupRouter
from casty.refs import ServiceKey, check_key
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.behavior.signatures import check_behavior
from casty.runtime.routing import PoolRouter

M = TypeVar("M")


class Routers:
    """Makes routers: behaviours that hand each message on to one of several actors, or to all.

    Each chooses in turn unless it is told otherwise, by `with_random_routing`,
    `with_consistent_hashing_routing` or `with_broadcast_predicate`. The deadline of an ask goes on with the
    request, and replies go past the router, straight to who asked.
    """

    @staticmethod
    def pool(size: int, behavior: Behavior[M]) -> PoolRouter[M]:
        """Spawn ``size`` children with the behaviour, named ``1``, ``2`` and so on, and route to them.

        A child that stops is left out from then on; supervise the behaviour to have it restarted. The
        pool stops when no child is left.

        Parameters:
            size: Number of children, at least 1.
            behavior: What each child does.

        Returns:
            A behaviour to spawn; its ``with_...`` methods change how it chooses.

        Raises:
            TypeError: ``behavior`` is no behaviour.
            ValueError: ``size`` is below 1.
        """
        check_behavior(behavior, "pool")
        return PoolRouter(size, behavior)

    @staticmethod
    def group(key: ServiceKey[M]) -> GroupRouter[M]:
        """Route to the actors that offer ``key`` on reachable nodes, as the receptionist lists them.

        What comes before the first listing waits; while nobody offers it, messages are dead letters,
        ``no routee``. Needs a cluster in the system, be it of one node.

        Parameters:
            key: Key of the service.

        Returns:
            A behaviour to spawn; its ``with_...`` methods change how it chooses.

        Raises:
            TypeError: ``key`` is no `ServiceKey`.
        """
        check_key(key, "group")
        return GroupRouter(key)
