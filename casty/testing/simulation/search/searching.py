"""Plays the scenarios of many seeds, in several processes.

Owns how functions are named on a command line, and how a range of seeds is spread. It does not know the text of a
failure (`checking`).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import cast

from casty.errors import ConfigError
from casty.testing.simulation.scenario.generating import partition_scenario, random_scenario
from casty.testing.simulation.scenario.scenario import Scenario
from casty.testing.simulation.search.checking import Play, ScenarioFailed, check
from casty.testing.simulation.search.further import Invariant
from casty.testing.simulation.search.player import play

Draw = Callable[[int], Scenario]

DRAWS: dict[str, Draw] = {"partition": partition_scenario, "random": random_scenario}
CHUNK = 25
"""Seeds played by one process before it reports."""


def failures(seeds: range, draw: str, player: str | None, jobs: int, invariants: Sequence[str] = ()) -> Iterator[str]:
    """Play the scenarios of all seeds in ``jobs`` processes; yield how the first failure of each 25 seeds reads."""
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from filter(
            None, pool.map(partial(first_failure, draw=draw, player=player, invariants=invariants), chunks)
        )


def first_failure(seeds: range, draw: str, player: str | None, invariants: Sequence[str] = ()) -> str:
    """Play the scenarios of some seeds; return how the first failure reads, or nothing."""
    try:
        check(map(draw_at(draw), seeds), play=play_at(player), invariants=map(invariant_at, invariants))
    except ScenarioFailed as failure:
        return str(failure)
    return ""


def play_at(place: str | None) -> Play:
    """Return the playing function at a place; `play` without one."""
    return play if place is None else cast(Play, function_at(place))


def draw_at(place: str) -> Draw:
    """Return the function that makes a scenario from a seed: ``partition``, ``random``, or the one at a place."""
    return DRAWS.get(place) or cast(Draw, function_at(place))


def invariant_at(place: str) -> Invariant:
    """Return the rule at a place: a class, or a function that makes one for a cluster."""
    return cast(Invariant, function_at(place))


def function_at(place: str) -> Callable[..., object]:
    """Return the function at ``path/of/file.py:name`` or ``package.module:name``. ConfigError when there is none.

    A file may import its neighbours, as a program run by Python may.
    """
    where, _, name = place.rpartition(":")
    try:
        found: object = getattr(_loaded(where) if where.endswith(".py") else importlib.import_module(where), name)
    except (ImportError, OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"no function at {place!r}: {error}; give path/of/file.py:name") from None
    if not callable(found):
        raise ConfigError(f"{place!r} is no function")
    return found


def _loaded(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path!r}")
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as an import does: what the file defines looks itself up there
    spec.loader.exec_module(module)
    return module
