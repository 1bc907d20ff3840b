"""Random runs of placement: under a membership told by one hand, and beside the real one."""

from __future__ import annotations

import pytest
from placement_model import play_placement
from placement_stub import play_calm, play_fate

from casty.testing.simulation import partition_scenario, random_scenario


@pytest.mark.parametrize("seed", range(12))
def test_every_shard_has_one_owner_under_faults(seed: int) -> None:
    assert play_fate(seed).activations


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_refused_and_all_is_in_order_while_members_only_join_and_leave(seed: int) -> None:
    fate = play_calm(seed)
    assert fate.world.senders.counts["handled"] > 100


@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5])
def test_placement_holds_beside_the_membership_of_a_random_scenario(seed: int) -> None:
    assert play_placement(random_scenario(seed)).rules.activations


@pytest.mark.parametrize("seed", range(4))
def test_placement_holds_beside_the_membership_of_a_partition(seed: int) -> None:
    assert play_placement(partition_scenario(seed)).rules.activations
