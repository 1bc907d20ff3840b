"""Placement of entities as a part of a node: its messages, its actor, and its hooks in the runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Never, cast
from weakref import WeakValueDictionary

import trio

from casty.address import ENTITY_PREFIX, UniqueAddress, entity_of_path
from casty.cluster.access import Sender
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.extension_tables import ClusterTable
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerQueue
from casty.cluster.remoting.active_entities import EntityTarget
from casty.cluster.sharding.checked_allocation import checked
from casty.cluster.sharding.draining import Draining
from casty.cluster.sharding.entity_hosting import EntityHosting, HostedKind
from casty.cluster.sharding.entity_router import EntityRouter
from casty.cluster.sharding.hosted_keys import HostedKey, check_agreement, mixed_use, other_number
from casty.cluster.sharding.lease_gate import LeaseGate
from casty.cluster.sharding.placement_driver import (
    SHARDING,
    HostsChanged,
    PlacementDriver,
    PlacementParts,
    ShardingMessage,
)
from casty.cluster.sharding.region_behavior import EntityRegionBehavior, ShardEnvelope
from casty.cluster.sharding.shard_reports import ShardReports
from casty.cluster.sharding.sharding_metrics import collect_sharding
from casty.cluster.work_handover import WorkPart
from casty.errors import ConfigError, UnsupportedTypeError
from casty.protocol.membership.inputs import BeginLeave, WantServing
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
from casty.protocol.sharding.entities.entity_limits import EntityLimits
from casty.protocol.sharding.placement_events import (
    NodesDrained,
    PlacementCame,
    RegionEnded,
    RegionStarted,
    ServesUntil,
    ShardTableChanged,
)
from casty.protocol.sharding.shard_hash import check_entity_id
from casty.refs import ActorRef, EntityKey
from casty.runtime.actor.cell import Cell
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import SAME, Behavior, task
from casty.runtime.drive import drive
from casty.runtime.events import ILL_TYPED, NOT_ENCODABLE
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


class Sharding(ClusterExtension):
    """Placement of entities on one node."""

    name = SHARDING
    capability = b"1"

    def __init__(self) -> None:
        self.hosted: ClusterTable[HostedKey] = ClusterTable(
            "hosts", HostedKey, bytes_max=HOSTED_BYTES_MAX, changed=self._hosts_changed
        )
        """Kinds hosted by each node."""
        self.draining = Draining(self._drained)
        """Nodes meant to have no shards."""
        self.tables = (self.hosted, self.draining.table)
        self.routers: WeakValueDictionary[str, EntityRouter] = WeakValueDictionary()
        """Routing of each kind used on this node.

        Peers name kinds: a message with a ref of an invented one makes a router. So one lives as long as a ref, the
        timer of the messages held in it, its host here, or its table; of these there are `KEYS_MAX` at most.
        """
        self._kept: dict[str, EntityRouter] = {}
        """Those with a table, or a host here."""
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
            parts = PlacementParts(self.routers, self._placed, self.mail, lambda: self.gate, self.handed_over)
            self._driver = driver = PlacementDriver(parts, node, ctx)
            await drive(driver, inbox, driver.perform)

        return task(main)

    def collect(self, metrics: Metrics) -> None:
        """Hand over the figures of each kind of entities used here."""
        if self._driver is not None:
            driver = self._driver
            collect_sharding(metrics, self.routers.values(), driver.observer, driver.words_refused)

    def router(self, key: EntityKey[Any]) -> EntityRouter:
        """Return the routing of a kind, made at its first use."""
        router = self._known(key.name)
        if router is None and self._inside is not None:
            router = self.routers[key.name] = EntityRouter(self._inside, key, self)
            self._inside.codec.register(key.message_type)
            driver = self._driver
            if driver is not None:
                agreed = driver.agreed(key.name)
                table = driver.table_of(key.name)
                if agreed is not None:
                    router.is_singleton = agreed.is_singleton
                if table is not None:
                    self._placed(table)
                elif agreed is not None:
                    router.set_shards(agreed.num_shards)
                if driver.in_reach is not None:
                    router.reach(driver.in_reach)
        assert router is not None
        return router

    def _known(self, name: str) -> EntityRouter | None:
        return self._kept.get(name) or self.routers.get(name)

    def _placed(self, change: ShardTableChanged) -> None:
        """Let the router of a kind take its table, where there is one."""
        router = self.routers.get(change.table.key)
        if router is not None:
            self._kept[change.table.key] = router
            router.place(change)

    async def host(self, ctx: ActorContext[Any], region: EntityRegionBehavior[Any]) -> Behavior[Any]:
        """Begin to host a kind with the actor of this context; return its behaviour."""
        name, inside = region.key.name, self._inside
        ref = ctx.self
        cell = ref.owner() if isinstance(ref, OwnRef) else None
        assert inside is not None
        if not isinstance(cell, Cell):
            raise ConfigError(f"{region.key!r} needs an actor of its own on the node: an entity cannot host entities")
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
        if router.num_shards not in (None, region.num_shards):  # by a table, though nobody hosts the kind now
            raise other_number(region.key, region.num_shards, router.num_shards, "in this cluster")
        if router.hosting is not None:
            raise ConfigError(f"{region.key!r} is hosted by another actor of this node already")
        self.hosted.set(name, own)
        kept = SINGLETON_ID if region.is_singleton else ""
        limits = EntityLimits(passivate_after=region.passivate_after, entities_max=region.entities_max, kept=kept)
        self._kept[name] = router
        self._open(region.key, region.is_singleton)
        router.set_shards(region.num_shards)
        router.allocation = checked(region.allocation, region.key)
        hosting = router.hosting = EntityHosting(
            inside.kernel,
            cell,
            router,
            HostedKind(name, region.factory, limits, region.num_shards),
            inside.serving,
            self._tell,
        )
        if self.gate is None:
            self.gate = inside.kernel.hooks.reply_gate = LeaseGate(inside.kernel, inside.serving)
        hosting.place(ServesUntil(inside.serving.until))
        inside.subsystems.topology.tell(WantServing())
        self._tell(RegionStarted(name))

        async def unwrap(ctx: ActorContext[Any], envelope: ShardEnvelope[Any]) -> Behavior[Any]:
            self._unwrap(router, ctx.self, envelope)
            return SAME

        async def hand_on(ctx: ActorContext[Any], message: Any) -> Behavior[Any]:
            ctx.forward(router.ref(SINGLETON_ID), message)
            return SAME

        async def stopped(ctx: object) -> None:
            hosting.end()
            router.hosting = router.allocation = None
            if self._driver is None or self._driver.table_of(name) is None:
                self._kept.pop(name, None)
            self._tell(RegionEnded(name))
            if router.kernel.hooks.entity_host is self:  # after the node's end nobody hears of its hosts
                self.hosted.remove(name)

        actor = forms.receive(hand_on) if region.is_singleton else forms.receive(unwrap)
        return forms.Lifecycle(actor, post_stop=stopped, pre_restart=lambda ctx, error: stopped(ctx))

    def _unwrap(self, router: EntityRouter, host: ActorRef[Never], envelope: object) -> None:
        """Hand on what a host was told; nobody's entities are to end because of a slip."""
        kernel = router.kernel
        if not isinstance(envelope, ShardEnvelope):
            told = f"it hosts {router.key!r}; tell an entity by its ref, system.entity(key, id)"
            kernel.dead_letter(envelope, host, ILL_TYPED, told)
            return
        opened = cast("ShardEnvelope[object]", envelope)
        try:
            ref = router.ref(check_entity_id(opened.entity_id))  # once more: of a peer's, nothing was checked
        except ValueError as error:
            kernel.dead_letter(opened, host, ILL_TYPED, str(error))
            return
        try:
            ref.tell(opened.message)
        except (UnsupportedTypeError, ValueError) as error:  # EncodeError among them
            kernel.dead_letter(opened.message, ref, NOT_ENCODABLE, str(error))

    def _ref(self, key: EntityKey[Any], entity_id: str) -> RoutedEntityRef[Any]:
        return self.router(key).ref(entity_id)

    def _target(self, path: str, epoch: int) -> ActorRef[Any] | None:
        found = entity_of_path(path)
        router = None if found is None else self._known(found[0])
        return None if found is None or router is None else EntityTarget(router, path, found[1], epoch)

    def _used(self, key: EntityKey[Any], entity_id: str, is_singleton: bool) -> RoutedEntityRef[Any]:
        router = self.router(key)
        if router.is_singleton is not is_singleton:
            if router.is_singleton is not None:
                raise mixed_use(key, router.is_singleton, "")
            router.is_singleton = is_singleton
        self._open(key, is_singleton)
        return router.ref(entity_id)

    def _open(self, key: EntityKey[Any], is_singleton: bool) -> None:
        """Let clients reach what has this key, where it says so."""
        if self._inside is not None:
            self._inside.kernel.hooks.open_key(ENTITY_PREFIX, key, is_singleton=is_singleton)

    def _given_back(self, path: str, message: object) -> bool:
        found = entity_of_path(path)
        router = None if found is None else self._known(found[0])
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
