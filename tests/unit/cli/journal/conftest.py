"""Journals for the tests of ``casty journal``."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from helpers.travelled import fill_carts

from casty import SqliteJournal


@pytest.fixture
def carts(tmp_path: Path) -> Path:
    """Return a file with two carts of four events."""
    trio.run(fill_carts, SqliteJournal(tmp_path / "shop.db"))
    return tmp_path / "shop.db"
