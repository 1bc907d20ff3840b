"""Behaviours of actors, and the ways to make them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Never, TypeVar, cast

from casty.cluster.pubsub.broadcast import BroadcastedBehavior
from casty.cluster.sharding.region_behavior import EntityRegionBehavior, ShardEnvelope
from casty.cluster.sharding.singleton import SingletonBehavior
from casty.protocol.actor.supervision import SupervisionStrategy
from casty.protocol.event_sourcing.effect import Effect
from casty.protocol.event_sourcing.every import EVERY_HUNDRED, Every
from casty.protocol.sharding.allocation import LEAST_SHARDS, Allocation
from casty.refs import ActorRef, EntityKey, ServiceKey, check_key, check_ref
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import Behavior, ReceiveTarget
from casty.runtime.behavior.interception import spying_for
from casty.runtime.behavior.signatures import (
    APPLY,
    DECIDE,
    DECIDE_ASYNC,
    DECIDE_STATE,
    HOOK,
    INTERCEPT,
    PRE_RESTART,
    RECEIVE,
    SETUP,
    STASH,
    TASK,
    TIMERS,
    check_behavior,
    check_function,
    check_pure,
)
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior, SourcedFunctions
from casty.runtime.system.context import ActorContext
from casty.runtime.system.timer_scheduler import TimerScheduler

E = TypeVar("E")
M = TypeVar("M")
S = TypeVar("S")


class Behaviors:
    """Makes behaviours. Nothing runs until one is spawned, and one may be spawned many times."""

    @staticmethod
    def receive(handler: Callable[[ActorContext[M], M], Awaitable[Behavior[M]]]) -> Behavior[M]:
        """Answer each message with ``await handler(ctx, message)``, which returns what comes next.

        One message at a time. `same` keeps the behaviour, any other behaviour replaces it.

        Parameters:
            handler: Async function of the context and one message, called for one message at a time. It returns
                the next behaviour.

        Returns:
            A behaviour to spawn or to return from a handler.

        Raises:
            TypeError: ``handler`` is no async function of two parameters.
        """
        check_function(handler, RECEIVE)
        return forms.receive(handler)

    @staticmethod
    def setup(factory: Callable[[ActorContext[M]], Awaitable[Behavior[M]]]) -> Behavior[M]:
        """Make the behaviour inside of the actor, where there is a context to spawn and watch with.

        A failure of the factory is a failure of the actor.

        Parameters:
            factory: Async function of the context, called once in each life of the actor, before its first
                message. It returns the behaviour.

        Returns:
            A behaviour that runs the factory where it is spawned.

        Raises:
            TypeError: ``factory`` is no async function of one parameter.
        """
        check_function(factory, SETUP)
        return forms.setup(factory)

    @staticmethod
    def task(main: Callable[[ActorContext[M], Inbox[M]], Awaitable[None]]) -> Behavior[M]:
        """Run ``main(ctx, inbox)``, which takes messages with ``async for message in inbox``.

        The actor ends when ``main`` returns. When it is to stop, the inbox ends; a ``main`` that has not
        returned ``stop_timeout`` seconds later, or never looked into the inbox, is cancelled.

        Parameters:
            main: Async function of the context and the inbox, run once in each life of the actor. State is its
                local variables.

        Returns:
            A behaviour that runs ``main`` where it is spawned.

        Raises:
            TypeError: ``main`` is no async function of two parameters.
        """
        check_function(main, TASK)
        return forms.task(main)

    @staticmethod
    def same() -> Behavior[object]:
        """Keep the behaviour.

        Returns:
            A marker for a handler to return.
        """
        return forms.SAME

    @staticmethod
    def stopped() -> Behavior[object]:
        """Stop: the children end, then ``post_stop`` runs, then the watchers are told.

        Returns:
            A marker for a handler to return.
        """
        return forms.STOPPED

    @staticmethod
    def unhandled() -> Behavior[object]:
        """Keep the behaviour, and publish the message as UnhandledMessage; for Terminated, fail.

        Returns:
            A marker for a handler to return.
        """
        return forms.UNHANDLED

    @staticmethod
    def restart() -> Behavior[object]:
        """Begin again with the first behaviour of the actor; for a handler to return.

        The message in hand counts as handled. What waits, and what is stashed, is for the next life.
        The hooks and ActorRestarted are told `RestartRequested`; no strategy and no budget is asked.

        Returns:
            A marker for a handler to return.
        """
        return forms.RESTART

    @staticmethod
    def ignore() -> Behavior[object]:
        """Take every message and do nothing.

        Returns:
            A behaviour that handles everything by doing nothing.
        """
        return _IGNORE

    @staticmethod
    def with_timers(factory: Callable[[TimerScheduler[M]], Awaitable[Behavior[M]]]) -> Behavior[M]:
        """Make the behaviour with ``await factory(timers)``, inside of the actor whose timers they are.

        Parameters:
            factory: Async function of a `TimerScheduler`, called once in each life of the actor. It returns the
                behaviour.

        Returns:
            A behaviour that runs the factory where it is spawned.

        Raises:
            TypeError: ``factory`` is no async function of one parameter.
        """

        check_function(factory, TIMERS)

        async def make(ctx: ActorContext[M]) -> Behavior[M]:
            return await factory(TimerScheduler(ctx))

        return forms.setup(make, factory)

    @staticmethod
    def with_stash(capacity: int, factory: Callable[[StashBuffer[M]], Awaitable[Behavior[M]]]) -> Behavior[M]:
        """Make the behaviour with ``await factory(stash)``: a place for messages that cannot be handled yet.

        ``stash.stash(message)`` sets one aside; ``return stash.unstash_all(next_behavior)`` has all of it taken
        again, in order, before what waits in the mailbox. See `StashBuffer` for restarts and stops.

        Parameters:
            capacity: Messages that the stash holds, at least 1; one more is a StashOverflowError in the
                handler.
            factory: Async function of a `StashBuffer`, called once in each life of the actor. It returns the
                behaviour.

        Returns:
            A behaviour that runs the factory where it is spawned.

        Raises:
            TypeError: ``factory`` is no async function of one parameter.
            ValueError: ``capacity`` is below 1.
        """

        check_function(factory, STASH)

        async def make(ctx: ActorContext[M]) -> Behavior[M]:
            return await factory(ctx.stash_buffer(capacity))

        if capacity < 1:
            raise ValueError(f"the capacity of a stash must be at least 1, got {capacity!r}")
        return forms.setup(make, factory)

    @staticmethod
    def with_lifecycle(
        behavior: Behavior[M],
        *,
        pre_start: Callable[[ActorContext[M]], Awaitable[None]] | None = None,
        post_stop: Callable[[ActorContext[M]], Awaitable[None]] | None = None,
        pre_restart: Callable[[ActorContext[M], Exception], Awaitable[None]] | None = None,
        post_restart: Callable[[ActorContext[M]], Awaitable[None]] | None = None,
    ) -> Behavior[M]:
        """Run hooks at the beginning and the end of each of the actor's lives.

        A life begins with ``pre_start``, before its first message. It ends with one of two: with
        ``pre_restart(ctx, exception)`` when the actor is restarted, with ``post_stop`` when it stops,
        after the children that end with it; both only where ``pre_start`` has succeeded, also under
        cancellation, and for at most ``stop_timeout`` seconds. What one life opens, both have to close.
        ``post_restart`` runs at the beginning of each life but the first, after ``pre_start``.

        The hooks stay when the behaviour is replaced, until a handler returns another ``with_lifecycle``.

        Parameters:
            behavior: What the actor does between its hooks.
            pre_start: Hook at the beginning of each life, before the first message. Its failure is a failure of
                the actor.
            post_stop: Hook at the end, when the actor stops, after its children have ended.
            pre_restart: Hook at the end of a life that a restart ends, with the exception of the failure.
            post_restart: Hook at the beginning of each life but the first, after ``pre_start``.

        Returns:
            A behaviour to spawn or to return from a handler.

        Raises:
            TypeError: ``behavior`` is no behaviour, or a hook is no async function of the parameters it gets.
        """
        check_behavior(behavior, "with_lifecycle")
        for hook, shape in ((pre_start, HOOK), (post_stop, HOOK), (pre_restart, PRE_RESTART), (post_restart, HOOK)):
            if hook is not None:
                check_function(hook, shape)
        return forms.Lifecycle(
            behavior,
            cast("forms.Hook | None", pre_start),
            cast("forms.Hook | None", post_stop),
            cast("forms.RestartHook | None", pre_restart),
            cast("forms.Hook | None", post_restart),
        )

    @staticmethod
    def supervise(behavior: Behavior[M], strategy: SupervisionStrategy) -> Behavior[M]:
        """Let ``strategy`` decide about failures of the actor; without any, it stops.

        A failure is an exception in a handler, a setup, a hook, a task or an adapter of the actor, and
        what a child escalates. Nests: the inner strategy is asked first, and what it leaves undecided
        goes to the outer. A restart begins again with the behaviour that the actor was spawned with. The
        strategies stay when the behaviour is replaced, until a handler returns another ``supervise``.

        Parameters:
            behavior: What the actor does.
            strategy: What decides, such as `Restart`, `Resume`, `Stop`, `Escalate` or a `OneForOneStrategy`.

        Returns:
            A behaviour to spawn or to return from a handler.

        Raises:
            TypeError: ``behavior`` is no behaviour, or ``strategy`` no strategy.
        """
        check_behavior(behavior, "supervise")
        if isinstance(strategy, type) or not callable(getattr(strategy, "decide", None)):
            raise TypeError(f"supervise needs a strategy, such as Restart() or Resume(), got {strategy!r}")
        return forms.Supervised(behavior, strategy)

    @staticmethod
    def intercept(
        interceptor: Callable[[ActorContext[M], M, ReceiveTarget[M]], Awaitable[Behavior[M]]], behavior: Behavior[M]
    ) -> Behavior[M]:
        """Call ``await interceptor(ctx, message, target)`` in place of the behaviour.

        ``return await target(message)`` passes a message on, as it is or another one; returning `same`
        swallows it. It sees all that the behaviour would: Terminated and timers too. Nests: the
        outermost sees a message first. An exception is a failure of the actor. The interceptors stay when
        the behaviour is replaced, until a handler returns another ``intercept`` or the actor restarts;
        ``intercept(interceptor, Behaviors.same())`` puts other interceptors around the present handler.
        What was stashed passes again, as it was stashed, when it is taken again.

        Parameters:
            interceptor: Async function of the context, the message and the target. It returns the next
                behaviour, as a rule what ``await target(message)`` returned.
            behavior: What the target is.

        Returns:
            A behaviour to spawn or to return from a handler.

        Raises:
            TypeError: ``behavior`` is no behaviour, or ``interceptor`` no async function of three parameters.
        """
        check_behavior(behavior, "intercept")
        check_function(interceptor, INTERCEPT)
        return forms.Intercepted(behavior, cast("forms.Interceptor", interceptor))

    @staticmethod
    def spy(ref: ActorRef[M], behavior: Behavior[M]) -> Behavior[M]:
        """Tell ``ref`` every message of the behaviour, just before it is handled.

        The actor does not suffer from a spy that cannot take a message: in a full mailbox it becomes a
        dead letter, and what cannot travel to the spy's node is logged.

        Parameters:
            ref: Actor to tell; local or on another node.
            behavior: What is watched.

        Returns:
            A behaviour to spawn or to return from a handler.

        Raises:
            TypeError: ``behavior`` is no behaviour, or ``ref`` no ref.
        """
        check_behavior(behavior, "spy")
        check_ref(ref, "spy")
        return forms.Intercepted(behavior, cast("forms.Interceptor", spying_for(ref)))

    @staticmethod
    def event_sourced(
        persistence_id: str | None = None,
        *,
        empty: S,
        decide: Callable[[S, M], Effect[E]],
        apply: Callable[[S, E], S],
        snapshots: Every | None = EVERY_HUNDRED,
    ) -> Behavior[M]:
        """Keep a state as the events behind it: each is durable before anybody is answered.

        Both functions are pure: no clock, no chance, no change of a state in place. ``apply`` is all there is to a
        replay. Commands in wait meanwhile are decided in turn, and share the next append, all or none.
        The system needs a journal: ``SystemConfig(journal=...)``.

        A command whose ``apply`` raises is refused, and nothing of it stored. Where the journal cannot be reached, the
        asker gets AskFailed with ``journal_unavailable``; where nobody knows the outcome, with ``outcome_unknown``.

        Parameters:
            persistence_id: Id in the journal, for ever, such as ``"till-1"``. None for an entity of ``sharded``, whose
                id is derived from its key and its own.
            empty: State before the first event.
            decide: Function of state and command; it returns an `Effect`: ``persist(...)``, ``nothing()`` or
                ``refuse(...)``, and the replies to it.
            apply: Function of state and event; it returns the next state.
            snapshots: When to take snapshots of the state; None: never.

        Returns:
            A behaviour to spawn.

        Raises:
            TypeError: ``decide`` or ``apply`` is no plain function of two parameters, ``empty`` is a class, or
                ``snapshots`` no `Every`.
            ValueError: The id is empty, too long, not printable, or holds ``#``.
        """
        check_pure(decide, DECIDE)
        check_pure(apply, APPLY)
        functions = SourcedFunctions(decide=decide, apply=apply)
        return SourcedBehavior("Behaviors.event_sourced", persistence_id, empty, functions, snapshots)

    @staticmethod
    def event_sourced_actor(
        persistence_id: str | None = None,
        *,
        empty: S,
        decide: Callable[[ActorContext[M], S, M], Awaitable[Effect[E]]],
        apply: Callable[[S, E], S],
        snapshots: Every | None = EVERY_HUNDRED,
    ) -> Behavior[M]:
        """Do as ``event_sourced``, with an async ``decide``: it may wait for another actor, or a payment.

        One command at a time: the next is decided when the events of the one before are durable.

        Parameters:
            persistence_id: Id in the journal, for ever; None for an entity of ``sharded``.
            empty: State before the first event.
            decide: Async function of context, state and command; it returns an `Effect`.
            apply: Function of state and event; it returns the next state.
            snapshots: When to take snapshots of the state; None: never.

        Returns:
            A behaviour to spawn.

        Raises:
            TypeError: ``decide`` is no async function of three parameters, ``apply`` no plain one of two, ``empty`` is
                a class, or ``snapshots`` no `Every`.
            ValueError: The id is empty, too long, not printable, or holds ``#``.
        """
        check_function(decide, DECIDE_ASYNC)
        check_pure(apply, APPLY)
        functions = SourcedFunctions(decide_async=decide, apply=apply)
        return SourcedBehavior("Behaviors.event_sourced_actor", persistence_id, empty, functions, snapshots)

    @staticmethod
    def durable_state(
        persistence_id: str | None = None, *, empty: S, decide: Callable[[S, M], Effect[S]]
    ) -> Behavior[M]:
        """Keep the last value of a state: it is durable before anybody is answered.

        Parameters:
            persistence_id: Id in the journal, for ever; None for an entity of ``sharded``.
            empty: State before the first is stored.
            decide: Function of state and command; it returns an `Effect`: ``store(state)``, ``nothing()`` or
                ``refuse(...)``, and the replies to it.

        Returns:
            A behaviour to spawn.

        Raises:
            TypeError: ``decide`` is no plain function of two parameters, or ``empty`` is a class.
            ValueError: The id is empty, too long, not printable, or holds ``#``.
        """
        check_pure(decide, DECIDE_STATE)
        functions = SourcedFunctions(decide=decide)
        return SourcedBehavior("Behaviors.durable_state", persistence_id, empty, functions, None)

    @staticmethod
    def sharded(
        factory: Callable[[str], Behavior[M]],
        key: EntityKey[M],
        *,
        num_shards: int = 256,
        role: str | None = None,
        passivate_after: float = 120.0,
        entities_max: int = 100_000,
        allocation: Allocation = LEAST_SHARDS,
    ) -> Behavior[ShardEnvelope[M]]:
        """Host entities of one kind on the node of the actor: each lives on one node of the cluster at a time.

        Spawn it on each node that is to host them; the nodes share the entities out by shards of their ids. An entity
        starts with its first message, and ends when it has had none for a while; the next message starts it again. Its
        state dies with it, and with its node. Callers use ``system.entity(key, id)``, on any node.

        Parameters:
            factory: Function of an id that makes the entity's behaviour, called at each start of one.
            key: Kind of the entities, such as ``EntityKey[Command]("carts")``.
            num_shards: Shards of the kind, from 1 to 16,384: the same on all nodes.
            role: Role needed by a node to host them; None: none.
            passivate_after: Seconds without a message after which an entity ends.
            entities_max: Entities of the kind on one node, above which the least recently used ones end.
            allocation: Strategy of placement, such as ``LeastShards()`` or one of your own; the same on all nodes. The
                coordinator, which is the oldest member, uses that of its own node, and ``LeastShards()`` where it hosts
                none of this kind.

        Returns:
            A behaviour to spawn.

        Raises:
            ConfigError: A number makes no sense.
            TypeError: ``factory`` cannot be called, ``key`` is no `EntityKey`, or ``allocation`` no `Allocation`.
        """
        return EntityRegionBehavior(factory, key, num_shards, role, passivate_after, entities_max, allocation)

    @staticmethod
    def singleton(factory: Callable[[], Behavior[M]], key: EntityKey[M], *, role: str | None = None) -> Behavior[M]:
        """Run one actor in the whole cluster: on the oldest of the nodes that have spawned this.

        Spawn it on each node that may run it. It starts at once, without a message, and again elsewhere when its node
        leaves or is lost; never before the one before has ended. It is started again after 50 ms when it fails, doubled
        up to 10 s; ``Behaviors.stopped()`` ends it until the next message. Its state dies with it. Callers use
        ``system.singleton(key)``, on any node; the spawned actor hands on everything told to it.

        Parameters:
            factory: Function that makes its behaviour, called at each start.
            key: Name and message type, such as ``EntityKey[Command]("billing")``; not one of entities.
            role: Role needed by a node to run it; None: none.

        Returns:
            A behaviour to spawn.

        Raises:
            ConfigError: ``role`` is no name.
            TypeError: ``factory`` cannot be called, or ``key`` is no `EntityKey`.
        """
        return SingletonBehavior(factory, key, role)

    @staticmethod
    def broadcasted(behavior: Behavior[M], key: ServiceKey[M]) -> Behavior[M]:
        """Run one such actor on each node that spawns it, for messages to all of them.

        ``system.broadcast(key)`` tells them, and ``system.ask_all(key, ...)`` asks them; as a service they are found by
        ``system.find`` too.

        Parameters:
            behavior: What the actor does.
            key: Name and message type, such as ``ServiceKey[Drop]("caches")``. A second actor of a node with it fails
                with ConfigError.

        Returns:
            A behaviour to spawn.

        Raises:
            TypeError: ``behavior`` is no behaviour, or ``key`` no `ServiceKey`.
        """
        check_behavior(behavior, "broadcasted")
        check_key(key, "broadcasted")
        return BroadcastedBehavior(behavior, key)

    @staticmethod
    def discoverable(behavior: Behavior[M], *, key: ServiceKey[M]) -> Behavior[M]:
        """Offer the actor as a service to all nodes of the cluster, for as long as it lives.

        In a system without a cluster it is a behaviour like any other, and nothing is offered.

        Parameters:
            behavior: What the actor does.
            key: Name and message type of the service, such as ``ServiceKey[Order]("orders")``.

        Returns:
            A behaviour to spawn or to return from a handler.

        Raises:
            TypeError: ``behavior`` is no behaviour, or ``key`` no `ServiceKey`.
        """
        check_behavior(behavior, "discoverable")
        check_key(key, "discoverable")
        return forms.Discoverable(behavior, cast("ServiceKey[Never]", key))


async def _ignore(ctx: ActorContext[object], message: object) -> Behavior[object]:
    return forms.SAME


_IGNORE = forms.receive(_ignore)
