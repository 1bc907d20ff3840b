"""Random runs of placement: under a membership told by one hand, and beside the real one."""

from __future__ import annotations

import pytest
from placement_campaign import KINDS, failures
from placement_model import play_placement
from placement_stub import play_calm, play_fate

from casty.testing.simulation import partition_scenario, random_scenario

SEEDS = 2_000
"""Five minutes of one processor that does nothing else; `placement_campaign` plays any number of others."""


@pytest.mark.parametrize("start", range(0, SEEDS, len(KINDS)))
def test_no_rule_of_placement_is_broken_in_random_scenarios(start: int) -> None:
    assert failures(range(start, start + len(KINDS))) == []


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(10359, id="a region that starts again while its shards close is not at rest"),
        pytest.param(12557, id="epochs begin anew where all members of a cluster have ended"),
        pytest.param(18977, id="rows of a run that is gone are not at rest"),
        pytest.param(19307, id="a joining sender is not known to the owner yet"),
    ],
)
def test_what_the_rules_took_for_a_fault_once_is_none(seed: int) -> None:
    assert failures([seed]) == []


def test_scenarios_of_each_kind_open_shards_and_handle_messages() -> None:
    assert play_fate(1).activations
    assert play_calm(1).world.senders.counts["handled"] > 100
    for draw in (random_scenario, partition_scenario):
        world = play_placement(draw(1))
        assert world.rules.activations and world.senders.counts["handled"] > 10
