"""Counters as rows of PostgreSQL: `UPDATE ... RETURNING` by psycopg or asyncpg, over a pool or by workers.

    counters_update.py psycopg|asyncpg pool|workers DSN SECONDS

Both have eight connections. Of a pool each request takes one and gives it back. A worker keeps its connection, takes
requests from a queue in their order, and answers each by a future.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import psycopg
from asking import ASKERS, COUNTERS, Askers, argument
from psycopg.conninfo import conninfo_to_dict

CONNECTIONS = 8
TABLE = "CREATE TABLE IF NOT EXISTS counters (id integer PRIMARY KEY, value bigint NOT NULL)"
ROWS = f"INSERT INTO counters SELECT generate_series(0, {COUNTERS - 1}), 0 ON CONFLICT DO NOTHING"
UPDATE = "UPDATE counters SET value = value + 1 WHERE id = {} RETURNING value"

Update = Callable[[int], Awaitable[object]]
"""One request over a connection."""


async def by_psycopg(dsn: str, stack: AsyncExitStack) -> Update:
    """Return the requests of a new connection of psycopg."""
    connection = await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
    statement = UPDATE.format("%s")

    async def update(number: int) -> object:
        cursor = await connection.execute(statement, (number,), prepare=True, binary=True)
        return await cursor.fetchone()

    return update


async def by_asyncpg(dsn: str, stack: AsyncExitStack) -> Update:
    """Return the requests of a new connection of asyncpg."""
    parts = conninfo_to_dict(dsn)
    connection = await asyncpg.connect(
        host=parts["host"], port=int(str(parts["port"])), user=parts["user"], database=parts["dbname"]
    )
    stack.push_async_callback(connection.close)
    prepared = await connection.prepare(UPDATE.format("$1"))

    async def update(number: int) -> object:
        return await prepared.fetchval(number)

    return update


async def pooled(updates: list[Update], _: AsyncExitStack) -> Update:
    """Return requests that take a connection each, first come, first served.

    A connection is handed to the first of those in wait: from a queue, who has just put it there would take it again.
    """
    free = deque(updates)
    waiting: deque[asyncio.Future[Update]] = deque()
    loop = asyncio.get_running_loop()

    async def request(number: int) -> object:
        if free:
            update = free.popleft()
        else:
            turn: asyncio.Future[Update] = loop.create_future()
            waiting.append(turn)
            update = await turn
        try:
            return await update(number)
        finally:
            if waiting:
                waiting.popleft().set_result(update)
            else:
                free.append(update)

    return request


async def worked(updates: list[Update], stack: AsyncExitStack) -> Update:
    """Return requests that are made by workers, in their order."""
    requests: asyncio.Queue[tuple[int, asyncio.Future[object]]] = asyncio.Queue()

    async def work(update: Update) -> None:
        while True:
            number, answer = await requests.get()
            answer.set_result(await update(number))

    tasks = [asyncio.create_task(work(update)) for update in updates]
    for task in tasks:
        stack.callback(task.cancel)
    loop = asyncio.get_running_loop()

    async def request(number: int) -> object:
        answer: asyncio.Future[object] = loop.create_future()
        requests.put_nowait((number, answer))
        return await answer

    return request


async def main() -> None:
    """Be the program."""
    connect = by_psycopg if argument(1) == "psycopg" else by_asyncpg
    serve = pooled if argument(2) == "pool" else worked
    dsn = argument(3)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(TABLE)
        await connection.execute(ROWS)
    async with AsyncExitStack() as stack:
        updates = [await connect(dsn, stack) for _ in range(CONNECTIONS)]
        askers = Askers(await serve(updates, stack), float(argument(4)))
        askers.begin()
        await asyncio.gather(*(askers.work() for _ in range(ASKERS)))
        print(askers.figures(), flush=True)


asyncio.run(main())
