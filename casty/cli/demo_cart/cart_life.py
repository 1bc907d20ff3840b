"""One life of the cluster of ``casty demo-cart``: nodes are killed and started by the number of acknowledged items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import trio

from casty import (
    CastyError,
    ClusteredActorSystem,
    MemberLeft,
    MemberUp,
    ReachableMember,
    ShardMoved,
    UnreachableMember,
)
from casty.cli.demo.fleet import Fleet
from casty.cli.demo_cart.cart_calls import CartCalls
from casty.cli.demo_cart.cart_progress import CartDisplay, CartProgress
from casty.cli.demo_cart.carts import CARTS, NUM_SHARDS
from casty.cli.demo_cart.shoppers import CARTS_EACH, SHOPPERS, Shoppers

TICK: Final = 0.1
PLACED_TIMEOUT: Final = 30.0
"""Seconds for the shards to be placed at first."""
STALL_TIMEOUT: Final = 45.0
"""Seconds without an acknowledged item before the run gives up."""
SETTLE_TIMEOUT: Final = 120.0
"""Seconds for the newcomer to get its shards, once there are enough items."""
UNEVEN_SHARE: Final = 0.1
"""Difference of loads taken for even, as a share of the larger one; one shard always is."""

MemberEvent = MemberUp | MemberLeft | UnreachableMember | ReachableMember


@dataclass(frozen=True, slots=True)
class LifePlan:
    """Plan of one life, by numbers of acknowledged items."""

    nodes: tuple[str, ...]
    """Nodes started at first."""
    goal: int
    """Items needed for its end; then shards are to be even."""
    kill_at: int | None = None
    """Items before the last of the nodes is killed."""
    newcomer: str | None = None
    newcomer_at: int = 0
    """Items before the newcomer is started."""
    ends_killed: bool = False
    """Whether all of its nodes are killed in the end; else every cart is looked at."""


@dataclass(frozen=True, slots=True)
class CartScene:
    """Parts of one run, the same in each life of its cluster."""

    calls: CartCalls
    progress: CartProgress
    display: CartDisplay
    began: float
    kills: dict[str, float]
    """Times of the kills, by names of nodes."""

    def note(self, text: str) -> None:
        """Show an event with its time."""
        self.display.note(trio.current_time() - self.began, text)


class CartLife:
    """The driver of one life."""

    def __init__(self, scene: CartScene, plan: LifePlan, system: ClusteredActorSystem, fleet: Fleet) -> None:
        self._scene, self._plan, self._system, self._fleet = scene, plan, system, fleet
        self._is_newcomer_started = plan.newcomer is None
        self._moved_at = trio.current_time()
        self._trouble: str | None = None
        self._nursery: trio.Nursery | None = None
        self._killed = set[str]()
        self._first: Callable[[], None] | None = None
        scene.progress.listing = None  # that of a life before tells nothing of this one
        self._shoppers = Shoppers(system, scene.calls, scene.progress, self._acknowledged)

    async def go(self) -> None:
        """Fill carts as planned, then look at each of them or kill all nodes. CastyError when nothing goes on."""
        async with (
            self._system.events(MemberUp, MemberLeft, UnreachableMember, ReachableMember) as members,
            self._system.events(ShardMoved) as moves,
            trio.open_nursery() as nursery,
        ):
            self._nursery = nursery
            nursery.start_soon(self._tell_members, members)
            nursery.start_soon(self._count_moves, moves)
            for node_id in self._fleet.node_ids:
                nursery.start_soon(self._tell_end, node_id)
            await self._until_placed()
            await self._shop()
            if not self._plan.ends_killed:
                await self._look()
            nursery.cancel_scope.cancel()

    async def _shop(self) -> None:
        progress = self._scene.progress
        if progress.adding_from is None:
            progress.adding_from = trio.current_time() - self._scene.began
            self._scene.note(f"{SHOPPERS} shoppers fill {SHOPPERS * CARTS_EACH:,} carts, one item an ask")
        async with trio.open_nursery() as shopping:
            shopping.start_soon(self._shoppers.shop)
            await self._until_done()
            self._shoppers.is_over = True
            if self._plan.ends_killed:
                self._kill_all()
                shopping.cancel_scope.cancel()

    async def _look(self) -> None:
        progress = self._scene.progress
        progress.adding_to = trio.current_time() - self._scene.began
        self._scene.note(
            f"{progress.ledger.acknowledged:,} items are acknowledged; every cart is asked for its items now"
        )
        await self._shoppers.look()

    async def _until_placed(self) -> None:
        while not self._is_settled:
            await self._tick()
            if trio.current_time() - self._moved_at > PLACED_TIMEOUT:
                raise self._error(f"the carts were not placed on {len(self._plan.nodes)} nodes in {PLACED_TIMEOUT:g} s")
        self._scene.note(f"{NUM_SHARDS} shards of carts are placed: {self._loads}")
        self._moved_at = trio.current_time()

    async def _until_done(self) -> None:
        is_told, enough_since = self._plan.newcomer is None, trio.current_time()
        while not self._is_done:
            await self._tick()
            if self._is_newcomer_started and not is_told and self._is_settled:
                is_told = True
                self._scene.note(f"shards are even again: {self._loads}")
            if not self._is_enough:
                enough_since = trio.current_time()
            elif trio.current_time() - enough_since > SETTLE_TIMEOUT:
                raise self._error(f"shards were not even {SETTLE_TIMEOUT:g} s after the last item: {self._loads}")
            if trio.current_time() - self._moved_at > STALL_TIMEOUT:
                raise self._error(f"nothing went on for {STALL_TIMEOUT:g} s, with shards {self._loads}")

    async def _tick(self) -> None:
        if self._trouble is not None:
            raise self._error(self._trouble)
        progress = self._scene.progress
        progress.take(await self._system.get_cluster_state())
        progress.listing = await self._system.shards(CARTS)
        self._scene.display.show(progress, trio.current_time())
        await trio.sleep(TICK)

    @property
    def _is_enough(self) -> bool:
        return self._scene.progress.ledger.acknowledged >= self._plan.goal

    @property
    def _is_done(self) -> bool:
        return self._is_enough and self._is_newcomer_started and self._is_settled

    @property
    def _hosting(self) -> set[str]:
        """Names of the nodes meant to have shards."""
        newcomer = {self._plan.newcomer} if self._plan.newcomer and self._is_newcomer_started else set[str]()
        return newcomer.union(self._fleet.node_ids) - self._killed

    @property
    def _is_settled(self) -> bool:
        """Whether every shard is open, on living nodes alone, as many on each."""
        listing, loads = self._scene.progress.listing, self._scene.progress.loads
        if listing is None or not listing.num_shards or loads.keys() != self._hosting:
            return False
        most, least = max(loads.values()), min(loads.values())
        are_open = all(row.state == "owned" for row in listing.rows) and not listing.free
        return are_open and most - least <= max(1, int(most * UNEVEN_SHARE))

    @property
    def _loads(self) -> str:
        loads = self._scene.progress.loads
        return ", ".join(f"{count} on {name}" for name, count in loads.items()) or "on no node"

    def _acknowledged(self) -> None:
        done, plan = self._scene.progress.ledger.acknowledged, self._plan
        self._moved_at = trio.current_time()
        if self._first is not None:
            self._first()
        if plan.kill_at is not None and not self._killed and done >= plan.kill_at:
            self._kill(plan.nodes[-1])
        if plan.newcomer is not None and not self._is_newcomer_started and done >= plan.newcomer_at:
            self._is_newcomer_started = True
            self._scene.note(f"{plan.newcomer} is started after {done:,} items")
            if self._nursery is not None:
                self._nursery.start_soon(self._start_newcomer, plan.newcomer)

    def tell_first(self, since: float) -> None:
        """Tell of the first acknowledged item to come, with the time since a moment."""

        def first() -> None:
            self._first = None
            after = trio.current_time() - since
            self._scene.note(f"an item is acknowledged again, {after:.3f} s after all nodes were killed")

        self._first = first

    def _kill(self, node_id: str) -> None:
        progress = self._scene.progress
        self._killed.add(node_id)
        self._scene.kills[node_id] = trio.current_time()
        self._fleet.kill(node_id)
        progress.killed = node_id
        shards = progress.loads.get(node_id, 0)
        done = progress.ledger.acknowledged
        self._scene.note(f"{node_id} is killed with SIGKILL after {done:,} items, and {shards} shards with it")

    def _kill_all(self) -> None:
        nodes = sorted(self._hosting)
        for node_id in nodes:
            self._killed.add(node_id)
            self._fleet.kill(node_id)
        done = self._scene.progress.ledger.acknowledged
        self._scene.note(
            f"all nodes are killed with SIGKILL at once after {done:,} items: {', '.join(nodes)}; the driver's node "
            f"ends too, with {SHOPPERS} asks in flight"
        )

    async def _start_newcomer(self, node_id: str) -> None:
        self._fleet.members = 1
        await self._fleet.start(node_id, self._system.self_node.port)
        await self._tell_end(node_id)

    async def _tell_members(self, events: AsyncIterator[MemberEvent]) -> None:
        async for event in events:
            member = event.member
            match event:
                case MemberUp():
                    self._scene.note(f"{member.id} is up at {member.address}")
                case MemberLeft():
                    self._scene.note(f"{member.id} has left the cluster{self._since_kill(member.id)}")
                case ReachableMember():
                    self._scene.note(f"{member.id} is reachable again")
                case UnreachableMember():
                    self._scene.note(f"{member.id} is unreachable{self._since_kill(member.id)}")

    def _since_kill(self, node_id: str) -> str:
        if node_id not in self._killed:
            return ""
        return f", {trio.current_time() - self._scene.kills[node_id]:.3f} s after it was killed"

    async def _count_moves(self, events: AsyncIterator[ShardMoved]) -> None:
        async for event in events:
            if event.key == CARTS.name:
                self._scene.progress.moves += 1
                self._moved_at = trio.current_time()

    async def _tell_end(self, node_id: str) -> None:
        code = await self._fleet.wait(node_id)
        if node_id not in self._killed:
            self._scene.note(f"the process of {node_id} has ended by itself, with exit code {code}")
            self._trouble = f"{node_id} ended before the carts were counted"

    def _error(self, trouble: str) -> CastyError:
        words = self._fleet.last_words()
        return CastyError(f"{trouble}{': ' + words if words else ''}")
