"""Tasks for what waits for a journal: each entity has its step, whatever becomes of the one before."""

from __future__ import annotations

import trio

from casty.cluster.sharding.pure.journal_tasks import JournalTasks


async def test_the_end_of_one_entity_cancels_no_step_of_the_next(autojump_clock):
    done: list[str] = []

    async def step(one: str) -> None:
        with trio.CancelScope(shield=one == "dropped"):  # as a thread at work for a store
            await trio.sleep(1)
        done.append(one)

    async with trio.open_nursery() as nursery:
        tasks = JournalTasks(step, 1)
        tasks.open(nursery)
        tasks.put("dropped")
        tasks.put("next")
        await trio.sleep(0.5)
        assert not tasks.drop("dropped")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert done == ["dropped", "next"]
