"""Actor system: the block of an ``async with`` that owns every actor in it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, Self, TypeVar, TypeVarTuple, cast, overload

import trio

from casty.address import NodeAddress, check_path, checked_system_name
from casty.config import Mailbox, SystemConfig
from casty.config.validation import check_kind
from casty.errors import ActorStoppedError, AskFailed, AskTimeoutError
from casty.refs import ActorRef, EntityKey, EntityRef, ServiceKey, Topic, check_ref
from casty.runtime.actor.cell import Cell
from casty.runtime.actor.children import Children
from casty.runtime.actor.sharing_cell import SharingCell
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.behavior.signatures import check_async_function
from casty.runtime.events import EventStreamCmd
from casty.runtime.journaling.system_journal import open_journal
from casty.runtime.listeners import ActorLifecycleListener
from casty.runtime.messaging import ask as asking
from casty.runtime.messaging.entity_ref import entity_ref, singleton_ref
from casty.runtime.messaging.ref import OwnRef, tell_or_drop
from casty.runtime.messaging.timers import SchedulerCmd
from casty.runtime.system.context import spawn
from casty.runtime.system.event_reader import EVENTS_BUFFERED_MAX, Events
from casty.runtime.system.group_messaging import Broadcast, ask_all, broadcast_of, groups_of
from casty.runtime.system.kernel import Kernel, inside
from casty.runtime.system.metrics import Metrics, collect_system
from casty.runtime.system.shutdown import ShutdownPhase
from casty.runtime.system.statistics import SystemStatistics
from casty.runtime.system.topic_subscription import SUBSCRIPTION_CAPACITY, TopicSubscription
from casty.wire_types import WireType, check_wire_types

M = TypeVar("M")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")

logger = logging.getLogger("casty.runtime")


class ActorSystem:
    """Actors and everything belonging to them, for the time of an ``async with`` block.

    Leaving the block, by any way, stops every actor, timer and task, in the order and within the bounds of
    `ShutdownPhase`. A lone exception of the block leaves it as it is. Failures escalated by actors beyond the root end
    the block, and leave it as an exception group with every cause.

    >>> async with ActorSystem("shop") as system:
    ...     system.lookup("/nobody") is None
    True

    Parameters:
        name: Name of the system, a part of every address: a word without ``/@#?:``.
        config: Settings; None means ``SystemConfig()``.
        wire_types: Classes of others whose values may travel, such as ``[WireType(Money, "shop.Money", ...)]``, once
            the system is in a cluster; the same on all nodes.

    Raises:
        ValueError: ``name`` is not a single word: it is empty space, or has one of ``/@#?:``. Two of ``wire_types``
            are of one class, or have one name.
        TypeError: ``wire_types`` holds something else than a `WireType`.
        UnsupportedTypeError: One of ``wire_types`` travels as a type that cannot travel.
        ConfigError: ``config`` is no `SystemConfig`.
        RuntimeError: On entering: there is no Trio loop in this thread, or the system was entered before.
    """

    def __init__(
        self,
        name: str = "casty-system",
        *,
        config: SystemConfig | None = None,
        wire_types: Iterable[WireType[Any, Any]] = (),
    ) -> None:
        self.name: str = checked_system_name(name)
        """Name of the system, a part of every address."""
        self.config: SystemConfig = SystemConfig() if config is None else config
        """Settings of the system."""
        check_kind(f"{type(self).__name__}.config", self.config, SystemConfig, "SystemConfig(stop_timeout=1.0)")
        self.wire_types: tuple[WireType[Any, Any], ...] = check_wire_types(wire_types, type(self).__name__)
        """Types that this system was taught."""
        self._kernel_or_none: Kernel | None = None
        self._manager: AbstractAsyncContextManager[None] | None = None
        self._body_scope = trio.CancelScope()
        self._failure: BaseException | None = None
        self._escalated: list[Exception] = []
        self._shutdown_requested = trio.Event()
        self._stopped = trio.Event()

    def __repr__(self) -> str:
        state = "not entered" if self._kernel_or_none is None else "stopped" if self._stopped.is_set() else "running"
        actors = 0 if self._kernel_or_none is None else self._kernel_or_none.counters.actors
        return f"<{type(self).__name__} {self.name} {state} actors={actors}>"

    # The block

    if not TYPE_CHECKING:
        # Checkers refuse `with` by themselves; Python's own words do not say the right form.
        def __enter__(self):
            raise TypeError(f"write `async with`: {type(self).__name__} starts and ends tasks, which takes time")

        __exit__ = __enter__

    async def __aenter__(self) -> Self:
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                f"{type(self).__name__} runs on Trio, but there is no Trio loop in this thread; start the program with "
                'trio.run(main) or anyio.run(main, backend="trio"); from asyncio or plain threads, use casty.embed'
            )
        if self._manager is not None:
            raise RuntimeError(f"{self!r} was entered before; make a new one")
        self._manager = self._lifespan()
        try:
            await self._manager.__aenter__()
        except BaseExceptionGroup as group:
            error = self._failure or _unwrapped(group, None)
            raise error from error.__cause__
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        try:
            handled = await self._manager.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if self._failure is not None:
                raise self._failure from _cause(self._failure, error)
            if self._escalated:
                raise self._with_escalated(_leaves(group)) from None
            lone = _unwrapped(group, error)
            if lone is error:
                return False
            raise lone from lone.__cause__
        if self._failure is not None:
            raise self._failure from _cause(self._failure, error)
        if self._escalated:
            raise self._with_escalated([])
        return handled

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        """Time for actors to live in. Subclasses wrap it to add parts with a life as long."""
        async with open_journal(self.config, self.name, self.wire_types) as journal:
            kernel = Kernel(self, self.name, self.config, self._escalated_to_root, journal)
            self._kernel_or_none = kernel
            if journal is not None:
                journal.tell_rewinds(kernel.event_stream.publish)
            async with trio.open_nursery() as nursery:
                kernel.start(nursery, self._guard, (kernel,), f"{self.name} (guardian)")
                try:
                    await trio.lowlevel.checkpoint()
                    with self._body_scope:
                        yield
                finally:
                    self._shutdown_requested.set()
                    with trio.CancelScope(shield=True):
                        try:
                            await self._stopped.wait()
                        except KeyboardInterrupt:  # a second Ctrl-C: no more patience
                            kernel.shutdown.hurry()
                            raise

    @trio.lowlevel.enable_ki_protection
    async def _guard(self, kernel: Kernel) -> None:
        """Own the actors: no cancellation from outside reaches them, this task decides the order."""
        kernel.watchdog.start(
            {
                Cell.run.__code__: "self",
                SharingCell.be_served.__code__: "self",
                SharingCell.go_on.__code__: "self",
                Children.run_task.__code__: "parent",
            }
        )
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as outer:  # clean-ups need timers also when an actor has raised
                    kernel.start(outer, kernel.timer_queue.run, (), f"{self.name} (timers)")
                    try:
                        async with trio.open_nursery() as nursery:
                            kernel.roots.open(nursery)
                            await self._shutdown_requested.wait()
                            await kernel.shutdown.run()
                            nursery.cancel_scope.cancel()
                    finally:
                        outer.cancel_scope.cancel()
        finally:
            kernel.watchdog.stop()
            kernel.close()
            self._stopped.set()

    # Actors

    def spawn(self, behavior: Behavior[M], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[M]:
        """Start an actor at ``/name`` and return its ref; it runs as soon as the caller waits.

        Parameters:
            behavior: Behaviour of the actor.
            name: Name among the actors at the root, text without ``/?#`` and not beginning with ``_``.
            mailbox: Bound of its mailbox; None takes the one in ``config`` for its path.

        Returns:
            The actor's ref.

        Raises:
            ValueError: The name is bad, or an actor yet to finish stopping has it.
            ActorStoppedError: The system is stopping.
            TypeError: ``behavior`` is no behaviour.
            ConfigError: ``mailbox`` is no `Mailbox`.
            RuntimeError: The system has not been entered.
        """
        return spawn(self._kernel.roots, behavior, name, mailbox, internal=False)

    def lookup(self, path: str) -> ActorRef[Never] | None:
        """Find the present actor at a path.

        Parameters:
            path: Path of an actor of this system, such as ``/shop/cart-1``.

        Returns:
            A ref to be typed with ``of``; None when nobody has the path.

        Raises:
            ValueError: ``path`` does not begin with ``/``.
            RuntimeError: The system has not been entered.
        """
        check_path(path)
        return self._kernel.target(path, 0)

    def entity(self, key: EntityKey[M], entity_id: str) -> EntityRef[M]:
        """Return the ref of an entity, wherever it lives; nothing is sent.

        Parameters:
            key: Kind of the entity, such as ``EntityKey[Command]("carts")``.
            entity_id: Its id, 1 to 255 characters.

        Returns:
            The ref. It stays good when the entity ends, starts again, or moves.

        Raises:
            ValueError: The id is no text, of another length, or with a lone surrogate.
            TypeError: ``key`` is no `EntityKey`.
            ConfigError: ``key`` is that of a singleton.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        return entity_ref(self._kernel, key, entity_id)

    def singleton(self, key: EntityKey[M]) -> EntityRef[M]:
        """Return the ref of a singleton, wherever it lives; nothing is sent.

        Parameters:
            key: Key given to ``Behaviors.singleton``.

        Returns:
            The ref. It stays good when the singleton fails and starts again, or moves.

        Raises:
            TypeError: ``key`` is no `EntityKey`.
            ConfigError: ``key`` is that of entities.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        return singleton_ref(self._kernel, key)

    def stop(self, ref: ActorRef[Never]) -> None:
        """Stop a local actor after its message in hand; nothing happens if it has stopped.

        Parameters:
            ref: An actor of this system.

        Raises:
            TypeError: ``ref`` is no ref.
            ValueError: ``ref`` belongs to another node.
        """
        check_ref(ref, "stop")
        self._kernel.check_thread(f"stop {ref.path}")
        if not isinstance(ref, OwnRef):
            raise ValueError(f"cannot stop {ref.address}: only actors of this system can be stopped")
        cell = ref.owner()
        if cell is not None:
            cell.stop()

    async def wait_stopped(self, ref: ActorRef[Never] | None = None) -> None:
        """Wait until a local actor, or without a ref the whole system, has stopped; watch those of other nodes.

        Parameters:
            ref: An actor of this system; None waits for the end of the whole system.

        Raises:
            TypeError: ``ref`` is no ref.
            ValueError: ``ref`` belongs to another node.
        """
        self._kernel.check_thread("wait_stopped")
        if ref is None:
            await self._stopped.wait()
            return
        check_ref(ref, "wait_stopped")
        if not isinstance(ref, OwnRef):
            raise ValueError(f"cannot wait for {ref.address}, which is no actor of this system: watch it")
        cell = ref.owner()
        if cell is None:
            await trio.lowlevel.checkpoint()
            return
        await cell.until_ended()

    def on_shutdown(
        self, phase: ShutdownPhase, async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts, name: str | None = None
    ) -> None:
        """Run an async function once in a phase of the shutdown, before the phase's own work.

        The hooks of a phase run at the same time, for at most ``config.stop_timeout`` seconds; a hanging one is named
        and cancelled, a failing one is logged.

        Parameters:
            phase: When to run it.
            async_fn: Async function; not a coroutine.
            *args: Its positional arguments.
            name: Name of the hook in the log; None takes the function's name.

        Raises:
            ActorStoppedError: The shutdown has begun.
            TypeError: ``async_fn`` is no async function.
            ValueError: The system has 1,024 hooks already.
        """
        check_async_function(async_fn, "on_shutdown")
        self._kernel.check_thread("on_shutdown")
        label = name or str(getattr(async_fn, "__qualname__", repr(async_fn)))
        self._kernel.shutdown.add(phase, partial(async_fn, *args), label)

    async def shutdown(self) -> None:
        """Go through the phases of the shutdown and wait for their end; inside of an actor or a hook, only request it.

        Idempotent.
        """
        kernel = self._kernel
        kernel.check_thread("shutdown")
        self._shutdown_requested.set()
        if inside.get() is kernel:
            await trio.lowlevel.checkpoint()
        else:
            await self._stopped.wait()

    def ask(
        self, ref: ActorRef[M], factory: Callable[[ActorRef[R]], M], *, timeout: float = 5.0
    ) -> Coroutine[Any, Any, R]:
        """Tell ``ref`` the message made by ``factory`` of a reply ref, and wait for the reply.

        On the way to another node the request waits for room within the time-out, as ``send`` does; cancelled, or late,
        while it waits, nothing was sent. A late reply is a dead letter.

        Parameters:
            ref: Actor to ask, on any node.
            factory: Function of the ref for the reply; it returns the request, such as ``lambda reply_to: Get("k",
                reply_to)``.
            timeout: Seconds to wait for the reply; ``math.inf`` is no limit. 0 or less, as the rest of a deadline can
                be, raises AskTimeoutError without asking.

        Returns:
            The reply. For a lambda, annotate the variable: ``count: Count = await system.ask(...)``.

        Raises:
            AskTimeoutError: No reply came within ``timeout``. The request may have been handled, unless the message
                says it was not sent.
            AskFailed: No reply will come: the handler failed with the request in hand or answered with an error, the
                request became a dead letter, or this system has ended.
            TypeError: ``factory`` is the message itself, or ``ref`` no ref.
            ValueError: ``timeout`` is no number.
        """
        # Not async itself: a coroutine around the other is 2 % of an ask.
        return asking.ask(self._kernel, ref, factory, timeout)

    async def ask_or_none(
        self, ref: ActorRef[M], factory: Callable[[ActorRef[R]], M], *, timeout: float = 5.0
    ) -> R | None:
        """Ask as with `ask`, and take the silence of the other for an answer.

        Parameters:
            ref: Actor to ask, on any node.
            factory: Function of the ref for the reply; it returns the request.
            timeout: Seconds to wait for the reply; ``math.inf`` is no limit.

        Returns:
            The reply; None when none came within ``timeout``.

        Raises:
            AskFailed: No reply will come.
            TypeError: ``factory`` is the message itself, or ``ref`` no ref.
            ValueError: ``timeout`` is no number.
        """
        try:
            return await asking.ask(self._kernel, ref, factory, timeout)
        except AskTimeoutError:
            return None

    def tell_threadsafe(self, ref: ActorRef[M], message: M) -> None:
        """Tell from any thread. A message refused at the loop's turn is a dead letter, or is logged.

        Parameters:
            ref: An actor, on any node.
            message: A message of the actor's type.

        Raises:
            ActorStoppedError: The loop of the system has ended.
            TypeError: ``ref`` is no ref.
        """
        check_ref(ref, "tell_threadsafe")
        try:
            self._kernel.token.run_sync_soon(self._tell_from_thread, ref, message)
        except trio.RunFinishedError:
            raise ActorStoppedError(f"cannot tell {ref.path}: the loop of {self.name} has ended") from None

    # Events

    @property
    def event_stream(self) -> ActorRef[EventStreamCmd]:
        """Ref for EventStreamSubscribe, EventStreamUnsubscribe and Publish."""
        return self._kernel.event_stream_ref

    @property
    def scheduler(self) -> ActorRef[SchedulerCmd]:
        """Ref for ScheduleOnce, ScheduleTick and CancelSchedule."""
        return self._kernel.scheduler_ref

    @overload
    def events(self, event_type: type[E], /, *, capacity: int = ...) -> Events[E]: ...

    @overload
    def events(self, first: type[E], second: type[E2], /, *, capacity: int = ...) -> Events[E | E2]: ...

    @overload
    def events(
        self, first: type[E], second: type[E2], third: type[E3], /, *, capacity: int = ...
    ) -> Events[E | E2 | E3]: ...

    @overload
    def events(
        self, first: type[E], second: type[E2], third: type[E3], fourth: type[E4], /, *, capacity: int = ...
    ) -> Events[E | E2 | E3 | E4]: ...

    def events(self, *event_types: type[Any], capacity: int = EVENTS_BUFFERED_MAX) -> Events[Any]:
        """Return the events of some types, in their order, for code outside of actors.

        Enter it, then iterate over it. Type checkers take up to four types; a base class stands for all of its
        subclasses, and ``object`` for every event.

        >>> from casty import ActorFailed, DeadLetter, Publish
        >>> async with system.events(DeadLetter, ActorFailed) as troubles:
        ...     system.event_stream.tell(Publish(ActorFailed(system.event_stream, OSError("no route"))))
        ...     trouble = await anext(troubles)
        >>> trouble.exception
        OSError('no route')

        Parameters:
            *event_types: Classes of events, at least one.
            capacity: Events waiting for the reader, at least 1; further ones are dropped and counted.

        Returns:
            An async context manager, and its own async iterator.

        Raises:
            TypeError: No type was given, or an argument is no class.
            ValueError: ``capacity`` is below 1.
        """
        return Events(self._kernel, event_types, capacity)

    # Many nodes

    def broadcast(self, key: ServiceKey[M]) -> Broadcast[M]:
        """Return the actors of a broadcast, one on each node; nothing is sent.

        ``system.broadcast(CACHES).tell(Drop("x"))`` tells all of them.

        Parameters:
            key: Key given to ``Behaviors.broadcasted``. Other services count too, the first by path on each node.

        Returns:
            All that are listed at the time of each message.

        Raises:
            TypeError: ``key`` is no `ServiceKey`.
            UnsupportedTypeError: A message of the service holds a class that this system was not taught.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        return broadcast_of(self._kernel, key)

    def ask_all(
        self, key: ServiceKey[M], factory: Callable[[ActorRef[R]], M], *, timeout: float = 5.0
    ) -> Coroutine[Any, Any, Mapping[NodeAddress, R | AskFailed]]:
        """Ask the actors of a broadcast all at one time, and wait for the outcome of each.

        One without a reply fails by itself, and spoils no other's.

        Parameters:
            key: Key given to ``Behaviors.broadcasted``.
            factory: Function of the ref for a reply; it returns the request. It is called once for each.
            timeout: Seconds to wait for all of them.

        Returns:
            The reply of each reachable node with such an actor, or AskFailed, of the kind ``timed_out`` where none came
            in time. Empty where there is none. For a lambda, annotate the variable.

        Raises:
            TypeError: ``key`` is no `ServiceKey`, or ``factory`` the message itself.
            EncodeError: The request cannot be written as bytes.
            UnsupportedTypeError: A message of the service holds a class that this system was not taught.
            ValueError: ``timeout`` is no number.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        return ask_all(self._kernel, key, factory, timeout)

    def subscribe(self, topic: Topic[M], ref: ActorRef[M]) -> None:
        """Let an actor of this node get what is published under a topic, on any node, until it ends.

        At once for this node; other nodes know of it a moment later. Messages come at most once, in order from each
        publisher. Where the actor's mailbox is full they are dead letters, and other subscribers get them all the same.

        Parameters:
            topic: Name and message type, such as ``Topic[Price]("prices")``.
            ref: An actor of this system, or an adapter of one. Subscribing it again changes nothing, nor does one that
                has ended.

        Raises:
            TypeError: ``topic`` is no `Topic`, or ``ref`` no ref.
            ValueError: ``ref`` belongs to another node: subscribe it there. Or it is that of an entity: subscribe an
                adapter of it.
            ConfigError: A subscriber of this node uses the topic for another type.
            ActorStoppedError: The system is stopping.
            UnsupportedTypeError: A message of the topic holds a class that this system was not taught.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        groups_of(self._kernel).subscribe(topic, ref)

    def unsubscribe(self, topic: Topic[M], ref: ActorRef[M]) -> None:
        """Let an actor get nothing more of a topic; nothing happens where it is no subscriber.

        Parameters:
            topic: Topic given to `subscribe`.
            ref: Ref given to it.

        Raises:
            TypeError: ``topic`` is no `Topic`, or ``ref`` no ref.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        groups_of(self._kernel).unsubscribe(topic, ref)

    def subscription(self, topic: Topic[M], *, capacity: int = SUBSCRIPTION_CAPACITY) -> TopicSubscription[M]:
        """Subscribe the code of an ``async with`` block to a topic, such as a connection of a web server.

        ``async with system.subscription(PRICES) as inbox: async for price in inbox: ...``

        Parameters:
            topic: Name and message type.
            capacity: Messages waiting for the reader, at least 1; further ones are dropped and counted.

        Returns:
            An async context manager, and its own async iterator.

        Raises:
            TypeError: ``topic`` is no `Topic`.
            ValueError: ``capacity`` is no integer of at least 1.
            RuntimeError: The system is no node of a cluster, or has not been entered.
            ActorStoppedError: The node has ended.
        """
        return TopicSubscription(self._kernel, groups_of(self._kernel), topic, capacity)

    def publish(self, topic: Topic[M], message: M) -> int:
        """Hand a message to all subscribers of a topic, encoded once, with one copy to each node; return at once.

        At most once each, in order for each. A full queue to one node is a dead letter for that one, and holds up no
        other. Without any subscriber the message is a dead letter.

        Parameters:
            topic: Name and message type.
            message: A message of that type. Do not change it afterwards.

        Returns:
            The number of nodes, this one included, with subscribers known here.

        Raises:
            TypeError: ``topic`` is no `Topic`.
            ConfigError: A subscriber of this node uses the topic for another type.
            EncodeError: The message cannot be written as bytes; nobody got it.
            UnsupportedTypeError: A message of the topic holds a class that this system was not taught.
            RuntimeError: The system is no node of a cluster, or has not been entered; or the thread is another one.
            ActorStoppedError: The node has ended.
        """
        return groups_of(self._kernel).publish(topic, message)

    def add_lifecycle_listener(self, listener: ActorLifecycleListener) -> None:
        """Add a listener to the starts, failures and ends of actors, those of the library included.

        Of several the one added first is told first, all of them before the subscribers to the event. One that is there
        already stays in its place.

        >>> from casty import ActorLifecycleListener
        >>> class Printed(ActorLifecycleListener):
        ...     def stopped(self, ref, error):
        ...         print("stopped", ref.path, error)
        >>> system.add_lifecycle_listener(Printed())
        >>> brief = system.spawn(Behaviors.ignore(), "brief")
        >>> brief.tell(PoisonPill())
        >>> await system.wait_stopped(brief)
        stopped /brief None

        Parameters:
            listener: An `ActorLifecycleListener`, or an object with its methods.

        Raises:
            TypeError: ``listener`` is a class, lacks a method, or has an async one.
            ValueError: The system has 64 listeners already.
            RuntimeError: The system has not been entered, or the thread is another one.
        """
        self._kernel.check_thread("add_lifecycle_listener")
        self._kernel.listeners.add(listener)

    def remove_lifecycle_listener(self, listener: ActorLifecycleListener) -> None:
        """Tell a listener nothing more, from inside of its own methods too; nothing happens where it is gone.

        Parameters:
            listener: The object that was added.

        Raises:
            RuntimeError: The system has not been entered, or the thread is another one.
        """
        self._kernel.check_thread("remove_lifecycle_listener")
        self._kernel.listeners.remove(listener)

    def statistics(self) -> SystemStatistics:
        """Count: actors, messages, dead letters by reason, pending asks, timers.

        Returns:
            The counters as they are now.
        """
        return self._kernel.statistics()

    def collect(self, metrics: Metrics) -> None:
        """Hand over counters and gauges as they are now; in the thread of the loop, of an entered system.

        Nothing is counted for this alone on the way of a message, so it costs nothing while nobody calls it.

        Parameters:
            metrics: Receiver of each figure.
        """
        collect_system(self._kernel.statistics(), metrics)

    # For subclasses and the layers above

    @property
    def _kernel(self) -> Kernel:
        if self._kernel_or_none is None:
            raise RuntimeError(f"{self!r}: enter it first, with `async with`")
        return self._kernel_or_none

    def _spawn_system(self, behavior: Behavior[M], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[M]:
        """Spawn one of casty's own actors, whose name begins with ``_``; it outlives the users'."""
        if not name.startswith("_"):
            raise ValueError(f"the name of a system actor begins with '_', got {name!r}")
        return spawn(self._kernel.roots, behavior, name, mailbox, internal=True)

    def _fail(self, error: BaseException) -> None:
        """Cancel the block and have it raise exactly ``error``. The first failure counts."""
        if self._failure is None:
            self._failure = error
            self._end_block()

    def _escalated_to_root(self, error: Exception) -> None:
        self._escalated.append(error)
        self._end_block()

    def _with_escalated(self, others: list[BaseException]) -> BaseException:
        """Return the group of the escalated failures of actors and the other errors: also of one, as a nursery does."""
        return BaseExceptionGroup(f"actors of {self.name} escalated their failures", [*self._escalated, *others])

    def _end_block(self) -> None:
        """Stop the system and cancel the rest of the block."""
        self._shutdown_requested.set()
        self._body_scope.cancel()

    def _tell_from_thread(self, ref: ActorRef[M], message: M) -> None:
        try:
            tell_or_drop(ref, message)
        except Exception:  # raised here it would end the whole Trio run
            logger.exception("a message from another thread could not be told to %s", ref.path)
        except BaseException as error:  # an adapter's sys.exit() ends the system's block, as that of a handler does
            self._fail(error)


def kernel_of(system: ActorSystem) -> Kernel:
    """Return the inside of a running system, for the layers above the runtime."""
    return system._kernel  # pyright: ignore[reportPrivateUsage]  # the door for the layers above


def fail_system(system: ActorSystem, error: BaseException) -> None:
    """Cancel a system's block and have it raise exactly ``error``, for the layers above the runtime."""
    system._fail(error)  # pyright: ignore[reportPrivateUsage]  # the door for the layers above


