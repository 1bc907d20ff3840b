"""Real processes for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `processes`, which the benchmarks use too

from namespaces import Lan, lan, why_not  # found through the line above, and so is the next one
from processes import Rig, open_rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Processes that end with the test."""
    async with open_rig() as rig:
        yield rig


@pytest.fixture
def wires() -> Iterator[Lan]:
    """Five hosts, or a skip that says what this machine lacks."""
    if why_not():
        pytest.skip(why_not())
    with lan("test") as made:
        yield made
