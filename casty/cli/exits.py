"""Ends of the commands: exit codes, and a run that a signal ends in good order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import trio


class ExitCode(IntEnum):
    """Exit codes of ``casty`` for the shell."""

    ok = 0
    failed = 1
    """A wrong result, a cluster that could not be joined, or an actor's failure."""
    bad_input = 2
    """A bad option, file or name; one line on stderr says which."""
    downed = 3
    """The node was downed, and does not join again by itself."""
    interrupted = 130
    terminated = 143
    """SIGTERM, where it cut the work short."""


@dataclass(slots=True)
class CommandRun:
    """A run of a command, and how it ends."""

    endings: Mapping[signal.Signals, ExitCode]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ending: ExitCode = ExitCode.failed

    async def watch(self, signals: AsyncIterator[int]) -> None:
        """Cancel the run at the first signal; end the process at the second, without any clean-up."""
        async for number in signals:
            if self.scope.cancel_called:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self.ending = self.endings[signal.Signals(number)]
            self.scope.cancel()


def drop_output() -> None:
    """Write to nowhere from now on: the reader is gone, and Python would complain when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def run_until_signal(async_fn: Callable[[], Awaitable[ExitCode]], terminated: ExitCode = ExitCode.ok) -> ExitCode:
    """Return the result of ``async_fn`` or, when Ctrl-C or SIGTERM cancelled it, the code of that end.

    ``terminated`` is the code after SIGTERM: ``ok`` for a program without an end of its own.
    """
    run = CommandRun({signal.SIGINT: ExitCode.interrupted, signal.SIGTERM: terminated})
    with trio.open_signal_receiver(*run.endings) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.watch, signals)
            with run.scope:
                ending = await async_fn()
                if not run.scope.cancel_called:
                    run.ending = ending
            nursery.cancel_scope.cancel()
    return run.ending
