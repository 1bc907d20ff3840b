"""A journal in PostgreSQL, opened for reading: nothing is claimed or made, and a standby will do.

Owns the sign of others that write. It does not know the statements.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
import trio

from casty.errors import JournalUnavailable
from casty.persistence.arguments import check_text
from casty.persistence.journal_view import JournalView
from casty.persistence.postgres.connections import ConnectionPool, Connector
from casty.persistence.postgres.frozen_holders import FrozenHolders
from casty.persistence.postgres.postgres_store import PostgresStore
from casty.persistence.postgres.steps import SCHEMA_LENGTH_MAX, check_made_tables

OTHERS: Final = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'events'::regclass AND pid <> pg_backend_pid() "
    "AND mode = 'RowExclusiveLock'), (SELECT last_value FROM positions)"
)
"""Writers of this moment, and the newest position."""


@dataclass(slots=True)
class OtherWriters:
    """Sight of others that write."""

    position: int | None = None
    are_seen: bool = False

    async def look(self, pool: ConnectionPool) -> bool:
        """Return whether somebody writes at this moment, or has written since the first look."""
        async with pool.use() as connection:
            cursor = await connection.execute(OTHERS)
            is_writing, position = await cursor.fetchone() or (False, self.position)
            self.are_seen = self.are_seen or is_writing or self.position not in (None, position)
            self.position = position
        return self.are_seen


@asynccontextmanager
async def open_server_view(dsn: str, schema: str) -> AsyncGenerator[JournalView]:
    """Open a journal for looking at, for the time of a block.

    Raises ConfigError where there is none, and JournalUnavailable where it cannot be read.
    """
    check_text("schema", schema, SCHEMA_LENGTH_MAX)
    connector = Connector(dsn, schema, is_reader=True)
    pool, writers = ConnectionPool(connector, 1), OtherWriters()
    store = PostgresStore(pool, FrozenHolders(connector), {})
    try:
        try:
            async with pool.use() as connection:
                await check_made_tables(connection, schema)
            await writers.look(pool)
        except psycopg.Error as error:
            raise JournalUnavailable(f"{connector.place} cannot be read: {str(error).strip()}") from error
        yield JournalView(store, lambda: writers.look(pool))
    finally:
        store.is_open = False
        with trio.CancelScope(shield=True):
            await pool.close()
