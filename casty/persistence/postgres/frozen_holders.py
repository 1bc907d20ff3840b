"""End of database sessions holding a lock for a frozen client.

Owns the watch over statements under way. A session frozen in the middle of a statement keeps its locks,
and no timeout of PostgreSQL frees them. Ended are only sessions blocking one of ours, not blocked themselves and
waiting for their client; for a working one the statement waits.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg
import trio

from casty.errors import JournalUnavailable
from casty.persistence.postgres.connections import Connector, JournalConnection

PATIENCE: Final = 2.0
"""Seconds for a session to wait for its client while it blocks others; a batch takes milliseconds."""

END_HOLDERS: Final = """
WITH RECURSIVE blocking AS (
    SELECT unnest(pg_blocking_pids(%(pid)s)) AS pid
    UNION
    SELECT unnest(pg_blocking_pids(b.pid)) FROM blocking b
)
SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), a.state, pg_terminate_backend(a.pid)
FROM blocking b JOIN pg_stat_activity a ON a.pid = b.pid
WHERE a.wait_event_type = 'Client' AND a.state_change < clock_timestamp() - %(patience)s * interval '1 second'
    AND cardinality(pg_blocking_pids(a.pid)) = 0
"""

logger = logging.getLogger("casty.persistence")


class FrozenHolders:
    """Watch over the statements of a journal, each of them possibly waiting for a lock."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._begun: dict[int, float] = {}
        self._any = trio.Event()
        self.ended = 0
        """Sessions ended so far."""

    @contextmanager
    def watching(self, connection: JournalConnection) -> Generator[None]:
        """Return a block to watch the statement of a connection."""
        pid = connection.pgconn.backend_pid
        self._begun[pid] = trio.current_time()
        self._any.set()
        try:
            yield
        finally:
            del self._begun[pid]

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Look after slow statements, until cancelled."""
        while True:
            await self._any.wait()
            await trio.sleep(PATIENCE / 2)
            late = [pid for pid, begun in self._begun.items() if trio.current_time() - begun >= PATIENCE]
            if late:
                await self._end_holders(late)
            if not self._begun:
                self._any = trio.Event()

    async def _end_holders(self, blocked: list[int]) -> None:
        try:
            async with await self._connector.connect() as connection:
                for pid in blocked:
                    cursor = await connection.execute(END_HOLDERS, {"pid": pid, "patience": PATIENCE})
                    for holder, program, address, state, _ in await cursor.fetchall():
                        self.ended += 1
                        logger.warning(
                            "session %s of PostgreSQL (%s from %s, %s) was ended: it held a lock of the journal and "
                            "waited for its client for %g s",
                            *(holder, program, address, state, PATIENCE),
                        )
        except (psycopg.Error, JournalUnavailable) as error:
            logger.warning("the session that blocks the journal could not be ended: %s", str(error).strip())
