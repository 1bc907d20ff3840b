"""Random scenarios of placement by their seeds: ``python tests/simulation/placement_campaign.py --seeds 0:2000``.

Owns the kind of the scenario of each seed, and the report on many: how many there were and how fast, and each seed that
breaks a rule, with the rule. Of twenty scenarios sixteen have a membership told by one hand, and two more no fault but
joins and leaves; two have the real membership beside them: see `placement_stub` and `placement_model`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the neighbours, from wherever it is started

from placement_model import play_placement
from placement_stub import play_calm, play_fate

from casty.testing.simulation import InvariantBroken, partition_scenario, random_scenario

KINDS = (*["fate"] * 7, "calm", *["fate"] * 7, "calm", "fate", "random", "fate", "partition")
"""Kinds of the scenarios of twenty seeds."""
REPORT_EVERY = 200


def kind_of(seed: int) -> str:
    """Return the kind of the scenario of a seed."""
    return KINDS[seed % len(KINDS)]


def play_seed(seed: int) -> None:
    """Play the scenario of a seed; InvariantBroken when a rule does not hold."""
    match kind_of(seed):
        case "fate":
            play_fate(seed)
        case "calm":
            play_calm(seed)
        case "random":
            play_placement(random_scenario(seed))
        case _:
            play_placement(partition_scenario(seed))


def failures(seeds: Iterable[int]) -> list[str]:
    """Play the scenarios of some seeds; return a line for each that breaks a rule."""
    found: list[str] = []
    for seed in seeds:
        try:
            play_seed(seed)
        except InvariantBroken as broken:
            found.append(f"seed {seed} ({kind_of(seed)}): {str(broken)[:400]}")
    return found


def main() -> int:
    """Play the seeds of the command line and report; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="first:end")
    first, _, end = parser.parse_args().seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    counts, broken, began = Counter[str](), 0, time.monotonic()
    for at in range(0, len(seeds), REPORT_EVERY):
        for seed in seeds[at : at + REPORT_EVERY]:
            for line in failures([seed]):
                broken += 1
                print(line, flush=True)  # noqa: T201  # a program
            counts[kind_of(seed)] += 1
        minutes = (time.monotonic() - began) / 60
        rate = counts.total() / minutes
        text = f"{counts.total()} of {len(seeds)}, {broken} broken, {rate:.0f} a minute, {dict(counts)}"
        print(text, flush=True)  # noqa: T201  # a program
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
