"""Placement of entities as a part of a node: its messages, its actor, and its hooks in the runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

import trio

from casty.address import UniqueAddress, entity_of_path
from casty.cluster.access import Sender
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.extension_tables import ClusterTable
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerQueue, PeerReady
from casty.cluster.sharding.checked_allocation import checked
from casty.cluster.sharding.draining import Draining
from casty.cluster.sharding.entity_hosting import EntityHosting, HostedKind
from casty.cluster.sharding.entity_router import EntityRouter, EntityTarget
from casty.cluster.sharding.hosted_keys import HostedKey, agreed_by, check_agreement, mixed_use
from casty.cluster.sharding.lease_gate import LeaseGate
from casty.cluster.sharding.region_behavior import EntityRegionBehavior, ShardEnvelope
from casty.cluster.sharding.shard_reports import ShardReports
from casty.cluster.sharding.sharding_metrics import collect_sharding
from casty.cluster.work_handover import WorkPart
from casty.errors import ConfigError
from casty.protocol.effects import Note, PublishEvent, Send, StartTimer, TimerFired
from casty.protocol.gossip.handover import StatePublished
from casty.protocol.membership.inputs import BeginLeave, DownMember, GiveTerm, LeaveMember, WantServing
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    EvenOut,
    Marker,
    Opened,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
    Yielded,
)
from casty.protocol.sharding.allocation import LEAST_SHARDS, OLDEST
from casty.protocol.sharding.entity_table import EntityLimits
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.observability.shard_observer import OBSERVER_TIMERS, ObserverEvent, ShardObserver
from casty.protocol.sharding.placement_events import (
    CloseShard,
    HandedOver,
    HostsSeen,
    MembersSeen,
    NodesDrained,
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
from casty.refs import ActorRef, EntityKey
from casty.runtime.actor.cell import Cell
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import SAME, Behavior, task
from casty.runtime.drive import drive
from casty.runtime.hooks import no_shards
from casty.runtime.messaging.entity_ref import SINGLETON_ID, RoutedEntityRef
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.context import ActorContext
from casty.runtime.system.metrics import Metrics
from casty.wire.frame import Lane

CONTROL: Final[dict[type, str]] = {
    Enlist: "casty.sharding.enlist",
    Enlisted: "casty.sharding.enlisted",
    TermRefused: "casty.sharding.term_refused",
    TableSlice: "casty.sharding.table_slice",
    TableDigest: "casty.sharding.table_digest",
    TablePlaces: "casty.sharding.table_places",
    Opened: "casty.sharding.opened",
    Yielded: "casty.sharding.yielded",
    Retired: "casty.sharding.retired",
    EvenOut: "casty.sharding.even_out",
}
MARKER: Final = "casty.sharding.marker"
HOSTED_BYTES_MAX: Final = 64 * 1024
STUCK_LEAVES_WITHIN: Final = 60.0
"""Seconds for the leave of a node with a shard that cannot be closed."""
NODES_TOLD_MAX: Final = 16
"""Nodes named in an error."""


@dataclass(frozen=True, slots=True)
class HostsChanged:
    """Event of the driver: a member hosts these kinds now."""

    member: UniqueAddress
    hosted: Mapping[str, HostedKey]


ShardingMessage: TypeAlias = PlacementEvent | StatePublished | Serving | WorkFree | HostsChanged | PeerReady


class PlacementDriver:
    """Driver of the machine: the performance of its effects, and the hosts of each kind."""

    def __init__(self, sharding: Sharding, node: ClusterNode, ctx: ActorContext[ShardingMessage]) -> None:
        self._sharding = sharding
        self._node = node
        self._ctx = ctx
        self._machine = ShardPlacement(node.self_node, node.kernel.rng, places=takes_part)
        self._hosts: dict[UniqueAddress, Mapping[str, HostedKey]] = {}
        self.in_reach: frozenset[UniqueAddress] | None = None
        """Members that messages of this node get to, as far as it knows; None before it is one itself."""
        self.observer = ShardObserver(node.self_node, self.run_of)

    def handle(self, event: ShardingMessage, now: float) -> Sequence[PlacementEffect]:
        """Take an event of the machine, of the membership, or the next message of a peer."""
        machine = self._machine
        match event:
            case PeerReady():
                came = self._sharding.mail.take(event)
                if came is None:
                    return ()
                return self._node.within_boundary(came.sender, came.message, lambda: machine.handle(came, now))
            case StatePublished(state):
                self._see(state)
                return machine.handle(MembersSeen(state), now)
            case Serving(until):
                self._observe(ServesUntil(until), now)
                if self._sharding.gate is not None:
                    self._sharding.gate.look()
                for router in self._sharding.routers.values():
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
            for router in self._sharding.routers.values():
                router.reach(in_reach)
            for run in sorted(lost):
                self._node.take_back_of(run)  # before what comes from now on for the same entities

    def _tell_hosts(self, name: str, now: float) -> Sequence[PlacementEffect]:
        told, router = self.hosts_of(name), self._sharding.routers.get(name)
        agreed = agreed_by(told)
        if agreed is None:
            return self._machine.handle(HostsSeen(name, 0, frozenset()), now)
        if router is not None:
            router.set_shards(agreed.num_shards)
            router.is_singleton = agreed.is_singleton
        hosts = frozenset(run for run, hosted in told.items() if hosted == agreed)
        allocation = LEAST_SHARDS if router is None or router.allocation is None else router.allocation
        if agreed.is_singleton:
            allocation = OLDEST  # known without any code of the user, so on nodes that host nothing too
        return self._machine.handle(HostsSeen(name, agreed.num_shards, hosts, allocation), now)

    def hosts_of(self, name: str) -> Mapping[UniqueAddress, HostedKey]:
        """Return what each host of a kind says of it."""
        return {run: hosted[name] for run, hosted in self._hosts.items() if name in hosted}

    def table_of(self, name: str) -> ShardTableChanged | None:
        """Return the newest table of a kind."""
        table = self._machine.region.tables.get(name)
        return None if table is None else ShardTableChanged(table)

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
        return ("; ".join(told[:NODES_TOLD_MAX]) or "no node hosts entities") + more

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
        routers = self._sharding.routers
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
            case ShardTableChanged(table):
                self._observe(effect, self._node.kernel.now())
                if table.key in routers:
                    routers[table.key].place(effect)
            case PublishEvent(event):
                self._node.kernel.event_stream.publish(event)
                if isinstance(event, ShardStuck):
                    self._leave_with(event)
            case Note(_, text):
                self._ctx.log.info("%s", text)
            case TermBegun(number):
                self._node.subsystems.topology.tell(GiveTerm(number))
            case HandedOver():
                self._sharding.handed_over.set()
            case _ as never:
                assert_never(never)


class Sharding(ClusterExtension):
    """Placement of entities on one node."""

    name = "sharding"
    capability = b"1"

    def __init__(self) -> None:
        self.hosted: ClusterTable[HostedKey] = ClusterTable(
            "hosts", HostedKey, bytes_max=HOSTED_BYTES_MAX, changed=self._hosts_changed
        )
        """Kinds hosted by each node."""
        self.draining = Draining(self._drained)
        """Nodes meant to have no shards."""
        self.tables = (self.hosted, self.draining.table)
        self.routers: dict[str, EntityRouter] = {}
        """Routing of each kind used on this node."""
        self.mail: PeerQueue[PlacementCame] = PeerQueue(self._tell)
        self.handed_over = trio.Event()
        self.gate: LeaseGate | None = None
        """Gate of the replies to asks of entities, once this node has hosted a kind."""
        self._actor: ActorRef[ShardingMessage] | None = None
        self._driver: PlacementDriver | None = None
        self._inside: ClusterNode | None = None

    def attach(self, node: ExtensionNode) -> None:
        """Know the messages of the placement."""
        for cls, name in CONTROL.items():
            # They can come before the welcome; the machine drops them then, and they are repeated.
            node.inside.control.add(cls, name, Lane.control, self._said, sender=Sender.inviter)
        node.inside.control.add(Marker, MARKER, Lane.ordinary, self._said)
        self.draining.attach(node.inside)

    def start(self, node: ExtensionNode) -> None:
        """Spawn the actor, and have refs of entities and their hosts led here."""
        inside = self._inside = node.inside
        self._actor = node.spawn(self._behavior(inside), "_sharding")
        inside.board.follow(self._tell)
        inside.handover.add(WorkPart(self._hand_over, self._rest))
        hooks = inside.kernel.hooks
        hooks.entity_ref, hooks.entity_target, hooks.entity_host = self._ref, self._target, self
        hooks.entity_used, hooks.shard_reports = self._used, ShardReports(lambda: self._driver)
        hooks.entity_given_back = self._given_back

    async def _hand_over(self) -> None:
        """Return when this node has no shard any more, and holds back nothing for those of others."""
        inside, driver = self._inside, self._driver
        if inside is not None and driver is not None and driver.is_used:
            inside.subsystems.topology.tell(BeginLeave())
            await self.handed_over.wait()
            await self.leave()

    def _rest(self) -> str:
        held = Counter[str]() if self._driver is None else self._driver.held
        waiting = sum(router.routes.held_count for router in self.routers.values())
        shards = " and ".join(f"{count} of {name!r}" for name, count in sorted(held.items())) or "none"
        return f"shards of its own: {shards}, and {waiting} messages for others'"

    def is_hosted(self, name: str) -> bool:
        """Whether a node may open shards of a kind, as far as is known."""
        return self._driver is not None and self._driver.is_hosted(name)

    def hosts_in_words(self) -> str:
        """Return what the nodes host, for an error."""
        return "this node is no member" if self._driver is None else self._driver.hosts_in_words()

    async def leave(self) -> None:
        """Return when nothing is held back any more that somebody is there to take."""
        for name, router in list(self.routers.items()):
            while router.routes.held_count and self.is_hosted(name):
                await router.wait_changed()

    def ended(self) -> None:
        """Lead no ref to an entity any more."""
        for router in self.routers.values():
            router.close()
        if self._inside is not None:
            hooks = self._inside.kernel.hooks
            hooks.entity_ref = hooks.entity_target = hooks.entity_host = None
            hooks.entity_used = hooks.entity_given_back = None
            hooks.shard_reports = no_shards
            if self.gate is not None:
                self.gate.close()

    def _behavior(self, node: ClusterNode) -> Behavior[ShardingMessage]:
        async def main(ctx: ActorContext[ShardingMessage], inbox: Inbox[ShardingMessage]) -> None:
            self._driver = driver = PlacementDriver(self, node, ctx)
            await drive(driver, inbox, driver.perform)

        return task(main)

    def collect(self, metrics: Metrics) -> None:
        """Hand over the figures of each kind of entities used here."""
        if self._driver is not None:
            collect_sharding(metrics, self.routers.values(), self._driver.observer)

    def router(self, key: EntityKey[Any]) -> EntityRouter:
        """Return the routing of a kind, made at its first use."""
        router = self.routers.get(key.name)
        if router is None and self._inside is not None:
            router = self.routers[key.name] = EntityRouter(self._inside, key, self)
            self._inside.codec.register(key.message_type)
            driver = self._driver
            if driver is not None:
                agreed = agreed_by(driver.hosts_of(key.name))
                table = driver.table_of(key.name)
                if agreed is not None:
                    router.is_singleton = agreed.is_singleton
                if table is not None:
                    router.place(table)
                elif agreed is not None:
                    router.set_shards(agreed.num_shards)
                if driver.in_reach is not None:
                    router.reach(driver.in_reach)
        assert router is not None
        return router

    async def host(self, ctx: ActorContext[Any], region: EntityRegionBehavior[Any]) -> Behavior[Any]:
        """Begin to host a kind with the actor of this context; return its behaviour."""
        name, inside = region.key.name, self._inside
        ref = ctx.self
        cell = ref.owner() if isinstance(ref, OwnRef) else None
        assert inside is not None and isinstance(cell, Cell)
        if region.role is not None and region.role not in inside.member.roles:
            raise ConfigError(
                f"{region.key!r} is hosted by nodes of role {region.role!r}, and {inside.member.id} has none"
            )
        known: Mapping[UniqueAddress, HostedKey] = {} if self._driver is None else self._driver.hosts_of(name)
        own = HostedKey(region.num_shards, is_singleton=region.is_singleton)
        for run, hosted in known.items():
            if run != inside.self_node:
                check_agreement(region.key, own, hosted, run.address)
        router = self.router(region.key)
        if router.hosting is not None:
            raise ConfigError(f"{region.key!r} is hosted by another actor of this node already")
        kept = SINGLETON_ID if region.is_singleton else ""
        limits = EntityLimits(passivate_after=region.passivate_after, entities_max=region.entities_max, kept=kept)
        router.set_shards(region.num_shards)
        router.allocation = checked(region.allocation, region.key)
        hosting = router.hosting = EntityHosting(
            inside.kernel, cell, router, HostedKind(name, region.factory, limits), inside.serving, self._tell
        )
        if self.gate is None:
            self.gate = inside.kernel.hooks.reply_gate = LeaseGate(inside.kernel, inside.serving)
        self.hosted.set(name, own)
        hosting.place(ServesUntil(inside.serving.until))
        inside.subsystems.topology.tell(WantServing())
        self._tell(RegionStarted(name))

        async def unwrap(ctx: ActorContext[Any], envelope: ShardEnvelope[Any]) -> Behavior[Any]:
            router.ref(envelope.entity_id).tell(envelope.message)
            return SAME

        async def hand_on(ctx: ActorContext[Any], message: Any) -> Behavior[Any]:
            ctx.forward(router.ref(SINGLETON_ID), message)
            return SAME

        async def stopped(ctx: object) -> None:
            hosting.end()
            router.hosting = router.allocation = None
            self._tell(RegionEnded(name))
            self.hosted.remove(name)

        actor = forms.receive(hand_on) if region.is_singleton else forms.receive(unwrap)
        return forms.Lifecycle(actor, post_stop=stopped, pre_restart=lambda ctx, error: stopped(ctx))

    def _ref(self, key: EntityKey[Any], entity_id: str) -> RoutedEntityRef[Any]:
        return self.router(key).ref(entity_id)

    def _target(self, path: str, epoch: int) -> ActorRef[Any] | None:
        found = entity_of_path(path)
        router = None if found is None else self.routers.get(found[0])
        return None if found is None or router is None else EntityTarget(router, path, found[1], epoch)

    def _used(self, key: EntityKey[Any], entity_id: str, is_singleton: bool) -> RoutedEntityRef[Any]:
        router = self.router(key)
        if router.is_singleton is not is_singleton:
            if router.is_singleton is not None:
                raise mixed_use(key, router.is_singleton, "")
            router.is_singleton = is_singleton
        return router.ref(entity_id)

    def _given_back(self, path: str, message: object) -> bool:
        found = entity_of_path(path)
        router = None if found is None else self.routers.get(found[0])
        return found is not None and router is not None and router.give_back(found[1], message)

    def _drained(self, runs: frozenset[UniqueAddress]) -> None:
        self._tell(NodesDrained(runs))

    def even_out(self, name: str) -> None:
        """Tell the coordinator, whoever it is, to even the loads of a kind out."""
        inside = self._inside
        if inside is not None:
            order = EvenOut(name)
            self._tell(PlacementCame(inside.self_node, order))
            for member in inside.board.members:
                if member.unique != inside.self_node:
                    inside.send_control(member.unique, order)

    def _hosts_changed(self, member: UniqueAddress, rows: Mapping[str, HostedKey]) -> None:
        self._tell(HostsChanged(member, dict(rows)))

    def _said(self, peer: UniqueAddress, message: PlacementMessage, size: int) -> None:
        self.mail.put(peer, PlacementCame(peer, message), size)

    def _tell(self, message: ShardingMessage) -> None:
        if self._actor is not None:
            self._actor.tell(message)


def takes_part(member: Member) -> bool:
    """Whether a member takes part in placement."""
    return any(name == Sharding.name for name, _ in member.extra)
