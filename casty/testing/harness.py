"""A system for the time of one test, with probes: for every way to run async tests on Trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio.testing

from casty import ActorSystem, SystemConfig
from casty.testing.leaks import no_leaks
from casty.testing.probe import TestProbe

M = TypeVar("M")


class ProbeFactory:
    """Makes probes in one system: ``probe = probes(int)`` is a ``TestProbe[int]``.

    Parameters:
        system: Where the probes live.
    """

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    def __call__(self, message_type: type[M] | None = None, *, name: str = "") -> TestProbe[M]:
        """Make a probe.

        Parameters:
            message_type: Type of its messages; None takes what the annotation on the left says.
            name: Name of its actor; "" makes one up.

        Returns:
            The probe.
        """
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

    Parameters:
        name: Name of the system.
        config: Settings of the system.

    Yields:
        The running system, and what makes probes in it.

    Raises:
        AssertionError: At the end: something was left behind.
    """
    async with no_leaks(), ActorSystem(name, config=config) as system:
        yield system, ProbeFactory(system)


async def beside(system: ActorSystem) -> Callable[[], Awaitable[None]]:
    """Run a system in a task of its own; return the function to end it, through which errors of its block come.

    For a fixture that is no task: anyio's plugin runs fixtures and tests in one task, step by step, where
    a nursery that a fixture keeps open while a test runs would, when it is cancelled, cancel the runner.
    """
    hosted = _Hosted(system)
    trio.lowlevel.spawn_system_task(hosted.run, name=f"{system.name} (fixture)")
    await hosted.entered.wait()
    return hosted.end


class _Hosted:
    """A system in a system task, which must not raise: that would end the Trio run."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._leaving = trio.Event()
        self._ended = trio.Event()
        self._error: BaseException | None = None
        self.entered = trio.Event()

    async def run(self) -> None:
        try:
            async with self._system:
                self.entered.set()
                await self._leaving.wait()
        except trio.Cancelled:
            raise
        except BaseException as error:  # whatever it is, `end` raises it
            self._error = error
        finally:
            self.entered.set()
            self._ended.set()

    async def end(self) -> None:
        """Leave the block of the system."""
        self._leaving.set()
        await self._ended.wait()
        if self._error is not None:
            raise self._error


def autojump_backend() -> tuple[str, dict[str, object]]:
    """Make what an ``anyio_backend`` fixture returns, to run tests on Trio without waiting for time.

    The clock jumps to the next deadline whenever all tasks wait. Make a new one for each test.

    Returns:
        The name of the backend and its options.
    """
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
