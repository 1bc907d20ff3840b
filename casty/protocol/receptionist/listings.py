"""Offers of services right now, and the subscribers to them.

Owns the services of this node and the subscriptions to keys. Subscribers are opaque values, understood by the driver.
It does not know how services of other nodes become known (`registry`); it is given the topology.

A listing holds the instances on reachable members that take all messages of its key, by node and path. A subscriber
gets its first listing at once and every change once. A snapshot costs its changes: only the listings of the keys it
touches are made again, when they are asked for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.registry import SERVICES_PER_NODE_MAX, ServiceEntry

S = TypeVar("S", bound=Hashable)

Entries = tuple[ServiceEntry, ...]
Names = tuple[str, ...]
"""Wire names of types of message."""


@dataclass(frozen=True, slots=True)
class Notify(Generic[S]):
    """Effect: tell a subscriber the present listing of its key."""

    subscriber: S
    entries: Entries


@dataclass(frozen=True, slots=True)
class Misfit:
    """Effect: say that a service under the key is not listed, since it does not take all of these types."""

    service: ServiceEntry
    names: Names


@dataclass(frozen=True, slots=True)
class Found:
    """Listing of a key for a sender of messages of some types, and the first service without one of them."""

    entries: Entries = ()
    misfit: Misfit | None = None


@dataclass(slots=True)
class _Subscription:
    """Types sent by one subscriber of a key, and its last listing."""

    names: Names
    told: Found = Found()


@dataclass(slots=True)
class Listings(Generic[S]):
    """Machine behind a receptionist; each method returns the effects to perform."""

    _own: dict[tuple[str, int], set[ServiceEntry]] = field(
        default_factory=lambda: dict[tuple[str, int], set[ServiceEntry]]()
    )
    """The services of this node, by the path and uid of their actor."""
    _count: int = 0
    _known: frozenset[ServiceEntry] = frozenset()
    _hidden: frozenset[NodeAddress] = frozenset()
    _by_key: dict[str, set[ServiceEntry]] = field(default_factory=lambda: dict[str, set[ServiceEntry]]())
    _found: dict[str, dict[Names, Found]] = field(default_factory=lambda: dict[str, dict[Names, Found]]())
    _subscribers: dict[str, dict[S, _Subscription]] = field(default_factory=lambda: dict[str, dict[S, _Subscription]]())

    @property
    def own(self) -> frozenset[ServiceEntry]:
        """All services of this node."""
        return frozenset[ServiceEntry]().union(*self._own.values())

    @property
    def is_full(self) -> bool:
        """Whether this node can register no further service."""
        return self._count >= SERVICES_PER_NODE_MAX

    def register(self, service: ServiceEntry) -> bool:
        """Offer one more service of this node; False when it is offered already or no room is left."""
        services = self._own.get((service.path, service.uid), set())
        if service in services or self.is_full:
            return False
        services.add(service)
        self._own[service.path, service.uid] = services
        self._count += 1
        return True

    def deregister(self, service: ServiceEntry) -> bool:
        """Offer a service no more; False when it was not offered."""
        services = self._own.get((service.path, service.uid), set())
        if service not in services:
            return False
        services.discard(service)
        self._count -= 1
        if not services:
            del self._own[service.path, service.uid]
        return True

    def stopped(self, path: str, uid: int) -> bool:
        """Offer nothing more of the former actor at ``path``; False when it offered nothing."""
        services = self._own.pop((path, uid), set())
        self._count -= len(services)
        return bool(services)

    def find(self, key: str, names: Names) -> Found:
        """Return the listing of a key now for a sender of messages of the types with these ``names``."""
        if key not in self._by_key:
            return Found()  # not remembered: there may be any number of such keys
        found = self._found.setdefault(key, {})
        if names not in found:
            found[names] = self._list(key, names)
        return found[names]

    def knows(self, key: str, run: UniqueAddress, uid: int) -> bool:
        """Whether an actor of that run is offered under a key, and would be listed."""
        found = () if run.address in self._hidden else self._by_key.get(key, ())
        return any((one.uid, one.incarnation, one.node) == (uid, run.incarnation, run.address) for one in found)

    def subscribe(self, key: str, names: Names, subscriber: S) -> Sequence[Notify[S] | Misfit]:
        """Add a subscriber to a key and tell it the current listing."""
        subscription = _Subscription(names)
        self._subscribers.setdefault(key, {})[subscriber] = subscription
        change = [*self._change(key, subscriber, subscription)]
        return change if subscription.told.entries else [*change, Notify(subscriber, ())]

    def unsubscribe(self, key: str, subscriber: S) -> None:
        """Drop a subscriber of a key, if it is one."""
        subscribers = self._subscribers.get(key, {})
        subscribers.pop(subscriber, None)
        if not subscribers:
            self._subscribers.pop(key, None)

    def update(self, snapshot: TopologySnapshot) -> Sequence[Notify[S] | Misfit]:
        """Take the topology; return the changed listings, for each subscriber."""
        down = (member.address for member in snapshot.members if member.status is MemberStatus.down)
        hidden = snapshot.unreachable.union(down)
        # Differences of whole sets use the hashes stored in them, and cost little.
        new, gone = snapshot.registry.difference(self._known), self._known.difference(snapshot.registry)
        touched = dict.fromkeys(sorted({entry.key for entry in new | gone}))
        for entry in gone:
            self._by_key[entry.key].discard(entry)
        for entry in new:
            self._by_key.setdefault(entry.key, set()).add(entry)
        if hidden != self._hidden:
            shifted = hidden ^ self._hidden
            touched.update(dict.fromkeys(_keys_on(self._by_key, shifted)))
        self._known, self._hidden = snapshot.registry, hidden
        return [change for key in touched for change in self._changes(key)]

    def _changes(self, key: str) -> list[Notify[S] | Misfit]:
        self._found.pop(key, None)
        if not self._by_key.get(key, True):
            del self._by_key[key]
        subscribers = self._subscribers.get(key, {})
        return [change for each, told in subscribers.items() for change in self._change(key, each, told)]

    def _change(self, key: str, subscriber: S, subscription: _Subscription) -> Sequence[Notify[S] | Misfit]:
        before, found = subscription.told, self.find(key, subscription.names)
        subscription.told = found
        changes: list[Notify[S] | Misfit] = []
        if found.misfit is not None and found.misfit != before.misfit:
            changes.append(found.misfit)
        if found.entries != before.entries:
            changes.append(Notify(subscriber, found.entries))
        return changes

    def _list(self, key: str, names: Names) -> Found:
        wanted = frozenset(names)
        there = [entry for entry in self._by_key.get(key, ()) if entry.node not in self._hidden]
        there.sort(key=_place)
        fits = tuple(entry for entry in there if wanted.issubset(entry.accepts))
        misfits = (Misfit(entry, names) for entry in there if not wanted.issubset(entry.accepts))
        return Found(fits, next(misfits, None))


def _keys_on(by_key: dict[str, set[ServiceEntry]], nodes: frozenset[NodeAddress]) -> Iterable[str]:
    return (key for key, entries in sorted(by_key.items()) if any(entry.node in nodes for entry in entries))


def _place(entry: ServiceEntry) -> tuple[object, ...]:
    return entry.key, entry.node, entry.path, entry.incarnation, entry.uid
