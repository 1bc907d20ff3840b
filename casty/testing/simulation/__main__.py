"""Play one scenario again, or those of a range of seeds."""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from casty.errors import ConfigError
from casty.testing.simulation.model.trace import Fact
from casty.testing.simulation.scenario.scenario import Scenario, scenario_from
from casty.testing.simulation.search.checking import Play, player
from casty.testing.simulation.search.player import Played
from casty.testing.simulation.search.searching import draw_at, failures, invariant_at, play_at


def search(seeds: range, draw: str, player: str | None, jobs: int, invariants: Sequence[str] = ()) -> int:
    """Play the scenarios of all seeds and print each failure; return the exit code, 0 when everything held."""
    began, count = time.monotonic(), 0
    for failure in failures(seeds, draw, player, jobs, invariants):
        count += 1
        print(failure, end="\n\n", flush=True)
    print(f"{len(seeds)} scenarios, draw {draw}: {count or 'no'} failures, {time.monotonic() - began:.0f} s")
    return 1 if count else 0


def show(facts: tuple[Fact, ...]) -> None:
    """Print what happened at one moment."""
    at, *words = facts
    shown = (word.hex()[:8] if isinstance(word, bytes) else str(word) for word in words)
    print(f"{float(at):10.4f}  {' '.join(shown)}")


def replay(scenario: Scenario, player: Play) -> int:
    """Play one scenario and print how it went; what it raises comes with its traceback."""
    print(scenario)
    print(player(scenario))
    return 0


def seeds_from(text: str) -> range:
    """Return the seeds of ``7`` or ``0:500``."""
    first, colon, end = text.partition(":")
    try:
        seeds = range(int(first), int(end) if colon else int(first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise argparse.ArgumentTypeError(f"expected a seed, or FROM:TO with FROM below TO, such as 0:500, got {text!r}")
    return seeds


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; 2 when the words make no sense."""
    parser = argparse.ArgumentParser(prog="python -m casty.testing.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--replay", metavar="SCENARIO", help="play this scenario, as a failure prints it")
    what.add_argument("--seeds", metavar="FROM:TO", type=seeds_from, help="play the scenarios of these seeds")
    parser.add_argument("--draw", default="random", help="makes scenarios: partition, random, or file.py:function")
    parser.add_argument("--play", metavar="FILE.PY:FUNCTION", help="plays a scenario, instead of the protocol alone")
    parser.add_argument(
        "--invariant",
        metavar="FILE.PY:RULE",
        action="append",
        default=[],
        dest="invariants",
        help="a rule beside those of casty; may be given several times, and not with --play",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that play the seeds")
    parser.add_argument("--show", action="store_true", help="print all that happens in the scenario that is replayed")
    given = parser.parse_args(words)
    try:
        draw_at(given.draw)
        function = play_at(given.play)
        played_by = player(function, tuple(map(invariant_at, given.invariants)))
        scenario = None if given.replay is None else scenario_from(given.replay)
    except (ConfigError, TypeError) as error:
        parser.error(str(error))
    if scenario is None:
        return search(given.seeds, given.draw, given.play, given.jobs, given.invariants)
    if given.show and "show" not in inspect.signature(function).parameters:
        parser.error(f"{given.play} cannot show what happens: give the function a parameter `show`, and that to play")
    showing = partial(cast("Callable[..., Played]", played_by), show=show)
    return replay(scenario, showing if given.show else played_by)


if __name__ == "__main__":
    sys.exit(main())
