"""Actor system inside of a program without Trio: asyncio applications, and sync scripts.

The system runs on a Trio loop in a thread of its own. `start` gives a sync host an `Embedded` to talk
through, `start_async` gives an asyncio host an `AsyncEmbedded`. Refs and messages cross as they are;
everything else of the system is touched in its own thread only, through ``call`` and ``run``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Generic, ParamSpec, TypeVar, TypeVarTuple

import trio
from anyio.from_thread import start_blocking_portal

from casty.cluster.system import ClusteredActorSystem
from casty.config import Mailbox
from casty.errors import NodeDowned
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.behavior.signatures import call_plain, check_async_function
from casty.runtime.blocks import AsyncBlock, SyncBlock
from casty.runtime.system.embedding import ALONE, Health, HealthState, Host, Standing
from casty.runtime.system.system import ActorSystem

__all__ = ["AsyncEmbedded", "Embedded", "Health", "HealthState", "start", "start_async"]

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=ActorSystem)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Embedded(Generic[S]):
    """A running system, seen from threads that may block. Any thread but the system's own may use it.

    Every method waits until the system's thread has done the work, and raises the errors raised there. Ctrl-C while a
    method waits cancels the call. Made by `start`.
    """

    def __init__(self, host: Host[S]) -> None:
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

        Of a lambda, type checkers take the reply's type from the left-hand side, as in
        ``n: int = app.ask(ref, lambda reply_to: Add("tea", reply_to))``; a class or annotated function tells it.

        Parameters:
            ref: Actor to ask, on any node.
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
            behavior: Behaviour of the actor.
            name: Name among the actors at the root.
            mailbox: Bound of its mailbox; None takes the one for its path in the system's config.

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
            The result of ``fn``.

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
            The result of ``async_fn``.

        Raises:
            TypeError: ``async_fn`` is no async function.
            ActorStoppedError: The system has ended.
        """
        check_async_function(async_fn, "run")
        return _result(self._host.run(partial(async_fn, *args)))

    def health(self, *, timeout: float = 1.0) -> Health:
        """Return how the system is, after a look at its loop.

        A loop without an answer in time is ``stalled``; nothing is raised, also when the system has ended.

        Parameters:
            timeout: Seconds to wait for an answer of the system's loop.

        Returns:
            The `Health`, whose ``is_ready`` is meant for a readiness route.
        """
        try:
            return self._host.health().result(timeout)
        except TimeoutError:
            return self._host.stalled(timeout)

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
    """A running system, seen from an asyncio loop; it never blocks the loop.

    Every method returns when the system's thread has done the work, and raises the errors raised there. Cancelling the
    caller cancels the call. Made by `start_async`.
    """

    def __init__(self, host: Host[S]) -> None:
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

        Of a lambda, type checkers take the reply's type from the left-hand side, as in
        ``n: int = await app.ask(ref, lambda reply_to: Add("tea", reply_to))``; a class or annotated function tells it.

        Parameters:
            ref: Actor to ask, on any node.
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
            behavior: Behaviour of the actor.
            name: Name among the actors at the root.
            mailbox: Bound of its mailbox; None takes the one for its path in the system's config.

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
            The result of ``fn``.

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
            The result of ``async_fn``.

        Raises:
            TypeError: ``async_fn`` is no async function.
            ActorStoppedError: The system has ended.
        """
        check_async_function(async_fn, "run")
        return await asyncio.wrap_future(self._host.run(partial(async_fn, *args)))

    async def health(self, *, timeout: float = 1.0) -> Health:
        """Return how the system is, after a look at its loop.

        A loop without an answer in time is ``stalled``; nothing is raised, also when the system has ended.

        Parameters:
            timeout: Seconds to wait for an answer of the system's loop.

        Returns:
            The `Health`, whose ``is_ready`` is meant for a readiness route.
        """
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._host.health()), timeout)
        except TimeoutError:
            return self._host.stalled(timeout)

    async def wait_stopped(self) -> None:
        """Wait until the system has ended by itself."""
        await asyncio.shield(asyncio.wrap_future(self._host.ended))


def start(
    factory: Callable[[], S], *, on_start: Callable[[S], object] | None = None, rejoin: bool = False
) -> AbstractContextManager[Embedded[S], bool | None]:
    """Run a system for the time of a ``with`` block, for hosts without a loop.

    Returns once the block of the system is entered; leaving stops it, as ``async with`` does. Errors of the system's
    block are raised here: on entry JoinRefused and its kin, at the end NodeDowned, in one group with the body's own
    exception if that is not a consequence. A system that ends by itself is logged at once, as an error of
    ``casty.embed``, with the work that kept its loop busy.

    >>> from casty import embed
    >>> with embed.start(lambda: ActorSystem("shop")) as app:
    ...     ref = app.spawn(Behaviors.ignore(), "cart")
    ...     app.tell(ref, "apple")
    ...     app.call(app.system.statistics).actors
    1

    Parameters:
        factory: Function making the system, such as ``lambda: ActorSystem("shop")``. It is called in the system's
            thread.
        on_start: Function of the system, called in its thread once it is entered: for spawns. It must not wait.
        rejoin: Whether a downed node starts again, after 1 to 30 seconds: the factory makes another system, with the
            former one's knowledge of other nodes, and ``on_start`` is called with it. Meanwhile calls raise
            ActorStoppedError. Refs to actors of the former system lead nowhere, so keep those given to ``on_start``.

    Returns:
        A context manager for an `Embedded`.

    Raises:
        RuntimeError: On entering: this thread runs Trio, where ``async with`` is enough.
        TypeError: On entering: ``factory`` is no function, or makes no system.
        BindError: On entering a node: its port cannot be had.
        JoinRefused: On entering a node: its cluster refuses it for good.
        ClusterTimeoutError: On entering a node: it was not let in within ``join_timeout``, with ``rejoin`` too.
        NodeDowned: On leaving: the node was downed meanwhile, and has not started again.
    """
    instead = (
        "write `with embed.start(...)`; on asyncio `async with embed.start_async(...)`, which does not block the loop"
    )
    return SyncBlock(_started(lambda: _host(factory, on_start, rejoin=rejoin)), instead)


@contextmanager
def _started(make: Callable[[], Host[S]]) -> Generator[Embedded[S]]:
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("embed.start is for programs without a loop; on Trio write `async with ActorSystem(...)`")
    host = make()
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


def start_async(
    factory: Callable[[], S], *, on_start: Callable[[S], object] | None = None, rejoin: bool = False
) -> AbstractAsyncContextManager[AsyncEmbedded[S], bool | None]:
    """Run a system for the time of an ``async with`` block, on asyncio.

    As `start`, without blocking the loop. When the block is cancelled while the system stops, it stops all the same,
    within its ``shutdown_timeout``, and the cancellation goes on after that.

    Parameters:
        factory: Function making the system, such as ``lambda: ActorSystem("shop")``. It is called in the system's
            thread.
        on_start: Function of the system, called in its thread once it is entered: for spawns. It must not wait.
        rejoin: Whether a downed node starts again, after 1 to 30 seconds: the factory makes another system, with the
            former one's knowledge of other nodes, and ``on_start`` is called with it. Meanwhile calls raise
            ActorStoppedError. Refs to actors of the former system lead nowhere, so keep those given to ``on_start``.

    Returns:
        An async context manager for an `AsyncEmbedded`.

    Raises:
        RuntimeError: On entering: this thread runs Trio, where ``async with`` is enough.
        TypeError: On entering: ``factory`` is no function, or makes no system.
        BindError: On entering a node: its port cannot be had.
        JoinRefused: On entering a node: its cluster refuses it for good.
        ClusterTimeoutError: On entering a node: it was not let in within ``join_timeout``, with ``rejoin`` too.
        NodeDowned: On leaving: the node was downed meanwhile, and has not started again.
    """
    instead = "write `async with embed.start_async(...)`; in a program without a loop `with embed.start(...)`"
    return AsyncBlock(_started_async(lambda: _host(factory, on_start, rejoin=rejoin)), instead)


@asynccontextmanager
async def _started_async(make: Callable[[], Host[S]]) -> AsyncGenerator[AsyncEmbedded[S]]:
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("embed.start_async is for asyncio; on Trio write `async with ActorSystem(...)`")
    host = make()
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


def _host(factory: Callable[[], S], on_start: Callable[[S], object] | None, *, rejoin: bool) -> Host[S]:
    return Host(factory, on_start, _standing, _follow if rejoin else None)


def _follow(system: ActorSystem, downed: NodeDowned) -> None:
    if isinstance(system, ClusteredActorSystem):
        system.cluster.rejoin_after(downed)


def _standing(system: ActorSystem) -> Standing:
    if not isinstance(system, ClusteredActorSystem):
        return ALONE
    cluster = system.cluster
    if not cluster.is_started:  # its port is being bound
        return Standing(is_up=False)
    if not cluster.is_member:
        return Standing(is_up=False, waits_for=cluster.contacts)
    return Standing(cluster.is_up, cluster.up_members, cluster.unreachable_members)


def _result(future: Future[T]) -> T:
    """Wait for a call from a thread; when the wait is interrupted, withdraw the call."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def _settled(future: Future[None]) -> None:
    """Wait for a future on asyncio, also through cancellations, raised in the end."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
