"""What several simulations play."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from casty.testing.simulation import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Heal,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Scenario,
    Wake,
)

sys.path.insert(0, str(Path(__file__).parent))  # for `planting` and `detection`, whichever file runs alone


@pytest.fixture
def everything() -> Scenario:
    """Every kind of fault in one scenario."""
    return Scenario(
        seed=5,
        nodes=("a", "b", "c", "d", "e"),
        faults=(
            (0.0, Delay(0.01, jitter=0.1)),
            (0.5, Loss(0.1)),
            (1.0, Reorder(0.1)),
            (1.0, Duplicate(0.1)),
            (1.5, ClockSkew("c", 1.05)),
            (2.0, Pause("d")),
            (4.0, Wake("d")),
            (5.0, Crash("b")),
            (9.0, Restart("b")),
            (9.5, Restart("f")),
            (15.0, Cut(("a", "b"), ("c", "d", "e"))),
            (16.0, Cut(("f",), ("c",), one_way=True)),
            (45.0, Heal()),
            (46.0, Leave("e")),
        ),
    )
