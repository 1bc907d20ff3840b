"""Trio with a seed: order of the tasks ready to run.

Owns the one reach into Trio. It uses the same as Hypothesis and pytest-trio, without a promise of Trio to keep it;
`tests/unit/testing/test_scheduling.py` fails when it goes away.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Generator
from contextlib import contextmanager

SCHEDULER = "trio._core._run"
IS_ORDERED = "_ALLOW_DETERMINISTIC_SCHEDULING"


@contextmanager
def seeded_scheduling(seed: int) -> Generator[None]:
    """Schedule the tasks of Trio runs in this block in an order given by ``seed``.

    RuntimeError when this version of Trio cannot.
    """
    scheduler = importlib.import_module(SCHEDULER)
    rng: object = getattr(scheduler, "_r", None)
    if not isinstance(rng, random.Random) or not hasattr(scheduler, IS_ORDERED):
        raise RuntimeError("this version of Trio cannot be given a seed: simulate() needs one that Hypothesis can seed")
    before: tuple[object, object] = getattr(scheduler, IS_ORDERED), rng.getstate()
    setattr(scheduler, IS_ORDERED, True)
    rng.seed(seed)
    try:
        yield
    finally:
        setattr(scheduler, IS_ORDERED, before[0])
        rng.setstate(before[1])  # type: ignore[arg-type]  # what getstate has just returned
