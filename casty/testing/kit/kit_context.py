"""Surroundings of a behaviour in a `BehaviorTestKit`: all of its actions become effects.

Stands in for the gifts of `casty.runtime` to a behaviour: context, inbox, refs and system.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Never, TypeVar, cast

import trio

from casty import ActorAddress, ActorContext, ActorRef, ActorSystem, Behavior, Inbox, Mailbox
from casty.address import check_path
from casty.refs import EntityKey, EntityRef, check_ref
from casty.runtime.actor.cell import Cell
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.actor.watching import Watching
from casty.runtime.behavior.arguments import (
    check_once,
    check_reply_error,
    check_spawn,
    check_timer_key,
    first_delay,
    refuse_entity_watch,
    refuse_no_actor,
    refuse_no_child,
    refuse_own_watch,
)
from casty.runtime.behavior.signatures import check_adapter, check_async_function, check_piped
from casty.runtime.deadlines import check_delay
from casty.runtime.events import EventStreamCmd
from casty.runtime.messaging.ask import refuse_factory, refused_circle, refused_time
from casty.runtime.messaging.channel import ChannelStatistics
from casty.runtime.messaging.entity_ref import entity_ref, singleton_ref
from casty.runtime.messaging.timers import SchedulerCmd
from casty.testing.kit.effects import (
    AdapterMade,
    Cancelled,
    Effect,
    Piped,
    ReceiveTimeoutSet,
    RepliedError,
    Scheduled,
    Spawned,
    Stopped,
    TaskStarted,
    Told,
    Unwatched,
    Watched,
)
from casty.testing.kit.kit_entities import KitCluster
from casty.testing.kit.stepping import pause, would_wait

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
N = TypeVar("N")
O = TypeVar("O")  # noqa: E741  # the message type of another actor
R = TypeVar("R")
T = TypeVar("T")

END = object()
"""Given to a paused inbox, it ends the iteration."""


class KitRef(ActorRef[M_contra]):
    """A ref without an actor: messages told to it go to a function."""

    __slots__ = ("_address", "_take")

    def __init__(self, address: ActorAddress, take: Callable[[M_contra], None]) -> None:
        self._address = address
        self._take = take

    @property
    def address(self) -> ActorAddress:
        return self._address

    def tell(self, message: M_contra) -> None:
        self._take(message)

    async def send(self, message: M_contra) -> None:
        self._take(message)


class TestInbox(Generic[M]):
    """Inbox for messages of a behaviour under test: hand ``ref`` to it, look at ``messages``.

    Made by ``kit.inbox(name)``. A ``respond`` that answers is how an ask of the behaviour gets its reply.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, ref_to: Callable[[Callable[[M], None]], ActorRef[M]], respond: Callable[[M], None] | None):
        self._messages: deque[M] = deque()
        self._respond = respond
        self.ref: ActorRef[M] = ref_to(self._take)
        """Ref to tell the messages to."""

    def __repr__(self) -> str:
        return f"<TestInbox {self.ref.path} messages={len(self._messages)}>"

    @property
    def messages(self) -> tuple[M, ...]:
        """Messages not taken yet, oldest first."""
        return tuple(self._messages)

    def take(self) -> M:
        """Take the oldest message, and forget it.

        Returns:
            The message.

        Raises:
            AssertionError: There is none.
        """
        if not self._messages:
            raise AssertionError(f"expected a message at {self.ref.path}, found none")
        return self._messages.popleft()

    def _take(self, message: M) -> None:
        self._messages.append(message)
        if self._respond is not None:
            self._respond(message)