def escalated_by(system: ActorSystem) -> tuple[Exception, ...]:
    """Return the failures escalated beyond the root of a system, for the layers above the runtime."""
    return tuple(system._escalated)  # pyright: ignore[reportPrivateUsage]  # as above


def end_block(system: ActorSystem) -> None:
    """Cancel a system's block without an error, for the layers above the runtime."""
    system._end_block()  # pyright: ignore[reportPrivateUsage]  # as above


def spawn_system_actor(system: ActorSystem, behavior: Behavior[M], name: str) -> ActorRef[M]:
    """Spawn an actor whose name begins with ``_``: it outlives the users' actors."""
    return system._spawn_system(behavior, name)  # pyright: ignore[reportPrivateUsage]  # as above


def _cause(failure: BaseException, body: BaseException | None) -> BaseException | None:
    """Return the cause to be shown for the failure of a system: its own, or what the body had raised before."""
    return failure.__cause__ or (body if isinstance(body, Exception) else None)


def _unwrapped(group: BaseExceptionGroup[BaseException], body: BaseException | None) -> BaseException:
    """Return the body's exception if there is no other, the lone one inside of groups of one, or the group.

    Trio copies groups on their way through a nursery, so the body's is known by its content.
    """
    leaves = _leaves(group)
    if body is not None and list(map(id, leaves)) == list(map(id, _leaves(body))):
        return body
    return leaves[0] if len(leaves) == 1 else group


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    members = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return [leaf for member in members for leaf in _leaves(member)]
