"""A system for the time of one test, with probes: for every way to run async tests on Trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

import trio.testing

from casty import ActorSystem, SystemConfig
from casty.testing.leaks import no_leaks
from casty.testing.probe import TestProbe

M = TypeVar("M")


class ProbeFactory:
    """Makes probes in one system: ``probe = probes(int)`` is a ``TestProbe[int]``."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    def __call__(self, message_type: type[M] | None = None, *, name: str = "") -> TestProbe[M]:
        """Return a new probe; without ``message_type`` it takes what its annotation on the left says."""
        return TestProbe(self._system, message_type, name=name)


@asynccontextmanager
async def system_with_probes(
    name: str = "test", *, config: SystemConfig | None = None
) -> AsyncGenerator[tuple[ActorSystem, ProbeFactory]]:
    """Run a system for the time of a block, and check that the block leaves nothing behind.

    >>> from casty.testing import system_with_probes
    >>> async with system_with_probes() as (tested, probes):
    ...     probe = probes(str)
    ...     probe.ref.tell("hello")
    ...     await probe.expect("hello")
    'hello'
    """
    async with no_leaks(), ActorSystem(name, config=config) as system:
        yield system, ProbeFactory(system)


def autojump_backend() -> tuple[str, dict[str, object]]:
    """Return what an ``anyio_backend`` fixture returns, to run tests on Trio without waiting for time.

    The clock jumps to the next deadline whenever all tasks wait. Make a new one for each test.
    """
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
