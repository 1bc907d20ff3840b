"""Cuts that give way to others while accusations are made: who is told to be reachable again was heard."""

from __future__ import annotations

import pytest

from casty.testing.simulation import Cut, Heal, Scenario, check


@pytest.mark.parametrize("at", [4.7, 4.8, 4.9, 5.0])
def test_whose_last_answer_has_just_come_is_not_reachable_again_because_its_accuser_is_lost(at: float) -> None:
    # c accuses a, and d accuses c within half a second of the last answer of a, of which it was cut off since.
    moved = (at, Heal()), (at, Cut(("a",), ("c", "d")))
    faults = ((0.0, Cut(("a", "d"), ("b", "c"))), *moved, (12.0, Heal()))
    check(Scenario(seed, ("a", "b", "c", "d"), faults) for seed in range(44, 50))
