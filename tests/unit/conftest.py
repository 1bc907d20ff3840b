"""A CA that tests of several rooms issue certificates with."""

from __future__ import annotations

import pytest
from helpers.certificates import TestCa


@pytest.fixture(scope="session")
def ca() -> TestCa:
    return TestCa.make()
