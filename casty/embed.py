"""An actor system inside of a program that is not Trio's: asyncio applications, and sync scripts.

The system runs on a Trio loop in a thread of its own. `start` gives a sync host an `Embedded` to talk
through, `start_async` gives an asyncio host an `AsyncEmbedded`. Refs and messages cross as they are;
everything else of the system is touched in its own thread only, through ``call`` and ``run``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Generic, ParamSpec, TypeVar, TypeVarTuple, cast

import trio
from anyio.from_thread import start_blocking_portal

from casty.checks import check_callable
from casty.config import Mailbox
from casty.errors import ActorStoppedError, AskFailed
from casty.refs import ActorRef
from casty.runtime.behavior import Behavior
from casty.runtime.blocks import AsyncBlock, SyncBlock
from casty.runtime.signatures import call_plain, check_async_function
from casty.runtime.system import ActorSystem, kernel_of

__all__ = ["AsyncEmbedded", "Embedded", "start", "start_async"]

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=ActorSystem)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("casty.embed")


class Embedded(Generic[S]):
    """A running system, seen from threads that may block. Any thread but the system's own may use it.

    Every method waits until the system's thread has done what was asked, and raises what was raised there. Ctrl-C
    while a method waits cancels the call.

    Parameters:
        host: The thread of the system; `start` yields what it makes.
    """

    def __init__(self, host: _Host[S]) -> None:
        self._host = host

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._host!r}>"

    @property
    def system(self) -> S:
        """The system: to be handed to ``call`` and ``run``, as in ``app.call(app.system.statistics)``."""
        return self._host.system

    def tell(self, ref: ActorRef[M], message: M) -> None:
        """Hand over a message, as ``ref.tell`` does; messages of one thread arrive in order.

        Parameters:
            ref: An actor, on any node.
            message: A message of the actor's type.

        Raises:
            ActorStoppedError: The system has ended.
        """
        _result(self._host.call(partial(ref.tell, message)))

    def ask(self, ref: ActorRef[M], factory: Callable[[ActorRef[R]], M], *, timeout: float = 5.0) -> R:
        """Ask, and wait for the reply.

        Checkers infer the reply's type from a class or an annotated function, not from a lambda.

        Parameters:
            ref: Whom to ask, on any node.
            factory: Function of the ref for the reply; it returns the request.
            timeout: Seconds to wait for the reply.

        Returns:
            The reply.

        Raises:
            AskTimeoutError: No reply came within ``timeout``.
            AskFailed: No reply will come.
            ActorStoppedError: The system has ended.
        """
        return _result(self._host.run(partial(self.system.ask, ref, factory, timeout=timeout)))

    def spawn(self, behavior: Behavior[M], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[M]:
        """Start an actor at ``/name``, as ``system.spawn`` does.

        Parameters:
            behavior: What the actor does.
            name: Name among the actors at the root.
            mailbox: Bound of its mailbox; None takes the one that the system's config has for its path.

        Returns:
            The actor's ref.

        Raises:
            ValueError: The name is bad, or in use.
            ActorStoppedError: The system is stopping, or has ended.
        """
        return _result(self._host.call(partial(self.system.spawn, behavior, name, mailbox=mailbox)))

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the system's thread, where all of the system may be touched.

        Parameters:
            fn: Plain function; it must not block.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What it returns.

        Raises:
            TypeError: ``fn`` is an async function: give it to `run`.
            ActorStoppedError: The system has ended.
        """
        return _result(self._host.call(partial(call_plain, fn, *args, **kwargs)))

    def run(self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run an async function as a Trio task beside the system.

        Parameters:
            async_fn: Async function; not a coroutine.
            *args: Its positional arguments.

        Returns:
            What it returns.

        Raises:
            TypeError: ``async_fn`` is no async function.
            ActorStoppedError: The system has ended.
        """
        check_async_function(async_fn, "run")
        return _result(self._host.run(partial(async_fn, *args)))

    def wait_stopped(self, timeout: float | None = None) -> bool:
        """Wait until the system has ended by itself.

        Parameters:
            timeout: Seconds to wait; None waits without limit.

        Returns:
            False when it still runs.
        """
        try:
            self._host.ended.result(timeout)
        except TimeoutError:
            return False
        return True


class AsyncEmbedded(Generic[S]):
    """A running system, seen from an asyncio loop, which it never blocks.

    Every method returns when the system's thread has done what was asked, and raises what was raised there.
    Cancelling the caller cancels the call.

    Parameters:
        host: The thread of the system; `start_async` yields what it makes.
    """

    def __init__(self, host: _Host[S]) -> None:
        self._host = host

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._host!r}>"

    @property
    def system(self) -> S:
        """The system: to be handed to ``call`` and ``run``, as in ``app.call(app.system.statistics)``."""
        return self._host.system

    async def tell(self, ref: ActorRef[M], message: M) -> None:
        """Hand over a message, as ``ref.tell`` does; messages of one task arrive in order.

        Parameters:
            ref: An actor, on any node.
            message: A message of the actor's type.

        Raises:
            ActorStoppedError: The system has ended.
        """
        await asyncio.wrap_future(self._host.call(partial(ref.tell, message)))

    async def ask(self, ref: ActorRef[M], factory: Callable[[ActorRef[R]], M], *, timeout: float = 5.0) -> R:
        """Ask, and wait for the reply.

        Parameters:
            ref: Whom to ask, on any node.
            factory: Function of the ref for the reply; it returns the request.
            timeout: Seconds to wait for the reply.

        Returns:
            The reply.

        Raises:
            AskTimeoutError: No reply came within ``timeout``.
            AskFailed: No reply will come.
            ActorStoppedError: The system has ended.
        """
        return await asyncio.wrap_future(self._host.run(partial(self.system.ask, ref, factory, timeout=timeout)))

    async def spawn(self, behavior: Behavior[M], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[M]:
        """Start an actor at ``/name``, as ``system.spawn`` does.

        Parameters:
            behavior: What the actor does.
            name: Name among the actors at the root.
            mailbox: Bound of its mailbox; None takes the one that the system's config has for its path.

        Returns:
            The actor's ref.

        Raises:
            ValueError: The name is bad, or in use.
            ActorStoppedError: The system is stopping, or has ended.
        """
        return await asyncio.wrap_future(self._host.call(partial(self.system.spawn, behavior, name, mailbox=mailbox)))

    async def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the system's thread, where all of the system may be touched.

        Parameters:
            fn: Plain function; it must not block.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What it returns.

        Raises:
            TypeError: ``fn`` is an async function: give it to `run`.
            ActorStoppedError: The system has ended.
        """
        return await asyncio.wrap_future(self._host.call(partial(call_plain, fn, *args, **kwargs)))

    async def run(self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run an async function as a Trio task beside the system: it uses Trio's functions, not asyncio's.

        Parameters:
            async_fn: Async function; not a coroutine.
            *args: Its positional arguments.

        Returns:
            What it returns.

        Raises:
            TypeError: ``async_fn`` is no async function.
            ActorStoppedError: The system has ended.
        """
        check_async_function(async_fn, "run")
        return await asyncio.wrap_future(self._host.run(partial(async_fn, *args)))

    async def wait_stopped(self) -> None:
        """Wait until the system has ended by itself."""
        await asyncio.shield(asyncio.wrap_future(self._host.ended))


def start(factory: Callable[[], S]) -> AbstractContextManager[Embedded[S], bool | None]:
    """Run a system for the time of a ``with`` block, for hosts without a loop.

    Returns once the block of the system is entered; leaving stops it, as ``async with`` does. What
    the system's block raises is raised here: on entry JoinRefused and its kin, at the end NodeDowned,
    in one group with the body's own exception if that is not a consequence.

    >>> from casty import embed
    >>> with embed.start(lambda: ActorSystem("shop")) as app:
    ...     ref = app.spawn(Behaviors.ignore(), "cart")
    ...     app.tell(ref, "apple")
    ...     app.call(app.system.statistics).actors
    1

    Parameters:
        factory: Function that makes the system, such as ``lambda: ActorSystem("shop")``. It is called in the system's
            thread.

    Returns:
        A context manager, which yields an `Embedded`.

    Raises:
        RuntimeError: On entering: this thread runs Trio, where ``async with`` is enough.
        TypeError: On entering: ``factory`` is no function, or makes no system.
    """
    instead = (
        "write `with embed.start(...)`; on asyncio `async with embed.start_async(...)`, which does not block the loop"
    )
    return SyncBlock(_started(factory), instead)


@contextmanager
def _started(factory: Callable[[], S]) -> Generator[Embedded[S]]:
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("embed.start is for programs without a loop; on Trio write `async with ActorSystem(...)`")
    host = _Host(factory)
    body: BaseException | None = None
    with start_blocking_portal("trio") as portal:
        portal.start_task_soon(host.main)
        try:
            if host.entered.result():
                yield Embedded(host)
        except BaseException as error:  # raised again, together with the system's
            body = error
        host.stop()
        host.ended.result()
    host.raise_outcome(body)


def start_async(factory: Callable[[], S]) -> AbstractAsyncContextManager[AsyncEmbedded[S], bool | None]:
    """Run a system for the time of an ``async with`` block, on asyncio.

    As `start`, without blocking the loop. When the block is cancelled while the system stops, it
    stops all the same, within its ``shutdown_timeout``, and the cancellation goes on after that.

    Parameters:
        factory: Function that makes the system. It is called in the system's thread.

    Returns:
        An async context manager, which yields an `AsyncEmbedded`.

    Raises:
        RuntimeError: On entering: this thread runs Trio, where ``async with`` is enough.
        TypeError: On entering: ``factory`` is no function, or makes no system.
    """
    instead = "write `async with embed.start_async(...)`; in a program without a loop `with embed.start(...)`"
    return AsyncBlock(_started_async(factory), instead)


@asynccontextmanager
async def _started_async(factory: Callable[[], S]) -> AsyncGenerator[AsyncEmbedded[S]]:
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("embed.start_async is for asyncio; on Trio write `async with ActorSystem(...)`")
    host = _Host(factory)
    body: BaseException | None = None
    with start_blocking_portal("trio") as portal:
        portal.start_task_soon(host.main)
        try:
            if await asyncio.shield(asyncio.wrap_future(host.entered)):
                yield AsyncEmbedded(host)
        except BaseException as error:  # raised again, together with the system's
            body = error
        host.stop()
        try:
            await _settled(host.ended)
        except asyncio.CancelledError as cancelled:
            body = cancelled
    host.raise_outcome(body)


class _Host(Generic[S]):
    """The main task of the Trio thread: it owns the system's block, and a nursery for the calls."""

    def __init__(self, factory: Callable[[], S]) -> None:
        check_callable("embed", factory, "a function that makes the system: write `lambda: ...`")
        self._factory = factory
        self._system: S | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._calls: trio.Nursery | None = None
        self._failure: BaseException | None = None
        self._block = trio.CancelScope()
        self._stopping = trio.Event()
        self.entered: Future[bool] = Future()
        """Done when the system's block is entered: True, or False if that failed."""
        self.ended: Future[None] = Future()
        """Done when the system's block is left and every call has ended."""

    def __repr__(self) -> str:
        return "starting" if self._system is None else repr(self._system)

    @property
    def system(self) -> S:
        assert self._system is not None, "an embedded system is handed out when it is entered"
        return self._system

    async def main(self) -> None:
        """Run the system until `stop`, or its own end."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as calls:
                self._calls = calls
                try:
                    with self._block:
                        await self._run_block()
                except trio.Cancelled:
                    raise
                except BaseException as error:  # the boundary of the thread: the host raises it
                    self._failure = error
                self._calls = None
                calls.cancel_scope.cancel()
        finally:
            self._calls = None
            if not self.entered.done():
                self.entered.set_result(False)
            self.ended.set_result(None)

    async def _run_block(self) -> None:
        made = cast("object", self._factory())
        if not isinstance(made, ActorSystem):
            raise TypeError(f"embed needs a function that makes the system, and {self._factory!r} returned {made!r}")
        async with cast("S", made) as self._system:
            self.entered.set_result(True)
            await self._stopping.wait()

    def stop(self) -> None:
        """Have the block left, or its entry cancelled. From any thread; does not wait."""
        self._soon(self._stop_here)

    def _stop_here(self) -> None:
        self._stopping.set()
        if not self.entered.done():
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
        error = ActorStoppedError(f"{self!r}: the system has stopped, so it cannot do what was asked of it")
        error.__cause__ = self._failure
        return error

    def raise_outcome(self, body: BaseException | None) -> None:
        """Raise what the body and the system's block raised, if anything; none of the two is lost."""
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
    """Return what of an error belongs to Trio's cancel scopes, and what to the caller."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)


def _says_stopped(error: BaseException) -> bool:
    """Whether an error of a call says no more than that the system, or the asked actor, has stopped."""
    reason = error.__cause__ if isinstance(error, AskFailed) else error
    return isinstance(reason, ActorStoppedError)


def _result(future: Future[T]) -> T:
    """Wait for a call from a thread; when the wait is interrupted, withdraw the call."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def _settled(future: Future[None]) -> None:
    """Wait for a future on asyncio, also through cancellations, which are raised in the end."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
