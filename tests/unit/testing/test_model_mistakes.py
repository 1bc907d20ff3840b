"""Mistakes in what users hand to the model: each is named where it is handed in, with the form that was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from casty import ConfigError
from casty.protocol.effects import StartTimer, TimerFired
from casty.protocol.membership.view import SnapshotChanged
from casty.testing.simulation import Leave, ModelCluster, ModelMachine, Rule, Scenario, ScenarioFailed, check, play
from casty.testing.simulation.__main__ import main

TWO = Scenario(1, ("a", "b"), ((0.5, Leave("b")),))
START: Any = [TimerFired("start")]


@dataclass(frozen=True)
class Ping:
    """A message, and an effect nobody performs."""

    number: int


class Answering:
    """A machine that returns the same whatever it is told."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def handle(self, event: object, now: float) -> Any:
        return self.answer


def machine(answer: object = (), **parts: Any) -> ModelMachine[Any]:
    return ModelMachine(**{"name": "pings", "make": lambda cluster, run, rng: Answering(answer), **parts})


class NeedsMore(Rule):
    def __init__(self, cluster: ModelCluster, more: int) -> None:
        super().__init__(cluster)


class WithoutTheClass(Rule):
    def __init__(self, cluster: ModelCluster) -> None:
        pass


class StepsAlone(Rule):
    def step(self, run: object) -> None:  # type: ignore[override]  # the mistake
        pass


class LooksLater(Rule):
    async def look(self) -> None:  # type: ignore[override]  # the mistake
        pass


class SettlesInWords(Rule):
    settle_within = "5"  # type: ignore[assignment]  # the mistake


class SaysNothing(Rule):
    def is_settled(self) -> bool:
        return None  # type: ignore[return-value]  # the mistake


class OneKind(Rule):
    kinds = Ping  # type: ignore[assignment]  # the mistake


class Buggy(Rule):
    def look(self) -> None:
        raise KeyError("oops")


RULES: list[tuple[Any, str]] = [
    (Rule, r"invariants must be a list of rules, such as \[MyRule\], got <class .*Rule'>"),
    (["x"], r"each of invariants, a subclass of Rule or a maker of one, must be a function of \(cluster\), got 'x'"),
    ([Answering], r"must be a subclass of Rule, or make one, and Answering made <"),
    ([lambda cluster: None], r"must be a subclass of Rule, or make one, and .*<lambda> made None"),
    ([NeedsMore], r"must be a function of \(cluster\), and NeedsMore takes \(cluster, more\)"),
    ([WithoutTheClass], r"WithoutTheClass.__init__ must call super\(\).__init__\(cluster\)"),
    ([StepsAlone], r"StepsAlone.step must be a function of \(run, before, after\), and StepsAlone.step takes"),
    ([LooksLater], r"LooksLater.look must be a function of \(\), got an async function"),
    ([SettlesInWords], r"SettlesInWords.settle_within must be a finite number of seconds, at least 0, got '5'"),
    ([OneKind], r"OneKind.kinds must be a tuple of classes, got <class"),
]


@pytest.mark.parametrize(("invariants", "text"), RULES)
def test_what_is_no_rule_is_refused_before_anything_is_played(invariants: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        play(TWO, invariants=invariants)
    with pytest.raises(TypeError, match=text):  # and no scenario is made smaller for it
        check(TWO, invariants=invariants)


def test_a_rule_has_to_say_whether_it_is_settled() -> None:
    with pytest.raises(TypeError, match="SaysNothing.is_settled must return True or False, got None"):
        play(TWO, invariants=[SaysNothing])


MACHINES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: machine(name=""), ConfigError, "a machine must have a name, text that is not empty, got ''"),
    (
        lambda: machine(make=Answering(())),
        TypeError,
        r"make of the machine 'pings' must be a function of \(cluster, run,",
    ),
    (
        lambda: machine(make=lambda: Answering(())),
        TypeError,
        r"must be a function of \(cluster, run, rng\), and .* takes",
    ),
    (
        lambda: machine(starts_with=START[0]),
        TypeError,
        "starts_with of the machine 'pings' must be a list or tuple, got",
    ),
    (lambda: machine(receives=[Ping]), TypeError, "receives of the machine 'pings' must be a mapping of classes"),
    (lambda: machine(receives={"Ping": print}), TypeError, "a key of receives .* must be a class, got 'Ping'"),
    (
        lambda: machine(receives={Ping: lambda m: m}),
        TypeError,
        r"for Ping must be a function of \(sender, message, at\)",
    ),
    (
        lambda: machine(hears={SnapshotChanged: lambda: 1}),
        TypeError,
        r"SnapshotChanged must be a function of \(effect\)",
    ),
    (lambda: machine(performs={Ping: lambda: 1}), TypeError, r"Ping must be a function of \(cluster, task, effect\)"),
    (lambda: machine(lanes={Ping: 1}), TypeError, "lanes of the machine 'pings' for Ping must be a text, got 1"),
    (lambda: machine(late=Ping), TypeError, "late of the machine 'pings' must be a tuple of classes, got <class"),
    (lambda: machine(idle=["Ping"]), TypeError, "each of idle of the machine 'pings' must be a class, got 'Ping'"),
    (
        lambda: machine(drains=5),
        TypeError,
        "drains of the machine 'pings' must be a mapping of keys of timers, .* got 5",
    ),
    (lambda: machine(drains={"t": "Ping"}), TypeError, "drains of the machine 'pings' for 't' must be a class, got 'P"),
    (lambda: machine(sender="members"), ConfigError, "must be one of 'member', 'anyone', got 'members'"),
    (lambda: play(TWO, machines=machine()), TypeError, "machines must be a list of ModelMachines, got"),  # type: ignore[arg-type]  # the mistake
    (lambda: play(TWO, machines=[Answering(())]), TypeError, "each of machines must be a ModelMachine, got"),  # type: ignore[list-item]  # the mistake
    (lambda: play(TWO, workload=lambda cluster: None), TypeError, r"workload must be a function of \(cluster, rng\)"),  # type: ignore[arg-type,misc]  # the mistake
]


