"""Repeated trouble: a flapping member, a loop standing still time after time, a visitor gone at once.

Owns the scenarios in which the same fault comes several times: a node's memory of the last time shows only there. It
does not know what else may go wrong (`generating`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from casty.testing.simulation.scenario.faults import Cut, Delay, Fault, Heal, Leave, Pause, Restart, Wake
from casty.testing.simulation.scenario.scenario import Timed

SHARE = 0.2
"""Of so many scenarios something recurs."""
SIZE_MIN = 3

Steps = list[tuple[float, Fault]]
"""Next faults, each after so many seconds."""


def recurring(seed: int, names: Sequence[str], newcomer: str) -> tuple[Timed, ...]:
    """Return the faults of a scenario with a repeated one; none for most seeds, and for few nodes.

    >>> [fault for _, fault in recurring(2, "abcde", "z")][:2]
    [Cut(("a",), ("e",)), Pause("a")]
    """
    rng = random.Random(f"recurring {seed}")
    if rng.random() >= SHARE or len(names) < SIZE_MIN:
        return ()
    kinds: list[Callable[[random.Random, Sequence[str], str], Steps]] = [_stalls, _visits]
    if len(names) > SIZE_MIN:  # of three, one that is lost is half of what another watches
        kinds += [_flapping, _flapping]
    at, faults = 0.0, list[Timed]()
    for after, fault in rng.choice(kinds)(rng, names, newcomer):
        at = round(at + after, 3)
        faults.append((at, fault))
    return tuple(faults)


def _flapping(rng: random.Random, names: Sequence[str], _: str) -> Steps:
    """Cut one off again and again, from all or from some: for so long that it is missed, or almost."""
    one = rng.choice(names)
    others = tuple(name for name in names if name != one)
    if rng.random() < 0.25:
        others = tuple(sorted(rng.sample(others, rng.randint(1, len(others)))))
    steps: Steps = []
    for _time in range(rng.randint(3, 5)):
        steps.append((rng.uniform(1.0, 4.0), Cut((one,), others)))
        steps.append((rng.uniform(3.0, 4.3) if rng.random() < 0.25 else rng.uniform(4.8, 7.0), Heal()))
    return [*steps, (rng.uniform(5.0, 12.0), Heal())]


def _stalls(rng: random.Random, names: Sequence[str], _: str) -> Steps:
    """Let one stand still, for seconds and several times, and lose another while it does, or long after."""
    one, other = rng.sample(names, 2)
    if rng.random() < 0.3:
        return [(1.0, Pause(one)), (rng.uniform(20.0, 30.0), Wake(one))]
    if rng.random() < 0.5:
        cut = Cut((one,), (other,))
        return [(2.0, cut), (rng.uniform(0.0, 1.0), Pause(one)), (rng.uniform(4.0, 8.0), Wake(one)), (6.0, Heal())]
    steps: Steps = []
    for _time in range(3):
        steps += [(rng.uniform(1.0, 3.0), Pause(one)), (rng.uniform(2.5, 3.5), Wake(one))]
    return [*steps, (rng.uniform(21.0, 25.0), Cut((one,), (other,))), (12.0, Heal())]


def _visits(rng: random.Random, _: Sequence[str], newcomer: str) -> Steps:
    """Let one come and end again before it is a member, or just after."""
    steps: Steps = [(0.0, Delay(0.0, jitter=0.3))]
    for _time in range(4):
        steps += [(rng.uniform(1.0, 6.0), Restart(newcomer)), (rng.uniform(0.1, 0.9), Leave(newcomer))]
    return steps
