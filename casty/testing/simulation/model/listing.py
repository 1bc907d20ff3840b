"""The receptionist on simulated nodes: the real machine of the listings, and subscribers that are no more than names.

Owns the last listing of each subscriber, in place of the driver ``_receptionist``. Where a node has it, its services
pass through it on their way to gossip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias, assert_never

from casty.address import UniqueAddress
from casty.protocol.gossip.handover import TableWritten
from casty.protocol.membership.view import SnapshotChanged
from casty.protocol.receptionist.listings import Entries, Listings, Misfit, Names, Notify
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.registry import REGISTRY
from casty.testing.simulation.model.machine import ModelMachine
from casty.testing.simulation.model.model import RECEPTIONIST, ModelCluster, ServicesOffered
from casty.testing.simulation.model.run import ModelTask, Run

KEYS = ("cart", "stock", "mail", "search", "nobody")
"""Keys with subscribers on each node."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Subscriber to a key, with messages of these types."""

    key: str
    names: Names


SUBSCRIBERS = tuple(Subscriber(key, names) for key in KEYS for names in ((f"{key}.Do",), (f"{key}.Do", "Other")))
"""Two of each key: one with messages that fit, and one with another type."""

ListingEvent: TypeAlias = Subscriber | ServicesOffered | SnapshotChanged


@dataclass(slots=True)
class ListingNode:
    """Receptionist of one run of a node."""

    node: UniqueAddress
    listings: Listings[Subscriber] = field(init=False, default_factory=Listings[Subscriber])
    snapshot: TopologySnapshot | None = field(init=False, default=None)
    """The last snapshot taken."""
    told: dict[Subscriber, Entries] = field(init=False, default_factory=dict[Subscriber, Entries])
    """Last listing told to each subscriber."""

    def handle(self, event: ListingEvent, now: float) -> Sequence[object]:
        """Take an event as the driver does."""
        listings = self.listings
        match event:
            case Subscriber(key, names):
                return listings.subscribe(key, names, event)
            case ServicesOffered(services):
                before = listings.own
                for service in sorted(before - services, key=str):
                    listings.stopped(service.path, service.uid)
                for service in sorted(services - before, key=str):
                    listings.register(service)
                return [TableWritten(REGISTRY, listings.own)] if listings.own != before else []
            case SnapshotChanged(snapshot):
                self.snapshot = snapshot
                return listings.update(snapshot)
            case _ as never:
                assert_never(never)


def listing_node(run: Run) -> ListingNode:
    """Return the receptionist of a run."""
    return run.machine(RECEPTIONIST, ListingNode)


def _made(cluster: ModelCluster, run: Run, rng: Random) -> ListingNode:
    return ListingNode(run.node)


def _snapshot(effect: SnapshotChanged) -> SnapshotChanged:
    return effect


def _notify(cluster: ModelCluster, task: ModelTask, effect: Notify[Subscriber]) -> None:
    listing_node(task.run).told[effect.subscriber] = effect.entries


def _misfit(cluster: ModelCluster, task: ModelTask, effect: Misfit) -> None:
    """Do nothing: the driver writes it to its log."""


LISTINGS: ModelMachine[ListingEvent] = ModelMachine(
    name=RECEPTIONIST,
    make=_made,
    starts_with=SUBSCRIBERS,
    hears={SnapshotChanged: _snapshot},
    performs={Notify: _notify, Misfit: _misfit},
)
"""The receptionist as a machine of each simulated node."""
