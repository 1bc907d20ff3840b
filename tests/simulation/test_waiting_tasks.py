"""The tasks of a node hand each other what they know, and each takes it when it gets to it."""

from __future__ import annotations

import pytest
from planting import plant

from casty.testing.simulation.invariants.invariants import Watch
from casty.testing.simulation.model.engine import ModelEngine
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import AVAILABILITY, HEARTBEAT


def accusations(handover_max: dict[str, float], *, seed: int) -> int:
    """Return how often somebody is accused in a minute in which all are there, and answer."""
    cluster = ModelCluster(seed)
    cluster.form("abcde")
    cluster.handover_max = handover_max
    watch = Watch(cluster)
    cluster.run_for(60.0, until=watch.check)
    return len(cluster.accused_at)


@pytest.mark.parametrize("seed", range(3))
def test_answers_that_wait_for_the_failure_detection_accuse_nobody(seed: int) -> None:
    assert accusations({AVAILABILITY: 20.0}, seed=seed) == 0


@pytest.mark.parametrize("seed", range(3))
def test_check_that_leaves_waiting_what_has_come_accuses_who_has_answered(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, ModelEngine, "for one in task.inbox if isinstance(one[0], drained)", "for one in ()")
    assert accusations({AVAILABILITY: 20.0}, seed=seed) > 0


def test_heartbeats_and_answers_that_are_half_a_second_late_accuse_nobody() -> None:
    assert accusations({HEARTBEAT: 0.5}, seed=1) == 0
