"""Who offers a service right now, and who wants to know.

Owns the services of this node and the subscriptions to keys. Subscribers are opaque values that the
driver understands. It does not know how services of other nodes become known (`registry`); it is
given the topology.

A listing holds the instances on reachable members, by node and path. A subscriber gets its first
listing at once and every change once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from casty.address import NodeAddress
from casty.protocol.cluster_state import TopologySnapshot
from casty.protocol.membership import MemberStatus
from casty.protocol.registry import SERVICES_PER_NODE_MAX, LocalService, ServiceEntry

S = TypeVar("S", bound=Hashable)

Entries = tuple[ServiceEntry, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """Effect: these are all the services of this node now."""

    services: frozenset[LocalService]


@dataclass(frozen=True, slots=True)
class Notify(Generic[S]):
    """Effect: tell a subscriber what its key lists now."""

    subscriber: S
    entries: Entries


@dataclass(slots=True)
class Listings(Generic[S]):
    """The machine behind a receptionist; each method returns what must be done."""

    _own: set[LocalService] = field(default_factory=lambda: set[LocalService]())
    _listed: dict[str, Entries] = field(default_factory=lambda: dict[str, Entries]())
    _subscribers: dict[str, dict[S, Entries]] = field(default_factory=lambda: dict[str, dict[S, Entries]]())

    @property
    def is_full(self) -> bool:
        """Whether this node can register no further service."""
        return len(self._own) >= SERVICES_PER_NODE_MAX

    def register(self, service: LocalService) -> Sequence[Offer]:
        """Offer one more service; nothing happens when it is offered already or no room is left."""
        if service in self._own or self.is_full:
            return ()
        self._own.add(service)
        return (Offer(frozenset(self._own)),)

    def deregister(self, service: LocalService) -> Sequence[Offer]:
        """Offer a service no more."""
        if service not in self._own:
            return ()
        self._own.discard(service)
        return (Offer(frozenset(self._own)),)

    def stopped(self, path: str, uid: int) -> Sequence[Offer]:
        """Offer nothing more of the actor that was at ``path``."""
        kept = {service for service in self._own if service[1:] != (path, uid)}
        if kept == self._own:
            return ()
        self._own = kept
        return (Offer(frozenset(kept)),)

    def find(self, key: str) -> Entries:
        """Return what a key lists now."""
        return self._listed.get(key, ())

    def subscribe(self, key: str, subscriber: S) -> Notify[S]:
        """Add a subscriber to a key and tell it the current listing."""
        entries = self.find(key)
        self._subscribers.setdefault(key, {})[subscriber] = entries
        return Notify(subscriber, entries)

    def unsubscribe_where(self, is_meant: Callable[[S], bool]) -> None:
        """Drop the subscribers that are meant, from all keys."""
        for key, subscribers in list(self._subscribers.items()):
            for subscriber in [subscriber for subscriber in subscribers if is_meant(subscriber)]:
                del subscribers[subscriber]
            if not subscribers:
                del self._subscribers[key]

    def update(self, snapshot: TopologySnapshot) -> Sequence[Notify[S]]:
        """Take the topology; return the listings that changed, for each subscriber."""
        hidden: set[NodeAddress] = set(snapshot.unreachable)
        hidden.update(member.address for member in snapshot.members if member.status is MemberStatus.down)
        listed: dict[str, list[ServiceEntry]] = {}
        for entry in sorted(snapshot.registry, key=_place):
            if entry.node not in hidden:
                listed.setdefault(entry.key, []).append(entry)
        self._listed = {key: tuple(entries) for key, entries in listed.items()}
        changes: list[Notify[S]] = []
        for key, subscribers in self._subscribers.items():
            entries = self.find(key)
            for subscriber, told in subscribers.items():
                if told != entries:
                    subscribers[subscriber] = entries
                    changes.append(Notify(subscriber, entries))
        return changes


def _place(entry: ServiceEntry) -> tuple[object, ...]:
    return entry.key, entry.node, entry.path, entry.incarnation, entry.uid
