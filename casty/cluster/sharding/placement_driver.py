"""Driver of the placement on one node: the performance of its effects, and the hosts of each kind.

Owns what each node is known to host. It does not know refs or actors of users: routings and hostings take its orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

import trio

from casty.address import UniqueAddress
from casty.cluster.node import ClusterNode
from casty.cluster.observability.notes import show_note
from casty.cluster.peer_queue import PeerQueue, PeerReady
from casty.cluster.sharding.entity_router import EntityRouter
from casty.cluster.sharding.hosted_keys import HostedKey, agreed_by, check_agreement
from casty.cluster.sharding.lease_gate import LeaseGate
from casty.errors import ConfigError
from casty.protocol.effects import Note, PublishEvent, Send, StartTimer, TimerFired
from casty.protocol.gossip.handover import StatePublished
from casty.protocol.membership.inputs import DownMember, GiveTerm, LeaveMember, WantServing
from casty.protocol.messages.sharding import (
    Marker,
)
from casty.protocol.sharding.allocation import LEAST_SHARDS, OLDEST
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.observability.shard_observer import OBSERVER_TIMERS, ObserverEvent, ShardObserver
from casty.protocol.sharding.placement_events import (
    CloseShard,
    HandedOver,
    HostsSeen,
    MembersSeen,
    OpenShard,
    PlacementCame,
    PlacementEffect,
    PlacementEvent,
    RegionEnded,
    RegionStarted,
    SendMarker,
    ServesUntil,
    ShardClosed,
    ShardStuck,
    ShardTableChanged,
    TermBegun,
    WorkIsFree,
)
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.split_brain.serving_lease import Serving, WorkFree
from casty.protocol.state.member import Member
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.shard_allocation import ShardsAllocated
from casty.runtime.system.context import ActorContext

SHARDING: Final = "sharding"
"""Name of the extension, told by members taking part."""
STUCK_LEAVES_WITHIN: Final = 60.0
"""Seconds for the leave of a node with a shard never to be closed."""
NODES_TOLD_MAX: Final = 16
"""Nodes named in an error."""


@dataclass(frozen=True, slots=True)
class HostsChanged:
    """Event of the driver: a member hosts these kinds now."""

    member: UniqueAddress
    hosted: Mapping[str, HostedKey]


ShardingMessage: TypeAlias = PlacementEvent | StatePublished | Serving | WorkFree | HostsChanged | PeerReady


@dataclass(frozen=True, slots=True)
class PlacementParts:
    """Parts of a node fed by the placement, or feeding it."""

    routers: Mapping[str, EntityRouter]
    """Routing of each kind used on this node."""
    placed: Callable[[ShardTableChanged], None]
    """Hands a changed table to the routing of its kind, where there is one."""
    mail: PeerQueue[PlacementCame]
    """Messages of other nodes."""
    gate: Callable[[], LeaseGate | None]
    """Returns the gate of the replies of entities, once there is one."""
    handed_over: trio.Event
    """Set once the node has no shard any more, and has retired."""


class PlacementDriver:
    """Driver of the machine: the performance of its effects, and the hosts of each kind."""

    def __init__(self, parts: PlacementParts, node: ClusterNode, ctx: ActorContext[ShardingMessage]) -> None:
        self._parts = parts
        self._node = node
        self._ctx = ctx
        self._machine = ShardPlacement(node.self_node, node.kernel.rng, places=takes_part)
        self._hosts: dict[UniqueAddress, Mapping[str, HostedKey]] = {}
        self._outvoted: dict[str, HostedKey] = {}
        """Kinds hosted here in another way than by the cluster, and its way."""
        self.in_reach: frozenset[UniqueAddress] | None = None
        """Members in reach of messages from here, as far as known; None before this node is one itself."""
        self.observer = ShardObserver(node.self_node, self.run_of)

    def handle(self, event: ShardingMessage, now: float) -> Sequence[PlacementEffect]:
        """Take an event of the machine, of the membership, or the next message of a peer."""
        machine = self._machine
        match event:
            case PeerReady():
                came = self._parts.mail.take(event)
                if came is None:
                    return ()
                return self._node.within_boundary(came.sender, came.message, lambda: machine.handle(came, now))
            case StatePublished(state):
                self._see(state)
                return machine.handle(MembersSeen(state), now)
            case Serving(until):
                self._observe(ServesUntil(until), now)
                gate = self._parts.gate()
                if gate is not None:
                    gate.look()
                for router in list(self._parts.routers.values()):
                    if router.hosting is not None:
                        router.hosting.place(ServesUntil(until))
                return machine.handle(ServesUntil(until), now)
            case WorkFree(gone, at):
                return machine.handle(WorkIsFree(gone, at), now)
            case HostsChanged(member, hosted):
                return self._hosted(member, hosted, now)
            case RegionStarted(key) | RegionEnded(key):
                return [*machine.handle(event, now), *self._tell_hosts(key, now)]  # with its own strategy, or no more
            case TimerFired(key) if key in OBSERVER_TIMERS:
                self._observe(event, now)
                return ()
            case _:
                return machine.handle(event, now)

    def _hosted(self, member: UniqueAddress, hosted: Mapping[str, HostedKey], now: float) -> Sequence[PlacementEffect]:
        before = self._hosts.get(member, {})
        if hosted:
            self._hosts[member] = hosted
        else:
            self._hosts.pop(member, None)
        effects = [effect for name in sorted(before.keys() | hosted.keys()) for effect in self._tell_hosts(name, now)]
        if hosted:
            self._node.subsystems.topology.tell(WantServing())
        return effects

    def _see(self, state: Gossip) -> None:
        out = state.down | state.lost_to(self._node.self_node)
        in_reach = frozenset(run for run in state.members if run not in out)
        if in_reach != self.in_reach:
            lost = frozenset[UniqueAddress]() if self.in_reach is None else self.in_reach - in_reach
            self.in_reach = in_reach
            for router in list(self._parts.routers.values()):
                router.reach(in_reach)
            for run in sorted(lost):
                self._node.take_back_of(run)  # before what comes from now on for the same entities

    def _tell_hosts(self, name: str, now: float) -> Sequence[PlacementEffect]:
        told, router = self.hosts_of(name), self._parts.routers.get(name)
        agreed = self.agreed(name)
        if agreed is None:
            return self._machine.handle(HostsSeen(name, 0, frozenset()), now)
        if router is not None:
            router.set_shards(agreed.num_shards)
            router.is_singleton = agreed.is_singleton
            self._judge_own(router, told, agreed)
        hosts = frozenset(run for run, hosted in told.items() if hosted == agreed)
        allocation = LEAST_SHARDS if router is None or router.allocation is None else router.allocation
        if agreed.is_singleton:
            allocation = OLDEST  # known without any code of the user, so on nodes that host nothing too
        return self._machine.handle(HostsSeen(name, agreed.num_shards, hosts, allocation), now)

    def _judge_own(self, router: EntityRouter, told: Mapping[UniqueAddress, HostedKey], agreed: HostedKey) -> None:
        """Tell the operator once where this node hosts a kind in another way than the cluster does."""
        name, own = router.key.name, told.get(self._node.self_node)
        if own is None or own == agreed:
            self._outvoted.pop(name, None)
        elif self._outvoted.get(name) != agreed:
            self._outvoted[name] = agreed
            other = min(run for run, hosted in told.items() if hosted == agreed)
            try:
                check_agreement(router.key, own, agreed, other.address)
            except ConfigError as error:
                self._ctx.log.error("%s; this node gets none of it until it is started anew", error)

    def hosts_of(self, name: str) -> Mapping[UniqueAddress, HostedKey]:
        """Return what each host of a kind says of it."""
        return {run: hosted[name] for run, hosted in self._hosts.items() if name in hosted}

    def agreed(self, name: str) -> HostedKey | None:
        """Return the word of the hosts of a kind that counts."""
        table = self.tables.get(name)
        return agreed_by(self.hosts_of(name), None if table is None else table.num_shards)

    def table_of(self, name: str) -> ShardTableChanged | None:
        """Return the newest table of a kind."""
        table = self._machine.region.tables.get(name)
        return None if table is None else ShardTableChanged(table)

    @property
    def words_refused(self) -> int:
        """Number of words of members on placement that cannot be true."""
        return self._machine.region.words_refused

    @property
    def is_used(self) -> bool:
        """Whether any node is known to host a kind, or has."""
        return bool(self._hosts or self._machine.region.tables)

    @property
    def held(self) -> Counter[str]:
        """Number of shards of each kind still at this node."""
        return Counter(key for key, _ in self._machine.region.held)

    def is_hosted(self, name: str) -> bool:
        """Whether a node may open shards of a kind, as far as is known."""
        view = self._machine.view
        return any(name in kinds and view.may_open(run) for run, kinds in self._hosts.items())

    def hosts_in_words(self) -> str:
        """Return what the nodes host, for an error."""
        told = [
            f"{run.address} hosts {', '.join(map(repr, sorted(kinds)))}" for run, kinds in sorted(self._hosts.items())
        ]
        more = f", and {len(told) - NODES_TOLD_MAX} more" if len(told) > NODES_TOLD_MAX else ""
        return ("; ".join(told[:NODES_TOLD_MAX]) or "nor any other kind") + more

    def _leave_with(self, stuck: ShardStuck) -> None:
        """Leave the cluster: nobody else may open a shard as long as entities of it run here."""
        self._ctx.log.error(
            "entities of shard %d of %r do not end: this node leaves, and if it has not in %g s, it is down",
            stuck.shard,
            stuck.key,
            STUCK_LEAVES_WITHIN,
        )
        self._node.subsystems.topology.tell(LeaveMember(self._node.self_node.address))
        self._ctx.start_soon(self._down_at_last)

    async def _down_at_last(self) -> None:
        await trio.sleep(STUCK_LEAVES_WITHIN)
        self._node.subsystems.topology.tell(DownMember(self._node.self_node.address))

    @property
    def tables(self) -> Mapping[str, ShardTable]:
        """Newest table of each kind."""
        return self._machine.region.tables

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds with a host or a table."""
        return frozenset(self.tables).union(*self._hosts.values())

    def run_of(self, incarnation: int) -> UniqueAddress | None:
        """Return the member with this incarnation."""
        return next((run for run in self._machine.view.members if run.incarnation == incarnation), None)

    def _observe(self, event: ObserverEvent, now: float) -> None:
        for effect in self.observer.handle(event, now):
            if isinstance(effect, ShardsAllocated):
                self._node.subsystems.topology.tell(effect)
            else:
                self.perform(effect)

    def perform(self, effect: PlacementEffect) -> None:
        """Perform an effect of the machine."""
        routers = self._parts.routers
        match effect:
            case Send(to, message):
                self._node.send_control(to, message)
            case SendMarker(to, key, shard, move):
                self._node.send_control(to, Marker(key, shard, move))
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case OpenShard(key) | CloseShard(key):
                router = routers.get(key)
                if router is not None and router.hosting is not None:
                    router.hosting.place(effect)
                elif isinstance(effect, CloseShard):
                    self._ctx.self.tell(ShardClosed(key, effect.shard, effect.epoch))
            case ShardTableChanged():
                self._observe(effect, self._node.kernel.now())
                self._parts.placed(effect)
            case PublishEvent(event):
                self._node.kernel.event_stream.publish(event)
                if isinstance(event, ShardStuck):
                    self._leave_with(event)
            case Note():
                show_note(self._node.cluster_complaints, effect, self._ctx.self.path)
            case TermBegun(number):
                self._node.subsystems.topology.tell(GiveTerm(number))
            case HandedOver():
                self._parts.handed_over.set()
            case _ as never:
                assert_never(never)


def takes_part(member: Member) -> bool:
    """Whether a member takes part in placement."""
    return any(name == SHARDING for name, _ in member.extra)
