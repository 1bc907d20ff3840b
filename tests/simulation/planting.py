"""Plants a bug: one line of a function of the protocol goes, another takes its place, until the test is over.

Owns the search for the first seed of a draw whose scenario breaks a rule with the bug.
"""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import cast

import pytest

from casty.errors import DecodeError
from casty.testing.simulation import InvariantBroken, play, random_scenario
from casty.testing.simulation.search.searching import Draw

SEEDS_MAX = 300


def plant(patch: pytest.MonkeyPatch, function: object, line: str, instead: str) -> None:
    """Have ``function`` run with ``instead`` in place of ``line``, a part of its source that occurs in it once."""
    target = cast(FunctionType, inspect.unwrap(cast(Callable[..., object], getattr(function, "fget", function))))
    lines = textwrap.dedent(inspect.getsource(target)).splitlines(keepends=True)
    start = next(at for at, text in enumerate(lines) if text.startswith("def "))
    source = "".join(lines[start:])
    if source.count(line) != 1:
        raise LookupError(f"{target.__qualname__} has {line!r} {source.count(line)} times: it should have it once")
    made: dict[str, FunctionType] = {}
    text = "from __future__ import annotations\n" + source.replace(line, instead)
    exec(compile(text, inspect.getfile(target), "exec"), target.__globals__, made)
    patch.setattr(target, "__code__", made[target.__name__].__code__)


@dataclass(frozen=True)
class Bug:
    """One line that another takes the place of; ``draw`` makes the scenarios in which it is looked for."""

    name: str
    function: object
    line: str
    instead: str
    draw: Draw = random_scenario

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def found_at(bug: Bug) -> tuple[int, str]:
    """Return the first seed whose scenario breaks a rule with the bug, and what it says; -1 for none."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, bug.function, bug.line, bug.instead)
        for seed in range(SEEDS_MAX):
            try:
                play(bug.draw(seed))
            except (InvariantBroken, DecodeError) as broken:  # the second: a node says what none can
                return seed, str(broken)
    return -1, ""


def report(bugs: Sequence[Bug], names: Sequence[str]) -> None:
    """Print at which seed each of the bugs is found, or each whose name has one of ``names`` in it."""
    for bug in [bug for bug in bugs if not names or any(name in bug.name for name in names)]:
        began = time.process_time()
        seed, text = found_at(bug)
        print(f"{bug!s:44} seed {seed:3} {time.process_time() - began:6.1f} s  {text[:90]}", flush=True)  # noqa: T201  # a program, too
