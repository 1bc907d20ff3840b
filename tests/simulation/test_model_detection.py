"""Who is alive is not accused, in whatever weather; who is not is seen in time."""

from __future__ import annotations

import pytest
from detection import bad_link, crash, silence, stalls, takeover

SEEDS = range(5)


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_accused_in_stalls_loss_and_jitter_and_a_crash_is_seen_all_the_same(seed: int) -> None:
    weather = stalls(seed, minutes=4)
    assert weather.accused == ()
    assert weather.crash_seen_by_all < 6.0


@pytest.mark.parametrize("lost", [silence, bad_link])
def test_silence_is_seen_by_one_in_5_6_seconds_and_by_five_nodes_in_six(lost) -> None:
    seen = [lost(seed, 5) for seed in SEEDS]
    assert max(one.by_first for one in seen) < 5.6
    assert max(one.by_all for one in seen) < 6.0


def test_crash_is_seen_by_all_in_two_seconds() -> None:
    assert max(crash(seed, 5).by_all for seed in SEEDS) < 2.0


@pytest.mark.parametrize(("cut", "bound"), [(False, 10.0), (True, 15.0)])
def test_exclusive_work_goes_on_elsewhere_in_time(cut: bool, bound: float) -> None:
    assert max(takeover(seed, 5, cut=cut) for seed in SEEDS) < bound
