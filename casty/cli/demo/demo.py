"""``casty demo``: count the words of a folder on a cluster of processes, kill one, and check the result."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import trio

from casty import ActorRef, CastyError, ClusteredActorSystem, ConfigError
from casty.cli.demo.demo_certificates import DemoCertificates, certificates_of_a_run, with_tls
from casty.cli.demo.driver import Driver, ProcessEnded
from casty.cli.demo.fleet import Fleet
from casty.cli.demo.ledger import Ledger
from casty.cli.demo.progress import Display, Progress, print_line, summary
from casty.cli.demo.tree import read_tree
from casty.cli.demo.words import count_alone
from casty.cli.demo.worker_process import HOST, JOIN_TIMEOUT, SETTINGS, SYSTEM_NAME
from casty.cli.exits import ExitCode, run_until_signal
from casty.cli.hosting import complain

DRIVER_ID = "driver"
DIFFERENCES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Demo:
    """One run, as it was asked for."""

    root: Path
    nodes: int
    kill: bool
    display: Display
    tls: bool = False

    async def run(self) -> ExitCode:
        """Run the whole demo; cancelled, end every process started by it."""
        try:
            try:
                with certificates_of_a_run(SYSTEM_NAME, wanted=self.tls) as certificates:
                    progress = await self._count(certificates)
            finally:
                self.display.close()
            return await self._check(progress)
        except ConfigError as error:
            complain(str(error))
            return ExitCode.bad_input
        except CastyError as error:
            complain(str(error))
            return ExitCode.failed

    async def _count(self, certificates: DemoCertificates | None) -> Progress:
        began = trio.current_time()
        # The timeline tells what happens to members. Nodes leaving at the same time refuse each other's last messages:
        # no news for the user.
        logging.getLogger("casty").setLevel(logging.ERROR)
        self.display.note(
            0.0, f"starting {self.nodes} node processes, and the driver as a node of its own{with_tls(certificates)}"
        )
        async with ClusteredActorSystem(
            name=SYSTEM_NAME, host=HOST, port=0, node_id=DRIVER_ID, roles={DRIVER_ID},
            settings=SETTINGS, join_timeout=JOIN_TIMEOUT,
            tls=None if certificates is None else certificates.config_of(DRIVER_ID),
        ) as system:  # fmt: skip
            fleet = Fleet(self.nodes + 1, certificates=certificates)
            try:
                for number in range(1, self.nodes + 1):
                    await fleet.start(f"node-{number}", system.self_node.port)
                return await self._drive(system, fleet, began)
            finally:
                with trio.CancelScope(shield=True):
                    await fleet.stop()

    async def _drive(self, system: ClusteredActorSystem, fleet: Fleet, began: float) -> Progress:
        tree = await trio.to_thread.run_sync(read_tree, self.root, abandon_on_cancel=True)
        progress = Progress(tree, Ledger(len(tree.chunks)))
        driver = Driver(system, progress, self.display, self.nodes, began, fleet.kill if self.kill else None)
        ref = system.spawn(driver.behavior(), "driver")
        try:
            async with trio.open_nursery() as nursery:
                for node_id in fleet.node_ids:
                    nursery.start_soon(_report_end, fleet, node_id, ref)
                await system.wait_stopped(ref)
                nursery.cancel_scope.cancel()
        finally:
            system.stop(ref)  # after Ctrl-C it must not go on with nodes that leave
        if not driver.is_done:
            words = fleet.last_words()
            raise CastyError(f"{driver.trouble or 'the driver failed'}{': ' + words if words else ''}")
        return progress

    async def _check(self, progress: Progress) -> ExitCode:
        for line in summary(progress):
            print_line(line)
        began = time.perf_counter()
        alone = await trio.to_thread.run_sync(count_alone, progress.tree.texts, abandon_on_cancel=True)
        took = time.perf_counter() - began
        differences = compare(progress.ledger.counts, alone)
        if differences:
            print_line(f"WRONG: one process alone, in {took:.2f} s, counts otherwise: {'; '.join(differences)}")
            return ExitCode.failed
        print_line(f"right: one process alone, in {took:.2f} s, counts the same")
        return ExitCode.ok


def compare(found: Counter[str], expected: Counter[str]) -> list[str]:
    """Return the first differences between two counts, none when they are equal."""
    if found == expected:
        return []
    words = sorted(word for word in found | expected if found[word] != expected[word])
    shown = [f"{word!r} {found[word]:,} instead of {expected[word]:,}" for word in words[:DIFFERENCES_SHOWN]]
    more = len(words) - len(shown)
    return [*shown, f"and {more:,} more words"] if more else shown


async def _report_end(fleet: Fleet, node_id: str, driver: ActorRef[ProcessEnded]) -> None:
    driver.tell(ProcessEnded(node_id, await fleet.wait(node_id)))


def run_demo(demo: Demo) -> ExitCode:
    """Run a demo on a Trio loop of its own."""
    code = trio.run(run_until_signal, demo.run, ExitCode.terminated)
    if code in (ExitCode.interrupted, ExitCode.terminated):
        complain("interrupted; the processes that it had started have ended")
    return code
