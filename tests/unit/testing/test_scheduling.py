"""Trio's scheduler can be given a seed, and has its own ways again afterwards."""

from __future__ import annotations

import random

import pytest
import trio
import trio._core._run as scheduler

from casty.testing.simulation.nodes.scheduling import seeded_scheduling


def order(seed: int) -> list[int]:
    """Return the order in which twenty tasks take their turns."""
    turns: list[int] = []

    async def take(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            turns.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(take, number)

    with seeded_scheduling(seed):
        trio.run(main)
    return turns


def test_the_order_of_tasks_follows_from_the_seed() -> None:
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) == 5


def test_trio_is_as_before_after_the_block() -> None:
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    with pytest.raises(ZeroDivisionError), seeded_scheduling(1):
        scheduler._r.random()
        raise ZeroDivisionError
    assert before == (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate())


@pytest.mark.parametrize("missing", ["_r", "_ALLOW_DETERMINISTIC_SCHEDULING"])
def test_a_trio_without_seeds_is_refused(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(scheduler._r, random.Random)
    monkeypatch.delattr(scheduler, missing)
    with pytest.raises(RuntimeError, match="cannot be given a seed"):
        order(1)
