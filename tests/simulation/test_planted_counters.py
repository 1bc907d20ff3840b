"""Mistakes in the counters of the documentation are found in a few seeds of a node whose store fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from planted_counters import (
    draw,
    play_busy,
    play_prints_first,
    play_reads_first,
    play_replies_first,
    play_tells_first,
    test_counters,
)

from casty.testing import HistoryUndecided, NotLinearizable
from casty.testing.simulation import InvariantBroken, Played, Scenario

SEEDS_MAX = 40
"""A play takes a tenth of a second; of 30 seeds the rarest of the mistakes shows in 4."""


def test_the_counters_as_they_are_keep_their_promise() -> None:
    for seed in range(4):
        test_counters.play(draw(seed))
        play_busy(draw(seed))


@pytest.mark.parametrize(
    ("play", "failure"),
    [
        (play_replies_first, NotLinearizable),
        (play_prints_first, InvariantBroken),
        (play_reads_first, NotLinearizable),
        (play_tells_first, NotLinearizable),
    ],
)
def test_a_counter_that_tells_something_before_its_event_is_stored_is_found(
    play: Callable[[Scenario], Played], failure: type[Exception]
) -> None:
    assert any(breaks(play, failure, seed) for seed in range(SEEDS_MAX))


def breaks(play: Callable[[Scenario], Played], failure: type[Exception], seed: int) -> bool:
    try:
        play(draw(seed))
    except failure:
        return True
    except HistoryUndecided:  # too many outcomes left open to judge that one
        return False
    return False
