"""A journal in PostgreSQL, opened for reading: the same rows as in a file, and no change."""

from __future__ import annotations

import psycopg
import pytest
import trio

from casty.errors import ConfigError, JournalUnavailable
from casty.journal import Claim, Record
from casty.persistence.journal_view import IdEntry
from casty.persistence.postgres import PostgresJournal
from casty.persistence.postgres.connections import Connector
from casty.persistence.postgres.postgres_view import open_server_view

EVENT = Record("test.Happened", 1, b"\x80")


async def test_ids_and_events_are_read_beside_a_writer_whose_claim_stays(dsn: str) -> None:
    journal, claims = PostgresJournal(dsn), dict[str, Claim]()
    async with journal.open():
        for name in ("cart/1", "cart/é", "till"):
            [claims[name]] = await journal.claim([f"of {name}"])
            await journal.append(claims[name], name, 0, [EVENT] * 3)
        await journal.save(claims["till"], "till", 2, EVENT)
        await journal.forget(claims["till"], "till", 2)
        async with open_server_view(dsn, "casty") as view:
            assert [one.persistence_id async for one in view.entries("cart")] == ["cart/1", "cart/é"]
            till = await view.entry("till")
            assert till is not None
            assert till == IdEntry("till", "of till", 1, 3, till.written_at, 1, 0)
            assert [one.seq async for one in view.read("till")] == [3]
            assert [one.seq for one in await view.load("till")] == [2]
            assert not await view.is_in_use()
            await journal.append(claims["till"], "till", 3, [EVENT])
            assert await view.is_in_use()
            assert [one.seq async for one in view.read("till")] == [3, 4]


async def test_nothing_is_made_where_there_is_no_journal_and_the_server_refuses_changes(dsn: str) -> None:
    with pytest.raises(ConfigError, match="there is no journal in schema 'other' of this database"):
        async with open_server_view(dsn, "other"):
            pass
    with trio.fail_after(10):
        connection = await Connector(dsn, "other", is_reader=True).connect()
        try:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await connection.execute("CREATE SCHEMA other")
        finally:
            await connection.close()


async def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        async with open_server_view("host=127.0.0.1 port=1 dbname=x", "casty"):
            pass
