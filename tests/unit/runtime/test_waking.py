"""One outcome wakes every sleeper that is told nothing but to go on."""

from __future__ import annotations

import trio
import trio.testing

from casty.runtime.waking import WOKEN


async def test_any_number_of_sleeps_end_with_it(nursery: trio.Nursery) -> None:
    sleepers: list[trio.lowlevel.Task] = []
    results: list[object] = []

    async def sleep() -> None:
        for _ in range(3):
            sleepers.append(trio.lowlevel.current_task())
            results.append(await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED))

    nursery.start_soon(sleep)
    nursery.start_soon(sleep)
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()
        woken, sleepers[:] = sleepers[:], []
        for task in woken:
            trio.lowlevel.reschedule(task, WOKEN)
    await trio.testing.wait_all_tasks_blocked()
    assert results == [None] * 6
    assert repr(WOKEN) == "<WOKEN>"