@pytest.mark.parametrize(("make", "error", "text"), MACHINES)
def test_what_is_no_machine_and_no_workload_is_refused(
    make: Callable[[], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make()


RUNNING: list[tuple[ModelMachine[Any], str]] = [
    (
        machine(make=lambda cluster, run, rng: None),
        r"must return a machine, an object with handle\(event, now\), got None",
    ),
    (
        machine(make=lambda cluster, run, rng: Ping),
        r"must return a machine, an object with handle\(event, now\), got <cl",
    ),
    (machine(None, starts_with=START), r"handle of the machine 'pings' must return a sequence of effects, .* got None"),
    (machine(StartTimer("t", 1.0), starts_with=START), "must return a sequence of effects, .* got StartTimer"),
    (machine([Ping(1)], starts_with=START), r"nobody performs Ping\(number=1\) of the machine 'pings' .* `performs`"),
]


@pytest.mark.parametrize(("one", "text"), RUNNING)
def test_a_machine_that_does_what_none_does_is_named(one: ModelMachine[Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        play(TWO, machines=[one])


def test_the_owner_of_an_exception_is_a_note_of_it() -> None:
    class Failing(Answering):
        def handle(self, event: object, now: float) -> Any:
            raise KeyError("oops")

    def fails(cluster: object, rng: object) -> None:
        raise KeyError("oops")

    failing = machine(make=lambda cluster, run, rng: Failing(()), starts_with=START)
    for parts, owner in (
        ({"invariants": [Buggy]}, "the rule Buggy"),
        ({"machines": [failing]}, "the machine 'pings' of a"),
        ({"workload": fails}, "the workload"),
    ):
        with pytest.raises(KeyError) as raised:
            play(TWO, **parts)  # type: ignore[arg-type]  # the mistake
        (note,) = raised.value.__notes__
        assert note.startswith(f"raised by {owner}, at ")
    with pytest.raises(ScenarioFailed, match=r"seed 1: KeyError: 'oops'\nraised by the rule Buggy, at 0\.0"):
        check(TWO, invariants=[Buggy])


def test_an_event_is_handed_to_a_machine_of_a_run() -> None:
    cluster = ModelCluster(seed=1, machines=[machine()])
    run = cluster.start("a", seeds=("a",))
    with pytest.raises(ConfigError, match="a has no machine 'ping', but topology, .*, pings"):
        cluster.hand(run, "ping", Ping(1))
    with pytest.raises(TypeError, match=r"hand needs a run, such as cluster.runs\['a'\], got 'a'"):
        cluster.hand_later(1.0, "a", "pings", Ping(1))  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Nobody", "no function at .*has no attribute 'Nobody'; give path/of/file.py:name"),
        ("Ping", r"must be a function of \(cluster\), and Ping takes"),
        ("alone", "must be a subclass of Rule, or make one, and alone made None"),
        ("NUMBER", "is no function"),
    ],
)
def test_a_rule_on_the_command_line_is_checked_before_a_scenario_is_played(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.py"
    file.write_text("NUMBER = 1\nclass Ping:\n    def __init__(self, a, b): ...\ndef alone(cluster): ...\n")
    with pytest.raises(SystemExit) as left:
        main(["--seeds", "0:2", "--invariant", f"{file}:{name}"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert re.search(text, said), said