class World:
    """Names, children and watches around one behaviour, and the effects so far."""

    def __init__(self, name: str) -> None:
        self.path = f"/{name}"
        self.effects: list[Effect] = []
        self.own_messages: deque[object] = deque()
        self.children: dict[str, ActorRef[Never]] = {}
        self.spawned: set[ActorRef[Never]] = set()
        """Children, present and former."""
        self.watched: dict[ActorRef[Never], None] = {}
        self.timers: dict[Hashable, Scheduled] = {}
        self.stashed: dict[KitStash[object], deque[object]] = {}
        """Messages in stashes, by stash; only those with messages are in it, as in the mailbox of an actor."""
        self.is_task_style = False
        """Whether the behaviour is a task by now."""
        self.stop_requested = False
        """Whether the behaviour has stopped itself, and ends with its message in hand."""
        self.has_read = False
        """Whether a task has looked into its inbox; one that never did is cancelled when it is to stop."""
        self._serial = 0
        self.ref: ActorRef[object] = self.ref_at(self.path, self.own_messages.append)
        self.own_refs: set[ActorRef[Never]] = {cast("ActorRef[Never]", self.ref)}
        """Refs of the behaviour itself: its own, and those of its adapters."""
        self.system = KitSystem(self)
        self.cluster = KitCluster(lambda ref, message: self.effects.append(Told(ref, message)))

    def ref_at(self, path: str, take: Callable[[N], None] | None = None) -> ActorRef[N]:
        """Return a new ref; a message told to it is an effect, then handed to ``take``."""

        def told(message: N) -> None:
            self.effects.append(Told(cast("ActorRef[Never]", ref), message))
            if take is not None:
                take(message)

        ref: ActorRef[N] = KitRef(self._address(path), told)
        return ref

    def silent_ref(self, path: str, take: Callable[[N], None]) -> ActorRef[N]:
        """Return a new ref without effects of its own."""
        return KitRef(self._address(path), take)

    def end_life(self) -> None:
        """Forget the state of an ended life, and put back the messages in its stashes."""
        self.timers.clear()
        self.watched.clear()
        self.own_messages.extendleft([message for stash in self.stashed.values() for message in stash][::-1])
        for stash in self.stashed.values():
            stash.clear()
        self.stashed.clear()

    def next_serial(self) -> int:
        """Return a number not used in this world yet."""
        self._serial += 1
        return self._serial

    def _address(self, path: str) -> ActorAddress:
        return ActorAddress("kit", path, uid=self.next_serial())

    def spawn(self, parent: str, behavior: Behavior[N], name: str, mailbox: Mailbox | None) -> ActorRef[N]:
        """Take note of a child."""
        check_spawn(behavior, name, mailbox, internal=False)
        path = f"{parent}/{name}"
        if path in self.children:
            raise ValueError(
                f"there is an actor at {path} already; run(Terminated(ref)) in the kit, or ctx.stopped(ref), ends it"
            )
        ref: ActorRef[N] = self.ref_at(path)
        self.children[path] = cast("ActorRef[Never]", ref)
        self.spawned.add(self.children[path])
        self.effects.append(Spawned(name, behavior, cast("ActorRef[Never]", ref), mailbox))
        return ref

    def stop(self, ref: ActorRef[Never]) -> None:
        """Take note of a stop; of the behaviour itself, it is its end."""
        check_ref(ref, "stop")
        self.effects.append(Stopped(ref))
        self.stop_requested = self.stop_requested or ref in self.own_refs

    def check_watch(self, ref: ActorRef[Never], taker: str) -> None:
        """Raise TypeError or ValueError unless the behaviour can watch ``ref``."""
        check_ref(ref, taker)
        if ref in self.own_refs:
            refuse_own_watch(self.path)
        if isinstance(ref, EntityRef):
            refuse_entity_watch(ref)
        if ref in (self.system.event_stream, self.system.scheduler):
            refuse_no_actor(ref.path)

    async def ask(self, ref: ActorRef[O], factory: Callable[[ActorRef[R]], O], timeout: float) -> R:
        """Return the reply given at once; there is no other."""
        if (over := refused_time(ref, timeout)) is not None:
            raise over
        if not callable(factory):
            refuse_factory(factory)
        if ref == self.ref and not self.is_task_style:
            raise refused_circle(self.path, self.path)
        replies: list[R] = []
        ref.tell(factory(self.silent_ref(f"/_ask/{self.next_serial()}", replies.append)))
        if not replies:
            await would_wait(f"a reply from {ref.path} (at most {timeout:g} s), which kit.inbox(respond=...) can give")
        return replies[0]


