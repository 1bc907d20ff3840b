"""300 partitions at bad moments, of 3, 5 and 9 nodes: none ends in two clusters."""

from __future__ import annotations

import pytest

from casty.testing.simulation import check, partition_scenario


@pytest.mark.parametrize("start", range(0, 100, 25))
def test_at_most_one_side_goes_on_and_there_is_one_cluster_after_the_heal(start: int) -> None:
    check(map(partition_scenario, range(start, start + 25)))
