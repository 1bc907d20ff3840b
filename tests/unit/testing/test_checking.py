"""A scenario that fails is made smaller, and is reported with the command that plays it again."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from casty import ConfigError
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation import (
    Crash,
    Cut,
    Heal,
    InvariantBroken,
    Pause,
    Played,
    Rule,
    Run,
    Scenario,
    ScenarioFailed,
    Wake,
    check,
    play,
)
from casty.testing.simulation.__main__ import main
from casty.testing.simulation.scenario.shrinking import shrunk
from casty.testing.simulation.search.searching import draw_at, function_at, play_at

HELD = Played(1.0, 2, "digest")

LONG = Scenario(
    seed=11,
    nodes=("a", "b", "c", "d", "e"),
    faults=(
        (0.312, Pause("e")),
        (0.5, Cut(("a", "b"), ("c", "d"))),
        (1.718, Wake("e")),
        (2.441, Crash("b")),
        (3.5, Heal()),
        (4.25, Crash("d")),
    ),
)

BROKEN = """
from casty.testing.simulation import Crash, InvariantBroken, Played, Scenario

def play(scenario):
    crashed = [fault.node for _, fault in scenario.faults if isinstance(fault, Crash)]
    if "b" in crashed:
        raise InvariantBroken("nobody crashes", f"b did, of {len(scenario.nodes)}")
    return Played(1.0, 2, "digest")

def draw(seed):
    return Scenario(seed, ("a", "b"), ((1.5, Crash("b" if seed == 30 else "a")),))
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken_rules.py"
    file.write_text(BROKEN, encoding="utf-8")
    return file


def test_only_what_the_failure_needs_is_left() -> None:
    def fails(scenario: Scenario) -> bool:
        kinds = [fault for _, fault in scenario.faults]
        cut = next((fault for fault in kinds if isinstance(fault, Cut)), None)
        return cut is not None and "a" in cut.one and "d" in cut.other and Crash("b") in kinds

    assert fails(LONG)
    assert shrunk(LONG, fails) == Scenario(11, ("a", "b", "d"), ((0.0, Cut(("a",), ("d",))), (2.0, Crash("b"))))


def test_making_it_smaller_is_bounded() -> None:
    plays = 0

    def fails(_: Scenario) -> bool:
        nonlocal plays
        plays += 1
        return plays % 2 == 0

    shrunk(LONG, fails, plays_max=7)
    assert plays == 7


def test_what_does_not_get_smaller_stays_as_it_is() -> None:
    assert shrunk(LONG, lambda one: one == LONG) == LONG


def crashing(scenario: Scenario) -> Played:
    """Fail for a crash of b, in another way for one of d."""
    crashed = [fault.node for _, fault in scenario.faults if isinstance(fault, Crash)]
    if "b" in crashed and "d" in crashed:
        raise ExceptionGroup("both", [InvariantBroken("both live", f"not so with {len(scenario.nodes)} nodes")])
    if crashed:
        raise KeyError(crashed[0])
    return HELD


def test_a_failure_says_the_seed_the_smallest_scenario_and_the_command() -> None:
    with pytest.raises(ScenarioFailed) as raised:
        check(LONG, play=crashing)
    smallest = Scenario(11, ("b", "d"), ((2.0, Crash("b")), (4.0, Crash("d"))))
    assert raised.value.smallest == smallest
    assert raised.value.original == LONG
    first, *rest = str(raised.value).splitlines()
    assert first == "seed 11: both live: not so with 2 nodes"
    assert "\n".join(rest).startswith(repr(smallest))
    assert rest[-2] == "made smaller: 6 to 2 faults, 5 to 2 nodes"
    assert rest[-1].startswith("play it again: python -m casty.testing.simulation --replay 'Scenario(seed=11, ")
    assert isinstance(raised.value.__cause__, ExceptionGroup)


def test_a_scenario_that_fails_in_another_way_is_not_the_smaller_one() -> None:
    only_one = Scenario(1, ("a", "b", "d"), ((1.0, Crash("b")), (2.0, Heal())))
    with pytest.raises(ScenarioFailed, match="seed 1: KeyError: 'b'"):
        check(only_one, play=crashing)


def test_what_holds_is_returned_in_order() -> None:
    assert check([LONG, LONG], play=lambda one: Played(float(one.seed), 0, "")) == [Played(11.0, 0, "")] * 2


def run(command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "python"
    return subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=60, check=False)


def test_the_command_plays_the_failure_again(broken: Path) -> None:
    with pytest.raises(ScenarioFailed) as raised:
        check(LONG, play=play_at(f"{broken}:play"))
    command = raised.value.command
    assert str(raised.value).endswith(command)
    again = run(command)
    assert again.returncode == 1
    assert again.stdout.strip() == repr(raised.value.smallest)
    assert again.stderr.splitlines()[-1].endswith("nobody crashes: b did, of 1")


def test_the_command_plays_what_the_protocol_alone_goes_through() -> None:
    scenario = Scenario(3, ("a", "b"), ((1.0, Crash("b")),))
    again = run(f"python -m casty.testing.simulation --replay '{scenario.on_one_line()}'")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"{scenario!r}\n{play(scenario)}\n"


