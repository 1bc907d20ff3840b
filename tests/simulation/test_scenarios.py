"""Scenarios that follow from seeds: every rule holds, in whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from casty.testing.simulation import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Heal,
    Leave,
    Loss,
    Pause,
    Played,
    Reorder,
    Restart,
    Scenario,
    Wake,
    check,
    play,
    random_scenario,
)
from casty.testing.simulation.scenario import scenario_from


@pytest.mark.parametrize("start", range(0, 100, 20))
def test_in_random_scenarios_everything_holds(start: int) -> None:
    check(map(random_scenario, range(start, start + 20)))


def play_exclusive(scenario: Scenario) -> Played:
    return play(scenario, exclusive=True)


def test_exclusive_work_has_one_owner_in_random_scenarios() -> None:
    check(map(random_scenario, range(200, 220)), play=play_exclusive)


def once_failed() -> list[str]:
    """Return the scenarios that once failed, as they stand in regressions.txt."""
    lines = Path(__file__).with_name("regressions.txt").read_text(encoding="utf-8").splitlines()
    found = [line.partition("#")[0].partition(" ") for line in lines]
    return [text.strip() for kind, _, text in found if kind == "scenario"]


@pytest.mark.parametrize("text", once_failed())
def test_scenario_that_once_failed_is_survived(text: str) -> None:
    play(scenario_from(text))


EVERYTHING = Scenario(
    seed=5,
    nodes=("a", "b", "c", "d", "e"),
    faults=(
        (0.0, Delay(0.01, jitter=0.1)),
        (0.5, Loss(0.1)),
        (1.0, Reorder(0.1)),
        (1.0, Duplicate(0.1)),
        (1.5, ClockSkew("c", 1.05)),
        (2.0, Pause("d")),
        (4.0, Wake("d")),
        (5.0, Crash("b")),
        (9.0, Restart("b")),
        (9.5, Restart("f")),
        (15.0, Cut(("a", "b"), ("c", "d", "e"))),
        (16.0, Cut(("f",), ("c",), one_way=True)),
        (45.0, Heal()),
        (46.0, Leave("e")),
    ),
)


def test_all_faults_together_are_survived() -> None:
    assert play(EVERYTHING).seconds > 46.0


def test_a_scenario_without_faults_ends_at_once() -> None:
    assert play(Scenario(1, ("a", "b", "c"))).seconds < 2.0


def test_the_same_scenario_goes_the_same_way_and_another_seed_another() -> None:
    first = play(EVERYTHING)
    assert play(EVERYTHING) == first
    assert play(Scenario(6, EVERYTHING.nodes, EVERYTHING.faults)).digest != first.digest
