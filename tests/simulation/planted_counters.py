"""Mistakes in the counters of the documentation: what leaves an entity before its event is durable."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio
from outcome import Outcome, Value

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "simulated_service"
SERVICE = ("counters", "counting")
"""Modules of the example: the service, and its words."""
sys.path.insert(0, str(EXAMPLE))

import counters  # noqa: E402  # a file of the documentation, which lies in no package
import counting  # noqa: E402  # behind the path
import test_counters  # noqa: E402  # behind the path

from casty import CastyError, Claim, Effect, Record, nothing, persist  # noqa: E402  # behind the path
from casty.runtime.journaling.append_queue import BegunAppend  # noqa: E402  # behind the path
from casty.testing import History, SimulatedJournal, check_linearizable  # noqa: E402  # behind the path
from casty.testing.simulation import Played, Scenario, Simulation, simulate  # noqa: E402  # behind the path
from casty.testing.simulation.scenario.journal_weather import with_journal_faults  # noqa: E402  # behind the path

CLIENTS = 4
LATENCY = 0.1
"""Seconds of a step of the slow store: some asks come while another one is stored."""


class RepliesFirst(counters.Counter):
    """Replies to an addition before it is stored."""

    def decide(self, total: int, command: Any) -> Effect[Any]:
        if isinstance(command, counting.Add):
            command.reply_to.tell(total + command.amount)
            return persist(counting.Added(command.amount))
        return nothing().reply(command.reply_to, total)


class PrintsFirst(counters.Counter):
    """Prints a receipt of an addition before it is stored."""

    def decide(self, total: int, command: Any) -> Effect[Any]:
        if isinstance(command, counting.Add):
            after = total + command.amount
            self.printer.tell(counting.Receipt(self.name, after))
            return persist(counting.Added(command.amount)).reply(command.reply_to, after)
        return nothing().reply(command.reply_to, total)


class ReadsFirst(counters.Counter):
    """Replies to a question for the total at once, with additions in it that are not stored yet."""

    def decide(self, total: int, command: Any) -> Effect[Any]:
        if isinstance(command, counting.Total):
            command.reply_to.tell(total)
            return nothing()
        return super().decide(total, command)


class TellsFirst(SimulatedJournal):
    """Store that calls a begun append durable before it is."""

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], None],
    ) -> BegunAppend | None:
        begun = super().begin_append(claim, persistence_id, after, records, lambda _: None)
        if begun is not None:
            trio.lowlevel.current_trio_token().run_sync_soon(done, Value(None))
        return begun


async def ask_one(simulation: Simulation, history: History, number: int) -> None:
    """Add to one counter and ask for its total, faster than its store is."""
    rng = Random(f"{simulation.scenario.seed} {number}")
    while not simulation.is_recovered:
        for node in list(simulation.systems.values()):
            command = partial(counting.Add, rng.randint(1, 9)) if rng.random() < 0.5 else counting.Total
            try:
                await history.ask(node, node.entity(counting.COUNTERS, "p"), command, timeout=2.0)
            except CastyError:
                await trio.sleep(1.0)  # many open outcomes at one time are hard to judge
        await trio.sleep(rng.uniform(0.0, 0.1))


async def ask_one_by_many(simulation: Simulation) -> None:
    """Let some clients ask one counter at one time, and judge what they have seen."""
    history = History()
    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            nursery.start_soon(ask_one, simulation, history, number)
    check_linearizable(history, test_counters.model, initial=0)


def draw(seed: int) -> Scenario:
    """Draw one node whose calls to the store fail: nothing else is needed, and a play takes a tenth of a second."""
    return with_journal_faults(Scenario(seed, ("a",)))


def play_busy(
    scenario: Scenario, kind: type[Any] = counters.Counter, store: type[SimulatedJournal] = SimulatedJournal
) -> Played:
    """Play with one counter asked by several at one time, on a slow store: reads and additions share its appends."""
    service = counters.Counters(kind=kind)
    journal = store(seed=scenario.seed, latency=LATENCY)
    return simulate(scenario, on_node=service.run, main=ask_one_by_many, journal=journal)


def play_reads_first(scenario: Scenario) -> Played:
    return play_busy(scenario, ReadsFirst)


def play_tells_first(scenario: Scenario) -> Played:
    return play_busy(scenario, store=TellsFirst)


def play_replies_first(scenario: Scenario) -> Played:
    return test_counters.play(scenario, RepliesFirst)


def play_prints_first(scenario: Scenario) -> Played:
    return test_counters.play(scenario, PrintsFirst)
