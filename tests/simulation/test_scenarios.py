"""Scenarios that follow from seeds: every rule holds, in whatever goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from casty.protocol.gossip.anti_entropy import PUSH_ALL_MAX
from casty.testing.simulation import (
    Scenario,
    check,
    partition_scenario,
    play,
    random_scenario,
)
from casty.testing.simulation.scenario.scenario import scenario_from


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_in_random_scenarios_everything_holds(start: int) -> None:
    check(map(random_scenario, range(start, start + 20)))


@pytest.mark.parametrize("count", range(PUSH_ALL_MAX - 5, PUSH_ALL_MAX + 3, 2))
def test_everything_holds_in_clusters_of_about_as_many_as_changes_are_pushed_to(count: int) -> None:
    names = "abcdefghijklmnopqr"[:count]
    check([random_scenario(count, tuple(names)), partition_scenario(count, tuple(names))])


def once_failed() -> list[str]:
    """Return the scenarios that once failed, as they stand in regressions.txt."""
    lines = Path(__file__).with_name("regressions.txt").read_text(encoding="utf-8").splitlines()
    found = [line.partition("#")[0].partition(" ") for line in lines]
    return [text.strip() for kind, _, text in found if kind == "scenario"]


@pytest.mark.parametrize("text", once_failed())
def test_scenario_that_once_failed_is_survived(text: str) -> None:
    play(scenario_from(text))


def test_all_faults_together_are_survived(everything: Scenario) -> None:
    assert play(everything).seconds > 46.0


def test_a_scenario_without_faults_ends_once_exclusive_work_is_done_and_nothing_changes_any_more() -> None:
    assert play(Scenario(1, ("a", "b", "c"))).seconds < 8.0


def test_the_same_scenario_goes_the_same_way_and_another_seed_another(everything: Scenario) -> None:
    first = play(everything)
    assert play(everything) == first
    assert play(replace(everything, seed=6)).digest != first.digest
