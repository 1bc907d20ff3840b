"""The handle with which an application starts and queries a cluster on an actor system."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Never

import trio

from casty.address import NodeAddress, NodeId, check_path, checked_system_name
from casty.checks import check_callable
from casty.cluster.actor import cluster_behavior, guard
from casty.cluster.board import up_members
from casty.cluster.commands import ClusterCmd, Down, Finish, GetClusterState, GetReceptionist, Leave
from casty.cluster.lease import identify_lease
from casty.cluster.local_transport import LocalTransport
from casty.cluster.meters import collect_transport
from casty.cluster.node import ClusterNode
from casty.cluster.services import ReceptionistCmd
from casty.cluster.serving import ServingLease
from casty.config import ClusterConfig, ClusterSettings, FailureDetectorConfig
from casty.errors import ConfigError
from casty.protocol.cluster_state import ClusterState
from casty.protocol.effects import Rng
from casty.protocol.membership import Member, MemberStatus, member_called
from casty.protocol.topology_events import WantServing
from casty.refs import ActorRef
from casty.runtime.events import EventStreamCmd
from casty.runtime.metrics import Metrics
from casty.runtime.system import ActorSystem, kernel_of, spawn_system_actor
from casty.transport.peers import RemoteTransport
from casty.version import VERSION

INCARNATION_BITS = 63
LEAVE_SLACK = 1.0
GOODBYE_TIMEOUT = 2.0
LARGE_TIMEOUT = 2.0
"""Seconds for which a node that leaves waits for its large messages to arrive."""
MEMBERS_TOLD_MAX = 16
"""Members that an error names."""
WILDCARDS = frozenset({"0.0.0.0", "::", ""})
NOT_STARTED = (
    "the cluster has not been started: enter the ClusteredActorSystem with `async with`, "
    "or call `await cluster.start()` on a Cluster, first"
)

logger = logging.getLogger("casty.cluster")


class Cluster:
    """This node's membership in a cluster, on a running `ActorSystem`.

    >>> cluster = Cluster(system, ClusterConfig("127.0.0.1", 2551, node_id="node-1"))
    >>> await cluster.start()
    >>> state = await cluster.get_state()
    >>> len(state.members)
    1
    >>> await cluster.shutdown()

    ``remote_transport`` carries the traffic between nodes; without one the cluster is this node alone
    and opens no socket. ``local_transport`` delivers what arrives for actors here; None makes one.
    ``system_name`` is part of every address, and nodes with different names refuse each other; ""
    means ``system.name``. ``event_stream`` is where membership events are published; None means
    ``system.event_stream``. Durations are seconds. At the end of the system the node leaves, after the
    users' actors have stopped; `casty.ClusteredActorSystem` does all of this in one block.
    """

    def __init__(
        self,
        system: ActorSystem,
        config: ClusterConfig,
        *,
        remote_transport: RemoteTransport | None = None,
        local_transport: LocalTransport | None = None,
        system_name: str = "",
        gossip_interval: float = 1.0,
        gossip_fanout: int = 3,
        heartbeat_interval: float = 0.5,
        availability_interval: float = 2.0,
        failure_detector_config: FailureDetectorConfig | None = None,
        event_stream: ActorRef[EventStreamCmd] | None = None,
    ) -> None:
        self._system = system
        self._config = config
        self._transport = remote_transport
        self._local_transport = local_transport
        self._system_name = checked_system_name(system_name) if system_name else system.name
        self._event_stream = event_stream
        self._settings = ClusterSettings(
            gossip_interval=gossip_interval,
            gossip_fanout=gossip_fanout,
            heartbeat_interval=heartbeat_interval,
            availability_interval=availability_interval,
            failure_detector=failure_detector_config or FailureDetectorConfig(),
        )
        self._rng: Rng = random.Random(system.config.seed)
        self._node: ClusterNode | None = None
        self._ref: ActorRef[ClusterCmd | Finish] | None = None
        self._is_starting = False
        self._is_shut_down = False

    @classmethod
    def from_settings(
        cls,
        system: ActorSystem,
        config: ClusterConfig,
        settings: ClusterSettings,
        *,
        remote_transport: RemoteTransport | None = None,
        rng: Rng | None = None,
    ) -> Cluster:
        """Return a cluster handle with all of `ClusterSettings`; ``rng`` makes its choices repeatable."""
        cluster = cls(system, config, remote_transport=remote_transport)
        cluster._settings = settings
        if rng is not None:
            cluster._rng = rng
        return cluster

    @property
    def ref(self) -> ActorRef[ClusterCmd]:
        """The cluster actor. RuntimeError when the cluster has not been started."""
        if self._ref is None:
            raise RuntimeError(NOT_STARTED)
        return self._ref

    @property
    def self_node(self) -> NodeAddress:
        """The address of this node, with the real port. RuntimeError before the start."""
        return self._running().self_node.address

    @property
    def receptionist(self) -> ActorRef[ReceptionistCmd]:
        """The receptionist of this node. RuntimeError before the start."""
        return self._running().subsystems.receptionist

    async def start(self) -> None:
        """Join or form the cluster; on return this node is a member, gossips and monitors heartbeats.

        It is ``joining`` until the leader promotes it. Waits for as long as no seed answers, so bound
        it where that matters. Raises BindError for a port that cannot be had, JoinRefused when the
        cluster refuses this node for good, RuntimeError when called twice; after an error or a
        cancellation nothing is left running.
        """
        if self._is_starting:
            raise RuntimeError("the cluster was started already: make another Cluster to join again")
        if self._system.lookup("/_cluster") is not None:
            raise RuntimeError(f"{self._system!r} is in a cluster already: one Cluster for one system")
        self._is_starting = True
        seeds = tuple(NodeAddress(host, port) for host, port in self._config.seed_nodes)
        if self._transport is None and seeds:
            logger.warning("seed nodes are ignored without a remote transport: this node is a cluster of one")
            seeds = ()
        try:
            lease_id = await identify_lease(self._settings.lease, self._settings.lease_timeout)
            node = self._node = self._make_node(await self._bind())
            node.lease_id = lease_id
            node.contacts.expect(seeds, self.self_node)
            local = self._local_transport or LocalTransport(self._system)
            self._ref = spawn_system_actor(self._system, cluster_behavior(node, local, seeds, self._rng), "_cluster")
            guard(node, self._ref)
            kernel_of(self._system).closing.append(self._leave)
            await node.contacts.wait_joined(node.board)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._leave()  # it may be a member already, which others would wait for
                await self._stop()
            raise

    async def get_state(self, *, timeout: float = 5.0) -> ClusterState:
        """Return what this node knows of the cluster now. AskTimeoutError after ``timeout`` seconds."""
        state: ClusterState = await self._system.ask(self.ref, GetClusterState, timeout=timeout)
        return state

    async def get_receptionist(self, *, timeout: float = 5.0) -> ActorRef[ReceptionistCmd]:
        """Return the receptionist of this node, which takes Register, Deregister, Find and Subscribe."""
        receptionist: ActorRef[ReceptionistCmd] = await self._system.ask(self.ref, GetReceptionist, timeout=timeout)
        return receptionist

    async def wait_up(self, count: int) -> None:
        """Wait until at least ``count`` members are up in this node's view."""
        await self._running().board.wait_up(count)

    async def wait_ended(self) -> None:
        """Wait until this node is no member any more: it left, was asked to leave, or was downed."""
        await self._running().board.wait_ended()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when this node's membership ends other than by `shutdown`.

        Also when others ask the node to leave: it stays a member until `shutdown` says that its work is finished.
        Without a callback nobody has work to finish, and the node goes at once.
        """
        check_callable("on_end", callback, "a function without parameters")
        self._running().board.on_end = callback

    @property
    def is_member(self) -> bool:
        """Whether this node has been let into a cluster."""
        return self._node is not None and self._node.board.joined

    @property
    def contacts(self) -> str:
        """What happened last with each seed, in words."""
        return str(self._running().contacts)

    @property
    def up_members(self) -> int:
        """How many members are up in this node's latest snapshot."""
        return up_members(self._running().board.snapshot)

    def collect(self, metrics: Metrics) -> None:
        """Hand over counters and gauges of the membership and the links; none before the start."""
        if self._node is None:
            return
        self._node.meters.collect(metrics, self._node.board.snapshot, self._node.self_node)
        if self._transport is not None and self._transport.is_running:
            collect_transport(self._transport.statistics(), metrics)

    def serving_lease(self) -> ServingLease:
        """Return whether this node may do work that only one node may do; it begins to ask the others then.

        From the first call on this node asks every other member once a second, and serves while enough of
        them answer. Nodes that never call it ask nobody, and answer those that do.
        """
        running = self._running()
        running.subsystems.topology.tell(WantServing())
        return running.serving

    async def leave(self, address: NodeAddress) -> None:
        """Ask the member at ``address`` to leave gracefully; its own process ends its block then.

        Raises LookupError, and changes nothing, when this node knows no member at ``address``.
        """
        self.ref.tell(Leave(self._of_a_member(address)))
        await trio.lowlevel.checkpoint()

    async def down(self, address: NodeAddress) -> None:
        """Declare the member at ``address`` down: for an operator who knows that it is gone for good.

        Raises LookupError, and changes nothing, when this node knows no member at ``address``.
        """
        self.ref.tell(Down(self._of_a_member(address)))
        await trio.lowlevel.checkpoint()

    def remote(self, path: str, node: NodeId | NodeAddress) -> ActorRef[Never]:
        """Return a ref to whoever has ``path`` on a member, to be typed with ``of``.

        A name is looked up among the members that this node knows; LookupError when none has it that
        is not down.
        """
        check_path(path)
        running = self._running()
        if isinstance(node, NodeAddress):
            return running.remote(path, node)
        member = member_called(running.board.members, node)
        if member is None:
            names = sorted(one.id for one in running.board.members if one.status is not MemberStatus.down)
            raise LookupError(f"no member has the node_id {node!r}; members are {_some_of(names)}")
        return running.remote(path, member.address, incarnation=member.incarnation)

    async def shutdown(self) -> None:
        """Leave gracefully and stop: peers see this node leave, they do not detect a failure.

        Bounded by ``leave_timeout``, also under cancellation. Idempotent.
        """
        with trio.CancelScope(shield=True):
            await self._leave()

    async def _leave(self) -> None:
        """Be the shutdown, without its shield: the system's own has a bound."""
        if self._node is None or self._ref is None or self._is_shut_down:
            return
        self._node.board.on_end = None
        self._node.is_leaving = True
        if self._node.holds is not None and self._node.board.joined:
            with trio.move_on_after(LARGE_TIMEOUT):
                await self._node.holds.wait_empty()
        with trio.move_on_after(self._settings.leave_timeout + LEAVE_SLACK):
            self._ref.tell(Finish())
            await self._node.board.wait_ended()
        await self._stop()

    def _make_node(self, address: NodeAddress) -> ClusterNode:
        member = Member(
            address,
            MemberStatus.joining,
            frozenset(self._config.roles),
            self._config.node_id,
            incarnation=self._rng.getrandbits(INCARNATION_BITS) | 1,
            version=VERSION,
        )
        return ClusterNode(
            self._system,
            member,
            system_name=self._system_name,
            settings=self._settings,
            transport=self._transport,
            event_stream=self._event_stream,
        )

    async def _bind(self) -> NodeAddress:
        config, settings = self._config, self._settings
        if self._transport is None:
            return NodeAddress(config.host, config.port)
        if config.host in WILDCARDS and settings.advertised_host is None:
            raise ConfigError(
                f"host {config.host!r} binds every interface and tells peers nothing they can dial: "
                "bind one address of this machine, or set ClusterSettings.advertised_host to the name that peers dial "
                "(advertised_host in the table [cluster] of a casty.toml)"
            )
        bound = await self._transport.bind(config.host, config.port)
        return NodeAddress(settings.advertised_host or bound.host, settings.advertised_port or bound.port)

    async def _stop(self) -> None:
        """Close the links and end the actors."""
        self._is_shut_down = True
        if self._node is not None:
            self._node.is_leaving = True
        if self._transport is not None:
            await self._transport.goodbye(GOODBYE_TIMEOUT)
            if self._node is not None and self._node.holds is not None:
                self._node.holds.close("this node has left")
        if self._ref is not None:
            self._system.stop(self._ref)
            await self._system.wait_stopped(self._ref)
        if self._transport is not None:  # it may be bound and never have run
            await self._transport.aclose()

    def _of_a_member(self, address: object) -> NodeAddress:
        if not isinstance(address, NodeAddress):
            raise TypeError(f"expected an address such as NodeAddress('10.0.0.1', 2551), got {address!r}")
        known = sorted({self.self_node, *(member.address for member in self._running().board.members)})
        if address not in known:
            raise LookupError(f"no member is at {address}; members are at {_some_of([*map(str, known)])}")
        return address

    def _running(self) -> ClusterNode:
        if self._node is None:
            raise RuntimeError(NOT_STARTED)
        return self._node

    def __repr__(self) -> str:
        if self._node is None:
            return f"<Cluster of {self._system_name} {self._config.node_id!r} not started>"
        state = "stopped" if self._is_shut_down else "member" if self._node.board.joined else "joining"
        return f"<Cluster of {self._system_name} {self._config.node_id!r} {self.self_node} {state}>"


def _some_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - MEMBERS_TOLD_MAX} more" if len(names) > MEMBERS_TOLD_MAX else ""
    return ", ".join(names[:MEMBERS_TOLD_MAX]) + more
