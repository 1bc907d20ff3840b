"""An actor system that is a node of a cluster: the convenient entry."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Generic, Never, TypeVar

import trio

from casty.address import NodeAddress, NodeId
from casty.checks import check_count, check_kind, check_positive, check_roles, check_seed_nodes
from casty.cluster.cluster import Cluster
from casty.cluster.services import Find, Listing, ReceptionistCmd, Subscribe
from casty.config import ClusterConfig, ClusterSettings, SystemConfig
from casty.errors import ClusterTimeoutError
from casty.protocol.cluster_state import ClusterState
from casty.refs import ActorRef, ServiceKey, check_key
from casty.runtime.behavior import task
from casty.runtime.context import ActorContext
from casty.runtime.inbox import Inbox
from casty.runtime.metrics import Metrics
from casty.runtime.system import ActorSystem, end_block, spawn_system_actor
from casty.transport.base import Network
from casty.transport.peers import RemoteTransport
from casty.transport.tcp import TcpNetwork

M = TypeVar("M")


class ClusteredActorSystem(ActorSystem):
    """One ``async with`` that binds a port, joins the cluster, and leaves it at the end.

    >>> async with ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="web-1") as node:
    ...     state = await node.get_cluster_state()
    ...     [member.id for member in state.members]
    ['web-1']

    Without ``seed_nodes`` the node forms a new cluster. ``port=0`` takes a free port, which
    ``self_node`` tells. ``required_quorum`` makes entering wait until that many members are up.
    Joining and waiting together take at most ``join_timeout`` seconds; then ClusterTimeoutError (a
    TimeoutError) is raised and nothing is left running. ``insecure`` allows a host that is not
    loopback although the traffic is not encrypted. ``network`` replaces TCP, for tests.

    When the cluster declares this node down, the block is cancelled and raises NodeDowned. When
    somebody else asks this node to leave, it leaves and the block is cancelled without an error.
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
        config: SystemConfig | None = None,
        network: Network | None = None,
    ) -> None:
        super().__init__(name, config=config)
        self.settings = settings or ClusterSettings()
        check_kind(f"{type(self).__name__}.settings", self.settings, ClusterSettings, "ClusterSettings.lan()")
        self.required_quorum = required_quorum
        self.join_timeout = join_timeout
        if required_quorum is not None:
            check_count(self, "required_quorum")
        check_positive(self, "join_timeout")
        check_roles(roles)
        check_seed_nodes(seed_nodes)
        self._find_serial = count(1)
        self.cluster_config = ClusterConfig(host, port, node_id, tuple(seed_nodes), frozenset(roles))
        transport = RemoteTransport(
            network or TcpNetwork(insecure=insecure, busy_poll=self.settings.busy_poll),
            limits=self.settings.limits,
            rng=None if self.config.seed is None else Random(self.config.seed),
        )
        self.cluster = Cluster.from_settings(self, self.cluster_config, self.settings, remote_transport=transport)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        async with super()._lifespan():
            with trio.move_on_after(self.join_timeout) as joining:
                await self.cluster.start()
                if self.required_quorum is not None:
                    await self.cluster.wait_up(self.required_quorum)
            if joining.cancelled_caught:
                raise ClusterTimeoutError(self._what_was_missing())
            self.cluster.on_end(lambda: end_block(self))
            yield

    def _what_was_missing(self) -> str:
        config = self.cluster_config
        if self.cluster.is_member:
            found = f"{self.cluster.up_members} of {self.required_quorum} required members were up"
        else:
            found = f"no seed let it in: {self.cluster.contacts}"
        return f"{config.node_id!r} gave up after {self.join_timeout:g} s: {found}"

    @property
    def self_node(self) -> NodeAddress:
        """Where peers reach this node, with the real port."""
        return self.cluster.self_node

    @property
    def receptionist(self) -> ActorRef[ReceptionistCmd]:
        """The receptionist of this node: takes Register, Deregister, Find and Subscribe."""
        return self.cluster.receptionist

    async def get_cluster_state(self, timeout: float = 5.0) -> ClusterState:
        """Return what this node knows of the cluster now."""
        return await self.cluster.get_state(timeout=timeout)

    async def wait_for(self, n: int, timeout: float = 60.0) -> None:
        """Wait until at least ``n`` members are up. ClusterTimeoutError after ``timeout`` seconds."""
        with trio.move_on_after(timeout) as scope:
            await self.cluster.wait_up(n)
        if scope.cancelled_caught:
            raise ClusterTimeoutError(f"{self.cluster.up_members} of {n} members were up after {timeout:g} s")

    async def find(self, key: ServiceKey[M], *, at_least: int = 0, timeout: float = 5.0) -> Listing[M]:
        """Return who offers ``key`` right now, or as soon as ``at_least`` instances do.

        ClusterTimeoutError when there are fewer than that after ``timeout`` seconds.
        """
        check_key(key, "find")
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
        raise ClusterTimeoutError(f"{wait.seen} of {at_least} instances of {key!r} were there after {timeout:g} s")

    def collect(self, metrics: Metrics) -> None:
        """Hand over counters and gauges as they are now, those of the cluster and of its links too."""
        super().collect(metrics)
        self.cluster.collect(metrics)

    def remote(self, path: str, node: NodeId | NodeAddress) -> ActorRef[Never]:
        """Return a ref to an actor of another node, to be narrowed with ``.of(Message)``.

        ``node.remote("/greeter", "web-2").of(Greet)`` is an ``ActorRef[Greet]``. LookupError when
        ``node`` is a name that no member has.
        """
        return self.cluster.remote(path, node)


class _Wait(Generic[M]):
    """The wait for a listing that is long enough: what its actor sees, and the task that waits."""

    def __init__(self, key: ServiceKey[M], at_least: int) -> None:
        self._at_least = at_least
        self._listing: Listing[M] = Listing(key, ())
        self._enough = trio.Event()

    @property
    def seen(self) -> int:
        """How many instances the latest listing had."""
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