class KitSystem(ActorSystem):
    """System in the eyes of a behaviour in a kit: named ``kit``, with nothing in it but stand-ins."""

    def __init__(self, world: World) -> None:
        super().__init__("kit")
        self._world = world
        self._events: ActorRef[EventStreamCmd] = world.ref_at("/_event_stream")
        self._schedules: ActorRef[SchedulerCmd] = world.ref_at("/_scheduler")

    @property
    def event_stream(self) -> ActorRef[EventStreamCmd]:
        return self._events

    @property
    def scheduler(self) -> ActorRef[SchedulerCmd]:
        return self._schedules

    def spawn(self, behavior: Behavior[M], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[M]:
        return self._world.spawn("", behavior, name, mailbox)

    def stop(self, ref: ActorRef[Never]) -> None:
        self._world.stop(ref)

    def lookup(self, path: str) -> ActorRef[Never] | None:
        check_path(path)
        return cast("ActorRef[Never]", self._world.ref) if path == self._world.path else self._world.children.get(path)

    async def ask(self, ref: ActorRef[M], factory: Callable[[ActorRef[R]], M], *, timeout: float = 5.0) -> R:
        return await self._world.ask(ref, factory, timeout)

    @property
    def _kernel(self) -> Never:
        raise RuntimeError(
            "a BehaviorTestKit has no system behind it, but for spawn, stop, lookup, ask, event_stream and scheduler: "
            "test the behaviour in an ActorSystem with a TestProbe"
        )


@dataclass(frozen=True, slots=True)
class KitCell:
    """In the place of the cell: the path, all that the parts shared with an actor ask for."""

    path: str


class KitContext(ActorContext[M]):
    """A context that takes notes instead of acting."""

    __slots__ = ("_world",)

    def __init__(self, world: World) -> None:
        super().__init__(cast("Cell", KitCell(world.path)))
        self._world = world

    @property
    def self(self) -> ActorRef[M]:
        return self._world.ref

    @property
    def system(self) -> ActorSystem:
        return self._world.system

    @property
    def deadline(self) -> float:
        return math.inf

    @property
    def parent(self) -> ActorRef[Never] | None:
        return None

    @property
    def children(self) -> tuple[ActorRef[Never], ...]:
        own = f"{self._world.path}/"
        return tuple(ref for path, ref in self._world.children.items() if path.startswith(own))

    def spawn(self, behavior: Behavior[N], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[N]:
        return self._world.spawn(self._world.path, behavior, name, mailbox)

    def stop(self, ref: ActorRef[Never]) -> None:
        self._world.system.stop(ref)

    async def stopped(self, child: ActorRef[Never], *, drain: float = 0.0) -> None:
        check_ref(child, "stopped")
        if child not in self._world.spawned or not child.path.startswith(f"{self._world.path}/"):
            refuse_no_child(self._world.path, child.path)
        check_delay("drain", drain, zero=True)
        if self._world.children.get(child.path) == child:
            del self._world.children[child.path]
            self.stop(child)

    def entity(self, key: EntityKey[O], entity_id: str) -> EntityRef[O]:
        return entity_ref(self._world.cluster, key, entity_id)

    def singleton(self, key: EntityKey[O]) -> EntityRef[O]:
        return singleton_ref(self._world.cluster, key)

    def watch(self, ref: ActorRef[Never]) -> None:
        self._world.check_watch(ref, "watch")
        self._world.watched[ref] = None
        self._world.effects.append(Watched(ref))

    def unwatch(self, ref: ActorRef[Never]) -> None:
        check_ref(ref, "unwatch")
        self._world.watched.pop(ref, None)
        self._world.effects.append(Unwatched(ref))

    def watching(self, ref: ActorRef[Never]) -> AbstractAsyncContextManager[Watching]:
        self._world.check_watch(ref, "watching")
        return self._watching(ref)

    @asynccontextmanager
    async def _watching(self, ref: ActorRef[Never]) -> AsyncGenerator[Watching]:
        self._world.effects.append(Watched(ref))
        with trio.CancelScope() as scope:
            yield Watching(scope)
        self._world.effects.append(Unwatched(ref))

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        check_async_function(async_fn, "start_soon")
        self._world.effects.append(TaskStarted(async_fn, args))

    def pipe_to_self(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: object,
        mapper: Callable[..., object] | None = None,
        on_failure: Callable[[Exception], object] | None = None,
    ) -> None:
        check_piped(async_fn, mapper, on_failure)
        self._world.effects.append(Piped(async_fn, args, mapper, on_failure))

    def schedule_once(self, message: M, delay: float, *, key: Hashable = None) -> Hashable:
        check_once(delay, key)
        return self._scheduled(Scheduled(message, delay, None, key))

    def schedule_tick(
        self, message: M, interval: float, *, initial_delay: float | None = None, key: Hashable = None
    ) -> Hashable:
        first = first_delay("interval", interval, initial_delay, key)
        return self._scheduled(Scheduled(message, first, interval, key))

    def schedule_with_fixed_delay(
        self, message: M, delay: float, *, initial_delay: float | None = None, key: Hashable = None
    ) -> Hashable:
        first = first_delay("delay", delay, initial_delay, key)
        return self._scheduled(Scheduled(message, first, delay, key, fixed_delay=True))

    def cancel_timer(self, key: Hashable) -> None:
        check_timer_key(key)
        self._world.timers.pop(key, None)
        self._world.effects.append(Cancelled(key))

    def cancel_all_timers(self) -> None:
        for key in list(self._world.timers):
            self.cancel_timer(key)

    def is_timer_active(self, key: Hashable) -> bool:
        check_timer_key(key)
        return key in self._world.timers

    def set_receive_timeout(self, seconds: float, message: M) -> None:
        check_delay("seconds", seconds, zero=False)
        self._world.effects.append(ReceiveTimeoutSet(seconds, message))

    def cancel_receive_timeout(self) -> None:
        self._world.effects.append(ReceiveTimeoutSet(None))

    def stash_buffer(self, capacity: int) -> StashBuffer[M]:
        return KitStash(self._world, capacity)

    def message_adapter(self, fn: Callable[[N], M], message_type: type[N] | None = None) -> ActorRef[N]:
        check_adapter(fn)
        world = self._world

        def adapt(message: N) -> None:
            world.ref.tell(fn(message))

        ref = world.silent_ref(f"{world.path}/_adapter-{world.next_serial()}", adapt)
        world.own_refs.add(cast("ActorRef[Never]", ref))
        world.effects.append(AdapterMade(cast("ActorRef[Never]", ref)))
        return ref

    async def ask(self, ref: ActorRef[O], factory: Callable[[ActorRef[R]], O], *, timeout: float = 5.0) -> R:
        return await self._world.ask(ref, factory, timeout)

    def forward(self, ref: ActorRef[O], message: O) -> None:
        check_ref(ref, "forward")
        ref.tell(message)

    def reply_error(self, reply_to: ActorRef[Never], error: Exception | str) -> None:
        check_reply_error(reply_to, error)
        self._world.effects.append(RepliedError(reply_to, error))

    def _scheduled(self, effect: Scheduled) -> Hashable:
        self._world.effects.append(effect)
        key = ("timer", self._world.next_serial()) if effect.key is None else effect.key
        self._world.timers[key] = effect
        return key


class KitStash(StashBuffer[M]):
    """A stash whose messages, given back, wait for `BehaviorTestKit.run_own`."""

    __slots__ = ("_world",)

    def __init__(self, world: World, capacity: int) -> None:
        super().__init__(cast("Cell", KitCell(world.path)), capacity)
        self._world = world

    def _keep(self, message: object) -> None:
        self._messages.append(message)
        self._world.stashed[cast("KitStash[object]", self)] = self._messages

    def _give_back(self, messages: list[object]) -> None:
        if not self._messages:
            self._world.stashed.pop(cast("KitStash[object]", self), None)
        self._world.own_messages.extendleft(reversed(messages))


class KitInbox(Inbox[M]):
    """An inbox in pause until the test gives it a message."""

    __slots__ = ("_world",)

    def __init__(self, world: World) -> None:
        """Make a context without a cell."""
        self._world = world
        self._is_closed = self._ended = False

    def __repr__(self) -> str:
        return "<Inbox of a BehaviorTestKit>"

    async def __anext__(self) -> M:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration from None

    async def receive(self) -> M:
        self._check_open()
        is_to_be_cancelled = self._world.stop_requested and not self._world.has_read
        self._world.has_read = not is_to_be_cancelled
        message = END if self._has_ended() and not is_to_be_cancelled else await pause()
        if message is END:
            self._ended = True
            await trio.lowlevel.checkpoint()
            raise trio.EndOfChannel
        return cast("M", message)

    def receive_nowait(self) -> M:
        self._check_open()
        self._world.has_read = True
        if self._has_ended():
            raise trio.EndOfChannel
        raise trio.WouldBlock  # the test gives one message at a time

    def close(self) -> None:
        self._is_closed = self._world.has_read = True

    def _drop(self, messages: Iterable[object]) -> None:
        """Let go of messages taken by an interceptor and never read: dead letters of an actor."""

    def statistics(self) -> ChannelStatistics:
        is_open = int(not self._is_closed)
        return ChannelStatistics(0, 1, is_open, is_open, tasks_waiting_send=0, tasks_waiting_receive=0)

    def _has_ended(self) -> bool:
        return self._ended or self._world.stop_requested

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("the inbox was closed")
