"""The driver of discovery: the actor ``_receptionist``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Never, TypeAlias, assert_never

from casty.address import SERVICE_PREFIX, UniqueAddress
from casty.cluster.commands import SubscribeTopology
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.node import ClusterNode
from casty.cluster.receptionist.services import (
    Deregister,
    Find,
    Listing,
    ReceptionistCmd,
    Register,
    ServiceInstance,
    Subscribe,
)
from casty.protocol.gossip.handover import TableWritten
from casty.protocol.receptionist.listings import Entries, Listings, Misfit, Names, Notify
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.registry import REGISTRY, SERVICES_PER_NODE_MAX, TYPES_LENGTH_MAX, ServiceEntry
from casty.refs import ActorRef, EntityRef, ServiceKey
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import attempt
from casty.runtime.events import Terminated
from casty.runtime.listeners import ActorLifecycleListener
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.schema.names import printable

OFFER_INTERVAL = 0.05
"""A change of the services costs every node a new snapshot, so a burst of them makes at most 20 of them a second."""

MISFITS_NOTED_MAX = 256
"""Pairs of keys with one name and different types, told once each; more of them are not told."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """The receptionist's note to itself: tell this node's offer, if it has changed."""


Subscriber: TypeAlias = tuple[ServiceKey[Any], ActorRef[Listing[Any]]]
ReceptionistMessage: TypeAlias = ReceptionistCmd | TopologySnapshot | Terminated | _Offer


class ReceptionistDriver:
    """Translates between keys and refs on one side and the listings machine on the other."""

    def __init__(self, node: ClusterNode, ctx: ActorContext[ReceptionistMessage]) -> None:
        self._node = node
        self._ctx = ctx
        self._listings: Listings[Subscriber] = Listings()
        self._subscribed: dict[ActorRef[Never], dict[Subscriber, None]] = {}
        self._is_changed = False
        self._is_offering = False
        self._misfits: set[tuple[str, Names, Names]] = set()

    def take(self, message: ReceptionistMessage) -> None:
        """Handle one message."""
        listings = self._listings
        if isinstance(message, (Register, Find, Subscribe)):
            self._node.kernel.hooks.open_key(SERVICE_PREFIX, message.key)
        match message:
            case Register(key, ref):
                self._register(key, ref)
            case Deregister(key, ref):
                self._offer(listings.deregister(self._service(key, ref)))
            case Find(key, reply_to):
                reply_to.tell(self._listing(key, self.find(key.name, self._names(key))))
            case Subscribe(key, reply_to):
                self._subscribe(key, reply_to)
            case TopologySnapshot():
                self._perform(listings.update(message))
            case Terminated(ref):
                self._offer(listings.stopped(ref.path, ref.address.uid))
                self._drop(ref)
            case _Offer():
                self._offer_now()
            case _ as never:
                assert_never(never)

    def _register(self, key: ServiceKey[Any], ref: ActorRef[Any]) -> None:
        if not ref.address.is_local or isinstance(ref, EntityRef):
            self._ctx.log.error("%r not registered: %s is no actor of this node; register it there", key, ref)
            return
        if self._listings.is_full:
            self._ctx.log.error("%r not registered: this node offers %d services already", key, SERVICES_PER_NODE_MAX)
            return
        service = self._service(key, ref)
        if sum(map(len, service.accepts)) > TYPES_LENGTH_MAX:
            self._ctx.log.error(
                "%r not registered: the names of its %d types of message have more than %d characters together",
                key, len(service.accepts), TYPES_LENGTH_MAX,
            )  # fmt: skip
            return
        self._ctx.watch(ref)
        self._offer(self._listings.register(service))

    def _offer(self, is_changed: bool) -> None:
        """Tell the cluster: at once, or with all further changes within `OFFER_INTERVAL` of the last time."""
        self._is_changed = self._is_changed or is_changed
        if self._is_changed and not self._is_offering:
            self._is_offering = True
            self._ctx.self.tell(_Offer())  # behind the registrations that wait already

    def _offer_now(self) -> None:
        self._is_offering = self._is_changed
        if self._is_changed:
            self._is_changed = False
            self._node.subsystems.gossip.tell(TableWritten(REGISTRY, self._listings.own))
            self._ctx.schedule_once(_Offer(), OFFER_INTERVAL)

    def _subscribe(self, key: ServiceKey[Any], reply_to: ActorRef[Listing[Any]]) -> None:
        subscriber = key, reply_to
        changes = self._listings.subscribe(key.name, self._names(key), subscriber)
        self._subscribed.setdefault(reply_to, {})[subscriber] = None
        self._perform(changes)
        try:
            self._ctx.watch(reply_to)
        except ValueError:
            self._drop(reply_to)  # it is no actor but, for example, an ask: the first listing was the answer

    def _drop(self, ref: ActorRef[Any]) -> None:
        for subscriber in self._subscribed.pop(ref, ()):
            self._listings.unsubscribe(subscriber[0].name, subscriber)

    def find(self, name: str, names: Names) -> Entries:
        """Return the listing of a key for a sender of the types with these ``names``."""
        found = self._listings.find(name, names)
        if found.misfit is not None:
            self._warn(found.misfit)
        return found.entries

    def instances(self, key: ServiceKey[Any], most: int) -> tuple[ServiceInstance[Any], ...]:
        """Return the instances of a service right now, the first ``most`` of them."""
        return tuple(self._instance(key, entry) for entry in self.find(key.name, self._names(key))[:most])

    def lists(self, name: str, run: UniqueAddress, uid: int) -> bool:
        """Whether an actor of that run is known as one of a service."""
        return self._listings.knows(name, run, uid)

    def _perform(self, changes: Sequence[Notify[Subscriber] | Misfit]) -> None:
        for change in changes:
            match change:
                case Notify():
                    attempt(self._notify, change)
                case Misfit():
                    self._warn(change)

    def _warn(self, misfit: Misfit) -> None:
        service = misfit.service
        fault = service.key, misfit.names, service.accepts
        if fault not in self._misfits and len(self._misfits) < MISFITS_NOTED_MAX:
            self._misfits.add(fault)
            self._ctx.log.error(
                "ServiceKey %r: %s on %s is not listed for messages of %s, since its own key of this name takes %s; "
                "give one of the two keys another name, or import the same key in both places",
                service.key, printable(service.path), service.node,
                " | ".join(misfit.names), printable(" | ".join(service.accepts)),
            )  # fmt: skip

    def _names(self, key: ServiceKey[Any]) -> Names:
        return self._node.codec.names_of(key.message_type)

    def _notify(self, change: Notify[Subscriber]) -> None:
        key, reply_to = change.subscriber
        reply_to.tell(self._listing(key, change.entries))

    def _listing(self, key: ServiceKey[Any], entries: Entries) -> Listing[Any]:
        return Listing(key, tuple(self._instance(key, entry) for entry in entries))

    def _instance(self, key: ServiceKey[Any], entry: ServiceEntry) -> ServiceInstance[Any]:
        place = entry.node
        found = (self._node.system_name, entry.path, place.host, place.port, entry.incarnation, entry.uid)
        return ServiceInstance(self._node.import_ref(found, key.message_type), place)

    def _service(self, key: ServiceKey[Any], ref: ActorRef[Never]) -> ServiceEntry:
        place, run = self._node.self_node.address, self._node.self_node.incarnation
        return ServiceEntry(key.name, place, ref.path, incarnation=run, uid=ref.address.uid, accepts=self._names(key))


def receptionist_behavior(
    node: ClusterNode, begins: Callable[[ReceptionistDriver], None]
) -> Behavior[ReceptionistMessage]:
    """Return the behaviour of ``_receptionist``; ``begins`` is handed its driver."""

    async def main(ctx: ActorContext[ReceptionistMessage], inbox: Inbox[ReceptionistMessage]) -> None:
        driver = ReceptionistDriver(node, ctx)
        begins(driver)
        node.subsystems.topology.tell(SubscribeTopology(ctx.self))
        async for message in inbox:
            attempt(driver.take, message)

    return task(main)


class _Registrar(ActorLifecycleListener):
    """Registers the actors made by ``Behaviors.discoverable``."""

    def __init__(self, receptionist: ActorRef[ReceptionistCmd]) -> None:
        self._receptionist = receptionist

    def offered(self, ref: ActorRef[Never], key: ServiceKey[Never]) -> None:
        self._receptionist.tell(Register(key, ref))


class ReceptionistExtension(ClusterExtension):
    """The receptionist as a part of a node: its actor, and its listener. Gossip carries its slots."""

    name = "receptionist"

    def __init__(self) -> None:
        self._registrar: _Registrar | None = None
        self._driver: ReceptionistDriver | None = None
        self.ref: ActorRef[ReceptionistCmd] | None = None
        """The receptionist; None before the node has started."""

    def start(self, node: ExtensionNode) -> None:
        """Spawn the actor, and have it offer the actors made by ``Behaviors.discoverable``."""
        self.ref = node.spawn(receptionist_behavior(node.inside, self._begin), "_receptionist")
        self._registrar = _Registrar(self.ref)
        node.system.add_lifecycle_listener(self._registrar)

    def find(self, name: str, names: Names) -> Entries:
        """Return the listing of a key as it is now; the same object as long as it does not change."""
        return () if self._driver is None else self._driver.find(name, names)

    def instances(self, key: ServiceKey[Any], most: int) -> tuple[ServiceInstance[Any], ...]:
        """Return the instances of a service right now, the first ``most`` of them."""
        return () if self._driver is None else self._driver.instances(key, most)

    def lists(self, name: str, run: UniqueAddress, uid: int) -> bool:
        """Whether an actor of that run is known here as one of a service, whatever messages it takes."""
        return self._driver is not None and self._driver.lists(name, run, uid)

    def _begin(self, driver: ReceptionistDriver) -> None:
        self._driver = driver

    def ended(self) -> None:
        """Withdraw all offers."""
        if self.node is not None and self._registrar is not None:
            self.node.system.remove_lifecycle_listener(self._registrar)
