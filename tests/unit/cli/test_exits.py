"""A signal ends a command in good order, and says how."""

from __future__ import annotations

import signal

import pytest
import trio

from casty.cli.exits import ExitCode, run_until_signal


async def test_without_a_signal_the_code_is_that_of_the_run() -> None:
    async def run() -> ExitCode:
        await trio.lowlevel.checkpoint()
        return ExitCode.downed

    assert await run_until_signal(run) is ExitCode.downed


@pytest.mark.parametrize(
    ("number", "terminated", "expected"),
    [
        (signal.SIGINT, ExitCode.ok, ExitCode.interrupted),
        (signal.SIGTERM, ExitCode.ok, ExitCode.ok),
        (signal.SIGTERM, ExitCode.terminated, ExitCode.terminated),
    ],
)
async def test_a_signal_cancels_the_run_and_lets_it_clean_up(
    number: signal.Signals, terminated: ExitCode, expected: ExitCode
) -> None:
    cleaned_up = False

    async def run() -> ExitCode:
        nonlocal cleaned_up
        signal.raise_signal(number)
        try:
            await trio.sleep_forever()
        finally:
            cleaned_up = True

    assert await run_until_signal(run, terminated) is expected
    assert cleaned_up
