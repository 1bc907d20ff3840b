"""Lease in a PostgreSQL database, for nodes of several hosts."""

from __future__ import annotations

import secrets
from typing import Final

import psycopg
from psycopg import sql

from casty.errors import JournalUnavailable, LeaseError
from casty.lease import LeaseClaim
from casty.persistence.arguments import check_text
from casty.persistence.postgres.connections import Connector, JournalConnection
from casty.persistence.postgres.steps import LOCK_CLASS, SCHEMA_LENGTH_MAX

LOST_MAX: Final = 65_536
"""Runs remembered as lost. The oldest go first: hundreds of partitions later they run no more."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS lease_identity (only_row integer PRIMARY KEY CHECK (only_row = 1), id text NOT NULL);
CREATE TABLE IF NOT EXISTS lease_lost (
    serial bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cluster text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL, UNIQUE (cluster, run)
);
"""


class PostgresLease:
    """A `casty.Lease` in a PostgreSQL database, for nodes on several hosts.

    >>> from casty import ClusterSettings
    >>> from casty.persistence.postgres import PostgresLease
    >>> lease = PostgresLease("postgresql://shop:secret@db.example/shop")
    >>> settings = ClusterSettings(downing="lease_majority", lease=lease)

    All nodes name the same database, and the first one makes the two tables. A claim is one transaction by a
    connection of its own: claims are years apart, and a partition may have cut an older connection. The database
    may be the one of a `PostgresJournal`, and in the same schema.

    Parameters:
        dsn: Connection string or URI, as psql takes it, the same database for all nodes.
        schema: PostgreSQL's schema of the tables.

    Raises:
        ConfigError: The connection string cannot be read.
        ValueError: The schema has no name.
    """

    def __init__(self, dsn: str, *, schema: str = "casty") -> None:
        check_text("schema", schema, SCHEMA_LENGTH_MAX)
        self._connector = Connector(dsn, schema)

    async def identify(self) -> str:
        """Read the random id in the database, made if it is not there.

        Returns:
            The id, 16 characters.

        Raises:
            LeaseError: The database cannot be reached, or the tables cannot be made.
        """
        try:
            async with await self._connector.connect() as connection:
                return await self._identify(connection)
        except (psycopg.Error, JournalUnavailable) as error:
            raise self._failed(error) from error

    async def acquire(self, claim: LeaseClaim) -> bool:
        """Claim the right to go on without the others, in one transaction.

        Parameters:
            claim: The claiming side, and the members it has lost.

        Returns:
            Whether the claim is granted: no member of its side has lost an earlier one.

        Raises:
            LeaseError: The database cannot be reached, or another claim held it for 10 s; nothing is granted.
        """
        try:
            async with await self._connector.connect() as connection:
                await self._identify(connection)
                async with connection.transaction():
                    return await _acquire(connection, claim)
        except (psycopg.Error, JournalUnavailable) as error:
            raise self._failed(error) from error

    async def _identify(self, connection: JournalConnection) -> str:
        if not await _has_tables(connection):
            async with connection.transaction():
                schema = sql.Identifier(self._connector.schema)
                lock = "SELECT pg_advisory_xact_lock(%s, hashtext(%s))"
                await connection.execute(lock, (LOCK_CLASS, self._connector.schema))
                await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
                await connection.execute(TABLES.encode())
                made = "INSERT INTO lease_identity VALUES (1, %s) ON CONFLICT DO NOTHING"
                await connection.execute(made, (secrets.token_hex(8),))
        cursor = await connection.execute("SELECT id FROM lease_identity")
        row = await cursor.fetchone()
        if row is None:
            raise LeaseError(f"the lease at {self._connector.place} has lost its identity: restore its tables")
        return str(row[0])

    def _failed(self, error: Exception) -> LeaseError:
        return LeaseError(f"the lease at {self._connector.place} cannot be used: {str(error).strip()}")

    def __repr__(self) -> str:
        return f"<PostgresLease {self._connector.place} schema={self._connector.schema}>"


async def _has_tables(connection: JournalConnection) -> bool:
    cursor = await connection.execute(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = current_schema() AND c.relname = 'lease_lost'"
    )
    return await cursor.fetchone() == (1,)


async def _acquire(connection: JournalConnection, claim: LeaseClaim) -> bool:
    # one claim after the other: two sides may name none in common, and each only what the other one is
    await connection.execute("LOCK TABLE lease_lost IN SHARE ROW EXCLUSIVE MODE")
    cursor = await connection.execute(
        "SELECT count(*) FROM lease_lost WHERE cluster = %s AND run = ANY (%s)", (claim.cluster, sorted(claim.side))
    )
    if await cursor.fetchone() != (0,):
        return False
    await connection.execute(
        "INSERT INTO lease_lost (cluster, run) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
        (claim.cluster, sorted(claim.others)),
    )
    await connection.execute(
        "DELETE FROM lease_lost WHERE serial <= (SELECT max(serial) FROM lease_lost) - %s", (LOST_MAX,)
    )
    return True
