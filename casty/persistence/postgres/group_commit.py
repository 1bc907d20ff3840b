"""Group commit: all waiting writes go into one statement, in one transaction.

Owns the batch under way. While PostgreSQL commits one batch, the next one gathers; so the rate grows with the number
of writers, and one of them alone waits for nobody. Each batch is one autocommitted statement: once the server has it
whole, it ends without the client, so a frozen writer holds no lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn, cast

import psycopg
import trio
from outcome import Error, Outcome
from psycopg.errors import DeadlockDetected, SerializationFailure, UniqueViolation
from psycopg.raw_cursor import AsyncRawCursor
from psycopg.rows import TupleRow

from casty.errors import Fenced, JournalError, JournalUnavailable, JournalUncertain, SequenceConflict
from casty.journal import Claim, slice_of
from casty.persistence.postgres.connections import ConnectionPool, JournalConnection
from casty.persistence.postgres.frozen_holders import FrozenHolders
from casty.persistence.postgres.packed_rows import PackedRow, booleans, byte_strings, int4s, int8s, texts
from casty.runtime.waking import WOKEN

ROWS_MAX: Final = 512
BYTES_MAX: Final = 1_048_576
"""Rows and bytes of a batch; a larger write goes alone."""

WAITING_MAX: Final = 1_024
"""Writes waiting for the next batch; further callers wait for room."""

ATTEMPTS_MAX: Final = 5
"""Attempts of a batch that collides with a statement of a lost connection, still running at the server."""

FENCED, OTHER_SCOPE, NOT_NEXT = 1, 2, 3
"""Reasons for a refusal, as the functions of the database give them."""


@dataclass(slots=True, eq=False)
class Write:
    """Rows of one persistence id, written together or not at all, and who is told of the outcome."""

    claim: Claim
    persistence_id: str
    after: int
    rows: list[PackedRow]
    may_bind: bool
    """Whether it may be the first of its id."""
    size: int = field(init=False)
    is_over: bool = False
    """Whether the outcome is known."""
    error: JournalError | None = None
    done: Callable[[Outcome[None]], object] | None = None
    """Function of the outcome, None where nobody waits for it."""

    def __post_init__(self) -> None:
        self.size = sum([len(row.payload) for row in self.rows])

    def end(self, error: JournalError | None) -> None:
        """Tell of the outcome."""
        self.is_over, self.error = True, error
        done, self.done = self.done, None
        if done is not None:
            done(cast("Outcome[None]", WOKEN) if error is None else Error(error))

    async def wait(self) -> None:
        """Wait for the outcome, without an event: perf: bench_counters."""
        if not self.is_over:
            self.done = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        elif self.error is not None:
            raise self.error

    def give_up(self) -> None:
        """Tell nobody of the outcome; it is written nevertheless."""
        self.done = None

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self.give_up()
        return trio.lowlevel.Abort.SUCCEEDED


class Chain:
    """Successive writes of one id: all are written, or none."""

    def __init__(self, first: Write) -> None:
        self.first = first
        self.writes = [first]
        self.last = first.after + len(first.rows)

    def takes(self, write: Write) -> bool:
        """Take a write going on from the end of the chain."""
        if write.claim != self.first.claim or write.after != self.last:
            return False
        self.writes.append(write)
        self.last += len(write.rows)
        return True


class Batch:
    """Writes of one statement: one chain for each persistence id."""

    def __init__(self, chained: bool) -> None:
        self.chains: dict[str, Chain] = {}
        self._chained = chained
        self._held: set[str] = set()
        self._rows = self._bytes = 0

    def takes(self, write: Write) -> bool:
        """Take a write, unless one of the same id has to be decided before it."""
        if write.persistence_id in self._held:
            return False
        chain = self.chains.get(write.persistence_id)
        if chain is None:
            self.chains[write.persistence_id] = Chain(write)
        elif not (self._chained and chain.takes(write)):
            self._held.add(write.persistence_id)  # what comes later stays behind it
            return False
        self._rows += len(write.rows)
        self._bytes += write.size
        return True

    @property
    def is_full(self) -> bool:
        """Whether it has as many rows or bytes as a batch may."""
        return self._rows >= ROWS_MAX or self._bytes >= BYTES_MAX

    def writes(self) -> Iterator[Write]:
        """Return all writes."""
        for chain in self.chains.values():
            yield from chain.writes

    def parameters(self, history: str) -> list[object]:
        """Return the parameters of a function ``write_...``."""
        firsts = [chain.first for chain in self.chains.values()]
        ids = [persistence_id.encode() for persistence_id in self.chains]
        rows: list[PackedRow] = []
        row_ids: list[bytes] = []
        slices: list[int] = []
        for persistence_id, (name, chain) in zip(ids, self.chains.items(), strict=True):
            own = [row for write in chain.writes for row in write.rows]
            rows += own
            row_ids += [persistence_id] * len(own)
            slices += [slice_of(name)] * len(own)
        return [
            history,
            texts(ids),
            texts([first.claim.scope.encode() for first in firsts]),
            int8s([first.claim.number for first in firsts]),
            byte_strings([first.claim.token for first in firsts]),
            booleans([first.may_bind for first in firsts]),
            int8s([first.after for first in firsts]),
            texts(row_ids),
            int4s(slices),
            int8s([row.seq for row in rows]),
            texts([row.name for row in rows]),
            int4s([row.version for row in rows]),
            byte_strings([row.payload for row in rows]),
            int8s([row.crc for row in rows]),
            texts([row.command_id for row in rows]),
            time.time(),
        ]


class GroupCommit:
    """Task to write for all callers, by one of the functions ``write_...`` of the database."""

    def __init__(self, function: str, pool: ConnectionPool, holders: FrozenHolders, *, chained: bool = False) -> None:
        marks = ", ".join(f"${number}" for number in range(1, 17))
        self._statement = f"SELECT place, reason, holder, found FROM {function}({marks})".encode()
        self._pool = pool
        self._holders = holders
        self._chained = chained
        self._send, self._receive = trio.open_memory_channel[Write](WAITING_MAX)
        self._left: list[Write] = []

    async def write(self, write: Write) -> None:
        """Write, and return when it is durable. The errors are those of `Journal.append`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            try:
                self._send.send_nowait(write)  # nearly always: `send` is a way through the event loop besides
            except trio.WouldBlock:
                await self._send.send(write)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise JournalUnavailable("the journal is closed, or is about to close") from None
        await write.wait()

    def begin(self, write: Write) -> bool:
        """Take a write whose outcome is told; False where there is no room."""
        try:
            self._send.send_nowait(write)
        except trio.WouldBlock:
            return False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise JournalUnavailable("the journal is closed, or is about to close") from None
        return True

    def close(self) -> None:
        """Take nothing more; `run` ends with the last write taken before."""
        self._send.close()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Write batch after batch until it is closed."""
        try:
            while True:
                if not self._left:
                    try:
                        self._left.append(await self._receive.receive())
                    except trio.EndOfChannel:
                        return
                await self._write_batch(self._gather())
        finally:
            while self._receive.statistics().current_buffer_used:
                self._left.append(self._receive.receive_nowait())
            self._receive.close()
            for write in self._left:
                write.end(JournalUnavailable("the journal was closed before this was written"))

    def _gather(self) -> Batch:
        batch = Batch(self._chained)
        self._left = [write for write in self._left if batch.is_full or not batch.takes(write)]
        while not batch.is_full and len(self._left) < WAITING_MAX:
            try:
                write = self._receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            if not batch.takes(write):
                self._left.append(write)
        return batch

    async def _write_batch(self, batch: Batch) -> None:
        error: type[JournalError] = JournalUncertain
        text = "the journal was closed while this was written"
        refused: dict[int, TupleRow] = {}
        try:
            rows = await self._commit(batch)
            refused = {row[0]: row for row in rows}
            text = ""
        except JournalError as failure:
            error, text = type(failure), str(failure)
        finally:
            for place, chain in enumerate(batch.chains.values(), 1):
                for write in chain.writes:
                    row = refused.get(place)
                    write.end(error(text) if text else refusal(row, write) if row else None)

    async def _commit(self, batch: Batch) -> list[TupleRow]:
        attempt = 0
        while True:
            attempt += 1
            async with self._pool.use() as connection:
                parameters = batch.parameters(connection.history)
                try:
                    with self._holders.watching(connection):
                        cursor = AsyncRawCursor(connection)
                        await cursor.execute(self._statement, parameters, prepare=True)
                        return await cursor.fetchall()
                except (UniqueViolation, DeadlockDetected, SerializationFailure) as error:
                    if attempt == ATTEMPTS_MAX:
                        raise JournalUnavailable(f"PostgreSQL refused the batch {attempt} times: {error}") from error
                except psycopg.Error as error:
                    await raise_outcome(error, connection)


async def raise_outcome(error: psycopg.Error, connection: JournalConnection) -> NoReturn:
    """Raise the knowledge left by a failed statement: an error told by the server has undone all of it."""
    if error.sqlstate is not None and not connection.closed:
        raise JournalUnavailable(f"PostgreSQL has refused: {str(error).strip()}") from error
    await connection.close()
    raise JournalUncertain(f"the connection to PostgreSQL was lost while it wrote: {str(error).strip()}") from error


def refusal(row: TupleRow, write: Write) -> JournalError:
    """Return the error for a refused write."""
    claim, persistence_id = write.claim, write.persistence_id
    _, reason, holder, found = row
    if reason == FENCED:
        whose = f" by {holder}" if holder else ""
        return Fenced(
            f"the claim {claim.number} of {claim.scope!r} is void: it was claimed anew{whose}, or the database was "
            "restored or failed over. Claim again, if it is yours",
            holder,
        )
    if reason == OTHER_SCOPE:
        return SequenceConflict(f"{persistence_id!r} does not belong to the scope {claim.scope!r}: ids keep theirs")
    return SequenceConflict(f"the last of {persistence_id!r} is {found}, and the writer has seen {write.after}")
