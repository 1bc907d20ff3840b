"""``casty demo-cart``: fill carts on a cluster of processes, kill one, start another, and account for every item."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import trio

from casty import (
    CastyError,
    ClusteredActorSystem,
    ConfigError,
    MemberLeft,
    MemberUp,
    ReachableMember,
    ShardMoved,
    UnreachableMember,
)
from casty.cli.demo.fleet import Fleet
from casty.cli.demo.progress import print_line
from casty.cli.demo.worker_process import HOST, JOIN_TIMEOUT, SETTINGS, SYSTEM_NAME
from casty.cli.demo_cart.cart_ledger import CartLedger
from casty.cli.demo_cart.cart_progress import CartDisplay, CartProgress, in_ms, percentile
from casty.cli.demo_cart.carts import CARTS, NUM_SHARDS
from casty.cli.demo_cart.shoppers import CARTS_EACH, SHOPPERS, Shoppers
from casty.cli.exits import ExitCode, run_until_signal
from casty.cli.hosting import complain

DRIVER_ID: Final = "driver"
PROGRAM: Final = "casty.cli.demo_cart.cart_process"
REQUESTS: Final = 20_000
TICK: Final = 0.1
PLACED_TIMEOUT: Final = 30.0
"""Seconds for the shards to be placed at first."""
STALL_TIMEOUT: Final = 45.0
"""Seconds without an acknowledged item before the run gives up."""
SETTLE_TIMEOUT: Final = 120.0
"""Seconds for the newcomer to get its shards, once there are enough items."""
UNEVEN_SHARE: Final = 0.1
"""Difference of loads taken for even, as a share of the larger one; one shard always is."""
FAULTS_SHOWN: Final = 5

MemberEvent = MemberUp | MemberLeft | UnreachableMember | ReachableMember


@dataclass(frozen=True, slots=True)
class CartDemo:
    """One run, as it was asked for."""

    nodes: int
    kill: bool
    display: CartDisplay
    requests: int = REQUESTS

    async def run(self) -> ExitCode:
        """Run the whole demo; cancelled, end every process started by it."""
        try:
            try:
                progress = await self._fill()
            finally:
                self.display.close()
        except ConfigError as error:
            complain(str(error))
            return ExitCode.bad_input
        except CastyError as error:
            complain(str(error))
            return ExitCode.failed
        return tell_result(progress)

    async def _fill(self) -> CartProgress:
        began = trio.current_time()
        # The timeline tells about members: see `casty.cli.demo.demo`.
        logging.getLogger("casty").setLevel(logging.ERROR)
        self.display.note(0.0, f"starting {self.nodes} node processes, and the driver, which hosts no carts, as a node")
        async with ClusteredActorSystem(
            name=SYSTEM_NAME, host=HOST, port=0, node_id=DRIVER_ID, roles={DRIVER_ID},
            settings=SETTINGS, join_timeout=JOIN_TIMEOUT,
        ) as system:  # fmt: skip
            fleet = Fleet(self.nodes + 1, PROGRAM)
            try:
                for number in range(1, self.nodes + 1):
                    await fleet.start(f"node-{number}", system.self_node.port)
                self.display.note(
                    trio.current_time() - began, "their processes run; each loads casty and joins, in some seconds"
                )
                run = CartRun(self, system, fleet, began)
                return await run.go()
            finally:
                with trio.CancelScope(shield=True):
                    await fleet.stop()


class CartRun:
    """The driver of one run: it kills and starts nodes by the items acknowledged, and tells what happens."""

    def __init__(self, demo: CartDemo, system: ClusteredActorSystem, fleet: Fleet, began: float) -> None:
        self._demo, self._system, self._fleet, self._began = demo, system, fleet, began
        self._victim: str | None = None
        self._victim_killed_at = 0.0
        self._newcomer = f"node-{demo.nodes + 1}"
        self._is_newcomer_started = False
        self._ended: set[str] = set()
        self._moved_at = began
        self._trouble: str | None = None
        self._nursery: trio.Nursery | None = None
        self.progress = CartProgress(demo.requests, CartLedger(lambda node: node == self._victim))
        self._shoppers = Shoppers(system, self.progress, self._acknowledged)

    async def go(self) -> CartProgress:
        """Fill the carts, and look at each in the end. CastyError when nothing goes on."""
        progress = self.progress
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
            progress.adding_from = trio.current_time() - self._began
            self._note(f"{SHOPPERS} shoppers fill {SHOPPERS * CARTS_EACH:,} carts, one item an ask")
            async with trio.open_nursery() as shopping:
                shopping.start_soon(self._shoppers.shop)
                await self._until_done()
                self._shoppers.is_over = True
            progress.adding_to = trio.current_time() - self._began
            self._note(
                f"{progress.ledger.acknowledged:,} items are acknowledged; every cart is asked for its items now"
            )
            await self._shoppers.look()
            nursery.cancel_scope.cancel()
        return progress

    async def _until_placed(self) -> None:
        while not self._is_settled:
            await self._tick()
            if trio.current_time() - self._moved_at > PLACED_TIMEOUT:
                raise self._error(f"the carts were not placed on {self._demo.nodes} nodes in {PLACED_TIMEOUT:g} s")
        self._note(f"{NUM_SHARDS} shards of carts are placed: {self._loads}")
        self._moved_at = trio.current_time()

    async def _until_done(self) -> None:
        is_told, enough_since = False, trio.current_time()
        while not self._is_done:
            await self._tick()
            if self._is_newcomer_started and not is_told and self._is_settled:
                is_told = True
                self._note(f"shards are even again: {self._loads}")
            if self.progress.ledger.acknowledged < self._demo.requests:
                enough_since = trio.current_time()
            elif trio.current_time() - enough_since > SETTLE_TIMEOUT:
                raise self._error(f"shards were not even {SETTLE_TIMEOUT:g} s after the last item: {self._loads}")
            if trio.current_time() - self._moved_at > STALL_TIMEOUT:
                raise self._error(f"nothing went on for {STALL_TIMEOUT:g} s, with shards {self._loads}")

    async def _tick(self) -> None:
        if self._trouble is not None:
            raise self._error(self._trouble)
        progress = self.progress
        progress.take(await self._system.get_cluster_state())
        progress.listing = await self._system.shards(CARTS)
        self._demo.display.show(progress, trio.current_time())
        await trio.sleep(TICK)

    @property
    def _is_done(self) -> bool:
        is_enough = self.progress.ledger.acknowledged >= self._demo.requests
        return is_enough and self._is_newcomer_started and self._is_settled

    @property
    def _hosting(self) -> set[str]:
        """Names of the nodes meant to have shards."""
        newcomer = {self._newcomer} if self._is_newcomer_started else set[str]()
        return {node_id for node_id in newcomer.union(self._fleet.node_ids) if node_id != self._victim}

    @property
    def _is_settled(self) -> bool:
        """Whether every shard is open, on living nodes alone, as many on each."""
        listing, loads = self.progress.listing, self.progress.loads
        if listing is None or not listing.num_shards or loads.keys() != self._hosting:
            return False
        most, least = max(loads.values()), min(loads.values())
        are_open = all(row.state == "owned" for row in listing.rows) and not listing.free
        return are_open and most - least <= max(1, int(most * UNEVEN_SHARE))

    @property
    def _loads(self) -> str:
        return ", ".join(f"{count} on {name}" for name, count in self.progress.loads.items()) or "on no node"

    def _acknowledged(self) -> None:
        done, requests = self.progress.ledger.acknowledged, self._demo.requests
        self._moved_at = trio.current_time()
        if self._demo.kill and self._victim is None and 2 * done >= requests:
            self._kill(f"node-{self._demo.nodes}")
        if not self._is_newcomer_started and 4 * done >= 3 * requests:
            self._is_newcomer_started = True
            self._note(f"{self._newcomer} is started after {done:,} items")
            if self._nursery is not None:
                self._nursery.start_soon(self._start_newcomer)

    def _kill(self, node_id: str) -> None:
        self._victim, self._victim_killed_at = node_id, trio.current_time()
        self._fleet.kill(node_id)
        self.progress.killed = node_id
        shards = self.progress.loads.get(node_id, 0)
        done = self.progress.ledger.acknowledged
        self._note(f"{node_id} is killed with SIGKILL after {done:,} items, and {shards} shards with it")

    async def _start_newcomer(self) -> None:
        self._fleet.members = 1
        await self._fleet.start(self._newcomer, self._system.self_node.port)
        await self._tell_end(self._newcomer)

    async def _tell_members(self, events: AsyncIterator[MemberEvent]) -> None:
        async for event in events:
            member = event.member
            match event:
                case MemberUp():
                    self._note(f"{member.id} is up at {member.address}")
                case MemberLeft():
                    self._note(f"{member.id} has left the cluster{self._since_kill(member.id)}")
                case ReachableMember():
                    self._note(f"{member.id} is reachable again")
                case UnreachableMember():
                    self._note(f"{member.id} is unreachable{self._since_kill(member.id)}")

    def _since_kill(self, node_id: str) -> str:
        if node_id != self._victim:
            return ""
        return f", {trio.current_time() - self._victim_killed_at:.3f} s after it was killed"

    async def _count_moves(self, events: AsyncIterator[ShardMoved]) -> None:
        async for event in events:
            if event.key == CARTS.name:
                self.progress.moves += 1
                self._moved_at = trio.current_time()

    async def _tell_end(self, node_id: str) -> None:
        code = await self._fleet.wait(node_id)
        if node_id != self._victim:
            self._note(f"the process of {node_id} has ended by itself, with exit code {code}")
            self._trouble = f"{node_id} ended before the carts were counted"

    def _note(self, text: str) -> None:
        self._demo.display.note(trio.current_time() - self._began, text)

    def _error(self, trouble: str) -> CastyError:
        words = self._fleet.last_words()
        return CastyError(f"{trouble}{': ' + words if words else ''}")


def tell_result(progress: CartProgress) -> ExitCode:
    """Print the account of all items; return how it came out."""
    for line in summary(progress):
        print_line(line)
    ledger = progress.ledger
    faults = list(ledger.faults)
    if not ledger.adds_up:
        faults.append(
            f"{ledger.acknowledged:,} items were acknowledged, and {ledger.kept:,} and the lost are another sum"
        )
    if faults:
        more = f"; and {len(faults) - FAULTS_SHOWN:,} more" if len(faults) > FAULTS_SHOWN else ""
        print_line(f"WRONG: {'; '.join(faults[:FAULTS_SHOWN])}{more}")
        return ExitCode.failed
    print_line("right: every acknowledged item is in its cart, or lost for a reason told above")
    return ExitCode.ok


def summary(progress: CartProgress) -> list[str]:
    """Return the lines printed after the shopping."""
    ledger, times = progress.ledger, progress.times.all
    seconds = (progress.adding_to or 0.0) - (progress.adding_from or 0.0)
    rate = len(times) / seconds if seconds else 0.0
    p50 = in_ms(percentile(times, 0.5))
    lines = [
        f"{ledger.acknowledged:,} items acknowledged in {seconds:.2f} s: {rate:,.0f}/s, p50 {p50}, "
        f"p99 {in_ms(percentile(times, 0.99))}, slowest {in_ms(max(times, default=0.0))}",
        f"asks refused and made again {progress.refused}, of unknown outcome {ledger.unknown}; "
        f"{progress.moves} shards moved",
        f"in their carts: {ledger.kept:,} items of {len(ledger.records):,} carts",
    ]
    for node, items in ledger.lost_by_kill.items():
        lines.append(
            f"lost with {node}: {items:,} items of {ledger.carts_killed:,} carts, which were in its memory alone"
        )
    if ledger.carts_moved:
        lines.append(
            f"lost by planned moves: {ledger.lost_by_move:,} items of {ledger.carts_moved:,} carts, "
            "which began again on another node: plain entities have nothing but their memory"
        )
    return lines


def run_demo_cart(demo: CartDemo) -> ExitCode:
    """Run a demo on a Trio loop of its own."""
    code = trio.run(run_until_signal, demo.run, ExitCode.terminated)
    if code in (ExitCode.interrupted, ExitCode.terminated):
        complain("interrupted; the processes that it had started have ended")
    return code
