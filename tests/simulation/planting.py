"""Plants a bug: one line of a function of the protocol goes, another takes its place, until the test is over.

Owns the search for a seed of a draw whose scenario breaks a rule with the bug. The first such seed of a bug is noted in
``planted.txt``, unless it is 0, and tried before the others: the search takes the most time of all simulations.
"""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import cast

import pytest

from casty.errors import DecodeError
from casty.testing.simulation import InvariantBroken, play, random_scenario
from casty.testing.simulation.search.searching import Draw

SEEDS_MAX = 300
NOTES = Path(__file__).with_name("planted.txt")
"""A line for each bug: its name, and the seed that `report` prints. A stale one costs time and nothing else."""


def plant(patch: pytest.MonkeyPatch, place: object, line: str, instead: str) -> None:
    """Have a function run with ``instead`` in place of ``line``, a part of its source.

    It is the one function at ``place`` with that line: a class, a module, or the function itself where others have the
    line too.
    """
    found = [(target, source) for target, source in map(source_of, functions_at(place)) if line in source]
    times = sum(source.count(line) for _, source in found)
    if times != 1:
        raise LookupError(f"{place!r} has {line!r} {times} times: it should have it once")
    [(target, source)] = found
    made: dict[str, FunctionType] = {}
    text = "from __future__ import annotations\n" + source.replace(line, instead)
    exec(compile(text, inspect.getfile(target), "exec"), target.__globals__, made)
    patch.setattr(target, "__code__", made[target.__name__].__code__)


def functions_at(place: object) -> list[object]:
    """Return the functions, methods and properties that a class or module defines; any other object alone."""
    if isinstance(place, type):
        return [one for one in vars(place).values() if isinstance(one, FunctionType | property | classmethod)]
    if isinstance(place, ModuleType):
        functions = [one for one in vars(place).values() if isinstance(one, FunctionType)]
        return [one for one in functions if one.__module__ == place.__name__]
    return [place]


def source_of(function: object) -> tuple[FunctionType, str]:
    """Return what is patched of a function, and its source from its ``def`` on; nothing for one that was generated."""
    target = cast(FunctionType, inspect.unwrap(cast(Callable[..., object], getattr(function, "fget", function))))
    try:
        lines = textwrap.dedent(inspect.getsource(target)).splitlines(keepends=True)
    except OSError:  # made by dataclasses
        return target, ""
    return target, "".join(lines[next(at for at, text in enumerate(lines) if text.startswith("def ")) :])


@dataclass(frozen=True)
class Bug:
    """One line that another takes the place of; ``draw`` makes the scenarios in which it is looked for."""

    name: str
    place: object
    """The class, module or function that has the line."""
    line: str
    instead: str
    draw: Draw = random_scenario

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def seeds_to_try(bug: Bug) -> list[int]:
    """Return all seeds, the noted one first."""
    notes = dict(line.split() for line in NOTES.read_text(encoding="utf-8").splitlines())
    noted = int(notes.get(str(bug), 0))
    return [noted, *(seed for seed in range(SEEDS_MAX) if seed != noted)]


def found_at(bug: Bug, seeds: Iterable[int] | None = None) -> tuple[int, str]:
    """Return the first of the seeds whose scenario breaks a rule with the bug, and what it says; -1 for none.

    Without ``seeds`` those of `seeds_to_try`.
    """
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, bug.place, bug.line, bug.instead)
        for seed in seeds_to_try(bug) if seeds is None else seeds:
            try:
                play(bug.draw(seed))
            except (InvariantBroken, DecodeError) as broken:  # the second: a node says what none can
                return seed, str(broken)
    return -1, ""


def report(bugs: Sequence[Bug], names: Sequence[str]) -> None:
    """Print at which seed each of the bugs is found, or each whose name has one of ``names`` in it."""
    for bug in [bug for bug in bugs if not names or any(name in bug.name for name in names)]:
        began = time.process_time()
        seed, text = found_at(bug, range(SEEDS_MAX))
        print(f"{bug!s:44} seed {seed:3} {time.process_time() - began:6.1f} s  {text[:90]}", flush=True)  # noqa: T201  # a program, too
