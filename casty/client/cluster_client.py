"""Client of a cluster: an actor system outside of it, asking and telling by way of a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import Any, Final, TypeVar

import trio

from casty.address import NodeAddress, checked_system_name
from casty.client.client_link import ClientLink
from casty.client.client_topics import ClientTopics
from casty.client.contacts import ContactPoints
from casty.client.dialler import ClientDialler
from casty.client.entity_routing import ClientRouting
from casty.client.service_finder import find_services
from casty.cluster.receptionist.services import Listing
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import SystemConfig, TlsConfig, TransportLimits
from casty.config.validation import check_at_least, check_kind, check_node_id, check_positive, check_seed_nodes
from casty.errors import ClusterUnreachable, ConfigError
from casty.refs import EntityKey, ServiceKey, check_key
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.system.system import ActorSystem, kernel_of
from casty.transport.network.interface import Network
from casty.transport.network.tcp import TcpNetwork, is_loopback
from casty.transport.network.tls import TlsNetwork
from casty.wire_types import WireType

M = TypeVar("M")

DEFAULT_LIMITS: Final = TransportLimits()


class ClusterClient(ActorSystem):
    """Reaches entities, singletons, services and topics of a cluster, without being a node of it.

    It keeps a connection to one node, to hand its messages on and its replies back; when this node is lost, it goes on
    with another one. Open to it are keys made with ``clients=True`` and used or hosted by some node, and refs given to
    it in replies.

    ``async with ClusterClient(contact_points=[("10.0.0.1", 2551)], system_name="shop", tls=...) as client:`` then
    ``await client.ask(client.entity(CARTS, "cart-42"), Get)``.

    Everything of `ActorSystem` is there besides: a client can have actors of its own, out of reach for the cluster.

    Parameters:
        contact_points: Pairs of host and port of nodes; one that answers is enough, and tells the others.
        system_name: Name of the cluster's system.
        tls: Certificate of the client, ``spiffe://<system>/client/<name>``, and whom to believe. None: no encryption,
            for contact points on loopback, or with ``insecure``.
        address_map: Function of the address of a node, as nodes know it, to the one that this client dials, where
            there is a proxy or address translation between; not asked for ``contact_points``. None dials them as they
            are.
        name: Name of the client in the log lines of nodes; with ``tls`` that of the certificate counts.
        insecure: Allow contact points beyond loopback, although the traffic is not encrypted.
        connect_timeout: Seconds for reaching a node on entering.
        limits: Bounds of frames and messages: as on the nodes.
        config: Settings of the actor system; None means ``SystemConfig()``.
        wire_types: Classes of others whose values may travel, the same as on the nodes.
        network: Network in place of TCP, such as a host of a `MemoryNetwork` in a test.

    Raises:
        ConfigError: A parameter has a bad value, a contact point is not loopback and there is neither ``tls`` nor
            ``insecure``, or the certificate is that of a node.
        ValueError: ``system_name`` is not a single word.
        ClusterUnreachable: No node answered within ``connect_timeout``. Raised on entering.
    """

    def __init__(
        self,
        *,
        contact_points: Sequence[tuple[str, int]],
        system_name: str,
        tls: TlsConfig | None = None,
        address_map: Callable[[NodeAddress], NodeAddress] | None = None,
        name: str = "client",
        insecure: bool = False,
        connect_timeout: float = 10.0,
        limits: TransportLimits = DEFAULT_LIMITS,
        config: SystemConfig | None = None,
        wire_types: Iterable[WireType[Any, Any]] = (),
        network: Network | None = None,
    ) -> None:
        super().__init__(checked_system_name(system_name), config=config, wire_types=wire_types)
        check_seed_nodes(contact_points)
        check_node_id(name)
        self.connect_timeout: float = connect_timeout
        """Seconds for reaching a node on entering."""
        check_positive(self, "connect_timeout")
        if not contact_points:
            raise ConfigError("ClusterClient.contact_points must name a node, such as [('10.0.0.1', 2551)], got none")
        far = [host for host, _ in contact_points if not is_loopback(host)]
        if far and tls is None and not insecure and network is None:
            raise ConfigError(
                f"ClusterClient would talk to {far[0]!r} without encryption: set tls, or insecure=True in a network "
                "where nobody else listens"
            )
        carrier: Network = network or TcpNetwork(insecure=insecure)
        self._tls: TlsNetwork | None = None
        if tls is not None:
            check_kind("ClusterClient.tls", tls, TlsConfig, "TlsConfig.folder('/etc/casty/tls')")
            carrier = self._tls = TlsNetwork(tls, system_name=self.name, role="client", network=carrier)
            name = self._tls.identity.node_id or name
        rng: Random = SystemRandom() if self.config.seed is None else Random(self.config.seed)
        self._contacts = ContactPoints((NodeAddress(*point) for point in contact_points), address_map, rng)
        self._dialler = ClientDialler(
            carrier, system_name=self.name, name=name, limits=limits, rng=rng, wire_types=self.wire_types
        )
        self._link: ClientLink | None = None
        self._routings: dict[str, ClientRouting] = {}

    @property
    def contact(self) -> NodeAddress | None:
        """The node that messages go by now, as it was dialled; None while there is none. For a probe, too.

        It tells what the client knows: of a node that has died it learns after up to three seconds.
        """
        current = None if self._link is None else self._link.current
        return None if current is None else current.node

    @property
    def contact_points(self) -> tuple[NodeAddress, ...]:
        """All nodes known to the client: those given, and those told by the cluster, as they are dialled."""
        return self._contacts.all

    def __repr__(self) -> str:
        way = "by no node" if self.contact is None else f"by {self.contact}"
        return f"{super().__repr__()[:-1]} {way}>"

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        scope = trio.CancelScope(shield=True)  # a cancelled block has actors still, and what they tell last is sent
        async with trio.open_nursery() as nursery:
            try:
                async with super()._lifespan():
                    kernel = kernel_of(self)
                    link = self._link = ClientLink(kernel, LocalTransport(self), self._contacts, self._dialler)
                    kernel.closing.append(link.close)
                    nursery.start_soon(self._serve, link, scope)
                    with trio.move_on_after(self.connect_timeout) as connecting:
                        await link.wait_connected()
                    if connecting.cancelled_caught:
                        text = f"this client has reached no node of {self.name!r} within {self.connect_timeout:g} s"
                        raise ClusterUnreachable(f"{text}: {self._dialler.faults}")
                    kernel.hooks.entity_used = self._used
                    kernel.hooks.groups = ClientTopics(kernel, link)
                    yield
            finally:
                scope.cancel()
                if self._link is not None:
                    kernel_of(self).hooks.entity_used = kernel_of(self).hooks.groups = None
                    kernel_of(self).hooks.has_ended = True

    @trio.lowlevel.enable_ki_protection
    async def _serve(self, link: ClientLink, scope: trio.CancelScope) -> None:
        """Keep the link up until the client's actors have ended, and it is closed behind them."""
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                if self._tls is not None:
                    nursery.start_soon(self._tls.keep_house)

    async def find(self, key: ServiceKey[M], *, at_least: int = 0, timeout: float = 5.0) -> Listing[M]:
        """Look a service up, and wait for it where it is not there yet.

        The refs in the listing are good on the connection of the moment: after a change of the node, find them again.

        Parameters:
            key: Name and message type of the service, made with ``clients=True``.
            at_least: Instances to wait for; 0 returns the current listing at once.
            timeout: Seconds to wait.

        Returns:
            The listing: the instances on members reachable from the node, at most 512 of them.

        Raises:
            ClusterTimeoutError: Fewer than ``at_least`` instances were there after ``timeout``.
            AskTimeoutError: No node has answered within ``timeout``.
            AskFailed: No node within reach has the key open to clients.
            ClusterUnreachable: There has been no node for too long.
            ConfigError: The key was made without ``clients=True``.
            RuntimeError: The block has not been entered.
            TypeError: ``key`` is no `ServiceKey`.
            UnsupportedTypeError: A message of the service holds a class unknown to this client.
            ValueError: ``at_least`` is no integer of at least 0.
        """
        check_key(key, "find")
        check_at_least("at_least", at_least, 0)
        if self._link is None:
            raise RuntimeError("the client has not been entered: write `async with ClusterClient(...) as client`")
        if not key.clients:
            raise ConfigError(f"{key!r} is not open to clients: make it with clients=True, on the nodes too")
        return await find_services(kernel_of(self), self._link, key, at_least, timeout)

    def _used(self, key: EntityKey[Any], entity_id: str, is_singleton: bool) -> RoutedEntityRef[Any]:
        """Return the ref of an entity, or of a singleton; which of them a key is of, its node knows."""
        routing = self._routings.get(key.name)
        if routing is None:
            assert self._link is not None
            if not key.clients:
                raise ConfigError(f"{key!r} is not open to clients: make it with clients=True, on the nodes too")
            routing = self._routings[key.name] = ClientRouting(self._link, key, self.name)
        return RoutedEntityRef(routing, entity_id)
