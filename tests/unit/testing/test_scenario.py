"""A scenario prints as the code that makes it, and says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from casty import ClusterSettings, ConfigError
from casty.config import DOWNING_STRATEGIES
from casty.testing.simulation import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    JournalFault,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Scenario,
    Wake,
    partition_scenario,
    random_scenario,
)
from casty.testing.simulation.scenario.faults import FAULTS
from casty.testing.simulation.scenario.scenario import scenario_from

EXAMPLES: dict[str, Fault] = {
    'Crash("a")': Crash("a"),
    'Restart("a")': Restart("a"),
    'Pause("a")': Pause("a"),
    'Wake("a")': Wake("a"),
    'Leave("a")': Leave("a"),
    'Cut(("a",), ("b", "c"))': Cut(("a",), ("b", "c")),
    'Cut(("a",), ("b",), one_way=True)': Cut(("a",), ("b",), one_way=True),
    "Heal()": Heal(),
    "Loss(0.1)": Loss(0.1),
    "Delay(0.05)": Delay(0.05),
    "Delay(0.05, jitter=0.2)": Delay(0.05, jitter=0.2),
    "Reorder(0.1, by=2.0)": Reorder(0.1, by=2.0),
    "Duplicate(0.2)": Duplicate(0.2),
    'ClockSkew("a", 1.05)': ClockSkew("a", 1.05),
    'JournalFault("a", "uncertain", 0.1)': JournalFault("a", "uncertain", 0.1),
}


def test_every_fault_prints_as_the_code_that_makes_it() -> None:
    assert {type(fault) for fault in EXAMPLES.values()} == set(FAULTS)
    assert {repr(fault): fault for fault in EXAMPLES.values()} == EXAMPLES


def everything() -> Scenario:
    settings = ClusterSettings.wan()
    faults = tuple((float(at), fault) for at, fault in enumerate(EXAMPLES.values()))
    return Scenario(7, ("a", "b", "c"), faults, settings)


@pytest.mark.parametrize(
    "scenario",
    [everything(), Scenario(1, ("node-1",)), *map(random_scenario, range(30)), *map(partition_scenario, range(30))],
)
def test_a_scenario_can_be_read_from_what_it_prints(scenario: Scenario) -> None:
    assert scenario_from(repr(scenario)) == scenario
    assert scenario_from(scenario.on_one_line()) == scenario
    assert "\n" not in scenario.on_one_line()
    assert "'" not in scenario.on_one_line()  # so that a shell takes it in single quotes


def test_only_what_differs_from_the_defaults_is_printed() -> None:
    assert repr(Scenario(3, ("a",), settings=ClusterSettings(min_members=2))) == (
        'Scenario(\n    seed=3,\n    nodes=("a",),\n    settings=ClusterSettings(min_members=2),\n)'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__import__('os').system('true')", "cannot read the scenario"),
        ("Scenario(seed=1, nodes=('a',), faults=open('x'))", "cannot read the scenario"),
        ("Scenario(seed=", "cannot read the scenario"),
        ("Scenario(seed=1, size=3)", "cannot read the scenario"),
        ("Heal()", "expected a Scenario"),
        ("Scenario(seed=1, nodes=())", "at least one"),
    ],
)
def test_nothing_but_scenarios_is_read(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        scenario_from(text)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (((2.0, Heal()), (1.0, Heal())), "in the order of their times, got 1.0 after 2.0"),
        (((-1.0, Heal()),), "in the order of their times"),
        (((float("nan"), Heal()),), "in the order of their times"),
        (((0.0, Crash("x")),), "names 'x', which is no node"),
        (((0.0, Crash("x")), (1.0, Restart("x"))), "names 'x', which is no node"),
        (((0.0, Cut(("a",), ("x",))),), "names 'x', which is no node"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(faults: tuple[tuple[float, Fault], ...], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Scenario(1, ("a", "b"), faults)


def test_a_new_name_may_be_started_and_then_fail() -> None:
    assert Scenario(1, ("a",), ((0.0, Restart("x")), (1.0, Crash("x")))).ends_at == 1.0


@pytest.mark.parametrize("nodes", [(), ("a", "a"), ("",)])
def test_nodes_have_names_of_their_own(nodes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="different names"):
        Scenario(1, nodes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Loss(1.0),
        lambda: Loss(-0.1),
        lambda: Duplicate(2.0),
        lambda: Reorder(0.1, by=-1.0),
        lambda: Delay(-1.0),
        lambda: Delay(0.0, jitter=float("nan")),
        lambda: ClockSkew("a", 0.0),
        lambda: ClockSkew("a", float("inf")),
        lambda: JournalFault("a", "gone"),  # type: ignore[arg-type]  # the slip this is about
        lambda: JournalFault("a", "slow", 1.1),
        lambda: JournalFault("a", "slow", float("nan")),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigError):
        make()


def test_a_side_of_a_cut_is_not_one_name() -> None:
    with pytest.raises(ConfigError, match=re.escape("write ('web-1',)")):
        Cut("web-1", ("web-2",))  # type: ignore[arg-type]  # the slip this is about


@pytest.mark.parametrize("draw", [random_scenario, partition_scenario])
def test_drawn_settings_and_roles_print_as_the_code_that_makes_them(draw: Callable[[int], Scenario]) -> None:
    drawn = [draw(seed) for seed in range(150)]
    assert [scenario_from(scenario.on_one_line()) for scenario in drawn] == drawn
    assert {scenario.settings.downing for scenario in drawn} == {*DOWNING_STRATEGIES} - {"none"}
    assert any(scenario.roles for scenario in drawn)
    assert any(scenario.settings.min_members > 1 for scenario in drawn)


def test_given_settings_are_those_of_every_scenario() -> None:
    settings = ClusterSettings.wan()
    drawn = [random_scenario(seed, settings=settings) for seed in range(20)]
    drawn += [partition_scenario(seed, settings=settings) for seed in range(20)]
    assert all(scenario.settings is settings and not scenario.roles for scenario in drawn)


def test_roles_of_a_node_are_a_tuple_of_names() -> None:
    with pytest.raises(ConfigError, match=re.escape("the roles of a node are a tuple of names: write {'a': ('db',)}")):
        Scenario(1, ("a",), roles={"a": "db"})  # type: ignore[dict-item]  # what a hand may write


@pytest.mark.parametrize("draw", [random_scenario, partition_scenario])
def test_drawn_faults_of_the_journal_come_beside_the_others(draw: Callable[..., Scenario]) -> None:
    names: set[str] = set()
    for seed in range(100):
        scenario = draw(seed, journal_faults=True)
        found = [fault for _, fault in scenario.faults if isinstance(fault, JournalFault)]
        rest = tuple(timed for timed in scenario.faults if not isinstance(timed[1], JournalFault))
        assert found and rest == draw(seed).faults
        assert scenario_from(scenario.on_one_line()) == scenario == draw(seed, journal_faults=True)
        names |= {fault.name for fault in found}
    assert names == {"uncertain", "unavailable", "slow", "torn"}
