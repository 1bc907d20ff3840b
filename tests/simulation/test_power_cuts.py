"""Power cuts of a whole cluster and its store: the disk forgets what was not synced, and nothing acknowledged."""

from __future__ import annotations

from random import Random

import pytest
from net_campaign import ABC, RULE, compiled_once, play

from casty.testing.simulation import Crash, Fault, InvariantBroken, Restart, Scenario

CUTS = 3
BETWEEN = 6.0


def power_cuts(seed: int) -> Scenario:
    """Draw some cuts of all nodes at once, each in the middle of the work."""
    rng = Random(seed)
    faults: list[tuple[float, Fault]] = []
    for number in range(CUTS):
        at = round(BETWEEN * (number + 1) + rng.uniform(0.0, 1.0), 4)
        faults += [(at, Crash(node)) for node in ABC] + [(round(at + 0.5, 4), Restart(node)) for node in ABC]
    return Scenario(seed, ABC, tuple(faults))


def test_a_power_cut_of_the_whole_cluster_leaves_all_that_was_acknowledged() -> None:
    with compiled_once():
        for seed in range(2):
            play(power_cuts(seed))


def test_a_disk_that_says_too_early_what_it_has_is_found_by_a_power_cut() -> None:
    with compiled_once(), pytest.raises(InvariantBroken, match=RULE):
        play(power_cuts(0), is_forgetful=True)
