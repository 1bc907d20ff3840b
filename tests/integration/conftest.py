"""Real processes for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `processes`, which the benchmarks use too

from processes import Rig, open_rig  # found through the line above


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Processes that end with the test."""
    async with open_rig() as rig:
        yield rig
