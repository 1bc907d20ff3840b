"""Plays scenarios, and reports a failure so that somebody can work on it.

Owns the text of a failure: the rule, the smallest scenario that breaks it in the same way, and the command that plays
that one again. It does not know how scenarios are drawn (`generating`), played (`player`, `tasks`) or made smaller
(`shrinking`).
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol, cast

from casty.config.validation import check_callable
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.scenario.scenario import Scenario
from casty.testing.simulation.scenario.shrinking import shrunk
from casty.testing.simulation.search.further import Invariant, further_parts
from casty.testing.simulation.search.player import Played, play

COMMAND = "python -m casty.testing.simulation"


class Play(Protocol):
    """A function that plays a scenario once, and raises when a rule does not hold."""

    def __call__(self, scenario: Scenario, /) -> Played:
        """Play a scenario once. An exception is a failure.

        Parameters:
            scenario: Scenario to play.

        Returns:
            Record of the play.
        """
        ...


class ScenarioFailed(AssertionError):
    """Raised when a scenario fails; its text has the smallest one and the command to play it again.

    The failure of the smallest scenario is its ``__cause__``.

    Parameters:
        original: The failed scenario.
        smallest: The smallest one with the same failure.
        rule: Broken rule, or the name of another error.
        command: Command to play the smallest one again.
    """

    def __init__(self, original: Scenario, smallest: Scenario, rule: str, command: str) -> None:
        before, after = len(original.faults), len(smallest.faults)
        super().__init__(
            f"seed {original.seed}: {rule}\n{smallest!r}\n"
            f"made smaller: {before} to {after} faults, {len(original.nodes)} to {len(smallest.nodes)} nodes\n"
            f"play it again: {command}"
        )
        self.original: Scenario = original
        """The failed scenario."""
        self.smallest: Scenario = smallest
        """The smallest one with the same failure."""
        self.rule: str = rule
        """Broken rule, or the name of another error."""
        self.command: str = command
        """Command to play the smallest one again."""


def check(
    scenarios: Scenario | Iterable[Scenario], *, play: Play = play, invariants: Iterable[Invariant] = ()
) -> list[Played]:
    """Play scenarios, one after the other. The first to fail is made smaller, and reported.

    pytest shows besides the log of every play: ``--show-capture=no`` leaves it out.

    Parameters:
        scenarios: One, or an iterable of them.
        play: Function to play one of them. With one of your own, at the top level of a module, the printed command
            calls it.
        invariants: Rules for `play` beside those of `every_rule`; a function of your own gives them to `play` itself.

    Returns:
        Record of each play.

    Raises:
        ScenarioFailed: One failed; the text has the smallest scenario with its failure, and a command.
        TypeError: ``play`` cannot be called, or is an async function; or something else than scenarios is given, or
            ``invariants`` with a ``play`` of your own, or what is no rule.

    >>> from casty.testing.simulation import partition_scenario
    >>> played = check(partition_scenario(seed) for seed in range(2))
    >>> len(played)
    2
    """
    __tracebackhide__ = True  # pytest shows the line of the test that called
    check_callable("check", play, "as play a function of a scenario")
    rules = further_parts((), invariants, None).invariants
    played_by = player(play, rules)
    if callable(scenarios):
        name = getattr(scenarios, "__name__", "draw")
        raise TypeError(f"check needs scenarios, got a function: write check(map({name}, range(100)), play=...)")
    played: list[Played] = []
    for scenario in [scenarios] if isinstance(scenarios, Scenario) else scenarios:
        if not isinstance(cast("object", scenario), Scenario):
            raise TypeError(f"check needs scenarios, such as partition_scenario(7), got {scenario!r}")
        try:
            played.append(played_by(scenario))
        except Exception as error:
            failure, cause = _reported(scenario, error, play, rules)
            raise failure from cause
    return played


def player(function: Play, invariants: tuple[Invariant, ...]) -> Play:
    """Return the function that plays a scenario with further rules.

    TypeError when it is not `play`, and there are some; or when one of them is no rule: that is found before a scenario
    is made smaller for it.
    """
    if not invariants:
        return function
    if function is not play:
        raise TypeError("invariants are for play of casty alone: in a function of your own, give them to play there")
    further_parts((), invariants, None).rules(ModelCluster(seed=0))
    return partial(play, invariants=invariants)


def _reported(
    scenario: Scenario, error: Exception, play: Play, invariants: tuple[Invariant, ...]
) -> tuple[ScenarioFailed, Exception]:
    """Return the report on the smallest scenario, and the error of that one."""
    rule = rule_of(error)
    last, played_by = error, player(play, invariants)

    def fails(candidate: Scenario) -> bool:
        nonlocal last
        found = _failure(candidate, played_by)
        if found is None or rule_of(found) != rule:
            return False
        last = found
        return True

    smallest = shrunk(scenario, fails)
    only = lone(last)
    text = str(only) if str(only).startswith(rule) else f"{rule}: {only}"
    text = "\n".join((text, *getattr(only, "__notes__", ())))
    return ScenarioFailed(scenario, smallest, text, replay_command(smallest, play, invariants)), last


def _failure(scenario: Scenario, play: Play) -> Exception | None:
    __tracebackhide__ = True
    try:
        play(scenario)
    except Exception as error:
        return error
    return None


def rule_of(error: Exception) -> str:
    """Return the common part of two failures of one kind: the broken rule, or the name of the error."""
    only = lone(error)
    return only.rule if isinstance(only, InvariantBroken) else type(only).__name__


def lone(error: BaseException) -> BaseException:
    """Return the one error inside of groups of one."""
    match error:
        case BaseExceptionGroup(exceptions=(BaseException() as only,)):
            return lone(only)
        case _:
            return error


def replay_command(scenario: Scenario, play_of_it: Play = play, invariants: Iterable[Invariant] = ()) -> str:
    """Return the command to play a scenario, for a shell: with ``--play`` when the function is not `play`.

    >>> from casty.testing.simulation import Crash, Scenario
    >>> print(replay_command(Scenario(7, ("a", "b"), ((1.5, Crash("b")),))))
    python -m casty.testing.simulation --replay 'Scenario(seed=7, nodes=("a", "b"), faults=((1.5, Crash("b")),))'
    """
    words = [f"{COMMAND} --replay {shlex.quote(scenario.on_one_line())}"]
    given = [("--play", play_of_it)] if play_of_it is not play else [("--invariant", one) for one in invariants]
    for option, function in given:
        place = place_of(function)
        if not place:
            return "check() with the same function, and this scenario"
        words.append(f"{option} {shlex.quote(place)}")
    return " ".join(words)


def place_of(function: Callable[..., object]) -> str:
    """Return where a function stands, as ``--play`` takes it: ``path/of/file.py:name``; "" for a nameless one."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    name = getattr(function, "__qualname__", "<none>")
    if not name.isidentifier():
        return ""
    return f"{os.path.relpath(file)}:{name}" if isinstance(file, str) else f"{function.__module__}:{name}"
