"""An actor system that is a node of a cluster: the convenient entry."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, Generic, Never, TypeVar

import trio

from casty.address import NodeAddress, NodeId
from casty.cluster.cluster import Cluster, bound_leaving, node_of
from casty.cluster.extension import ClusterExtension
from casty.cluster.receptionist.services import Find, Listing, ReceptionistCmd, Subscribe
from casty.config import ClusterConfig, ClusterSettings, SystemConfig, TlsConfig
from casty.config.validation import (
    check_at_least,
    check_count,
    check_kind,
    check_positive,
    check_roles,
    check_seed_nodes,
)
from casty.errors import ClusterTimeoutError, ConfigError, NodeDowned
from casty.journal import Journal
from casty.protocol.sharding.observability.shard_listing import ShardListing
from casty.protocol.state.cluster_state import ClusterState
from casty.refs import ActorRef, EntityKey, ServiceKey, check_key
from casty.runtime.behavior.behavior import task
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.metrics import Metrics
from casty.runtime.system.system import ActorSystem, end_block, spawn_system_actor
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.interface import Network
from casty.transport.network.tcp import TcpNetwork
from casty.transport.network.tls import TlsNetwork
from casty.wire_types import WireType

M = TypeVar("M")

LEAVING_MAX = 2.0
LEAVING_PART = 0.25
"""Of ``join_timeout``, the seconds at its end, or the part if that is less, for leaving without having been up."""


class ClusteredActorSystem(ActorSystem):
    """One ``async with`` to bind a port, join the cluster, and leave it at the end.

    >>> async with ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="web-1") as node:
    ...     state = await node.get_cluster_state()
    ...     [member.id for member in state.members]
    ['web-1']

    Entering returns when the node is a member, and ``required_quorum`` members are up. Everything of `ActorSystem` is
    there besides.

    When somebody else asks this node to leave, it leaves and the block is cancelled without an error.

    Parameters:
        name: Name of the system, a part of every address; nodes with another one are refused. A word without
            ``/@#?:``.
        host: Address to bind; peers dial it too, if ``settings.advertised_host`` names no other.
        port: TCP port, 0 to 65,535; 0 takes a free one, told by ``self_node``.
        node_id: Name of this node, unique among the living members: up to 128 printable characters, no spaces.
        seed_nodes: Pairs of host and port to ask for entry, the same on all nodes, the seeds themselves included.
            Empty: this node forms a new cluster at once. List three: a cluster begins with more than half of them, and
                the restart of a sole seed looks like a first start.
        roles: Purposes of this node, such as ``{"web"}``: at most 64 names of at most 255 characters.
        required_quorum: Members to wait for on entering, this node included, at least 1. None waits for none.
        settings: Settings of the cluster; None means ``ClusterSettings()``.
        insecure: Allow a host beyond loopback, although the traffic is not encrypted.
        join_timeout: Seconds for joining and waiting for the quorum together. The last 2 s of them, or the last quarter
            if that is less, are for leaving: a node not up by then closes its links.
        allow_new_cluster: Whether this node may begin a cluster alone, after five seconds without an answer of a seed.
            None leaves that to ``settings``: with two or more seeds more than half of them begin one.
        rejoin_after: Error at the end of this node's last run: the new run also asks the members known to the last one,
            and begins no cluster without more than half of them, downed too. None for a first run.
        config: Settings of the actor system; None means ``SystemConfig()``.
        wire_types: Classes of others whose values may travel, the same on all nodes; see `ActorSystem`.
        network: Network in place of TCP, such as a host of a `MemoryNetwork` in a test.
        extensions: Further features of this node, in the order of their start: see `ClusterExtension`.
        journal: Store of event-sourced actors and durable states, the same one on all nodes that host entities of a
            kind; short for ``config=SystemConfig(journal=...)``.
        tls: Files with which the nodes prove themselves to each other and encrypt what they say: on all nodes, or on
            none. None: anybody who reaches the port can join.

    Raises:
        ConfigError: A parameter has a bad value, a file of ``tls`` is wrong, or the host is not loopback, there is no
            ``tls``, and ``insecure`` is False. The message says how to mend it.
        ValueError: ``name`` is not a single word: it is empty space, or has one of ``/@#?:``. Two of ``wire_types``
            are of one class, or have one name.
        TypeError: ``wire_types`` holds something else than a `WireType`.
        UnsupportedTypeError: One of ``wire_types`` travels as a type that cannot travel.
        BindError: The port cannot be had. Raised on entering, like all following ones; nothing is left running.
        JoinRefused: The cluster refuses this node for good: another system name, setting or wire type, a ``node_id`` or
            an address of another member; or no seed believes its certificate.
        ClusterTimeoutError: The node was not let in, or the quorum was not up, within ``join_timeout``.
        LeaseError: The lease of ``settings`` cannot be used.
        NodeDowned: The cluster declared this node down while the block ran; the block was cancelled.
    """

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        node_id: NodeId,
        seed_nodes: Sequence[tuple[str, int]] = (),
        roles: Collection[str] = (),
        required_quorum: int | None = None,
        settings: ClusterSettings | None = None,
        insecure: bool = False,
        join_timeout: float = 60.0,
        allow_new_cluster: bool | None = None,
        rejoin_after: NodeDowned | None = None,
        config: SystemConfig | None = None,
        wire_types: Iterable[WireType[Any, Any]] = (),
        network: Network | None = None,
        extensions: Sequence[ClusterExtension] = (),
        journal: Journal | None = None,
        tls: TlsConfig | None = None,
    ) -> None:
        if journal is not None:
            config = _with_journal(config or SystemConfig(), journal)
        super().__init__(name, config=config, wire_types=wire_types)
        self.settings: ClusterSettings = settings or ClusterSettings()
        """Settings of the cluster; the defaults where none were given."""
        check_kind(f"{type(self).__name__}.settings", self.settings, ClusterSettings, "ClusterSettings.lan()")
        if allow_new_cluster is not None:
            self.settings = replace(self.settings, allow_new_cluster=allow_new_cluster)
        if rejoin_after is not None:
            check_kind(
                f"{type(self).__name__}.rejoin_after", rejoin_after, NodeDowned, "the error that the block raised"
            )
        self.required_quorum: int | None = required_quorum
        """Members to wait for on entering; None waits for none."""
        self.join_timeout: float = join_timeout
        """Seconds for entering."""
        if required_quorum is not None:
            check_count(self, "required_quorum")
        check_positive(self, "join_timeout")
        check_roles(roles)
        check_seed_nodes(seed_nodes)
        self._find_serial = count(1)
        self.cluster_config: ClusterConfig = ClusterConfig(host, port, node_id, tuple(seed_nodes), frozenset(roles))
        """Name, address, seeds and roles of this node."""
        carrier = network or TcpNetwork(insecure=insecure, busy_poll=self.settings.busy_poll)
        if tls is not None:
            check_kind(f"{type(self).__name__}.tls", tls, TlsConfig, "TlsConfig.folder('/etc/casty/tls')")
            carrier = TlsNetwork(tls, system_name=self.name, node_id=node_id, network=carrier)
        transport = RemoteTransport(
            carrier,
            limits=self.settings.limits,
            rng=None if self.config.seed is None else Random(self.config.seed),
        )
        self.cluster: Cluster = Cluster.from_settings(
            self, self.cluster_config, self.settings, remote_transport=transport, extensions=extensions
        )
        """Handle of this node's membership."""
        if rejoin_after is not None:
            self.cluster.rejoin_after(rejoin_after)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        async with super()._lifespan():
            deadline = trio.current_time() + self.join_timeout
            bound_leaving(self.cluster, deadline)
            with trio.move_on_at(deadline - min(LEAVING_MAX, LEAVING_PART * self.join_timeout)) as joining:
                await self.cluster.start()
                if self.required_quorum is not None:
                    await self.cluster.wait_up(self.required_quorum)
            if joining.cancelled_caught:
                raise ClusterTimeoutError(self._what_was_missing())
            bound_leaving(self.cluster, math.inf)
            self.cluster.on_end(lambda: end_block(self))
            yield

    def _what_was_missing(self) -> str:
        config = self.cluster_config
        if self.cluster.is_member:
            found = f"{self.cluster.up_members} of {self.required_quorum} required members were up{self._lone_note()}"
        else:
            found = f"no seed let it in: {self.cluster.contacts}"
        return f"{config.node_id!r} gave up after {self.join_timeout:g} s: {found}"

    def _lone_note(self) -> str:
        """Return a note for an error on missing members or services: a node without seeds looks like a first one."""
        others = {NodeAddress(*seed) for seed in self.cluster_config.seed_nodes} - {self.self_node}
        if others or not self.cluster.is_alone:
            return ""
        return "; this node has no seed_nodes of others, and is in a cluster of its own"

    @property
    def self_node(self) -> NodeAddress:
        """Address of this node for peers, with the real port."""
        return self.cluster.self_node

    @property
    def receptionist(self) -> ActorRef[ReceptionistCmd]:
        """The receptionist of this node: takes Register, Deregister, Find and Subscribe."""
        return self.cluster.receptionist

    async def get_cluster_state(self, timeout: float = 5.0) -> ClusterState:
        """Ask this node for its view of the cluster.

        Parameters:
            timeout: Seconds to wait for the answer of this node itself.

        Returns:
            Members, unreachable members, services, as this node knows them now.

        Raises:
            AskTimeoutError: No answer within ``timeout``.
            AskFailed: The node has left its cluster.
            RuntimeError: The block has not been entered.
        """
        return await self.cluster.get_state(timeout=timeout)

    async def shards(self, key: EntityKey[Any]) -> ShardListing:
        """Look up where the shards of a kind of entities are, as this node knows it.

        ``(await system.shards(CARTS)).node_of("cart-42")`` is the node of one entity.

        Parameters:
            key: Kind of the entities; this node need not host it.

        Returns:
            Rows, loads, moves and epochs at this moment.

        Raises:
            RuntimeError: The block has not been entered.
            TypeError: ``key`` is no `EntityKey`.
        """
        return await self.cluster.shards(key)

    async def wait_for(self, n: int, timeout: float = 60.0) -> None:
        """Wait until enough members are up in this node's view.

        Parameters:
            n: Members, this node included.
            timeout: Seconds to wait.

        Raises:
            ClusterTimeoutError: Fewer were up after ``timeout``; the node stays a member.
            CastyError: This node left its cluster meanwhile; NodeDowned when it was downed.
            RuntimeError: The block has not been entered.
            ValueError: ``n`` is no integer of at least 1.
        """
        check_at_least("n", n, 1)
        with trio.move_on_after(timeout) as scope:
            await self.cluster.wait_up(n)
        if scope.cancelled_caught:
            found = f"{self.cluster.up_members} of {n} members were up after {timeout:g} s"
            raise ClusterTimeoutError(found + self._lone_note())

    async def find(self, key: ServiceKey[M], *, at_least: int = 0, timeout: float = 5.0) -> Listing[M]:
        """Look a service up, and wait for it where it is not there yet.

        Parameters:
            key: Name and message type of the service.
            at_least: Instances to wait for; 0 returns the current listing at once.
            timeout: Seconds to wait.

        Returns:
            The listing: the instances on reachable members.

        Raises:
            ClusterTimeoutError: Fewer than ``at_least`` instances were there after ``timeout``.
            AskTimeoutError: The receptionist of this node did not answer within ``timeout``.
            AskFailed: The node has left its cluster.
            RuntimeError: The block has not been entered.
            TypeError: ``key`` is no `ServiceKey`.
            UnsupportedTypeError: A message of the service holds a class that this system was not taught.
            ValueError: ``at_least`` is no integer of at least 0.
        """
        check_key(key, "find")
        check_at_least("at_least", at_least, 0)
        node_of(self.cluster).codec.register(key.message_type)  # names what cannot travel before anybody is asked
        listing: Listing[M] = await self.ask(self.receptionist, lambda reply_to: Find(key, reply_to), timeout=timeout)
        if len(listing.instances) >= at_least:
            return listing
        wait = _Wait(key, at_least)
        ref = spawn_system_actor(self, task(wait.main), f"_find-{next(self._find_serial)}")
        self.receptionist.tell(Subscribe(key, ref))
        try:
            with trio.move_on_after(timeout):
                return await wait.listing()
        finally:
            self.stop(ref)
        found = f"{wait.seen} of {at_least} instances of {key!r} were there after {timeout:g} s"
        raise ClusterTimeoutError(found + self._lone_note())

    def collect(self, metrics: Metrics) -> None:
        """Hand over counters and gauges as they are now, those of the cluster and of its links too.

        Parameters:
            metrics: Receiver of each figure, such as a `casty.prometheus.PrometheusCollector` passes.
        """
        super().collect(metrics)
        self.cluster.collect(metrics)

    def remote(self, path: str, node: NodeId | NodeAddress) -> ActorRef[Never]:
        """Address an actor of another node by its path.

        ``node.remote("/greeter", "web-2").of(Greet)`` is an ``ActorRef[Greet]``. Nothing is sent: whether somebody has
        the path shows when a message gets there.

        Parameters:
            path: Path of the actor, such as ``/greeter``.
            node: Name of a member, or the address of a node.

        Returns:
            A ref to be narrowed with ``of``; a name leads to that run of the node only, an address to any.

        Raises:
            LookupError: ``node`` is a name, and no member has it, down ones apart.
            TypeError: ``node`` is neither a name nor a `NodeAddress`.
            ValueError: ``path`` does not begin with ``/``.
            RuntimeError: The block has not been entered.
        """
        return self.cluster.remote(path, node)


def _with_journal(config: SystemConfig, journal: Journal) -> SystemConfig:
    check_kind("ClusteredActorSystem.config", config, SystemConfig, "SystemConfig(stop_timeout=1.0)")
    if config.journal is not None:
        raise ConfigError("ClusteredActorSystem was given a journal twice: leave it out of config, or out of journal=")
    return replace(config, journal=journal)


class _Wait(Generic[M]):
    """Wait for a listing that is long enough: the listings seen by its actor, and the waiting task."""

    def __init__(self, key: ServiceKey[M], at_least: int) -> None:
        self._at_least = at_least
        self._listing: Listing[M] = Listing(key, ())
        self._enough = trio.Event()

    @property
    def seen(self) -> int:
        """Number of instances in the latest listing."""
        return len(self._listing.instances)

    async def main(self, ctx: ActorContext[Listing[M]], inbox: Inbox[Listing[M]]) -> None:
        """Take listings until one is long enough."""
        async for self._listing in inbox:
            if self.seen >= self._at_least:
                self._enough.set()
                return

    async def listing(self) -> Listing[M]:
        """Return the first listing that is long enough."""
        await self._enough.wait()
        return self._listing
