"""Writes in PostgreSQL share a commit: nobody waits for an outcome once the journal is closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from outcome import Error, Outcome
from trio.testing import wait_all_tasks_blocked

from casty import Claim, JournalError, JournalUnavailable, JournalUncertain

pytest.importorskip("psycopg")

from casty.persistence.postgres.group_commit import WAITING_MAX, GroupCommit, Write


class Busy:
    """Pool without a free connection."""

    is_protected = False
    """Whether Ctrl-C leaves who asks for one alone."""

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[None]:
        self.is_protected = trio.lowlevel.currently_ki_protected()
        await trio.sleep_forever()
        yield


async def test_writes_under_way_and_in_wait_are_told_of_the_end(autojump_clock: trio.testing.MockClock) -> None:
    group = GroupCommit("write_events", cast(Any, Busy()), cast(Any, None))
    claim, outcomes = Claim("s", 1, b"token"), dict[str, type[JournalError]]()

    async def write(name: str) -> None:
        with pytest.raises(JournalError) as caught:
            await group.write(Write(claim, name, 0, [], may_bind=True))
        outcomes[name] = type(caught.value)

    with trio.fail_after(5):
        async with trio.open_nursery() as callers:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(group.run)
                for name in ("under way", "in wait"):
                    callers.start_soon(write, name)
                    await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            await write("too late")
    assert outcomes == {
        "under way": JournalUncertain,
        "in wait": JournalUnavailable,
        "too late": JournalUnavailable,
    }


async def test_a_caller_that_gave_up_is_not_woken(autojump_clock: trio.testing.MockClock) -> None:
    group = GroupCommit("write_events", cast(Any, Busy()), cast(Any, None))
    write = Write(Claim("s", 1, b"token"), "given up", 0, [], may_bind=True)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.run)
            with trio.move_on_after(1) as scope:
                await group.write(write)
            assert scope.cancelled_caught
            assert not write.is_over
            nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()
    assert isinstance(write.error, JournalUncertain)


async def test_a_caller_cancelled_before_leaves_no_write(autojump_clock: trio.testing.MockClock) -> None:
    group = GroupCommit("write_events", cast(Any, Busy()), cast(Any, None))
    write = Write(Claim("s", 1, b"token"), "never", 0, [], may_bind=True)
    with trio.CancelScope() as scope:
        scope.cancel()
        await group.write(write)
    assert scope.cancelled_caught
    group.close()
    with trio.fail_after(5):
        await group.run()  # ends: nothing was left in it
    assert not write.is_over


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_a_begun_write_is_told_of_its_outcome_once_unless_given_up(
    autojump_clock: trio.testing.MockClock, is_given_up: bool
) -> None:
    group = GroupCommit("write_events", cast(Any, Busy()), cast(Any, None))
    told: list[Outcome[None]] = []
    write = Write(Claim("s", 1, b"token"), "begun", 0, [], may_bind=True, done=told.append)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.run)
            assert group.begin(write)
            await wait_all_tasks_blocked()
            assert not told
            if is_given_up:
                write.give_up()
            nursery.cancel_scope.cancel()
    assert write.is_over
    assert [type(found) for found in told] == ([] if is_given_up else [Error])
    for found in told:
        with pytest.raises(JournalUncertain):
            found.unwrap()


async def test_no_write_is_begun_without_room_or_behind_the_end() -> None:
    group = GroupCommit("write_events", cast(Any, Busy()), cast(Any, None))
    told: list[Outcome[None]] = []

    def write() -> Write:
        return Write(Claim("s", 1, b"token"), "begun", 0, [], may_bind=True, done=told.append)

    assert [group.begin(write()) for _ in range(WAITING_MAX + 1)] == [True] * WAITING_MAX + [False]
    group.close()
    with pytest.raises(JournalUnavailable):
        group.begin(write())
    assert not told


async def test_ctrl_c_leaves_the_task_of_the_commits_alone() -> None:
    pool = Busy()
    group = GroupCommit("write_events", cast(Any, pool), cast(Any, None))
    assert group.begin(Write(Claim("s", 1, b"token"), "begun", 0, [], may_bind=True))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert pool.is_protected
