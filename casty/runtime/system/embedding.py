"""The Trio thread of an embedded system: the task that owns the system's block, and the calls from other threads.

Owns how a call crosses into the thread, its fate when the system ends, and whether another system follows a downed one.
It does not know the kind of loop behind the calls (`casty.embed`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar, TypeVarTuple, cast

import trio

from casty.config.validation import check_callable
from casty.errors import ActorStoppedError, AskFailed, BindError, ClusterTimeoutError, NodeDowned
from casty.runtime.behavior.signatures import call_plain
from casty.runtime.system.system import ActorSystem, kernel_of
from casty.schema.names import message

S = TypeVar("S", bound=ActorSystem)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("casty.embed")

REJOIN_PAUSE_MIN: Final = 1.0
REJOIN_PAUSE_MAX: Final = 30.0
"""Seconds before a downed node starts again, doubled each time it does not come back or not stay."""
STEADY_AFTER: Final = 60.0
"""A run of this length was a good one: the next pause is short again."""

PASSING: Final = (NodeDowned, ClusterTimeoutError, BindError)
"""Ends of a node downed once after which starting again may help."""


@message("casty.embed.HealthState")
class HealthState(StrEnum):
    """Whether an embedded system runs."""

    running = "running"
    """Its loop answers."""
    stalled = "stalled"
    """Its loop does not answer: something holds it."""
    rejoining = "rejoining"
    """The node was downed, and starts again."""
    ended = "ended"
    """It has ended, and every call raises ActorStoppedError."""


@message("casty.embed.Health")
@dataclass(frozen=True, slots=True)
class Health:
    """Health of an embedded system, for a route asked by a load balancer or Kubernetes."""

    state: HealthState
    """Whether the system runs."""
    rejoins: int = 0
    """Number of times that the node has started again."""
    reason: str = ""
    """Reason for which the system does not run, or cannot tell its health, and the nodes it waits for; or empty."""
    is_up: bool = True
    """Whether the node is up in its own view of the cluster; True for a running system without a node."""
    up_members: int = 0
    """Number of members up in that view, the unreachable ones too; 0 for a system without a node."""
    unreachable_members: int = 0
    """Number of unreachable members in that view."""

    @property
    def is_ready(self) -> bool:
        """Whether requests make sense now: the loop answers, and a node is up."""
        return self.state is HealthState.running and self.is_up


class Standing(NamedTuple):
    """Place of a system in its cluster."""

    is_up: bool = True
    up_members: int = 0
    unreachable_members: int = 0
    waits_for: str = ""
    """Last news of each seed, in words, where no seed has let the node in."""


ALONE: Final = Standing()
"""Of a system without a node."""


class Host(Generic[S]):
    """The main task of the Trio thread: it owns the system's block, and a nursery for the calls."""

    def __init__(
        self,
        factory: Callable[[], S],
        on_start: Callable[[S], object] | None = None,
        standing: Callable[[S], Standing] | None = None,
        follow: Callable[[S, NodeDowned], None] | None = None,
    ) -> None:
        check_callable("embed", factory, "a function that makes the system: write `lambda: ...`")
        if on_start is not None:
            check_callable("embed", on_start, "as on_start a function of the system")
        self._factory = factory
        self._on_start = on_start
        self._standing = standing
        self._follow = follow
        """Tells a new system how the last one was downed; None where none is to follow."""
        self._downed: NodeDowned | None = None
        self._rejoins = 0
        self._system: S | None = None
        self._coming: S | None = None
        """The system whose block is being entered."""
        self._token: trio.lowlevel.TrioToken | None = None
        self._calls: trio.Nursery | None = None
        self._failure: BaseException | None = None
        self._block = trio.CancelScope()
        self._is_inside = False
        """Whether the block of a system is entered now."""
        self._stopping = trio.Event()
        self.entered: Future[bool] = Future()
        """Done when the first system's block is entered: True, or False if it failed."""
        self.ended: Future[None] = Future()
        """Done when the last system's block is left and every call has ended."""

    def __repr__(self) -> str:
        return "starting" if self._system is None else repr(self._system)

    @property
    def system(self) -> S:
        """Latest entered system."""
        assert self._system is not None, "an embedded system is handed out when it is entered"
        return self._system

    @property
    def _joins_again(self) -> bool:
        """Whether the node was downed, and a system follows the ended one."""
        was_downed = self._downed is not None or isinstance(self._failure, NodeDowned)
        is_passing = self._follow is not None and was_downed and isinstance(self._failure, PASSING)
        return is_passing and not self._stopping.is_set() and not self.ended.done()

    async def main(self) -> None:
        """Run the system until `stop` or its own end; one after another where a downed node is to rejoin."""
        self._token = trio.lowlevel.current_trio_token()
        pause = REJOIN_PAUSE_MIN
        try:
            while True:
                began, overcome = trio.current_time(), self._failure
                await self._live()
                if self._stopping.is_set() and self._failure is overcome:
                    self._failure = None  # stopped while it came back from that
                if self._stopping.is_set() or not self.entered.done():
                    return
                self._downed = self._failure if isinstance(self._failure, NodeDowned) else self._downed
                pause = REJOIN_PAUSE_MIN if trio.current_time() - began > STEADY_AFTER else pause
                again = self._joins_again
                self._report_end(f"joining again in {pause:g} s" if again else "")
                if not again:
                    return
                with trio.move_on_after(pause):
                    await self._stopping.wait()
                if self._stopping.is_set():
                    self._failure = None  # it was told, and it was to be overcome
                    return
                pause = min(2 * pause, REJOIN_PAUSE_MAX)
                self._rejoins += 1
        finally:
            self._calls = None
            if not self.entered.done():
                self.entered.set_result(False)
            self.ended.set_result(None)

    async def _live(self) -> None:
        """Run one system until the end of its block, with a nursery for the calls; keep the exceptions of the block."""
        self._block = trio.CancelScope()
        async with trio.open_nursery() as calls:
            try:
                with self._block:
                    await self._run_block(calls)
            except trio.Cancelled:
                raise
            except BaseException as error:  # the boundary of the thread: the host raises it
                self._failure = error
            self._is_inside, self._calls, self._coming = False, None, None
            calls.cancel_scope.cancel()

    async def _run_block(self, calls: trio.Nursery) -> None:
        made = cast("object", self._factory())
        if not isinstance(made, ActorSystem):
            raise TypeError(f"embed needs a function that makes the system, and {self._factory!r} returned {made!r}")
        system = cast("S", made)
        if self._follow is not None and self._downed is not None:
            self._follow(system, self._downed)
        self._coming = system
        async with system as self._system:
            self._coming = None
            if self._on_start is not None:
                call_plain(self._on_start, self._system)
            self._failure, self._calls = None, calls
            self._is_inside = True
            if not self.entered.done():
                self.entered.set_result(True)
            await self._stopping.wait()

    def _report_end(self, next_step: str) -> None:
        """Log the end of a system by itself, the reason, and the last occupation of its loop before."""
        failure, seen = self._failure, "nothing is known of its loop"
        if self._system is not None:
            seen = kernel_of(self._system).watchdog.last_seen()
        said = "it was shut down, or asked to leave" if failure is None else f"{type(failure).__name__}: {failure}"
        level = logging.WARNING if failure is None else logging.ERROR
        end = next_step or "every call raises ActorStoppedError from now on"
        logger.log(level, "the embedded system %r has ended: %s; %s; %s", self, said, seen, end)

    def health(self) -> Future[Health]:
        """Return how the system is, as soon as its loop answers."""
        told: Future[Health] = Future()
        self.call(self._health_here).add_done_callback(partial(self._tell_health, told))
        return told

    def _tell_health(self, told: Future[Health], done: Future[Health]) -> None:
        if not told.set_running_or_notify_cancel():
            return
        error = done.exception()
        if error is None:
            told.set_result(done.result())
        elif isinstance(error, ActorStoppedError):  # of this system, which has ended or ends just now
            told.set_result(self._health_without())
        elif isinstance(error, Exception):  # its loop answers, and the look at it failed
            reason = f"its health cannot be told: {type(error).__name__}: {error}"
            told.set_result(Health(HealthState.running, self._rejoins, reason, False))
        else:
            told.set_exception(error)

    def _health_here(self) -> Health:
        now = self._standing_of(self.system)
        return Health(HealthState.running, self._rejoins, "", now.is_up, now.up_members, now.unreachable_members)

    def _standing_of(self, system: S) -> Standing:
        return ALONE if self._standing is None else self._standing(system)

    def _health_without(self) -> Health:
        failure = self._failure
        state = HealthState.rejoining if self._joins_again else HealthState.ended
        reason = "it was shut down" if failure is None else f"{type(failure).__name__}: {failure}"
        waits_for = "" if self._coming is None else self._standing_of(self._coming).waits_for
        if waits_for:
            reason += f"; no seed has let it in yet: {waits_for}"
        return Health(state, self._rejoins, reason, False)

    def stalled(self, within: float) -> Health:
        """Return how a system is whose loop has not answered in time."""
        return Health(HealthState.stalled, self._rejoins, f"its loop has not answered within {within:g} s", False)

    def stop(self) -> None:
        """Leave the block, or cancel its entry. From any thread; does not wait."""
        self._soon(self._stop_here)

    def _stop_here(self) -> None:
        self._stopping.set()
        if not self._is_inside:
            self._block.cancel()

    def call(self, fn: Callable[[], T]) -> Future[T]:
        """Call a function in the system's thread, in the order of the calls."""
        future: Future[T] = Future()
        if not self._soon(self._call_here, fn, future):
            future.set_exception(self._stopped_error())
        return future

    def _call_here(self, fn: Callable[[], T], future: Future[T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if self._calls is None:
            future.set_exception(self._stopped_error())
            return
        try:
            result = fn()
        except BaseException as error:  # the caller's, who is in another thread: SystemExit and its kin too
            future.set_exception(error)
        else:
            future.set_result(result)

    def run(self, async_fn: Callable[[], Awaitable[T]]) -> Future[T]:
        """Run an async function as a task; cancelling the future cancels it, and so does the end."""
        future: Future[T] = Future()
        if not self._soon(self._run_here, async_fn, future):
            future.set_exception(self._stopped_error())
        return future

    def _run_here(self, async_fn: Callable[[], Awaitable[T]], future: Future[T]) -> None:
        if self._calls is not None:
            self._calls.start_soon(self._run_task, async_fn, future)
        elif future.set_running_or_notify_cancel():
            future.set_exception(self._stopped_error())

    async def _run_task(self, async_fn: Callable[[], Awaitable[T]], future: Future[T]) -> None:
        error: BaseException | None = None
        with trio.CancelScope() as scope:
            future.add_done_callback(partial(self._withdraw, scope))
            try:
                result = await async_fn()
            except AskFailed as raised:
                if kernel_of(self.system).closed:
                    await trio.sleep_forever()  # until the end of the block, which tells the cause
                error = raised
            except BaseException as raised:  # the caller's, who is in another thread: SystemExit and its kin too
                cancelled, error = _split(raised)
                if cancelled is not None:
                    raise cancelled from None
            else:
                if future.set_running_or_notify_cancel():
                    future.set_result(result)
                return
            finally:
                if not future.done() and future.set_running_or_notify_cancel():
                    future.set_exception(error or self._stopped_error())

    def _withdraw(self, scope: trio.CancelScope, future: Future[T]) -> None:
        if future.cancelled():
            self._soon(scope.cancel)

    def _soon(self, fn: Callable[[*Ts], object], *args: *Ts) -> bool:
        """Call a function in the system's thread; False when its loop has ended."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(fn, *args)
        except trio.RunFinishedError:
            return False
        return True

    def _stopped_error(self) -> ActorStoppedError:
        text = f"{self!r}: the system has stopped, so it cannot do what was asked of it"
        error = ActorStoppedError(f"{text}; it joins again" if self._joins_again else text)
        error.__cause__ = self._failure
        return error

    def raise_outcome(self, body: BaseException | None) -> None:
        """Raise the exceptions of the body and the system's block, if any; none of the two is lost."""
        failure = self._failure
        if failure is None or body is failure:
            if body is not None:
                raise body
        elif body is None or _says_stopped(body):  # a consequence of the failure
            raise failure
        elif isinstance(body, Exception):
            raise BaseExceptionGroup("errors of the block and of the embedded system", [body, failure])
        else:  # Ctrl-C and cancellation have to stay what they are
            logger.error("the embedded system failed: %s", type(failure).__name__, exc_info=failure)
            raise body


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return the parts of an error for Trio's cancel scopes, and for the caller."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)


def _says_stopped(error: BaseException) -> bool:
    """Whether an error of a call says no more than the stop of the system, or of the asked actor."""
    reason = error.__cause__ if isinstance(error, AskFailed) else error
    return isinstance(reason, ActorStoppedError)
