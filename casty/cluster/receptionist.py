"""The driver of discovery: the actor ``_receptionist``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never, TypeAlias, assert_never

from casty.address import ActorAddress
from casty.cluster.commands import SubscribeTopology
from casty.cluster.node import ClusterNode
from casty.cluster.services import (
    Deregister,
    Find,
    Listing,
    ReceptionistCmd,
    Register,
    ServiceInstance,
    Subscribe,
)
from casty.protocol.cluster_state import TopologySnapshot
from casty.protocol.listings import Entries, Listings, Notify, Offer
from casty.protocol.registry import SERVICES_PER_NODE_MAX, LocalService, ServiceEntry
from casty.protocol.topology_events import OwnServices
from casty.refs import ActorRef, ServiceKey
from casty.runtime.behavior import Behavior, task
from casty.runtime.context import ActorContext
from casty.runtime.events import Terminated
from casty.runtime.inbox import Inbox
from casty.runtime.machine import attempt

Subscriber: TypeAlias = tuple[ServiceKey[Any], ActorRef[Listing[Any]]]
ReceptionistMessage: TypeAlias = ReceptionistCmd | TopologySnapshot | Terminated


class ReceptionistDriver:
    """Translates between keys and refs on one side and the listings machine on the other."""

    def __init__(self, node: ClusterNode, ctx: ActorContext[ReceptionistMessage]) -> None:
        self._node = node
        self._ctx = ctx
        self._listings: Listings[Subscriber] = Listings()

    def take(self, message: ReceptionistMessage) -> None:
        """Handle one message."""
        listings = self._listings
        match message:
            case Register(key, ref):
                self._register(key, ref)
            case Deregister(key, ref):
                self._perform(listings.deregister(_service(key, ref)))
            case Find(key, reply_to):
                self._know(key)
                reply_to.tell(self._listing(key, listings.find(key.name)))
            case Subscribe(key, reply_to):
                self._know(key)
                self._perform([listings.subscribe(key.name, (key, reply_to))])
                if reply_to.address.is_local:
                    self._ctx.watch(reply_to)
            case TopologySnapshot():
                self._perform(listings.update(message))
            case Terminated(ref):
                self._perform(listings.stopped(ref.path, ref.address.uid))
                listings.unsubscribe_where(lambda subscriber: subscriber[1] == ref)
            case _ as never:
                assert_never(never)

    def _register(self, key: ServiceKey[Any], ref: ActorRef[Any]) -> None:
        if not ref.address.is_local:
            self._ctx.log.error("%r not registered: %s is no actor of this node; register it there", key, ref)
            return
        if self._listings.is_full:
            self._ctx.log.error("%r not registered: this node offers %d services already", key, SERVICES_PER_NODE_MAX)
            return
        self._know(key)
        self._ctx.watch(ref)
        self._perform(self._listings.register(_service(key, ref)))

    def _know(self, key: ServiceKey[Any]) -> None:
        self._node.codec.register(key.message_type)

    def _perform(self, effects: Sequence[Offer | Notify[Subscriber]]) -> None:
        for effect in effects:
            match effect:
                case Offer(services):
                    self._node.subsystems.topology.tell(OwnServices(services))
                case Notify((key, reply_to), entries):
                    reply_to.tell(self._listing(key, entries))

    def _listing(self, key: ServiceKey[Any], entries: Entries) -> Listing[Any]:
        return Listing(key, tuple(self._instance(key, entry) for entry in entries))

    def _instance(self, key: ServiceKey[Any], entry: ServiceEntry) -> ServiceInstance[Any]:
        place = entry.node
        address = ActorAddress(self._node.system_name, entry.path, place.host, place.port, entry.incarnation, entry.uid)
        return ServiceInstance(self._node.import_ref(address, key.message_type), place)


def _service(key: ServiceKey[Any], ref: ActorRef[Never]) -> LocalService:
    return key.name, ref.path, ref.address.uid


def receptionist_behavior(node: ClusterNode) -> Behavior[ReceptionistMessage]:
    """Return the behaviour of ``_receptionist``."""

    async def main(ctx: ActorContext[ReceptionistMessage], inbox: Inbox[ReceptionistMessage]) -> None:
        driver = ReceptionistDriver(node, ctx)
        node.subsystems.topology.tell(SubscribeTopology(ctx.self))
        async for message in inbox:
            attempt(driver.take, message)

    return task(main)
