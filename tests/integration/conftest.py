"""Real processes for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `processes`, which the benchmarks use too

import postgres_server  # found through the line above, and so are the next ones
from helpers.certificates import TestCa
from namespaces import Lan, lan, why_not
from postgres_server import PostgresServer
from processes import Rig, open_rig

DATABASES = count(1)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this run, or a skip that says what this machine lacks."""
    if postgres_server.why_not():
        pytest.skip(postgres_server.why_not())
    with postgres_server.postgres_server() as server:
        yield server


@pytest.fixture
def dsn(postgres: PostgresServer) -> Iterator[str]:
    """Connection string of a new, empty database."""
    name = f"test_{next(DATABASES)}"
    postgres.sql(f"CREATE DATABASE {name}")
    yield postgres.dsn(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def ca() -> TestCa:
    """A CA for nodes and strangers."""
    return TestCa.make()
