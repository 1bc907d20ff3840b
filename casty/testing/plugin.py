"""The pytest plugin, loaded where casty is installed: fixtures for tests that run on Trio.

They work with pytest-trio and with anyio's plugin, and need neither as long as no test asks for them.
``-p no:casty`` turns the plugin off.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import trio

from casty import ActorSystem
from casty.testing.harness import ProbeFactory, beside

NEEDS_TRIO = (
    "the fixture actor_system is for tests on Trio: with anyio's plugin, write a fixture anyio_backend that returns "
    "'trio', or casty.testing.autojump_backend(); with pytest-trio, mark the test with pytest.mark.trio"
)


@pytest.fixture
async def actor_system(request: pytest.FixtureRequest) -> AsyncGenerator[ActorSystem]:
    """An actor system named ``test``, running for the time of one test.

    What makes the system fail ends a test of pytest-trio at once. With anyio's plugin the test goes on
    without the system, and the failure is the error of its teardown.
    """
    if not trio.lowlevel.in_trio_run():
        pytest.fail(NEEDS_TRIO, pytrace=False)
    system = ActorSystem("test")
    if request.node.get_closest_marker("trio") is not None:
        async with system:
            yield system
    else:
        end = await beside(system)
        try:
            yield system
        finally:
            await end()


@pytest.fixture
def probe_factory(actor_system: ActorSystem) -> ProbeFactory:
    """Makes probes in ``actor_system``: ``probe = probe_factory(int)`` is a ``TestProbe[int]``."""
    return ProbeFactory(actor_system)