def test_a_replay_can_show_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = Scenario(3, ("a", "b"), ((1.0, Crash("b")),))
    assert main(["--replay", scenario.on_one_line(), "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    crash = next(place for place, line in enumerate(lines) if line.endswith('Crash("b")') and line[0] == " ")
    assert any(line.endswith("a publishes MemberLeft") for line in lines[crash:])


def test_a_range_of_seeds_is_played_in_processes(broken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--draw", f"{broken}:draw", "--play", f"{broken}:play", "--jobs", "2"]
    assert main(["--seeds", "0:60", *words]) == 1
    printed, complaints = capfd.readouterr()
    assert printed.startswith("seed 30: nobody crashes: b did, of 1\n")
    assert ": 1 failures, " in printed.splitlines()[-1]
    assert complaints == ""
    assert main(["--seeds", "29", *words]) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--replay", "Heal()"], "expected a Scenario"),
        (["--seeds", "x"], "such as 0:500, got 'x'"),
        (["--seeds", "1", "--draw", "nothing"], "no function at 'nothing'"),
        (["--seeds", "1", "--play", "missing.py:play"], "missing.py"),
        ([], "--replay"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert expected in capsys.readouterr().err


def test_functions_are_found_by_file_and_by_module(broken: Path) -> None:
    assert play_at(None) is play
    assert function_at("casty.testing.simulation:play") is play
    assert draw_at(f"{broken}:draw")(30) == Scenario(30, ("a", "b"), ((1.5, Crash("b")),))
    with pytest.raises(ConfigError, match="is no function"):
        function_at("casty.testing.simulation.search.checking:COMMAND")
    with pytest.raises(ConfigError, match="no function at"):
        function_at(f"{broken}:missing")


def test_check_is_not_given_the_function_that_draws() -> None:
    def draw(seed: int) -> Scenario:
        return LONG

    with pytest.raises(TypeError, match=r"got a function: write check\(map\(draw, range\(100\)\), play=\.\.\.\)$"):
        check(draw)  # type: ignore[arg-type]  # the point
    with pytest.raises(TypeError, match=r"such as partition_scenario\(7\), got 3$"):
        check([3])  # type: ignore[list-item]  # the point


def test_a_failure_of_check_points_to_the_line_of_the_test() -> None:
    def fail(scenario: Scenario) -> Played:
        raise InvariantBroken("nobody crashes", "b did")

    with pytest.raises(ScenarioFailed) as caught:
        check(LONG, play=fail)
    assert [Path(entry.path).name for entry in caught.traceback.filter(caught)] == [Path(__file__).name]


@pytest.mark.parametrize("text", ["x", "", "5:", "7:7", "9:2", "1:2:3"])
def test_seeds_that_make_no_sense_are_refused_with_what_was_expected(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--seeds", text])
    told = f"expected a seed, or FROM:TO with FROM below TO, such as 0:500, got {text!r}"
    assert told in capsys.readouterr().err


class SmallClusters(Rule):
    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if len(after.members) > 2:
            raise InvariantBroken("clusters are small", f"{run.name} sees {len(after.members)} members")


def test_rules_of_ones_own_are_checked_and_named_in_the_command() -> None:
    check(Scenario(1, ("a", "b")), invariants=[SmallClusters])
    with pytest.raises(ScenarioFailed) as failed:
        check(Scenario(1, ("a", "b", "c", "d")), invariants=[SmallClusters])
    assert failed.value.rule.startswith("clusters are small: a sees 3 members")
    assert len(failed.value.smallest.nodes) == 3
    assert failed.value.command.endswith("test_checking.py:SmallClusters")
    words = shlex.split(failed.value.command)[3:]
    with pytest.raises(InvariantBroken, match="clusters are small"):
        main(words)


def test_rules_are_no_business_of_a_function_of_ones_own() -> None:
    def mine(scenario: Scenario) -> Played:
        return play(scenario)

    with pytest.raises(TypeError, match="invariants are for play of casty alone"):
        check(Scenario(1, ("a", "b")), play=mine, invariants=[SmallClusters])


def test_rules_of_ones_own_are_given_to_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    place = f"{__file__}:SmallClusters"
    assert main(["--seeds", "0:2", "--draw", "partition", "--invariant", place]) == 1
    assert "clusters are small" in capfd.readouterr().out
    extended = "casty.testing.simulation:play_extensions"
    with pytest.raises(SystemExit):
        main(["--seeds", "0:2", "--play", extended, "--invariant", place])
    assert "invariants are for play of casty alone" in capfd.readouterr().err


def test_show_goes_to_a_function_that_takes_it(broken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scenario = Scenario(1, ("a", "b"), ((1.0, Crash("b")),)).on_one_line()
    assert main(["--replay", scenario, "--show", "--play", "casty.testing.simulation:play_extensions"]) == 0
    assert "sends Heartbeat" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main(["--replay", scenario, "--show", "--play", f"{broken}:play"])
    assert "cannot show what happens" in capfd.readouterr().err
