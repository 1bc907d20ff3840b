"""Journal in a PostgreSQL database, for the nodes of several hosts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import psycopg
import trio
from outcome import Outcome

from casty.errors import JournalUnavailable
from casty.journal import Claim, JournalRewound, Record
from casty.persistence.arguments import check_append, check_text
from casty.persistence.checked_journal import NOT_OPEN, OPEN_ALREADY, CheckedJournal, StoreCalls
from casty.persistence.postgres.connections import ConnectionPool, Connector
from casty.persistence.postgres.frozen_holders import FrozenHolders
from casty.persistence.postgres.group_commit import GroupCommit
from casty.persistence.postgres.postgres_store import PostgresStore
from casty.persistence.postgres.steps import SCHEMA_LENGTH_MAX, make_tables
from casty.runtime.journaling.append_queue import BegunAppend

CONNECTIONS_MIN: Final = 2

CLOSE_TIMEOUT: Final = 5.0
"""Seconds at the end for writes under way."""


class PostgresJournal(CheckedJournal):
    """Journal, snapshots and last values in a PostgreSQL database, shared by the nodes of several hosts.

    It needs PostgreSQL 14 or newer with UTF-8, and the extra ``postgres`` of this package. Tables are made by the first
    node. All waiting writes go into one statement (group commit), durable when PostgreSQL says so: keep its
    ``fsync`` and ``synchronous_commit`` on.

    >>> from casty.persistence.postgres import PostgresJournal
    >>> PostgresJournal("postgresql://shop:secret@db.example/shop")
    <PostgresJournal host=db.example dbname=shop user=shop schema=casty>

    Parameters:
        dsn: Connection string or URI, as psql takes it; of several hosts in it the one taking
            writes is used. A pooler between has to keep sessions apart.
        schema: PostgreSQL's schema of the tables: other ones are other journals.
        connections: Connections of this object, at least 2: one writes events, the others do all else.

    Raises:
        ConfigError: The connection string cannot be read.
        ValueError: There are fewer connections than 2, or the schema has no name.
    """

    def __init__(self, dsn: str, *, schema: str = "casty", connections: int = 4) -> None:
        if connections < CONNECTIONS_MIN:
            raise ValueError(f"connections must be at least {CONNECTIONS_MIN}, got {connections}")
        check_text("schema", schema, SCHEMA_LENGTH_MAX)
        self._schema = schema
        self._connector = Connector(dsn, schema)
        self._others = connections - 1
        self._holders = FrozenHolders(self._connector)
        self._is_open = False
        self._store: PostgresStore | None = None

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the journal for a block; leaving it waits for writes under way, at most 5 s.

        Returns:
            The block.

        Raises:
            RuntimeError: The journal is open already.
            JournalUnavailable: PostgreSQL cannot be reached, or takes no writes; the text tells the attempt.
            ConfigError: The tables are of a newer version, or the database does not store UTF-8.
        """
        return self._open()

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], None],
    ) -> BegunAppend | None:
        """Begin an append, and have its outcome told: for entities of this package, without a task for each append.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            after: Number of the last event of this id.
            records: At least one.
            done: Function of the outcome, called in Trio's thread; it must not block or raise.

        Returns:
            The append, to be given up. None where too many wait: nothing was done.

        Raises:
            ValueError: An argument is out of its bounds.
            JournalUnavailable: The journal is about to close.
            RuntimeError: The journal is not open.
        """
        check_append(claim, persistence_id, after, records)
        if self._store is None:
            raise RuntimeError(NOT_OPEN.format(self))
        return self._store.begin_append(claim, persistence_id, after, records, done)

    def on_rewound(self, tell: Callable[[JournalRewound], None]) -> None:
        """Call a function whenever PostgreSQL has another history: failed over, or restored from a base backup.

        A system does so, and publishes the event; a journal used without one is told of it here.

        Parameters:
            tell: Function of the event, in place of the one before; it must not block.
        """
        self._connector.tell = tell

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        if self._is_open:
            raise RuntimeError(OPEN_ALREADY.format(self))
        self._is_open = True
        others, own = ConnectionPool(self._connector, self._others), ConnectionPool(self._connector, 1)
        store = PostgresStore(
            others,
            self._holders,
            {
                "events": GroupCommit("write_events", own, self._holders, chained=True),
                "snapshots": GroupCommit("write_snapshots", others, self._holders),
                "states": GroupCommit("write_states", others, self._holders),
            },
        )
        try:
            await self._make_tables(others)
            self._store = store
            lanes = trio.CancelScope(shield=True)  # they end what was begun, also for a caller that is cancelled
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._run_lanes, store, lanes)
                    try:
                        yield
                    finally:
                        for group in store.groups:
                            group.close()
                        lanes.deadline = trio.current_time() + CLOSE_TIMEOUT
            except BaseExceptionGroup as group:
                if len(group.exceptions) > 1:
                    raise
                for alone in group.exceptions:  # an error of the body leaves as it was
                    raise alone from alone.__cause__
        finally:
            self._store, self._is_open, store.is_open = None, False, False
            with trio.CancelScope(shield=True):
                await others.close()
                await own.close()

    async def _run_lanes(self, store: PostgresStore, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as watch:
                watch.start_soon(self._holders.run)
                async with trio.open_nursery() as nursery:
                    for group in store.groups:
                        nursery.start_soon(group.run)
                watch.cancel_scope.cancel()

    async def _make_tables(self, pool: ConnectionPool) -> None:
        async with pool.use() as connection:
            try:
                await make_tables(connection, self._schema)
            except psycopg.Error as error:
                raise JournalUnavailable(
                    f"the tables of the journal cannot be made at {self._connector.place}: {str(error).strip()}"
                ) from error

    @property
    def _calls(self) -> StoreCalls:
        if self._store is None:
            raise RuntimeError(NOT_OPEN.format(self))
        return self._store

    def __repr__(self) -> str:
        return f"<PostgresJournal {self._connector.place} schema={self._schema}>"
