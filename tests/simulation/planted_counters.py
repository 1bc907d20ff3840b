"""Mistakes in the counters of the documentation: what leaves an entity before its event is durable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "simulated_service"
SERVICE = ("counters", "counting")
"""Modules of the example: the service, and its words."""
sys.path.insert(0, str(EXAMPLE))

import counters  # noqa: E402  # a file of the documentation, which lies in no package
import counting  # noqa: E402  # behind the path
import test_counters  # noqa: E402  # behind the path

from casty import Effect, nothing, persist  # noqa: E402  # behind the path
from casty.testing.simulation import Played, Scenario  # noqa: E402  # behind the path
from casty.testing.simulation.scenario.journal_weather import with_journal_faults  # noqa: E402  # behind the path


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


def draw(seed: int) -> Scenario:
    """Draw one node whose calls to the store fail: nothing else is needed, and a play takes a tenth of a second."""
    return with_journal_faults(Scenario(seed, ("a",)))


def play_replies_first(scenario: Scenario) -> Played:
    return test_counters.play(scenario, RepliesFirst)


def play_prints_first(scenario: Scenario) -> Played:
    return test_counters.play(scenario, PrintsFirst)
