"""Connections of a journal: made with its settings, kept in a small pool, made again after a loss.

Owns the connection string, the back-off and the settings of a session. A pool is a memory channel of places, each with
a connection or without one; taking a place without one means connecting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import psycopg
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from casty.errors import ConfigError, JournalUnavailable
from casty.journal import JournalRewound
from casty.persistence.postgres.packed_rows import register_arrays
from casty.persistence.postgres.trio_connection import TrioConnection

RETRY_DELAY_MIN: Final = 0.05
RETRY_DELAY_MAX: Final = 1.0
"""Seconds between attempts to connect, doubled from the one to the other; calls in between fail with the last error."""

LOCK_TIMEOUT: Final = 10.0
"""Seconds for a statement to wait for a lock; after them nothing is written. Frozen holders are ended before that."""

SHUTDOWN: Final = "57P"
"""Beginning of the codes of a server that ends sessions: it stops, crashed, or their database is dropped."""

DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "casty",
    "target_session_attrs": "read-write",
    "connect_timeout": "5",
    # a server that vanishes without a word is given up after these seconds, not after hours
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

SESSION: Final = f"""
SET default_transaction_isolation = 'read committed';
SET lock_timeout = '{LOCK_TIMEOUT:g}s';
SET statement_timeout = 0;
SET jit = off;
-- all that is read has an index; tables that are new and small would get plans that are slow when they have grown
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""

READ_ONLY: Final = "SET default_transaction_read_only = on"

HISTORY: Final = """
SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8), current_setting('fsync')
FROM pg_control_system()
"""
"""Name of the history of the server's changes: its system, and the timeline, raised by each promotion."""

logger = logging.getLogger("casty.persistence")


class JournalConnection(TrioConnection[TupleRow]):
    """Connection with the settings of a journal."""

    history: str = ""
    """History of the server's changes, as `HISTORY` names it."""
    has_last_words: bool = False
    """Whether the server has said why it ends the session."""

    def hear_last_words(self, diagnostic: Diagnostic) -> None:
        """Note the end of the session; an error between two statements comes as a notice."""
        is_fatal = diagnostic.severity_nonlocalized in ("FATAL", "PANIC")
        if is_fatal or (diagnostic.sqlstate or "").startswith(SHUTDOWN):  # a crash of the server is told as a warning
            self.has_last_words = True


class Connector:
    """Maker of connections to one database; for reading, also to a standby, where the server refuses each change."""

    def __init__(self, dsn: str, schema: str, *, is_reader: bool = False) -> None:
        self.conninfo = complete_dsn(dsn, {**DEFAULTS, "target_session_attrs": "any"} if is_reader else DEFAULTS)
        self.is_reader = is_reader
        self.place = describe_place(self.conninfo)
        """The database in words, without a password."""
        self.schema = schema
        self.rewinds = 0
        """Changes of the history seen so far."""
        self.tell: Callable[[JournalRewound], None] | None = None
        """Function told of each of them."""
        self._history = ""
        self._failures = 0
        self._retry_at = 0.0
        self._error = ""

    async def connect(self) -> JournalConnection:
        """Make a connection in autocommit mode. JournalUnavailable where there is none, also between two attempts."""
        if self._failures and time.monotonic() < self._retry_at:
            raise JournalUnavailable(self._error)
        try:
            connection = await JournalConnection.connect(self.conninfo, autocommit=True)
        except psycopg.Error as error:
            self._failed(str(error).strip())
            raise JournalUnavailable(self._error) from error
        try:
            await self._prepare(connection)
        except BaseException as error:
            await connection.close()
            if isinstance(error, psycopg.Error):
                self._failed(str(error).strip())
                raise JournalUnavailable(self._error) from error
            raise
        self._failures = 0
        return connection

    def _failed(self, why: str) -> None:
        delay = min(RETRY_DELAY_MIN * 2**self._failures, RETRY_DELAY_MAX)
        self._retry_at = time.monotonic() + delay
        self._failures = min(self._failures + 1, 10)
        self._error = (
            f"PostgreSQL at {self.place} cannot be used: {why}. Look whether it runs and takes writes, and at the "
            "connection string"
        )
        logger.warning("%s", self._error)

    async def _prepare(self, connection: JournalConnection) -> None:
        register_arrays(connection.adapters)
        connection.add_notice_handler(connection.hear_last_words)
        await connection.execute(SESSION.encode())
        path = sql.Identifier(self.schema).as_string()
        await connection.execute("SELECT set_config('search_path', %s, false)", (path,))
        if self.is_reader:  # a standby has no history of its own
            await connection.execute(READ_ONLY)
            return
        cursor = await connection.execute(HISTORY)
        history, fsync = cast(tuple[str, str], await cursor.fetchone())
        if self._history and history != self._history:
            self.rewinds += 1
            logger.warning(
                "PostgreSQL at %s has another history now, %s after %s: it was failed over or restored. Its newest "
                "events may be missing, and all scopes are claimed anew",
                self.place,
                history,
                self._history,
            )
            if self.tell is not None:
                self.tell(JournalRewound(self.place, self._history, history))
        if fsync != "on" and not self._history:
            logger.warning("PostgreSQL at %s runs with fsync=off: what it acknowledges may be lost", self.place)
        self._history = connection.history = history


class ConnectionPool:
    """Some connections, each used by one task at a time."""

    def __init__(self, connector: Connector, size: int) -> None:
        self._connector = connector
        self._give, self._take = trio.open_memory_channel[JournalConnection | None](size)
        for _ in range(size):
            self._give.send_nowait(None)

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[JournalConnection]:
        """Return a block with a connection. JournalUnavailable where there is none."""
        connection = await self._take.receive()
        try:
            if connection is not None and not is_alive(connection):
                await connection.close()
                connection = None
            if connection is None:
                connection = await self._connector.connect()
            yield connection
        finally:
            if connection is not None and (connection.closed or _status(connection) != TransactionStatus.IDLE):
                await connection.close()
                connection = None
            self._give.send_nowait(connection)

    async def close(self) -> None:
        """Close all idle connections."""
        for _ in range(self._take.statistics().current_buffer_used):
            connection = self._take.receive_nowait()
            if connection is not None:
                await connection.close()


def is_alive(connection: JournalConnection) -> bool:
    """Return whether an idle connection has not been ended by the server, as far as this host knows."""
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()  # the first one may have read the server's last words, this one finds the end
        connection.pgconn.notifies()  # parses the last words; the end of the stream may come a moment after them
    except psycopg.Error:
        return False
    return not (connection.closed or connection.has_last_words)


def _status(connection: JournalConnection) -> TransactionStatus:
    return TransactionStatus(connection.pgconn.transaction_status)


def complete_dsn(dsn: str, defaults: Mapping[str, str] = DEFAULTS) -> str:
    """Return a connection string with the defaults of a journal. ConfigError where it cannot be read."""
    try:
        given = conninfo_to_dict(dsn)
        return make_conninfo("", **cast(dict[str, Any], {**defaults, **given}))
    except psycopg.ProgrammingError as error:
        raise ConfigError(
            f"the connection string of PostgreSQL cannot be read: {str(error).strip()}. Expected a form like "
            "'postgresql://user:password@host:5432/database'"
        ) from error


def describe_place(conninfo: str) -> str:
    """Return host, port and database of a connection string, without the password."""
    parts = conninfo_to_dict(conninfo)
    named = {name: parts[name] for name in ("host", "hostaddr", "port", "dbname", "user") if parts.get(name)}
    return " ".join(f"{name}={value}" for name, value in named.items()) or "the default place"
