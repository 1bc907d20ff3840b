"""psycopg driven by Trio: what a cancellation leaves behind, and what several tasks do to one another."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from postgres_server import PostgresServer
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from casty.persistence.postgres import trio_connection
from casty.persistence.postgres.trio_connection import TrioConnection

SOON = 1.5
"""Seconds after which a cancellation has not reached the server: its statement would take longer."""


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[TrioConnection[Any]]:
    async with await TrioConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def value(connection: TrioConnection[Any], statement: str, *values: object) -> Any:
    cursor = await connection.execute(statement, values or None)
    (found,) = await cursor.fetchone()
    return found


async def table(connection: TrioConnection[Any]) -> None:
    await connection.execute("CREATE TABLE numbers (number integer PRIMARY KEY)")


async def sessions(dsn: str) -> int:
    """Return how many sessions of a database there are, but for the one that asks."""
    async with connected(dsn) as connection:
        return await value(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )


async def gone(dsn: str) -> None:
    """Wait until no session is left."""
    with trio.fail_after(10):
        while await sessions(dsn):  # noqa: ASYNC110  # it happens in the server
            await trio.sleep(0.02)


async def test_rows_copies_notifications_and_pipelines_are_those_of_psycopg(dsn: str) -> None:
    async with connected(dsn) as connection:
        await table(connection)
        async with connection.cursor() as cursor, cursor.copy("COPY numbers FROM STDIN") as copy:
            for number in range(1000):
                await copy.write_row((number,))
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", (number,)) for number in range(100)]
            found = [await cursor.fetchone() for cursor in cursors]
        assert found == [(number,) for number in range(100)]
        async with connection.cursor(row_factory=dict_row) as named:
            await named.execute("SELECT count(*) AS many FROM numbers")
            assert await named.fetchone() == {"many": 1000}
        streamed = [row async for row in connection.cursor().stream("SELECT number FROM numbers ORDER BY 1")]
        assert streamed == [(number,) for number in range(1000)]
        await connection.execute("LISTEN news")
        async with connected(dsn) as other:
            await other.execute("NOTIFY news, 'told'")
        with trio.fail_after(10):
            assert [notice.payload async for notice in connection.notifies(stop_after=1)] == ["told"]


async def test_a_large_statement_and_a_large_answer_pass_each_other(dsn: str) -> None:
    text = "x" * 20_000_000  # more than any buffer of a socket
    async with connected(dsn) as connection:
        assert await value(connection, "SELECT %s::text || 'y'", text) == text + "y"


async def test_a_cancelled_statement_ends_at_the_server_and_the_connection_goes_on(dsn: str) -> None:
    async with connected(dsn) as connection:
        begun = time.monotonic()
        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT pg_sleep(3)")
        assert scope.cancelled_caught
        assert time.monotonic() - begun < SOON
        assert await value(connection, "SELECT 1") == 1


async def test_a_cancelled_statement_ends_with_an_old_libpq_too(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(psycopg.capabilities), "has_cancel_safe", lambda _, check=False: False)
    await test_a_cancelled_statement_ends_at_the_server_and_the_connection_goes_on(dsn)


@pytest.mark.parametrize("moment", ["in the body", "in a statement", "before the end"])
async def test_a_cancelled_transaction_is_rolled_back_and_the_connection_goes_on(dsn: str, moment: str) -> None:
    async with connected(dsn) as connection, connected(dsn) as other:
        await table(connection)
        with trio.CancelScope() as scope:
            async with connection.transaction():
                await connection.execute("INSERT INTO numbers VALUES (1)")
                if moment == "in a statement":
                    scope.deadline = trio.current_time() + 0.1
                    await connection.execute("SELECT pg_sleep(3)")
                scope.cancel()
                if moment == "in the body":
                    await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
        with trio.fail_after(SOON):
            await other.execute("INSERT INTO numbers VALUES (1)")  # nobody holds it
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (2)")
        assert await value(other, "SELECT count(*) FROM numbers") == 2


async def test_a_transaction_cancelled_at_its_begin_leaves_none_open(dsn: str) -> None:
    async with connected(dsn) as connection:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with connection.transaction():
                raise AssertionError("it was entered")
        assert scope.cancelled_caught
        assert connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE


async def test_a_savepoint_that_is_cancelled_leaves_what_came_before(dsn: str) -> None:
    async with connected(dsn) as connection:
        await table(connection)
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (1)")
            with trio.CancelScope() as scope:
                async with connection.transaction():
                    await connection.execute("INSERT INTO numbers VALUES (2)")
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert await value(connection, "SELECT array_agg(number) FROM numbers") == [1]


async def test_errors_roll_back_and_force_rollback_does(dsn: str) -> None:
    async with connected(dsn) as connection:
        await table(connection)
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("INSERT INTO numbers VALUES (1)")
                raise ZeroDivisionError
        async with connection.transaction(force_rollback=True):
            await connection.execute("INSERT INTO numbers VALUES (2)")
        async with connection.transaction() as block:
            await connection.execute("INSERT INTO numbers VALUES (3)")
            raise psycopg.Rollback(block)
        assert not connection.closed
        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def test_a_transaction_whose_server_does_not_answer_is_closed(
    dsn: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio_connection, "CLEANUP_TIMEOUT", 0.2)
    connection = await TrioConnection.connect(dsn, autocommit=True)
    await table(connection)
    with trio.CancelScope() as scope:
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (1)")
            with postgres.frozen(connection.info.backend_pid):
                scope.deadline = trio.current_time() + 0.1
                await connection.execute("SELECT 1")
    assert scope.cancelled_caught
    assert connection.closed
    await gone(dsn)
    async with connected(dsn) as other:
        assert await value(other, "SELECT count(*) FROM numbers") == 0


@pytest.mark.parametrize("moment", ["in the body", "in a statement"])
async def test_a_cancelled_pipeline_gives_its_locks_back(dsn: str, moment: str) -> None:
    async with connected(dsn) as other:
        await table(other)
        await other.execute("INSERT INTO numbers VALUES (1)")
        connection = await TrioConnection.connect(dsn, autocommit=True)
        with trio.move_on_after(0.2) as scope:
            async with connection.pipeline():
                await connection.execute("SELECT * FROM numbers FOR UPDATE")
                cursor = await connection.execute("SELECT pg_sleep(20)")
                if moment == "in the body":
                    await trio.sleep_forever()
                await cursor.fetchone()
        assert scope.cancelled_caught
        assert connection.closed
        with trio.fail_after(10):
            await other.execute("UPDATE numbers SET number = 2")


async def test_who_waits_for_a_connection_that_is_closed_is_told(dsn: str) -> None:
    connection = await TrioConnection.connect(dsn, autocommit=True)

    async def wait() -> None:
        with pytest.raises(psycopg.OperationalError, match="closed meanwhile"):
            await connection.execute("SELECT pg_sleep(20)")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.1)
            await connection.close()
    await connection.close()  # the second time too


async def test_every_call_is_a_checkpoint(dsn: str) -> None:
    async with connected(dsn) as connection:
        cursor = await connection.execute("SELECT generate_series(1, 3)")
        for call in (connection.commit, connection.rollback, lambda: connection.set_autocommit(True)):
            with trio.testing.assert_checkpoints():
                await call()
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
        assert await cursor.fetchall() == [(1,), (2,), (3,)]


async def test_tasks_share_a_connection_one_after_the_other(dsn: str) -> None:
    found: list[int] = []
    async with connected(dsn) as connection:

        async def ask(number: int) -> None:
            found.append(await value(connection, "SELECT %s::int", number))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
    assert sorted(found) == list(range(20))


async def test_a_block_that_is_cancelled_closes_its_connection(dsn: str) -> None:
    with trio.CancelScope() as scope:
        async with connected(dsn) as connection:
            await connection.set_autocommit(False)
            await connection.execute("SELECT 1")
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert connection.closed
    await gone(dsn)


async def test_a_timeout_is_refused_and_says_what_to_use(dsn: str) -> None:
    async with connected(dsn) as connection:
        with pytest.raises(TypeError, match="move_on_after"):
            async for _ in connection.notifies(timeout=0.1):
                pass
        assert await value(connection, "SELECT 1") == 1


async def test_connecting_names_each_attempt_and_can_be_cancelled(postgres: PostgresServer) -> None:
    nowhere = f"host=127.0.0.1,localhost port={postgres.port + 1},{postgres.port + 1} dbname=x user=y"
    with pytest.raises(psycopg.OperationalError, match=r"127\.0\.0\.1.*[Cc]onnection refused"):
        await TrioConnection.connect(nowhere)
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")  # takes connections and says nothing
    silent = f"host=127.0.0.1 port={listener[0].socket.getsockname()[1]} dbname=x user=y"
    with trio.move_on_after(0.1) as scope:
        await TrioConnection.connect(silent)
    assert scope.cancelled_caught
    with pytest.raises(psycopg.OperationalError, match="no connection within 2 s"):
        await TrioConnection.connect(silent, connect_timeout=2)
    await listener[0].aclose()
    over_tcp = f"host=localhost port={postgres.port} dbname=postgres user=postgres"
    async with await TrioConnection.connect(over_tcp) as connection:
        assert await value(connection, "SELECT 1") == 1
