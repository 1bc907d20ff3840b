"""A lease in a SQLite file, for the nodes of one host; and how a node asks any lease."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from casty.errors import LeaseError
from casty.lease import Lease, LeaseClaim
from casty.protocol.split_brain.resolver import LeaseAnswered

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

BUSY_TIMEOUT = 2.0
"""Seconds for another process to hold the file; its transactions take milliseconds."""

LOST_MAX = 65_536
"""Runs remembered as lost in a file. The oldest go first: hundreds of partitions later they run no more."""

THREADS_MAX = 4
"""Threads of claims under way; a hanging disk holds those of abandoned claims. They are apart from all other threads: a
program may use those up at the moment of a partition's decision.
"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lost (
    serial INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, run TEXT NOT NULL, UNIQUE (cluster, run)
);
"""

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter | None] = trio.lowlevel.RunVar("lease_threads", None)

logger = logging.getLogger("casty.cluster")


class SqliteLease:
    """A `casty.Lease` in a file, for nodes on one host.

    >>> from casty import ClusterSettings, SqliteLease
    >>> settings = ClusterSettings(downing="lease_majority", lease=SqliteLease("shop-lease.db"))

    All nodes name the same file, on a local disk: SQLite's locks do not hold on network file systems. The file is made
    by the first node to start. Each claim is one transaction, so a process killed at any moment leaves a claim either
    granted or never made. Deleting the file while nodes run forgets who lost; a new file has another identity, and
    nodes starting with it are refused by those that run.

    Parameters:
        path: File of the lease, the same for all nodes; a relative path is resolved at once. The folder has to
            exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()

    async def identify(self) -> str:
        """Read the random id in the file, made if it is not there.

        Returns:
            The id, 16 characters.

        Raises:
            LeaseError: The file cannot be opened or made.
        """
        return await self._in_thread(_identify)

    async def acquire(self, claim: LeaseClaim) -> bool:
        """Claim the right to go on without the others, in one transaction in a worker thread.

        Parameters:
            claim: The claiming side, and the members it has lost.

        Returns:
            Whether the claim is granted: no member of its side has lost an earlier one.

        Raises:
            LeaseError: The file cannot be read or written, or another process held it for 2 s; nothing is
                granted.
        """
        return await self._in_thread(lambda connection: _acquire(connection, claim))

    async def _in_thread(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await trio.to_thread.run_sync(self._transact, act, abandon_on_cancel=True, limiter=_threads())

    def _transact(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run one transaction; a connection of its own for each: claims are years apart."""
        import sqlite3  # noqa: PLC0415  # some builds of Python lack it, and few nodes need it

        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None)) as connection:
                connection.executescript(SCHEMA)
                connection.execute("BEGIN IMMEDIATE")
                result = act(connection)
                connection.execute("COMMIT")  # closed before that, the transaction never was
                return result
        except sqlite3.Error as error:
            raise LeaseError(f"the lease in {self._path} cannot be used: {error}") from error

    def __repr__(self) -> str:
        return f"<SqliteLease {self._path}>"


def _threads() -> trio.CapacityLimiter:
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = trio.CapacityLimiter(THREADS_MAX)
        _limiter.set(limiter)
    return limiter


def _identify(connection: sqlite3.Connection) -> str:
    connection.execute("INSERT OR IGNORE INTO identity VALUES (1, ?)", (secrets.token_hex(8),))
    (found,) = connection.execute("SELECT id FROM identity").fetchone()
    return str(found)


def _acquire(connection: sqlite3.Connection, claim: LeaseClaim) -> bool:
    lost = {run for (run,) in connection.execute("SELECT run FROM lost WHERE cluster = ?", (claim.cluster,))}
    if lost & claim.side:
        return False
    rows = [(claim.cluster, run) for run in sorted(claim.others - lost)]
    connection.executemany("INSERT INTO lost (cluster, run) VALUES (?, ?)", rows)
    connection.execute("DELETE FROM lost WHERE serial <= (SELECT max(serial) FROM lost) - ?", (LOST_MAX,))
    return True


async def ask_lease(lease: Lease | None, claim: LeaseClaim, timeout: float) -> LeaseAnswered:
    """Return the answer to a claim; an error or ``timeout`` seconds of silence are a refusal."""
    if lease is None:
        return LeaseAnswered(claim, held=False, why="there is no lease to ask")
    try:
        with trio.move_on_after(timeout):
            held = await lease.acquire(claim) is True
            return LeaseAnswered(claim, held, "" if held else "another side has it, or had it before")
    except Exception as error:  # a lease is the user's code: whatever it raises is a refusal
        logger.exception("the lease could not be asked")
        return LeaseAnswered(claim, held=False, why=f"{type(error).__name__}: {error}")
    return LeaseAnswered(claim, held=False, why=f"no answer within {timeout:g} s")


async def identify_lease(lease: Lease | None, timeout: float) -> str:
    """Return the identity of the lease among others, "" without one. LeaseError when it cannot be asked in time."""
    if lease is None:
        return ""
    with trio.move_on_after(timeout):
        return await lease.identify()
    raise LeaseError(f"{lease!r} did not say within {timeout:g} s which one it is")
