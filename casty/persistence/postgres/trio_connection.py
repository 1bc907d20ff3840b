"""Connections of psycopg, driven by Trio.

psycopg writes its protocol as generators: they yield "wait until this socket can be read" and know no event loop. So
`TrioConnection` replaces waiting, connecting and the lock; rows, COPY, pipelines and notifications stay psycopg's.

One rule holds for all cancellations: a connection is handed on only in a known state. Otherwise it is
closed, and the server rolls back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import trio
from psycopg import AsyncConnection, AsyncPipeline, AsyncTransaction, Notify, OperationalError, capabilities, pq
from psycopg.conninfo import conninfo_attempts, conninfo_to_dict, make_conninfo, timeout_from_conninfo
from psycopg.rows import Row
from psycopg.waiting import Ready, Wait
from typing_extensions import override

T = TypeVar("T")

CLEANUP_TIMEOUT: Final = 5.0
"""Seconds for the server to end a statement or to roll back after a cancellation; then the connection is closed."""

NO_TIMEOUT: Final = "under Trio there is no timeout: put the call into trio.move_on_after()"

_READING: Final = pq.PollingStatus.READING
_WRITING: Final = pq.PollingStatus.WRITING


class TrioConnection(AsyncConnection[Row]):
    """`psycopg.AsyncConnection` for tasks of Trio.

    A cancelled statement is cancelled at the server too. Timeouts are cancel scopes: ``notifies(timeout=)`` is
    refused.
    """

    def __init__(self, pgconn: pq.abc.PGconn, *args: Any) -> None:
        super().__init__(pgconn, *args)
        self.lock = cast(Any, trio.Lock())  # used by ``async with`` only, which both kinds of lock have

    @classmethod
    @override
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect to the first server of ``conninfo`` taking the connection.

        Parameters:
            conninfo: Connection string, or URI.
            **options: ``autocommit`` and ``prepare_threshold`` as psycopg has them; all others as in ``conninfo``.

        Raises:
            psycopg.OperationalError: No server takes the connection; the text names each attempt.
        """
        autocommit: bool = options.pop("autocommit", False)
        threshold: int | None = options.pop("prepare_threshold", 5)
        params = conninfo_to_dict(conninfo, **options)
        timeout = timeout_from_conninfo(params)
        # names of hosts are looked up there, and getaddrinfo blocks
        attempts = await trio.to_thread.run_sync(conninfo_attempts, params, abandon_on_cancel=True)
        failures: list[str] = []
        for attempt in attempts:
            with trio.move_on_after(timeout):
                try:
                    made = cls(await _connect(make_conninfo("", **attempt)))
                except OperationalError as error:
                    failures.append(str(error).strip())
                    continue
                try:
                    await made.set_autocommit(autocommit)
                except BaseException:
                    await made.close()
                    raise
                made.prepare_threshold = threshold
                return made
            failures.append(f"{attempt.get('host', '')}: no connection within {timeout:g} s")
        raise OperationalError("; ".join(dict.fromkeys(failures)))

    @override
    async def wait(self, gen: Generator[Wait, Ready, T], interval: float = 0.0, timeout: float | None = None) -> T:
        """Run a generator of psycopg to its end; a checkpoint.

        Parameters:
            gen: Generator over this connection.
            interval: Without meaning here.
            timeout: None; use a cancel scope under Trio.

        Raises:
            TypeError: There is a timeout.
        """
        if timeout is not None:
            raise TypeError(NO_TIMEOUT)
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return await _run(gen, self.pgconn.socket)
        except trio.ClosedResourceError:
            raise OperationalError("the connection was closed meanwhile") from None
        except BaseException as error:
            if not isinstance(error, Exception):
                await self._abort(gen)
            raise

    @override
    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> AsyncGenerator[Notify]:
        """Wait for notifications.

        Parameters:
            timeout: None; use a cancel scope under Trio.
            stop_after: Number of notifications to stop after; None to go on.

        Raises:
            TypeError: There is a timeout.
        """
        if timeout is not None:
            raise TypeError(NO_TIMEOUT)
        return super().notifies(stop_after=stop_after)

    async def _abort(self, gen: Generator[Wait, Ready, Any]) -> None:
        """End the statement of a cancelled task at the server, or the connection."""
        if not self._is_active():
            return
        if self.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            with trio.move_on_after(CLEANUP_TIMEOUT, shield=True), suppress(Exception):
                await self.cancel_safe()
                await _run(gen, self.pgconn.socket)
        # what a pipeline has sent holds its locks until a Sync, which nobody would send
        if self._is_active():
            await self._discard()

    def _is_active(self) -> bool:
        return not self.closed and self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE

    async def _discard(self) -> None:
        """Close the connection; a busy server would notice only at the end of its work."""
        if self._is_active():
            with trio.move_on_after(CLEANUP_TIMEOUT, shield=True), suppress(Exception):
                await self.cancel_safe()
        await self.close()

    @override
    async def cancel_safe(self, *, timeout: float = CLEANUP_TIMEOUT) -> None:
        """Ask the server to cancel the statement under way.

        Parameters:
            timeout: Seconds for the server to take the request.
        """
        with trio.move_on_after(timeout):
            if not capabilities.has_cancel_safe():  # libpq before 17
                await trio.to_thread.run_sync(self.cancel, abandon_on_cancel=True)
                return
            request = self.pgconn.cancel_conn()
            request.start()
            try:
                while (status := request.poll()) in (_READING, _WRITING):
                    await _wait_for(request.socket, status)
            finally:
                request.finish()

    @override
    async def close(self) -> None:
        """Close the connection; tasks waiting for it get a `psycopg.OperationalError`."""
        self._closed = True  # so psycopg warns of none that was left open
        with suppress(OperationalError):  # the server was faster, or this is the second time
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self.pgconn.finish()

    @override
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)
        finally:
            await self.close()

    @asynccontextmanager
    async def _or_closed(self) -> AsyncGenerator[None]:
        """Close the connection when a block is cancelled in a transaction or a pipeline begun there."""
        before = self.pgconn.transaction_status
        try:
            yield
        except BaseException:
            if self.closed or self.pgconn.transaction_status != before or self.pgconn.pipeline_status:
                await self._discard()
            raise

    @asynccontextmanager
    @override
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncGenerator[AsyncTransaction]:
        """Return a block with a transaction: committed at its end, rolled back when it raises or is cancelled.

        Parameters:
            savepoint_name: Of a transaction within another one.
            force_rollback: Roll back at the end in any case.
        """
        block = AsyncTransaction(self, savepoint_name, force_rollback)
        async with self._or_closed():
            await block.__aenter__()
            try:
                yield block
                await trio.lowlevel.checkpoint_if_cancelled()
            except BaseException as error:
                handled = False
                with trio.move_on_after(CLEANUP_TIMEOUT, shield=True):
                    handled = await block.__aexit__(type(error), error, error.__traceback__)
                if not handled:
                    raise
            else:
                await block.__aexit__(None, None, None)

    @asynccontextmanager
    @override
    async def pipeline(self) -> AsyncGenerator[AsyncPipeline]:
        """Return a block with a pipeline; when it is cancelled, the connection is closed."""
        try:
            async with super().pipeline() as pipeline:
                yield pipeline
        except BaseException as error:
            if not isinstance(error, Exception):
                await self._discard()
            raise


