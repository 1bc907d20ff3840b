"""``casty demo-cart``: fill carts on a cluster of processes, kill and start its nodes, and account for every item."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from casty import CastyError, ClusteredActorSystem, ConfigError
from casty.cli.demo.demo_certificates import DemoCertificates, certificates_of_a_run, with_tls
from casty.cli.demo.fleet import Fleet
from casty.cli.demo.progress import print_line
from casty.cli.demo.worker_process import HOST, JOIN_TIMEOUT, SETTINGS, SYSTEM_NAME
from casty.cli.demo_cart.cart_calls import CartCalls, PlainCartCalls, StoredCartCalls
from casty.cli.demo_cart.cart_journals import CartJournal, JournalKind, environment, journal_of_a_run
from casty.cli.demo_cart.cart_ledger import CartLedger
from casty.cli.demo_cart.cart_life import CartLife, CartScene, LifePlan
from casty.cli.demo_cart.cart_progress import CartDisplay, CartProgress, in_ms, percentile
from casty.cli.demo_cart.stored_cart_ledger import StoredCartLedger
from casty.cli.exits import ExitCode, run_until_signal
from casty.cli.hosting import complain

DRIVER_ID: Final = "driver"
PROGRAM: Final = "casty.cli.demo_cart.cart_process"
REQUESTS: Final = 20_000
FAULTS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """Common ground of all lives of the cluster in one run."""

    scene: CartScene
    journal: CartJournal | None
    certificates: DemoCertificates | None


@dataclass(frozen=True, slots=True)
class CartDemo:
    """One run, as it was asked for."""

    nodes: int
    kill: bool
    display: CartDisplay
    requests: int = REQUESTS
    journal: JournalKind = JournalKind.none
    dsn: str | None = None
    tls: bool = False

    async def run(self) -> ExitCode:
        """Run the whole demo; cancelled, end every process started by it."""
        # The timeline tells about members, see `casty.cli.demo.demo`, and an error about a database.
        logging.getLogger("casty").setLevel(logging.ERROR)
        try:
            try:
                with certificates_of_a_run(SYSTEM_NAME, wanted=self.tls) as certificates:
                    async with journal_of_a_run(self.journal, self.dsn) as journal:
                        scene = self._scene(journal)
                        await self._play(Stage(scene, journal, certificates))
            finally:
                self.display.close()
        except ConfigError as error:
            complain(str(error))
            return ExitCode.bad_input
        except CastyError as error:
            complain(str(error))
            return ExitCode.failed
        return tell_result(scene.progress)

    def _scene(self, journal: CartJournal | None) -> CartScene:
        kills: dict[str, float] = {}
        calls: CartCalls = StoredCartCalls(StoredCartLedger())
        if journal is None:
            calls = PlainCartCalls(CartLedger(lambda node: node in kills))
        began = trio.current_time()
        return CartScene(calls, CartProgress(self.requests, calls.account), self.display, began, kills)

    async def _play(self, stage: Stage) -> None:
        scene, journal = stage.scene, stage.journal
        if journal is not None:
            scene.note(journal.words(self.nodes))
        ends_killed = self.kill and journal is not None
        first = self._first_life(ends_killed=ends_killed)
        await _live(stage, first)
        if not ends_killed:
            return
        killed_at, progress = trio.current_time(), scene.progress
        progress.requests = max(self.requests, progress.ledger.acknowledged + self.requests // 10)
        living = [*first.nodes[:-1], first.newcomer or ""]
        await _live(stage, LifePlan(tuple(living), progress.requests), killed_at)

    def _first_life(self, *, ends_killed: bool) -> LifePlan:
        return LifePlan(
            nodes=tuple(f"node-{number}" for number in range(1, self.nodes + 1)),
            goal=self.requests * 9 // 10 if ends_killed else self.requests,
            kill_at=(self.requests + 1) // 2 if self.kill else None,
            newcomer=f"node-{self.nodes + 1}",
            newcomer_at=(3 * self.requests + 3) // 4,
            ends_killed=ends_killed,
        )


async def _live(stage: Stage, plan: LifePlan, killed_at: float | None = None) -> None:
    number, scene, certificates = len(plan.nodes), stage.scene, stage.certificates
    scene.note(
        f"starting {number} node processes, and the driver, which hosts no carts, as a node{with_tls(certificates)}"
        if killed_at is None
        else f"starting {', '.join(plan.nodes)} anew, as a new cluster on the same journal"
    )
    async with ClusteredActorSystem(
        name=SYSTEM_NAME, host=HOST, port=0, node_id=DRIVER_ID, roles={DRIVER_ID},
        settings=SETTINGS, join_timeout=JOIN_TIMEOUT,
        tls=None if certificates is None else certificates.config_of(DRIVER_ID),
    ) as system:  # fmt: skip
        fleet = Fleet(number + 1, PROGRAM, environment(stage.journal), certificates)
        try:
            for node_id in plan.nodes:
                await fleet.start(node_id, system.self_node.port)
            scene.note("their processes run; each loads casty and joins, in some seconds")
            life = CartLife(scene, plan, system, fleet)
            if killed_at is not None:
                life.tell_first(killed_at)
            await life.go()
        finally:
            with trio.CancelScope(shield=True):
                await fleet.stop()


def tell_result(progress: CartProgress) -> ExitCode:
    """Print the account of all items; return how it came out."""
    for line in summary(progress):
        print_line(line)
    wrongs = progress.ledger.wrongs()
    if wrongs:
        more = f"; and {len(wrongs) - FAULTS_SHOWN:,} more" if len(wrongs) > FAULTS_SHOWN else ""
        print_line(f"WRONG: {'; '.join(wrongs[:FAULTS_SHOWN])}{more}")
        return ExitCode.failed
    print_line(progress.ledger.verdict())
    return ExitCode.ok


def summary(progress: CartProgress) -> list[str]:
    """Return the lines printed after the shopping."""
    ledger, times = progress.ledger, progress.times.all
    seconds = (progress.adding_to or 0.0) - (progress.adding_from or 0.0)
    rate = len(times) / seconds if seconds else 0.0
    p50 = in_ms(percentile(times, 0.5))
    return [
        f"{ledger.acknowledged:,} items acknowledged in {seconds:.2f} s: {rate:,.0f}/s, p50 {p50}, "
        f"p99 {in_ms(percentile(times, 0.99))}, slowest {in_ms(max(times, default=0.0))}",
        f"asks refused and made again {progress.refused}, of unknown outcome {ledger.unknown}; "
        f"{progress.moves} shards moved",
        *ledger.summary(),
    ]


def run_demo_cart(demo: CartDemo) -> ExitCode:
    """Run a demo on a Trio loop of its own."""
    code = trio.run(run_until_signal, demo.run, ExitCode.terminated)
    if code in (ExitCode.interrupted, ExitCode.terminated):
        complain("interrupted; the processes that it had started have ended")
    return code
