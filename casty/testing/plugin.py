"""The pytest plugin, loaded where casty is installed: fixtures for tests that pytest-trio runs.

Needs neither pytest-trio nor anyio's plugin, as long as no test asks for a fixture. Under anyio's
plugin a fixture that yields a system could hang when something crashes in it: a test there enters
`casty.testing.system_with_probes` itself. ``-p no:casty`` turns the plugin off.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from casty import ActorSystem
from casty.testing.harness import ProbeFactory

NEEDS_PYTEST_TRIO = (
    "the fixture actor_system is for tests that pytest-trio runs (mark them with pytest.mark.trio, or set trio_mode); "
    "elsewhere write `async with casty.testing.system_with_probes() as (system, probes):` in the test"
)


@pytest.fixture
async def actor_system(request: pytest.FixtureRequest) -> AsyncGenerator[ActorSystem]:
    """An actor system named ``test``, running for the time of one test."""
    if request.node.get_closest_marker("trio") is None:
        pytest.fail(NEEDS_PYTEST_TRIO, pytrace=False)
    async with ActorSystem("test") as system:
        yield system


@pytest.fixture
def probe_factory(actor_system: ActorSystem) -> ProbeFactory:
    """Makes probes in ``actor_system``: ``probe = probe_factory(int)`` is a ``TestProbe[int]``."""
    return ProbeFactory(actor_system)
