"""Handle of an application to start and query a cluster on an actor system."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Never, cast

import trio

from casty.address import LastMembership, NodeAddress, NodeId, check_path, checked_system_name
from casty.cluster.actor import cluster_behavior, guard
from casty.cluster.clients.clients import Clients
from casty.cluster.commands import AddressesFound, ClusterCmd, Down, Finish, GetClusterActor, GetClusterState, Leave
from casty.cluster.death_watch.watch import DeathWatchExtension
from casty.cluster.extension import ClusterExtension, check_extensions
from casty.cluster.extensions import Extensions, take_rest
from casty.cluster.leases.lease import identify_lease
from casty.cluster.leases.serving import ServingLease
from casty.cluster.leases.store_owner import enter_store
from casty.cluster.membership.control_messages import add_membership_messages
from casty.cluster.membership.known_members import address_of_member, member_named
from casty.cluster.membership.membership_status import up_members
from casty.cluster.node import ClusterNode
from casty.cluster.observability.cluster_metrics import collect_certificate, collect_transport
from casty.cluster.pubsub.pubsub import PubSub
from casty.cluster.receptionist.receptionist import ReceptionistExtension
from casty.cluster.receptionist.services import ReceptionistCmd
from casty.cluster.remoting.last_frames import LastFrames
from casty.cluster.remoting.local_transport import LocalTransport
from casty.cluster.sharding.shard_orders import ShardOrders
from casty.cluster.sharding.sharding import Sharding
from casty.config import ClusterConfig, ClusterSettings, FailureDetectorConfig
from casty.config.validation import check_at_least, check_callable, check_seed_nodes
from casty.errors import AskFailed, ConfigError, NodeDowned
from casty.protocol.effects import Rng
from casty.protocol.membership.inputs import WantServing
from casty.protocol.sharding.observability.shard_listing import ShardListing
from casty.protocol.split_brain.strategies import strategy_of
from casty.protocol.state.cluster_state import ClusterState
from casty.protocol.state.member import Member, MemberStatus
from casty.refs import ActorRef, EntityKey
from casty.runtime.events import EventStreamCmd
from casty.runtime.system.metrics import Metrics
from casty.runtime.system.system import ActorSystem, kernel_of, spawn_system_actor
from casty.transport.manager.peers import RemoteTransport
from casty.version import VERSION

OWN_EXTENSIONS: Final[tuple[type[ClusterExtension], ...]] = (
    ReceptionistExtension,
    DeathWatchExtension,
    Sharding,
    PubSub,
    Clients,
)
"""Extensions of every node."""
INCARNATION_BITS = 63
RECEPTIONIST = "_receptionist"
LEAVE_SLACK = 1.0
GOODBYE_TIMEOUT = 2.0
LARGE_TIMEOUT = 2.0
"""Seconds for the large messages of a leaving node to arrive."""
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

    `start` joins or forms a cluster, `get_state` asks for this node's view of it, `shutdown` leaves it. At the end of
    the system the node leaves by itself, after the users' actors have stopped. `casty.ClusteredActorSystem` does all of
    this, and makes the transport, in one block.

    The gossip and heartbeat parameters are those of `casty.ClusterSettings` with the same names; `from_settings` takes
    them all. Nothing happens before `start`: the constructor opens no socket and sends nothing.

    Parameters:
        system: Running system to host the cluster actor, as ``/_cluster``. One cluster for one system.
        config: Name, address, seeds and roles of this node.
        remote_transport: Carrier of the traffic between nodes, such as ``RemoteTransport(TcpNetwork())``. None:
            no socket, a cluster of this node alone; seeds are ignored with a warning.
        local_transport: Deliverer of messages for actors of this node; None makes one.
        system_name: Name of the system in addresses; nodes with different names refuse each other. "" means
            ``system.name``.
        gossip_interval: Seconds between rounds of gossip. Changes are pushed at once; a round repairs losses.
        gossip_fanout: Peers per round of gossip, at least 1.
        heartbeat_interval: Seconds between heartbeats to each monitored node.
        availability_interval: Longest gap between two checks of the failure detector, in seconds.
        failure_detector_config: Tuning of the phi accrual failure detector; None means
            ``FailureDetectorConfig()``.
        event_stream: Where `MemberUp` and the other membership events are published; None means
            ``system.event_stream``.

    Raises:
        ValueError: ``system_name`` is not a single word: it is empty space, or has one of ``/@#?:``.
        ConfigError: An interval is not above 0, or ``gossip_fanout`` is below 1.
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
        self._leave_by = math.inf
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
        self._receptionist = ReceptionistExtension()
        sharding = Sharding()
        self._shard_orders = ShardOrders(sharding, self._running)
        own = (
            self._receptionist,
            DeathWatchExtension(),
            sharding,
            PubSub(self._receptionist),
            Clients(self._receptionist),
        )
        self._extensions = Extensions(own)
        self._rng: Rng = random.Random(system.config.seed)
        self._node: ClusterNode | None = None
        self._found: list[NodeAddress] = []
        """Further seeds, until the membership has been told."""
        self._last: LastMembership | None = None
        self._ref: ActorRef[ClusterCmd | Finish | AddressesFound] | None = None
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
        extensions: Sequence[ClusterExtension] = (),
    ) -> Cluster:
        """Make a handle with all of `ClusterSettings`; the constructor has the most used of them.

        Parameters:
            system: Running system to host the cluster actor.
            config: Name, address, seeds and roles of this node.
            settings: Settings, the same on all nodes of the cluster.
            remote_transport: Carrier of the traffic between nodes; None: a cluster of this node alone.
            rng: Source of the node's choices, for simulations; None draws from the seed of the system's config,
                or from the operating system.
            extensions: Further features of the node, in the order of their start.

        Returns:
            A handle, not started yet.

        Raises:
            ConfigError: An extension is none, or two of them are in each other's way.
        """
        cluster = cls(system, config, remote_transport=remote_transport)
        strategy_of(settings)  # a user's strategy is tried before anything runs
        own = cluster._extensions.all
        check_extensions(extensions, own=OWN_EXTENSIONS)
        cluster._extensions = Extensions((*own, *extensions))
        cluster._settings = settings
        if rng is not None:
            cluster._rng = rng
        return cluster

    def rejoin_after(self, error: NodeDowned) -> None:
        """Take over the knowledge of this node's last, downed run.

        This run asks all nodes known to that one, besides its seeds, and founds no cluster where those could have
        gone on without it. Call it before `start`.

        Parameters:
            error: Error at the end of that run.

        Raises:
            RuntimeError: The cluster has been started already.
        """
        if self._node is not None or self._is_starting:
            raise RuntimeError("the cluster has been started already: say which run was the last before that")
        self._last = error.last

    @property
    def ref(self) -> ActorRef[ClusterCmd]:
        """The cluster actor; it takes every `ClusterCmd`.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        if self._ref is None:
            raise RuntimeError(NOT_STARTED)
        return self._ref

    @property
    def self_node(self) -> NodeAddress:
        """The address of this node, with the real port.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        return self._running().self_node.address

    @property
    def receptionist(self) -> ActorRef[ReceptionistCmd]:
        """The receptionist of this node: takes `Register`, `Deregister`, `Find` and `Subscribe`.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        self._running()
        if self._receptionist.ref is None:
            raise RuntimeError(NOT_STARTED)
        return self._receptionist.ref

    async def start(self) -> None:
        """Join or form the cluster; on return this node is a member, gossips and monitors heartbeats.

        Its status is ``joining`` until the leader promotes it. Waits for as long as no seed answers: bound it with
        ``trio.fail_after`` where that matters. After an error or a cancellation nothing is left running.

        Raises:
            BindError: The port cannot be had.
            ConfigError: The host binds every interface and no advertised host is set, or is not loopback and the
                network is not told ``insecure=True``; or a name of an extension is taken, or its capability cannot
                travel; or the journal is the store of another cluster.
            JoinRefused: The cluster refuses this node for good; the message holds its reason.
            LeaseError: The lease of ``lease_majority`` cannot be used.
            RuntimeError: Started twice, or the system is in a cluster already.
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
            if self._transport is not None:
                self._transport.add_seeds((*seeds, *(self._last.addresses if self._last else ())))
            lease_id = await identify_lease(self._settings.lease, self._settings.lease_timeout)
            journal = kernel_of(self._system).journal
            journal_id = "" if journal is None else await enter_store(journal.journal, self._system_name)
            node = self._node = self._make_node(await self._bind())
            node.begin(lease_id=lease_id, journal_id=journal_id, last=self._last)
            node.contacts.expect(seeds, self.self_node, self._last, is_free=self._settings.allow_new_cluster)
            local = self._local_transport or LocalTransport(self._system)
            behavior = cluster_behavior(node, self._extensions, local, seeds, self._rng)
            self._ref = spawn_system_actor(self._system, behavior, "_cluster")
            guard(node, self._ref)
            self._tell_found()
            kernel_of(self._system).handing_over.append(self._hand_over)
            kernel_of(self._system).closing.append(self._leave)
            await node.contacts.wait_joined(node.board)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._leave()  # it may be a member already, which others would wait for
                await self._stop()
            raise

    async def get_state(self, *, timeout: float = 5.0) -> ClusterState:
        """Ask the topology actor for the latest state of the cluster, as this node knows it.

        Parameters:
            timeout: Seconds to wait for the answer of this node itself.

        Returns:
            Members, unreachable members, services, as this node knows them now.

        Raises:
            AskTimeoutError: No answer within ``timeout``.
            AskFailed: The cluster has been shut down.
            RuntimeError: The cluster has not been started.
        """
        state: ClusterState = await self._system.ask(self.ref, GetClusterState, timeout=timeout)
        return state

    async def shards(self, key: EntityKey[Any]) -> ShardListing:
        """Look up where the shards of a kind of entities are, as this node knows it.

        Parameters:
            key: Kind of the entities; this node need not host it.

        Returns:
            Rows, loads, moves and epochs at this moment.

        Raises:
            RuntimeError: The cluster has not been started.
            TypeError: ``key`` is no `EntityKey`.
        """
        return await self._shard_orders.listing(key)

    async def get_receptionist(self, *, timeout: float = 5.0) -> ActorRef[ReceptionistCmd]:
        """Ask the cluster actor for the receptionist of this node.

        Parameters:
            timeout: Seconds to wait for the answer of this node itself.

        Returns:
            The ref for `Register`, `Deregister`, `Find` and `Subscribe`.

        Raises:
            AskTimeoutError: No answer within ``timeout``.
            AskFailed: The cluster has been shut down.
            RuntimeError: The cluster has not been started.
        """
        found: ActorRef[Never] | None = await self._system.ask(
            self.ref, lambda reply_to: GetClusterActor(RECEPTIONIST, reply_to), timeout=timeout
        )
        if found is None:
            raise AskFailed("the receptionist of this node has ended")
        return found.of(cast("type[ReceptionistCmd]", object))

    async def wait_up(self, count: int) -> None:
        """Wait until enough members are up in this node's view. It has no time-out of its own.

        Parameters:
            count: Members to wait for, this node included.

        Raises:
            CastyError: This node left the cluster meanwhile; NodeDowned when it was downed.
            RuntimeError: The cluster has not been started.
            ValueError: ``count`` is no integer of at least 1.
        """
        check_at_least("count", count, 1)
        await self._running().board.wait_up(count)

    async def wait_ended(self) -> None:
        """Wait until this node is no member any more: it left, was asked to leave, or was downed.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        await self._running().board.wait_ended()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Set a function to be called when this node's membership ends other than by `shutdown`.

        Also when others ask the node to leave: it stays a member until `shutdown` says that its work is finished.
        Without a callback nobody has work to finish, and the node goes at once.

        Parameters:
            callback: Function without parameters; not async. Another call replaces it.

        Raises:
            RuntimeError: The cluster has not been started.
            TypeError: ``callback`` cannot be called, or is an async function.
        """
        check_callable("on_end", callback, "a function without parameters")
        self._running().board.on_end = callback

    @property
    def is_started(self) -> bool:
        """Whether `start` has bound the port, and this node joins or forms a cluster, or has."""
        return self._node is not None

    @property
    def is_member(self) -> bool:
        """Whether this node has been let into a cluster."""
        return self._node is not None and self._node.board.joined

    @property
    def contacts(self) -> str:
        """Latest event with each seed, in words.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        return str(self._running().contacts)

    @property
    def up_members(self) -> int:
        """Number of members up in this node's latest snapshot, the unreachable ones too.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        return up_members(self._running().board.snapshot)

    @property
    def unreachable_members(self) -> int:
        """Number of unreachable members in this node's latest snapshot.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        snapshot = self._running().board.snapshot
        return 0 if snapshot is None else len(snapshot.unreachable)

    @property
    def is_up(self) -> bool:
        """Whether this node is up in its own latest snapshot.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        running = self._running()
        own = (one for one in running.board.members if one.unique == running.self_node)
        return any(one.status is MemberStatus.up for one in own)

    @property
    def is_alone(self) -> bool:
        """Whether this node is in a cluster in whose latest snapshot it is the only member.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        return len(self._running().board.members) == 1

    def collect(self, metrics: Metrics) -> None:
        """Hand over counters and gauges of the membership and the links; none before the start.

        Parameters:
            metrics: Receiver of each figure.
        """
        if self._node is None:
            return
        self._node.cluster_metrics.collect(metrics, self._node.board.snapshot, self._node.self_node)
        if self._transport is not None and self._transport.is_running:
            collect_transport(self._transport.statistics(), metrics)
            collect_certificate(self._transport.certificate_seconds_left, metrics)
        self._extensions.collect(metrics)

    def serving_lease(self) -> ServingLease:
        """Get the lease for exclusive work: it says whether this node may do work allowed to one node alone.

        From the first call on this node asks others each second, of many every three seconds, and serves while enough
        of them answer.
        Nodes without a call ask nobody, and answer those that do.

        Returns:
            The lease of this node, the same one at each call.

        Raises:
            RuntimeError: The cluster has not been started.
        """
        running = self._running()
        running.subsystems.topology.tell(WantServing())
        return running.serving

    def add_seeds(self, seed_nodes: Sequence[tuple[str, int]]) -> None:
        """Ask at further addresses for entry: where seeds move, and a service of the environment says where they are.

        Before `start`, and while it waits, they are asked as the seeds are. Nothing else follows from them: a node
        begins a cluster by its ``seed_nodes`` alone, at once where it has none, so give each node at least one. Where
        this node is a member and leads, it asks there for other clusters, one address every ten seconds.

        Parameters:
            seed_nodes: Pairs of host and port. Known ones change nothing; of more than 256 in all the others are left
                out.

        Raises:
            ConfigError: A seed is no pair of host and port.
            RuntimeError: The node has no transport, and so no others.

        Example:
            >>> import trio
            >>> from casty import ClusteredActorSystem, MemoryNetwork
            >>> async def main() -> int:
            ...     network = MemoryNetwork()
            ...     a = ClusteredActorSystem(name="shop", host="a", port=1, node_id="a", network=network.host("a"))
            ...     moved = [("gone", 1)]  # where a was when the settings were written
            ...     b = ClusteredActorSystem(
            ...         name="shop", host="b", port=1, node_id="b", network=network.host("b"), seed_nodes=moved
            ...     )
            ...     b.cluster.add_seeds([("a", 1)])
            ...     async with a, b:
            ...         await b.cluster.wait_up(2)
            ...         return len((await b.get_cluster_state()).members)
            >>> trio.run(main)
            2
        """
        check_seed_nodes(seed_nodes)
        if self._transport is None:
            raise RuntimeError("without a remote transport this node is a cluster of one, and asks nobody")
        self._found += [NodeAddress(host, port) for host, port in seed_nodes]
        self._tell_found()

    def _tell_found(self) -> None:
        """Hand the addresses found on to the membership, once it runs."""
        found, node = tuple(self._found), self._node
        if self._ref is None or node is None or self._transport is None or not found:
            return
        self._found.clear()
        node.contacts.found(found, self.self_node)
        self._transport.add_seeds(found)
        self._ref.tell(AddressesFound(found))

    async def leave(self, address: NodeAddress) -> None:
        """Ask a member to leave gracefully; its own process ends its block then. Returns before it has left.

        A joining node says so once it is up, and logs that: others go by members that are up.

        Parameters:
            address: Address of a member, this node's own included.

        Raises:
            LookupError: This node knows no member at ``address``; nothing was sent.
            RuntimeError: The cluster has not been started.
            TypeError: ``address`` is no `NodeAddress`.
        """
        self.ref.tell(Leave(self._at_member(address)))
        await trio.lowlevel.checkpoint()

    async def drain(self, address: NodeAddress, *, timeout: float = 10.0) -> None:
        """Move all shards of a member to others, and give it none, while it stays a member and goes on calling.

        Before maintenance, or before a leave that is to be short. It holds until `undrain`, or the end of that run of
        the node. Shards of kinds hosted by no other node stay where they are, and where all hosts are drained, all get
        shards. Returns when the member has said that it is drained; its shards move from then on.

        Parameters:
            address: Address of a member, this node's own included.
            timeout: Seconds to wait for the member's word.

        Raises:
            ClusterTimeoutError: The member did not answer within ``timeout``; it may do so later.
            LookupError: This node knows no member at ``address``; nothing was sent.
            RuntimeError: The cluster has not been started.
            TypeError: ``address`` is no `NodeAddress`.
        """
        await self._shard_orders.drain(self._at_member(address), timeout, is_drained=True)

    async def undrain(self, address: NodeAddress, *, timeout: float = 10.0) -> None:
        """Let a drained member have shards again; it gets its share as a node does that has joined.

        Parameters:
            address: Address of a member, this node's own included.
            timeout: Seconds to wait for the member's word.

        Raises:
            ClusterTimeoutError: The member did not answer within ``timeout``; it may do so later.
            LookupError: This node knows no member at ``address``; nothing was sent.
            RuntimeError: The cluster has not been started.
            TypeError: ``address`` is no `NodeAddress`.
        """
        await self._shard_orders.drain(self._at_member(address), timeout, is_drained=False)

    async def rebalance(self, key: EntityKey[Any]) -> None:
        """Even out how many shards of a kind each node has, at once, until no two differ by more than one.

        By itself the coordinator looks every two seconds, and leaves a tenth uneven. Nothing moves while a member is
        unreachable, joins or leaves. Returns before anything has moved.

        Parameters:
            key: Kind of the entities.

        Raises:
            RuntimeError: The cluster has not been started.
            TypeError: ``key`` is no `EntityKey`.
        """
        await self._shard_orders.even_out(key)

    async def down(self, address: NodeAddress) -> None:
        """Declare a member down: for an operator sure that it is gone for good.

        Returns before the others know. A joining node says so once it is up, and logs that: others go by members that
        are up.

        Parameters:
            address: Address of a member.

        Raises:
            LookupError: This node knows no member at ``address``; nothing was declared.
            RuntimeError: The cluster has not been started.
            TypeError: ``address`` is no `NodeAddress`.
        """
        self.ref.tell(Down(self._at_member(address)))
        await trio.lowlevel.checkpoint()

    def remote(self, path: str, node: NodeId | NodeAddress) -> ActorRef[Never]:
        """Address an actor of another node by its path. Nothing is sent.

        Parameters:
            path: Path of the actor, such as ``/greeter``.
            node: Name of a member, or the address of a node.

        Returns:
            A ref to be narrowed with ``of``; a name leads to the present run of that node only, an address to any.

        Raises:
            LookupError: ``node`` is a name, and no member has it, down ones apart.
            RuntimeError: The cluster has not been started.
            TypeError: ``node`` is neither a name nor a `NodeAddress`.
            ValueError: ``path`` does not begin with ``/``.
        """
        check_path(path)
        running = self._running()
        if isinstance(node, NodeAddress):
            return running.remote(path, node)
        member = member_named(running, node)
        return running.remote(path, member.address, incarnation=member.incarnation)

    def _at_most(self, seconds: float) -> float:
        return max(0.0, min(seconds, self._leave_by - trio.current_time()))

    async def shutdown(self) -> None:
        """Leave gracefully and stop: peers see this node leave, they do not detect a failure.

        Its shards are handed over first, for at most ``handover_timeout``. The rest is bounded by ``leave_timeout``,
        all of it under cancellation too. Idempotent.
        """
        with trio.CancelScope(shield=True):
            await self._leave()

    async def _hand_over(self) -> None:
        """Let others take over, while everything runs."""
        if self._node is not None and not self._is_shut_down:
            await self._node.handover.run(self._at_most(self._settings.handover_timeout))

    async def _leave(self) -> None:
        """Shut down without a shield: the system's own has a bound."""
        if self._node is None or self._ref is None or self._is_shut_down:
            return
        await self._hand_over()
        self._node.board.on_end = None
        self._node.begin_leave()
        if self._node.board.joined and not self._node.board.ended:
            await self._extensions.leave(self._at_most(self._settings.leave_timeout))
        if self._node.board.joined:
            with trio.move_on_after(self._at_most(LARGE_TIMEOUT)):
                await self._last_frames.wait_taken()
        with trio.move_on_after(self._at_most(self._settings.leave_timeout + LEAVE_SLACK)):
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
            extra=self._extensions.extra,
        )
        node = ClusterNode(
            self._system,
            member,
            system_name=self._system_name,
            settings=self._settings,
            transport=self._transport,
            event_stream=self._event_stream,
        )
        add_membership_messages(node)
        self._last_frames = LastFrames(node)
        self._extensions.attach(node)
        return node

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
        """Close the links and end the actors; the extensions let go of the node, however far its start came."""
        self._is_shut_down = True
        if self._node is not None:
            self._node.begin_leave()
        try:
            if self._node is not None and self._node.is_started:
                # The last state, published as the node left, is news to others yet: gossip pushes it.
                await take_rest(self._node.subsystems.gossip, trio.current_time())
            if self._transport is not None:
                await self._transport.goodbye(self._at_most(GOODBYE_TIMEOUT))
                if self._node is not None and self._node.paused_sends is not None:
                    self._node.paused_sends.close("this node has left")
            if self._ref is not None:
                await self._extensions.stop(self._system)
                self._system.stop(self._ref)
                await self._system.wait_stopped(self._ref)
            if self._transport is not None:  # it may be bound and never have run
                await self._transport.aclose()
        finally:
            self._extensions.end()

    def _at_member(self, address: object) -> NodeAddress:
        return address_of_member(self._running(), address)

    def _running(self) -> ClusterNode:
        if self._node is None:
            raise RuntimeError(NOT_STARTED)
        return self._node

    def __repr__(self) -> str:
        if self._node is None:
            return f"<Cluster of {self._system_name} {self._config.node_id!r} not started>"
        state = "stopped" if self._is_shut_down else "member" if self._node.board.joined else "joining"
        return f"<Cluster of {self._system_name} {self._config.node_id!r} {self.self_node} {state}>"


def node_of(cluster: Cluster) -> ClusterNode:
    """Return the inside of a started cluster, for what belongs to it. RuntimeError before the start."""
    return cluster._running()  # pyright: ignore[reportPrivateUsage]  # the door for its system and casty.testing


def bound_leaving(cluster: Cluster, deadline: float) -> None:
    """Bound a shutdown of a node by a time on Trio's clock, however much of ``leave_timeout`` is left."""
    cluster._leave_by = deadline  # pyright: ignore[reportPrivateUsage]  # the door for the system around it
