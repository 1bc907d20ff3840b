"""Faults of a journal drawn from a seed, beside those of a scenario.

Owns the likely ones, and their times. Left out are damaged events: no entity outlives one, and that is no mistake of a
service.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from casty.testing.simulated_journal import JournalFaultName
from casty.testing.simulation.scenario.faults import JournalFault
from casty.testing.simulation.scenario.scenario import Scenario, Timed

NAMES: Final[tuple[JournalFaultName, ...]] = ("uncertain", "unavailable", "slow", "torn")
WEIGHTS: Final = (4, 3, 2, 1)
RATES: Final = (0.05, 0.2, 0.5, 1.0)
FAULTS_MAX: Final = 3
LASTS_MIN: Final = 0.5
"""Seconds of a fault, at least."""
LASTS_MAX: Final = 10.0


def with_journal_faults(scenario: Scenario) -> Scenario:
    """Return the scenario with one to three faults of the journal at its nodes, within its time where it is long.

    >>> with_journal_faults(Scenario(3, ("a", "b"))).faults[0]
    (1.356, JournalFault("a", "uncertain", 0.05))
    """
    rng = random.Random(f"journal {scenario.seed}")
    drawn: list[Timed] = []
    for _ in range(rng.randint(1, FAULTS_MAX)):
        (name,) = rng.choices(NAMES, WEIGHTS)
        node = rng.choice(scenario.nodes)
        begin = round(rng.uniform(0.0, max(scenario.ends_at, LASTS_MAX)), 3)
        end = round(begin + rng.uniform(LASTS_MIN, LASTS_MAX), 3)
        drawn += [(begin, JournalFault(node, name, rng.choice(RATES))), (end, JournalFault(node, name, 0.0))]
    return replace(scenario, faults=tuple(sorted((*scenario.faults, *drawn), key=lambda timed: timed[0])))
