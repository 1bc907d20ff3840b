"""Clusters whose nodes judge silence by detectors of a user's: all rules hold, whatever these say."""

from __future__ import annotations

import random

import pytest
from helpers.detectors import FixedTimeout, OwnPhi

from casty import ClusterSettings, FailureDetector, UniqueAddress
from casty.testing.simulation import Crash, Cut, Heal, Scenario, play

CUT = Cut({"a", "b", "c"}, {"d", "e"})


def scenario(seed: int, settings: ClusterSettings) -> Scenario:
    """Return a cluster of five, cut for half a minute, with one crash after it."""
    return Scenario(
        seed=seed,
        nodes=("a", "b", "c", "d", "e"),
        faults=((2.0, CUT), (32.0, Heal()), (60.0, Crash("b"))),
        settings=settings,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["own phi", "fixed timeout"])
def test_all_rules_hold_with_detectors_of_a_user_s(kind: str, seed: int) -> None:
    def make(node: UniqueAddress) -> FailureDetector:
        return OwnPhi() if kind == "own phi" else FixedTimeout(4.0)

    assert play(scenario(seed, ClusterSettings(failure_detector_factory=make))).seconds > 60


@pytest.mark.parametrize("seed", range(5))
def test_all_rules_hold_with_detectors_that_fail_at_any_time(seed: int) -> None:
    rng = random.Random(seed)

    class Failing(FixedTimeout):
        def phi(self, now: float) -> float:
            return -1.0 if now > 3.0 and rng.random() < 0.001 else super().phi(now)

    settings = ClusterSettings(failure_detector_factory=lambda node: Failing(4.0))
    assert play(scenario(seed, settings)).seconds > 60
