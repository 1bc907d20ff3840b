"""Faults that give way to others just when it is decided who is lost: whoever changes sides is on one only."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from casty.testing.simulation import Cut, Delay, Fault, Heal, Loss, Scenario, check
from casty.testing.simulation.scenario.generating import cuts_between, names_for, sides_of


def moving_cuts(seed: int, nodes: Sequence[str] = ()) -> Scenario:
    """Return a cluster with bad links, or in parts, which falls apart otherwise about when that is decided."""
    rng = random.Random(seed)
    names = tuple(nodes) or names_for(seed)
    faults: list[tuple[float, Fault]] = []
    if rng.random() < 0.5:
        faults.append((0.0, Delay(0.0, jitter=0.1)))
    if rng.random() < 0.3:
        faults.append((0.0, Loss(0.05)))
    if rng.random() < 0.5:
        for _ in range(rng.choice((1, 1, 2, 3))):
            one, other = rng.sample(names, 2)
            faults.append((0.0, Cut((one,), (other,), one_way=rng.random() < 0.2)))
    else:
        faults.extend((0.0, cut) for cut in cuts_between(sides_of(rng, names)))
    decided = 12.0 if len(names) < 9 else 15.0
    at = round(rng.choice((rng.uniform(0.0, 2.0 * decided), decided + rng.uniform(-5.0, 1.5))), 3)
    if rng.random() < 0.8:
        faults.append((at, Heal()))
    faults.extend((at, cut) for cut in cuts_between(sides_of(rng, names)))
    faults.append((round(at + rng.uniform(0.5, 40.0), 3), Heal()))
    return Scenario(seed, names, tuple(faults))


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_at_most_one_side_goes_on_when_cuts_move_as_they_are_decided(start: int) -> None:
    check(map(moving_cuts, range(start, start + 20)))
