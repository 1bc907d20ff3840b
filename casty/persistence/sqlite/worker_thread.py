"""A thread of its own for one connection, with calls in batches and one wake-up for each batch.

Owns the queue and the ways in and out of the thread. It must not know databases: a `ThreadWork` makes the calls.

A caller waits for its outcome without a lock or an event of its own: the thread hands whole batches back to Trio, in
one `run_sync_soon`, and there each task is rescheduled, or each outcome told. Trio's pool of threads would make a hop
for each call, and its limit may be used up by others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Generic, Protocol, TypeVar, cast

import outcome
import trio

from casty.errors import JournalUncertain
from casty.persistence.table_store import ChangeSize, StoreTables
from casty.runtime.waking import WOKEN

T = TypeVar("T")

BATCH_RECORDS_MAX: Final = 512
BATCH_BYTES_MAX: Final = 1024 * 1024
"""Bytes of the payloads of one batch: about the work of one fsync, so a small append waits little behind large ones."""
STOP_TIMEOUT: Final = 5.0
"""Seconds for calls under way at the end; a hanging disk keeps its thread, and its callers learn it."""

logger = logging.getLogger("casty.persistence")


class Job(Generic[T]):
    """One call, and the function of its outcome; None where its caller has given up."""

    __slots__ = ("act", "done", "outcome", "payload_bytes", "records")

    def __init__(
        self, act: Callable[[StoreTables], T], size: ChangeSize, done: Callable[[outcome.Outcome[T]], object]
    ) -> None:
        self.act = act
        self.records, self.payload_bytes = size
        self.done: Callable[[outcome.Outcome[T]], object] | None = done
        self.outcome: outcome.Outcome[T] | None = None

    def run(self, tables: StoreTables) -> None:
        """Make the call and keep its result; an error is raised."""
        result = self.act(tables)
        self.outcome = outcome.Value(result) if result is not None else cast("outcome.Outcome[T]", WOKEN)

    def fail(self, error: Exception) -> None:
        """Keep an error as the outcome."""
        self.outcome = outcome.Error(error)

    def give_up(self) -> None:
        """Leave the call to its fate."""
        self.done = None


class ThreadWork(Protocol):
    """Work of the thread; each call is made in it."""

    def prepare(self) -> None:
        """Open the connection; an error ends the thread."""
        ...

    def run(self, jobs: Sequence[Job[object]]) -> None:
        """Give each job an outcome."""
        ...

    def finish(self) -> None:
        """Close the connection."""
        ...


class WorkerThread:
    """Thread for the jobs of one worker, in their order.

    Parameters:
        name: Name of the thread.
        worker: Work of the thread.
    """

    def __init__(self, name: str, worker: ThreadWork) -> None:
        self._name = name
        self._worker = worker
        self._queue: SimpleQueue[Job[object] | None] = SimpleQueue()
        self._carried: Job[object] | None = None
        self._pending: set[Job[object]] = set()
        self._token = trio.lowlevel.current_trio_token()
        self._is_ready = trio.Event()
        self._is_over = trio.Event()
        self._failure: Exception | None = None

    async def start(self) -> None:
        """Start the thread, and wait until its worker is prepared; the worker's error is raised."""
        threading.Thread(target=self._main, name=self._name, daemon=True).start()
        await self._is_ready.wait()
        if self._failure is not None:
            raise self._failure

    async def submit(self, act: Callable[[StoreTables], T], size: ChangeSize) -> T:
        """Make a call in the thread, and return its result. A caller giving up leaves the call to its fate."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = self.begin(act, size, partial(trio.lowlevel.reschedule, trio.lowlevel.current_task()))

        def give_up(_: object) -> trio.lowlevel.Abort:
            job.give_up()
            return trio.lowlevel.Abort.SUCCEEDED

        return cast("T", await trio.lowlevel.wait_task_rescheduled(give_up))

    def begin(
        self, act: Callable[[StoreTables], T], size: ChangeSize, done: Callable[[outcome.Outcome[T]], object]
    ) -> Job[T]:
        """Make a call in the thread, and have its outcome told in Trio's, by a function that must not raise."""
        job = Job(act, size, done)
        self._pending.add(cast("Job[object]", job))
        self._queue.put(cast("Job[object]", job))
        return job

    async def stop(self) -> None:
        """End the thread once all calls before are made; after some seconds leave it alone."""
        self._queue.put(None)
        with trio.move_on_after(STOP_TIMEOUT, shield=True):
            await self._is_over.wait()
            return
        logger.error("%s has not ended within %g s: the disk does not answer", self._name, STOP_TIMEOUT)
        late = JournalUncertain(f"the store was closed, and has not answered within {STOP_TIMEOUT:g} s")
        for job in self._pending:  # not by their outcomes: the thread may write one at this moment, before its COMMIT
            done, job.done = job.done, None
            if done is not None:
                done(outcome.Error(late))
        self._pending.clear()

    def _main(self) -> None:
        try:
            self._worker.prepare()
        except Exception as error:
            self._failure = error
            self._tell(self._is_ready.set)
            self._worker.finish()
            self._tell(self._is_over.set)
            return
        self._tell(self._is_ready.set)
        try:
            while batch := self._take():
                self._worker.run(batch)
                self._tell(self._deliver, batch)
        finally:
            self._worker.finish()
            self._tell(self._is_over.set)

    def _take(self) -> list[Job[object]]:
        """Wait for jobs, and take all there are within the bounds; none is the end."""
        job = self._carried or self._queue.get()
        self._carried = None
        batch: list[Job[object]] = []
        records = size = 0
        while job is not None:
            records += job.records
            size += job.payload_bytes
            if batch and (records > BATCH_RECORDS_MAX or size > BATCH_BYTES_MAX):
                self._carried = job
                break
            batch.append(job)
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
        else:
            self._queue.put(None)  # the end comes after this batch
        return batch

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            self._token.run_sync_soon(call, *arguments)
        except trio.RunFinishedError:
            logger.debug("%s outlived its event loop", self._name)

    def _deliver(self, batch: Sequence[Job[object]]) -> None:
        for job in batch:
            done, job.done = job.done, None
            self._pending.discard(job)
            if done is not None and job.outcome is not None:
                done(job.outcome)