async def _connect(conninfo: str) -> pq.abc.PGconn:
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        while connection.status != pq.ConnStatus.BAD:
            status = connection.connect_poll()
            if status == pq.PollingStatus.OK:
                connection.nonblocking = 1
                return connection
            if status not in (_READING, _WRITING):
                break
            await _wait_for(connection.socket, status)
        raise OperationalError(connection.get_error_message())
    except BaseException:
        connection.finish()
        raise


async def _wait_for(fileno: int, status: int) -> None:
    if status == _READING:
        await trio.lowlevel.wait_readable(fileno)
    else:
        await trio.lowlevel.wait_writable(fileno)


async def _run(gen: Generator[Wait, Ready, T], fileno: int) -> T:
    waited = False
    try:
        wanted = next(gen)
        while True:
            ready = await _ready(fileno, wanted)
            waited = True
            wanted = gen.send(ready)
    except StopIteration as end:
        if not waited:  # all was there: others get their turn, and what has happened is not lost to a cancellation
            await trio.lowlevel.cancel_shielded_checkpoint()
        return cast(T, end.value)


async def _ready(fileno: int, wanted: Wait) -> Ready:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    ready: list[Ready] = []

    async def first(way: Ready) -> None:
        await _wait_for(fileno, _READING if way == Ready.R else _WRITING)
        ready.append(way)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first, Ready.R)
        nursery.start_soon(first, Ready.W)
    return Ready.RW if len(ready) == 2 else ready[0]
