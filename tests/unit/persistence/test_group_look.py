"""Looks at histories in PostgreSQL are grouped: who shares one, who fails with it, and who is given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from casty import JournalUnavailable, StoredHistory

pytest.importorskip("psycopg")
from psycopg.errors import DataCorrupted

from casty.persistence.postgres.group_look import IDS_MAX, GroupLook
from casty.persistence.postgres.packed_rows import texts


class Server:
    """Answers a statement once it is let go; each step is the answer to one."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.gate = trio.CapacityLimiter(1)
        self.answer: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    async def select(self, statement: str, *values: object, binary: bool = False) -> Sequence[tuple[int, ...]]:
        (ids,) = values
        assert isinstance(ids, bytes) and binary
        self.asked.append(bytes(ids))
        async with self.gate:
            await self.answer()
        return []


@asynccontextmanager
async def running(server: Server) -> AsyncGenerator[GroupLook]:
    looks = GroupLook(server.select)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looks.run)
        yield looks
        looks.close()


async def outcomes(looks: GroupLook, server: Server, names: Sequence[str]) -> Counter[str]:
    """Look at all ids while the first look is held up; return how often each outcome was."""
    found: Counter[str] = Counter()

    async def look(name: str) -> None:
        try:
            found[str(await looks.read(name))] += 1
        except JournalUnavailable as error:
            found[f"unavailable: {error}"] += 1

    async with trio.open_nursery() as nursery:
        async with server.gate:
            nursery.start_soon(look, names[0])
            await wait_all_tasks_blocked()
            for name in names[1:]:
                nursery.start_soon(look, name)
                await wait_all_tasks_blocked()
    return found


async def test_looks_that_wait_for_one_share_the_next() -> None:
    server, names = Server(), [f"a{number}" for number in range(2 * IDS_MAX)]
    async with running(server) as looks:
        assert await outcomes(looks, server, names) == {str(StoredHistory()): len(names)}
    first, second, third = ([names[0]], names[1 : IDS_MAX + 1], names[IDS_MAX + 1 :])
    assert server.asked == [bytes(texts([name.encode() for name in ids])) for ids in (first, second, third)]


async def test_a_look_that_fails_fails_all_in_it_and_no_other() -> None:
    server = Server()
    failures = iter([None, JournalUnavailable("it is gone"), None])

    async def answer() -> None:
        await trio.lowlevel.checkpoint()
        if (failure := next(failures)) is not None:
            raise failure

    server.answer = answer
    async with running(server) as looks:
        found = await outcomes(looks, server, ["a", "b", "c"])
        assert found == {str(StoredHistory()): 1, "unavailable: it is gone": 2}
        assert await looks.read("b") == StoredHistory()


async def test_of_a_look_at_damaged_rows_each_finds_out_alone_whose_they_are() -> None:
    server = Server()

    async def answer() -> None:
        await trio.lowlevel.checkpoint()
        raise DataCorrupted("a page is no page")

    server.answer = answer
    async with running(server) as looks:
        assert await outcomes(looks, server, ["a", "b", "c"]) == {"None": 3}


async def test_nobody_asks_for_a_caller_that_has_given_up() -> None:
    server = Server()
    async with running(server) as looks, trio.open_nursery() as nursery:
        async with server.gate:
            nursery.start_soon(looks.read, "a")
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as impatient:
                impatient.start_soon(looks.read, "b")
                await wait_all_tasks_blocked()
                impatient.cancel_scope.cancel()
            nursery.start_soon(looks.read, "c")
            await wait_all_tasks_blocked()
    assert server.asked == [bytes(texts([b"a"])), bytes(texts([b"c"]))]


async def test_what_is_not_read_by_the_end_is_refused() -> None:
    server = Server()
    looks = GroupLook(server.select)
    failures: list[str] = []

    async def look(name: str) -> None:
        with pytest.raises(JournalUnavailable) as caught:
            await looks.read(name)
        failures.append(str(caught.value))

    async with trio.open_nursery() as callers, server.gate:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(looks.run)
            callers.start_soon(look, "a")
            await wait_all_tasks_blocked()
            callers.start_soon(look, "b")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert failures == ["the journal was closed before this was read"] * 2
        await look("c")
        assert failures[2] == "the journal is closed, or is about to close"
