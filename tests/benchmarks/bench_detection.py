"""How fast losses are noticed and how seldom nobody is lost, in the model simulation: one table.

Every row has its target, and whether it was reached. Times are virtual, the worst over all seeds; the same seeds
give the same figures on every machine. A wrong accusation is a member that was alive and unreachable for another
one. ``--short`` takes a few minutes of few seeds, for a quick look. Exits with 1 when a target was missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from bench_membership import Figure
from detection import Seen, bad_link, crash, silence, stalls, takeover, young_bad_link

LOSSES: tuple[tuple[str, Callable[[int, int], Seen]], ...] = (("silent node", silence), ("cut link", bad_link))
SEEN_BY_FIRST = 5.6
SEEN_BY_ALL = {5: 6.0, 100: 10.0}
CRASH_SEEN = 2.0
CRASH_SEEN_IN_STALLS = 6.0
TAKEOVER = {"SIGKILL": (False, 10.0), "cut": (True, 15.0)}
SECONDS = "s"


def losses(seeds: dict[int, int]) -> Iterator[Figure]:
    """Measure how long losses go unnoticed; ``seeds`` says how many for each size."""
    for nodes, count in seeds.items():
        for what, lost in LOSSES:
            seen = [lost(seed, nodes) for seed in range(count)]
            yield Figure(f"{what}: first observer", nodes, max(one.by_first for one in seen), SEEN_BY_FIRST, SECONDS)
            yield Figure(f"{what}: all", nodes, max(one.by_all for one in seen), SEEN_BY_ALL[nodes], SECONDS)
        young = max(young_bad_link(seed, nodes).by_all for seed in range(count))
        yield Figure("cut link in the first 5 s of a cluster: all", nodes, young, None, SECONDS)
        ended = max(crash(seed, nodes).by_all for seed in range(count))
        yield Figure("ended process: all", nodes, ended, CRASH_SEEN, SECONDS)


def failovers(count: int) -> Iterator[Figure]:
    """Measure when exclusive work may go on elsewhere."""
    for what, (cut, most) in TAKEOVER.items():
        slowest = max(takeover(seed, 5, cut=cut) for seed in range(count))
        yield Figure(f"exclusive work free after {what}", 5, slowest, most, SECONDS)


def weather(count: int, minutes: int) -> Iterator[Figure]:
    """Count wrong accusations in stalls, loss and jitter."""
    nodes, wrong, slowest = 20, 0, 0.0
    for seed in range(count):
        found = stalls(seed, nodes=nodes, minutes=minutes)
        print(f"  seed {seed}: {len(found.accused)} wrong accusations in {minutes} min", file=sys.stderr, flush=True)
        wrong += len(found.accused)
        slowest = max(slowest, found.crash_seen_by_all)
    yield Figure(f"wrong accusations in {count} x {minutes} min of stalls", nodes, wrong, 0.0, "")
    yield Figure("ended process after them: all", nodes, slowest, CRASH_SEEN_IN_STALLS, SECONDS)


def main(*, short: bool) -> bool:
    """Print the table; return whether all targets were met."""
    figures = list[Figure]()
    print(f"{'what':<48} {'nodes':>6} {'worst':>12} {'target':>9} {'':<6} reached")
    for part in (
        losses({5: 20} if short else {5: 100, 100: 10}),
        failovers(20 if short else 100),
        weather(2, 5) if short else weather(20, 60),
    ):
        for figure in part:
            print(figure, flush=True)
            figures.append(figure)
    return all(figure.is_reached for figure in figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a few seeds, about a minute")
    sys.exit(not main(short=parser.parse_args().short))
