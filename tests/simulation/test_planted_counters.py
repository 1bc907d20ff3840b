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
    test_counters,
)

from casty.testing import NotLinearizable
from casty.testing.simulation import InvariantBroken, Played, Scenario


def test_the_counters_as_they_are_keep_their_promise() -> None:
    for seed in range(4):
        test_counters.play(draw(seed))
        play_busy(draw(seed))


@pytest.mark.parametrize(
    ("play", "failure", "seed"),
    [
        (play_replies_first, NotLinearizable, 1),
        (play_prints_first, InvariantBroken, 2),
        (play_reads_first, NotLinearizable, 3),
    ],
)
def test_a_counter_that_tells_something_before_its_event_is_stored_is_found(
    play: Callable[[Scenario], Played], failure: type[Exception], seed: int
) -> None:
    with pytest.raises(failure):  # the first such seed of the draw
        play(draw(seed))
